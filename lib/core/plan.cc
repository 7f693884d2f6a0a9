// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Plans: which kernel, how many lane groups a tile, how much memory.
#include <algorithm>
#include <cstring>

#include "heed/attention.h"
#include "lib/core/check.h"
#include "lib/core/layout.h"
#include "lib/core/text.h"
#include "lib/core/tuning.h"
#include "lib/kernels/targets.h"

namespace heed {
namespace {

using internal::Target;

Status FindTarget(const char* name, Target* target) {
  if (name == nullptr) {
    *target = internal::BestTarget();
    return Status();
  }
  for (int i = 0; i < internal::kNumTargets; ++i) {
    *target = static_cast<Target>(i);
    if (std::strcmp(internal::NameOf(*target), name) != 0) continue;
    if (!internal::Compiled(*target)) {
      return Status(StatusCode::kUnsupported, "target",
                    "this library has no kernels for it");
    }
    if (!internal::Usable(*target)) {
      return Status(StatusCode::kUnsupported, "target",
                    "this CPU or operating system does not offer it");
    }
    return Status();
  }
  return Status(StatusCode::kUnsupported, "target", "is unknown");
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
  status = FindTarget(options.target, &target);
  if (!status.ok()) return status;

  Plan made;
  made.params = params;
  made.shape = shape;
  made.table = internal::TableOf(target);
  made.target = internal::NameOf(target);
  const int64_t lanes = made.table->lanes();
  const int64_t group_rows = internal::GroupRows(made);
  const int64_t group =
      shape.num_heads == 0 ? 1 : shape.num_heads / shape.num_kv_heads;
  const int64_t all_rows =
      internal::RoundUp(std::max<int64_t>(shape.seqlen_q * group, 1), lanes);
  int groups =
      options.lane_groups == 0 ? internal::kLaneGroups : options.lane_groups;
  groups = static_cast<int>(std::min<int64_t>(
      groups, internal::RoundUp(all_rows, group_rows) / group_rows));
  for (;; --groups) {
    made.lane_groups = groups;
    SetBytes(&made, std::min(groups * group_rows, all_rows));
    if (groups == 1 || Fits(made)) break;
  }
  // Long vectors and a large head_dim: a lane group that is not full.
  while (!Fits(made) && made.tile_rows > lanes) {
    SetBytes(&made, made.tile_rows - lanes);
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
  out.Text(plan.table->same_bits ? ": same bits as every target with FMA\n"
                                 : ": no FMA, held to the error bound only\n");
  out.Text("tile      ").Integer(plan.tile_rows).Text(" query rows: ");
  out.Integer(plan.lane_groups).Text(" lane groups of up to ");
  out.Integer(plan.table->max_group_vectors).Text(" vectors of ");
  out.Integer(lanes).Text(" lanes");
  if (plan.lane_groups < internal::kLaneGroups) {
    out.Text(plan.tile_rows <
                     plan.lane_groups * lanes * plan.table->max_group_vectors
                 ? ", as there are no more rows or the tile would not fit"
                 : ", as asked or for the tile to fit its memory");
  }
  out.Text("\nblocks    ").Integer(internal::kBlockKeys);
  out.Text(" keys at multiples of it, in spans of ");
  out.Integer(internal::kSpanKeys).Text(" keys merged in order\n");
  out.Text("workspace ").Integer(plan.tile_bytes).Text(" bytes a worker, and ");
  out.Integer(internal::kSlotsPerWorker).Text(" slots of ");
  out.Integer(plan.slot_bytes).Text(" for spans run in parallel\n");
  return out.Finish();
}

}  // namespace heed
