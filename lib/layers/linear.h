// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Products with packed weights, several at once.
#ifndef HEED_LIB_LAYERS_LINEAR_H_
#define HEED_LIB_LAYERS_LINEAR_H_

#include <cstdint>

#include "heed/layers.h"
#include "lib/core/check.h"
#include "lib/kernels/ops_table.h"

namespace heed::internal {

constexpr int64_t NumPanels(int64_t out_features) {
  return (out_features - 1) / kPanelOutputs + 1;
}

// Whether PackLinear made it: a kernel believes its dtype and extents.
inline bool IsPacked(const PackedLinear& linear) {
  return linear.weight != nullptr && IsFloat(linear.dtype) &&
         linear.in_features >= 1 && linear.out_features >= 1;
}

// One product: x and y are f32 views [batch, seqlen, 1, features], checked.
struct LinearJob {
  const PackedLinear* linear;
  ConstTensorView x;
  TensorView y;
};

inline constexpr int kMostLinearJobs = 3;

// Computes all of them as one parallel phase, at most kMostLinearJobs.
Status RunLinearJobs(const OpsTable& ops, const LinearJob* jobs, int num_jobs,
                     const Executor& executor);

}  // namespace heed::internal

#endif  // HEED_LIB_LAYERS_LINEAR_H_
