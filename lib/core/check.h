// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Every check of what a caller hands in.
#ifndef HEED_LIB_CORE_CHECK_H_
#define HEED_LIB_CORE_CHECK_H_

#include "heed/attention.h"

namespace heed::internal {

Status CheckShape(const AttentionShape& shape);

// Needs a shape that was checked.
Status CheckParams(const AttentionParams& params, const AttentionShape& shape);

// Strides, alignment, null data, overflow of one tensor of f32.
Status CheckView(const ConstTensorView& view, const char* name, bool is_output);

// Returns the view with a stride of 0 wherever none is ever stepped: along
// extents up to 1, and everywhere in a tensor without elements. Such strides
// are not checked, and may be anything.
template <typename View>
View UsedStrides(View view) {
  bool empty = false;
  for (const int64_t extent : view.extent) empty |= extent == 0;
  for (int i = 0; i < 4; ++i) {
    if (empty || view.extent[i] <= 1) view.stride[i] = 0;
  }
  return view;
}

// Whether the memory from the first to the last element of the two meets.
bool Overlap(const ConstTensorView& a, const ConstTensorView& b);

// A tensor under the name of its argument.
struct NamedView {
  ConstTensorView view;
  const char* name;
  const char* overlap;  // "overlaps <name>"
};

// Refuses `output` where it overlaps one of the `count` others, which the
// status names.
Status CheckOverlap(const NamedView& output, const NamedView* others,
                    int count);

// The tensors against each other, against the plan, and the key intervals.
Status CheckArgs(const Plan& plan, const AttentionArgs& args);

// Size, alignment, and that no tensor lies in it. Needs arguments that were
// checked.
Status CheckWorkspace(const Plan& plan, const AttentionArgs& args,
                      Workspace workspace, int workers);

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_CHECK_H_
