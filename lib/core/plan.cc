// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Plans: which kernel, how many lane groups a tile, how much memory.
#include <algorithm>

#include "heed/attention.h"
#include "lib/core/check.h"
#include "lib/core/layout.h"
#include "lib/core/text.h"
#include "lib/core/tuning.h"
#include "lib/kernels/kernels.h"

namespace heed {
namespace {

using internal::Target;

Status ChooseTarget(const char* name, Target* target) {
  if (name == nullptr) {
    *target = internal::BestTarget();
    return Status();
  }
  const char* message = nullptr;
  if (!internal::FindTarget(name, target)) {
    message = "is unknown";
  } else if (!internal::Compiled(*target)) {
    message = "this library has no kernels for it";
  } else if (!internal::Usable(*target)) {
    message = internal::kNotOffered;
  } else {
    return Status();
  }
  return Status(StatusCode::kUnsupported, "target", message);
}

// The bytes of a worker's tile and of a slot, for tiles of `rows` rows.
void SetBytes(Plan* plan, int64_t rows) {
  plan->tile_rows = static_cast<int32_t>(rows);
  const int64_t slot_rows = internal::SlotRows(*plan);
  internal::Carver tile(nullptr);
  internal::CarveTile(tile, rows, slot_rows, plan->shape.head_dim,
                      plan->shape.head_dim_v);
  internal::Carver slot(nullptr);
  internal::CarveState(slot, slot_rows, plan->shape.head_dim_v);
  plan->tile_bytes = tile.used();
  plan->slot_bytes = slot.used();
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
  status = internal::CheckParams(params, shape);
  if (!status.ok()) return status;
  if (options.lane_groups < 0 ||
      options.lane_groups > internal::kMaxLaneGroups) {
    return Status(StatusCode::kInvalidArgument, "lane_groups",
                  "must be 0 (the default) to 16")
        .WithValue(options.lane_groups)
        .WithBound(internal::kMaxLaneGroups);
  }
  Target target;
  status = ChooseTarget(options.target, &target);
  if (!status.ok()) return status;

  Plan made;
  made.params = params;
  made.shape = shape;
  made.table = &internal::KernelsOf(target)->attention;
  made.target = internal::NameOf(target);
  made.target_named = options.target != nullptr;
  const int64_t lanes = made.table->lanes();
  const int64_t group_rows = internal::GroupRows(made);
  const int64_t group =
      shape.num_heads == 0 ? 1 : shape.num_heads / shape.num_kv_heads;
  const int64_t all_rows =
      internal::RoundUp(std::max<int64_t>(shape.seqlen_q * group, 1), lanes);
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
  const int lanes = plan.table->lanes();
  out.Text("kernel    ").Text(plan.table->kernel);
  out.Text(plan.target_named ? ", as named: " : ", the best for this CPU: ");
  out.Text(plan.table->same_bits ? "same bits as every target with FMA\n"
                                 : "no FMA, held to the error bound only\n");
  out.Text("tile      ").Integer(plan.tile_rows).Text(" query rows: ");
  out.Integer(plan.lane_groups).Text(" lane groups of up to ");
  out.Integer(plan.table->max_group_vectors).Text(" vectors of ");
  out.Integer(lanes).Text(" lanes, ").Text(Reason(plan.tile_limit));
  out.Text("\nblocks    ").Integer(internal::kBlockKeys);
  out.Text(" keys at multiples of it, in spans of ");
  out.Integer(internal::kSpanKeys).Text(" keys merged in order\n");
  out.Text("workspace ").Integer(plan.tile_bytes).Text(" bytes a worker; ");
  out.Text("with several also ").Integer(internal::kSlotsPerWorker);
  out.Text(" each and ").Integer(internal::NumCarries(2));
  out.Text(" in all of ").Integer(plan.slot_bytes);
  out.Text(" bytes for spans run in parallel\n");
  return out.Finish();
}

}  // namespace heed
