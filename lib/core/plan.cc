// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Plans: which kernel, how many lane groups a tile, how much memory.
#include <algorithm>

#include "heed/attention.h"
#include "lib/core/check.h"
#include "lib/core/layout.h"
#include "lib/core/score_rule.h"
#include "lib/core/text.h"
#include "lib/core/tuning.h"
#include "lib/kernels/kernels.h"

namespace heed {
namespace {

using internal::Target;

constexpr int kMaxDecodeRows = internal::kMostDecodeRows;

Status ChooseTarget(const char* name, Target* target) {
  if (name == nullptr) {
    *target = internal::BestTarget();
    return Status();
  }
  const char* message = nullptr;
  if (!internal::FindTarget(name, target)) {
    message = "is unknown";
  } else if (!internal::Compiled(*target)) {
    message = "has no kernels in this library";
  } else if (!internal::Usable(*target)) {
    message = internal::kNotOffered;
  } else {
    return Status();
  }
  return Status(StatusCode::kUnsupported, "target", message);
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
  use(plan->table->attend, rows, internal::SlotRows(*plan));
  if (plan->decode_rows > 0) {
    use(plan->table->decode, plan->decode_rows, plan->decode_rows);
  }
}

// Two workers have the largest share of slots and carries each.
bool Fits(const Plan& plan) {
  return plan.tile_bytes + internal::SharedBytes(plan, 2) / 2 <=
         internal::kMaxWorkerBytes;
}

const char* Reason(TileLimit limit) {
  switch (limit) {
    case TileLimit::kDefault:
      return "the measured default";
    case TileLimit::kAsked:
      return "as asked";
    case TileLimit::kRows:
      return "which hold all rows of a key head";
    case TileLimit::kMemory:
      return "as more would not fit a worker's memory";
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
  Target target;
  status = ChooseTarget(options.target, &target);
  if (!status.ok()) return status;

  Plan made;
  made.params = params;
  made.shape = shape;
  made.score_rule = rule;
  made.table = &internal::KernelsOf(target)->attention;
  made.target = internal::NameOf(target);
  made.target_named = options.target != nullptr;
  const int64_t lanes = made.table->attend.lanes();
  const int64_t group_rows = internal::GroupRows(made);
  const int64_t group =
      shape.num_heads == 0 ? 1 : shape.num_heads / shape.num_kv_heads;
  const int64_t all_rows =
      internal::RoundUp(std::max<int64_t>(shape.seqlen_q * group, 1), lanes);
  made.decode_rows = static_cast<int32_t>(std::min<int64_t>(
      shape.seqlen_q * group,
      options.decode_rows < 0 ? made.table->decode_rows : options.decode_rows));
  // The decode kernel takes whole vectors of a block's keys, and of 4-bit
  // elements no more than a group.
  const bool packed =
      shape.key_dtype == DType::kU4 || shape.value_dtype == DType::kU4;
  if (made.table->decode.name == nullptr || internal::kBlockKeys % lanes != 0 ||
      (packed && lanes > internal::kMinScaleGroup)) {
    made.decode_rows = 0;
  }
  // Beside the smallest tile, so that asking for much leaves room for both.
  for (SetBytes(&made, lanes); made.decode_rows > 0 && !Fits(made);) {
    --made.decode_rows;
    SetBytes(&made, lanes);
  }
  made.tile_limit =
      options.lane_groups == 0 ? TileLimit::kDefault : TileLimit::kAsked;
  int groups =
      options.lane_groups == 0 ? internal::kLaneGroups : options.lane_groups;
  if (groups * group_rows >= all_rows) {
    made.tile_limit = TileLimit::kRows;
    groups = static_cast<int>((all_rows + group_rows - 1) / group_rows);
  }
  for (;; --groups) {
    made.lane_groups = groups;
    SetBytes(&made, std::min(groups * group_rows, all_rows));
    if (groups == 1 || Fits(made)) break;
    made.tile_limit = TileLimit::kMemory;
  }
  // Long vectors and a large head_dim: a lane group that is not full.
  while (!Fits(made) && made.tile_rows > lanes) {
    SetBytes(&made, made.tile_rows - lanes);
    made.tile_limit = TileLimit::kMemory;
  }
  *plan = made;
  return Status();
}

size_t WorkspaceBytes(const Plan& plan, int workers) {
  const int64_t count = std::max(workers, 1);
  return static_cast<size_t>(internal::SharedBytes(plan, count) +
                             count * plan.tile_bytes);
}

size_t ExplainPlan(const Plan& plan, char* text, size_t capacity) {
  internal::TextWriter out(text, capacity);
  if (plan.table == nullptr) return out.Text("no plan was made").Finish();
  const internal::AttendKernel& kernel = plan.table->attend;
  out.Text("kernel    ").Text(kernel.name);
  out.Text(plan.target_named ? ", as named: " : ", the best for this CPU: ");
  out.Text(kernel.same_bits ? "same bits as every target with FMA\n"
                            : "no FMA, held to the error bound only\n");
  out.Text("tile      ").Integer(plan.tile_rows).Text(" query rows: ");
  out.Integer(plan.lane_groups).Text(" lane groups of up to ");
  out.Integer(kernel.max_group_vectors).Text(" vectors of ");
  out.Integer(kernel.lanes()).Text(" lanes, ").Text(Reason(plan.tile_limit));
  if (plan.decode_rows > 0) {
    out.Text("\ndecode    ").Text(plan.table->decode.name);
    out.Text(", up to ").Integer(plan.decode_rows);
    out.Text(" query rows a key head");
  }
  out.Text("\nblocks    ").Integer(internal::kBlockKeys);
  out.Text(" keys at multiples of it, in spans of ");
  out.Integer(internal::kSpanKeys).Text(" keys merged in groups of ");
  out.Integer(internal::kGroupSpans).Text(", in order\n");
  out.Text("workspace ").Integer(plan.tile_bytes).Text(" bytes a worker; ");
  out.Text("with several also ").Integer(plan.slots_bytes);
  out.Text(" each for spans run in parallel, and ");
  out.Integer(plan.carries_bytes).Text(" and counters in all\n");
  return out.Finish();
}

}  // namespace heed
