// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Plans: which kernel, how many lane groups a tile, how much memory.
#include <algorithm>

#include "heed/attention.h"
#include "lib/core/check.h"
#include "lib/core/choose_target.h"
#include "lib/core/heads_together.h"
#include "lib/core/layout.h"
#include "lib/core/score_rule.h"
#include "lib/core/text.h"
#include "lib/core/tuning.h"
#include "lib/kernels/kernels.h"

namespace heed {
namespace {

using internal::Target;

constexpr int kMaxDecodeRows = internal::kMostDecodeRows;

// The tile kernel widens keys of fewer bits once for all rows of a tile, which
// a few rows do not repay: the decode kernel holds out to half as many rows
// more. A unit widens nothing: times of avx512_bf16 over the decode kernel on
// Zen 4, head_dim 128, from memory (from cache), 8 rows 1.13 (0.79), 10
// rows 1.04 (0.63), 12 rows 1.07 (0.56).
int64_t DefaultDecodeRows(const Plan& plan) {
  const int64_t rows = plan.table->decode_rows;
  const bool widens = SizeOf(plan.shape.key_dtype) < SizeOf(DType::kF32) &&
                      plan.attend == &plan.table->attend;
  return widens ? rows * 3 / 2 : rows;
}

// The bytes of a worker's tile and of its part of the slots and carries, for
// tiles of `rows` rows.
void SetBytes(Plan* plan, int64_t rows) {
  plan->tile_rows = static_cast<int32_t>(rows);
  plan->tile_bytes = plan->slots_bytes = plan->carries_bytes = 0;
  const auto use = [plan](const internal::AttendKernel& kernel, int64_t most,
                          int64_t slot_rows) {
    internal::Carver tile(nullptr);
    internal::CarveTile(tile, kernel, internal::TileShapeOf(*plan, most),
                        plan->shape.seqlen_k);
    const int64_t slot =
        kernel.state_bytes(internal::TileShapeOf(*plan, slot_rows));
    const int64_t slots =
        std::clamp(internal::kSlotsBytesPerWorker / slot,
                   internal::kMinSlotsPerWorker, internal::kMaxSlotsPerWorker);
    plan->tile_bytes = std::max(plan->tile_bytes, tile.used());
    plan->slots_bytes = std::max(plan->slots_bytes, slots * slot);
    plan->carries_bytes =
        std::max(plan->carries_bytes, internal::kCarries * slot);
  };
  use(*plan->attend, rows, internal::SlotRows(*plan));
  if (plan->decode_rows > 0) {
    use(plan->table->decode, plan->decode_rows, plan->decode_rows);
    plan->tile_bytes =
        std::max(plan->tile_bytes, internal::TogetherBytes(*plan));
  }
  if (!plan->shares) return;
  // Rows that the decode kernel takes by themselves meet in its tiles.
  use(plan->table->attend, rows, internal::SlotRows(*plan));
  plan->tile_bytes += internal::HandOverBytes(*plan);
}

// Two workers have the largest share of slots and carries each.
bool Fits(const Plan& plan) {
  return plan.tile_bytes + internal::SharedBytes(plan, 2) / 2 <=
         internal::kMaxWorkerBytes;
}

// Sets which of the table's kernels serves tiles, and why.
Status ChooseUnit(const PlanOptions& options, Target target, Plan* plan) {
  constexpr internal::Unit kUnit = internal::Unit::kAvx512Bf16;
  const internal::AttendKernel& kernel = plan->table->attend_bf16;
  const AttentionShape& shape = plan->shape;
  const bool serves = shape.query_dtype == DType::kBF16 &&
                      shape.key_dtype == DType::kBF16 &&
                      shape.value_dtype == DType::kBF16;
  // A rotated query is a row of floats, and so is what `out` is made of.
  const bool rotated = shape.key_rotated || shape.value_rotated;
  const bool there = kernel.name != nullptr && internal::Usable(kUnit);
  plan->attend = &plan->table->attend;
  plan->numerics = options.numerics;
  if (options.unit != nullptr) {
    internal::Unit unit;
    const char* message = nullptr;
    if (!internal::FindUnit(options.unit, &unit)) {
      message = "is unknown";
    } else if (target != internal::FactsOf(unit).target) {
      message = "belongs to another target";
    } else if (kernel.name == nullptr) {
      message = "has no kernels in this library";
    } else if (!there) {
      message = internal::kNotOffered;
    } else if (options.numerics != Numerics::kFast) {
      message = "does not give the bits of kSame";
    } else if (!serves) {
      message = "serves query, key and value of bf16 only";
    } else if (rotated) {
      message = "does not serve rotated rows";
    }
    if (message != nullptr) {
      return Status(StatusCode::kUnsupported, "unit", message);
    }
    plan->attend = &kernel;
    plan->unit_reason = "as named";
    return Status();
  }
  if (options.numerics == Numerics::kSame || !serves || !there) return Status();
  if (rotated) {
    plan->unit_reason = "keys or values are rotated";
    return Status();
  }
  const internal::UnitChoice choice = internal::ChoiceOf(kUnit);
  if (choice.use) plan->attend = &kernel;
  plan->unit_reason = choice.reason;
  return Status();
}

// The query rows that may share keys: of one sequence, or of all that share a
// prefix.
int64_t MostRows(const Plan& plan, int64_t group) {
  constexpr int64_t kEnough = int64_t{1} << 20;  // more than any tile has
  const AttentionShape& shape = plan.shape;
  const int64_t rows = shape.seqlen_q * group;
  if (!plan.shares || rows >= kEnough) return rows;
  return rows * std::clamp<int64_t>(shape.num_sequences, 1, kEnough);
}

// Sets the rows of tiles and of the decode kernel, and their bytes.
void ChooseTiles(const PlanOptions& options, Plan* plan) {
  const AttentionShape& shape = plan->shape;
  const int64_t lanes = plan->attend->lanes();
  const int64_t group_rows = internal::GroupRows(*plan);
  const int64_t group =
      shape.num_heads == 0 ? 1 : shape.num_heads / shape.num_kv_heads;
  const int64_t most_rows = MostRows(*plan, group);
  const int64_t all_rows =
      internal::RoundUp(std::max<int64_t>(most_rows, 1), lanes);
  plan->decode_rows = static_cast<int32_t>(std::min<int64_t>(
      most_rows, options.decode_rows < 0 ? DefaultDecodeRows(*plan)
                                         : options.decode_rows));
  // The decode kernel takes whole vectors of a block's keys, and of 4-bit
  // elements no more than a group.
  const bool packed =
      shape.key_dtype == DType::kU4 || shape.value_dtype == DType::kU4;
  if (plan->table->decode.name == nullptr ||
      internal::kBlockKeys % lanes != 0 ||
      (packed && lanes > internal::kMinScaleGroup)) {
    plan->decode_rows = 0;
  }
  // Beside the smallest tile, so that asking for much leaves room for both.
  for (SetBytes(plan, lanes); plan->decode_rows > 0 && !Fits(*plan);) {
    --plan->decode_rows;
    SetBytes(plan, lanes);
  }
  plan->tile_limit =
      options.lane_groups == 0 ? TileLimit::kDefault : TileLimit::kAsked;
  int groups =
      options.lane_groups == 0 ? internal::kLaneGroups : options.lane_groups;
  if (groups * group_rows >= all_rows) {
    plan->tile_limit = TileLimit::kRows;
    groups = static_cast<int>((all_rows + group_rows - 1) / group_rows);
  }
  for (;; --groups) {
    plan->lane_groups = groups;
    SetBytes(plan, std::min(groups * group_rows, all_rows));
    if (groups == 1 || Fits(*plan)) break;
    plan->tile_limit = TileLimit::kMemory;
  }
  // Long vectors and a large head_dim: a lane group that is not full.
  while (!Fits(*plan) && plan->tile_rows > lanes) {
    SetBytes(plan, plan->tile_rows - lanes);
    plan->tile_limit = TileLimit::kMemory;
  }
}

const char* Reason(TileLimit limit) {
  switch (limit) {
    case TileLimit::kDefault:
      return "the measured default";
    case TileLimit::kAsked:
      return "as asked";
    case TileLimit::kRows:
      return "all that a key head has";
    case TileLimit::kMemory:
      return "as more would not fit a thread's memory";
  }
  return nullptr;
}

}  // namespace

Status MakePlan(const AttentionParams& params, const AttentionShape& shape,
                const PlanOptions& options, Plan* plan) {
  if (plan == nullptr) {
    return Status(StatusCode::kInvalidArgument, "plan", "is null");
  }
  Status status = internal::CheckShape(shape);
  if (!status.ok()) return status;
  const internal::ScoreRule rule =
      internal::MakeScoreRule(params, shape.head_dim);
  status = internal::CheckParams(params, rule);
  if (!status.ok()) return status;
  if (options.lane_groups < 0 ||
      options.lane_groups > internal::kMaxLaneGroups) {
    return Status(StatusCode::kInvalidArgument, "lane_groups",
                  "must be 0 (the default) to 16")
        .WithValue(options.lane_groups)
        .WithBound(internal::kMaxLaneGroups, BoundKind::kSaid);
  }
  if (options.decode_rows < -1 || options.decode_rows > kMaxDecodeRows) {
    return Status(StatusCode::kInvalidArgument, "decode_rows",
                  "must be -1 (the default) to 64")
        .WithValue(options.decode_rows)
        .WithBound(kMaxDecodeRows, BoundKind::kSaid);
  }
  if (options.numerics != Numerics::kSame &&
      options.numerics != Numerics::kFast) {
    return Status(StatusCode::kInvalidArgument, "numerics",
                  "must be kSame or kFast")
        .WithValue(static_cast<int64_t>(options.numerics));
  }
  Target target;
  status = internal::ChooseTarget(options.target, &target);
  if (!status.ok()) return status;

  Plan made;
  made.params = params;
  made.shape = shape;
  made.score_rule = rule;
  made.table = &internal::KernelsOf(target)->attention;
  made.target = internal::NameOf(target);
  made.target_named = options.target != nullptr;
  status = ChooseUnit(options, target, &made);
  if (!status.ok()) return status;
  made.shares = shape.shared_prefixes;
  ChooseTiles(options, &made);
  if (made.shares && !Fits(made)) {
    // The widest heads leave no room for states between tiles.
    made.shares = false;
    ChooseTiles(options, &made);
  }
  *plan = made;
  return Status();
}

size_t WorkspaceBytes(const Plan& plan, int workers) {
  const int64_t count = std::max(workers, 1);
  return static_cast<size_t>(internal::SequencesBytes(plan) +
                             internal::SharedBytes(plan, count) +
                             count * plan.tile_bytes);
}

size_t ExplainPlan(const Plan& plan, char* text, size_t capacity) {
  internal::TextWriter out(text, capacity);
  if (plan.table == nullptr) return out.Text("no plan was made").Finish();
  const internal::AttendKernel& kernel = *plan.attend;
  out.Text("kernel    ").Text(kernel.name);
  out.Text(plan.target_named ? ", on the target that was asked for"
                             : ", the fastest that this CPU runs");
  const bool unit = &kernel != &plan.table->attend;
  out.Text(kernel.same_bits
               ? ": the same bits on every CPU with fused multiply-add\n"
           : unit ? ": rounds in its own way, within the bound of kFast\n"
                  : ": without fused multiply-add, so its bits are its own, "
                    "within the error bound\n");
  if (plan.unit_reason != nullptr) {
    out.Text("unit      ").Text(plan.table->attend_bf16.name);
    out.Text(unit ? ", taken: " : ", not taken: ").Text(plan.unit_reason);
    out.Text("\n");
  }
  out.Text("queries   ").Integer(plan.tile_rows);
  out.Text(" rows are computed together, ").Text(Reason(plan.tile_limit));
  out.Text(": each key that is read serves all of them\n");
  out.Text("vectors   of ").Integer(kernel.lanes()).Text(" rows each, up to ");
  out.Integer(kernel.max_group_vectors).Text(" of them side by side, in ");
  out.Integer(plan.lane_groups);
  out.Text(plan.lane_groups == 1 ? " turn\n" : " turns\n");
  if (plan.decode_rows > 0) {
    out.Text("decoding  ").Text(plan.table->decode.name);
    out.Text(", where a key head has at most ").Integer(plan.decode_rows);
    out.Text(" query rows: too few to fill vectors\n");
  }
  out.Text("keys      ").Integer(internal::kBlockKeys);
  out.Text(" at a time; every ").Integer(internal::kSpanKeys);
  out.Text(" give a partial result. They are merged in order, ");
  out.Integer(internal::kGroupSpans);
  out.Text(" to one and those in order, so that sharing out changes no bit\n");
  out.Text("memory    ")
      .Integer(plan.tile_bytes)
      .Text(" bytes a thread; with ");
  out.Text("several threads ").Integer(plan.slots_bytes);
  out.Text(" more each, and ").Integer(plan.carries_bytes);
  out.Text(" and a few counters in all, for rows whose keys they share\n");
  return out.Finish();
}

}  // namespace heed
