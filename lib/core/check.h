// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Every check of what a caller hands in.
#ifndef HEED_LIB_CORE_CHECK_H_
#define HEED_LIB_CORE_CHECK_H_

#include "heed/attention.h"

namespace heed::internal {

Status CheckParams(const AttentionParams& params);

Status CheckShape(const AttentionShape& shape);

// Strides, alignment, null data, overflow of one tensor of f32.
Status CheckView(const ConstTensorView& view, const char* name, bool is_output);

// Whether the memory from the first to the last element of the two meets.
bool Overlap(const ConstTensorView& a, const ConstTensorView& b);

// The tensors against each other, against the plan, and the key intervals.
Status CheckArgs(const Plan& plan, const AttentionArgs& args);

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_CHECK_H_
