// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attention among positions that are a multiple of a step apart: each residue
// class is a problem of its own, of views with longer strides, in which windows
// and the causal mask are what they are elsewhere. Nothing is copied.
#include <algorithm>
#include <cstdint>

#include "heed/ops.h"
#include "heed/sparse_variant.h"
#include "lib/core/variant_call.h"
#include "lib/sparse/plan_memory.h"

namespace heed::sparse {
namespace {

// Every step-th row of a view from `first` on.
template <typename View>
View EveryStep(View view, int64_t first, int64_t step) {
  if (view.absent()) return view;
  const int64_t rows = view.extent[1];
  view = TokensOf(view, std::min(first, rows), 0);
  view.extent[1] = first < rows ? (rows - first - 1) / step + 1 : 0;
  view.stride[1] *= step;
  return view;
}

int64_t FloorDiv(int64_t a, int64_t b) { return a / b - (a % b < 0); }

// One class: keys c, c + step, ..., and the query rows at such positions.
struct Residue {
  AttentionParams params;
  AttentionArgs args;
  int64_t first_row;
};

Residue ResidueOf(const AttentionParams& masks, const AttentionArgs& all,
                  int64_t step, int64_t c) {
  Residue of;
  const int64_t rest = (c - masks.causal_offset) % step;
  of.first_row = rest < 0 ? rest + step : rest;
  of.args = all;
  of.args.query = EveryStep(all.query, of.first_row, step);
  of.args.out = EveryStep(all.out, of.first_row, step);
  of.args.lse = EveryStep(all.lse, of.first_row, step);
  of.args.key = EveryStep(all.key, c, step);
  of.args.value = EveryStep(all.value, c, step);
  of.params = masks;
  of.params.causal_offset =
      FloorDiv(of.first_row + masks.causal_offset - c, step);
  const auto in_steps = [&](int64_t window) {
    return window < 0 ? window : window / step;
  };
  of.params.window_left = in_steps(masks.window_left);
  of.params.window_right = in_steps(masks.window_right);
  of.params.sink_size =
      masks.sink_size > c ? (masks.sink_size - c - 1) / step + 1 : 0;
  return of;
}

void Record(const VariantArgs& a, const Residue& of, int64_t step, int64_t c) {
  const ConstTensorView& query = of.args.query;
  for (int64_t i = 0; i < query.seqlen(); ++i) {
    for (int64_t b = 0; b < query.batch(); ++b) {
      for (int64_t h = 0; h < query.heads(); ++h) {
        ops::ForEachVisible(
            of.params, of.args, b, h, i, [&](int64_t begin, int64_t end) {
              for (int64_t key = c + begin * step; key < c + end * step;
                   key += step) {
                a.selection.Keep(b, h, of.first_row + i * step, key, key + 1);
              }
            });
      }
    }
  }
}

}  // namespace

Status AttendResidues(const VariantArgs& a, const AttentionParams& params,
                      int64_t step) {
  Status status = heed::internal::CheckSelects(a.args);
  if (!status.ok()) return status;
  if (step == 1) return AttendMasked(a, params);
  if (a.args.scores.any()) {
    return Status(StatusCode::kUnsupported, "scores",
                  "must be absent where positions are taken apart");
  }
  AttentionParams masks = params;
  masks.causal_offset =
      OffsetOf(params, a.args.query.seqlen(), a.args.key.seqlen());
  PlanOptions options;
  options.target = a.target;
  Plan plan;
  status = MakePlan(masks, ShapeOf(a.args), options, &plan);
  if (!status.ok()) return status;
  Workspace workspace;
  workspace.bytes = WorkspaceBytes(plan, a.executor.max_workers);
  workspace.data = a.scratch.Array<char>(static_cast<int64_t>(workspace.bytes));
  if (workspace.data == nullptr) return heed::internal::PlanOutOfMemory();
  a.phases.Enter(Phase::kAttend);
  // Every row is of some class below the step, and of the first `rows` classes
  // from its first row's on where there are fewer rows.
  const int64_t classes = std::min(step, a.args.query.seqlen());
  for (int64_t i = 0; i < classes && status.ok(); ++i) {
    const int64_t rest = (masks.causal_offset + i) % step;
    const int64_t c = rest < 0 ? rest + step : rest;
    const Residue of = ResidueOf(masks, a.args, step, c);
    status = MakePlan(of.params, plan.shape, options, &plan);
    if (status.ok()) status = Run(plan, of.args, workspace, a.executor);
    if (status.ok() && a.selection.keep != nullptr) Record(a, of, step, c);
  }
  return status;
}

}  // namespace heed::sparse
