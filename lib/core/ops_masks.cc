// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Masks and costs for variant authors.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "heed/ops.h"
#include "lib/core/visible.h"

namespace heed::ops {

float SoftmaxScale(const AttentionParams& params, int64_t head_dim) {
  if (params.softmax_scale != 0.0f) return params.softmax_scale;
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
}

VisibleKeys VisibleTo(const AttentionParams& params, int64_t seqlen_q,
                      int64_t seqlen_k, int64_t row) {
  const internal::RowLimits limits = internal::LimitsOf(
      params, CausalOffset(params, seqlen_q, seqlen_k), seqlen_k, row);
  VisibleKeys see;
  see.sink_end = limits.sink_end;
  see.begin = std::max(limits.begin, limits.sink_end);
  see.end = std::max(limits.end, see.begin);
  return see;
}

double VisiblePairs(const AttentionShape& shape,
                    const AttentionParams& params) {
  double pairs = 0;
  for (int64_t row = 0; row < shape.seqlen_q; ++row) {
    const VisibleKeys see =
        VisibleTo(params, shape.seqlen_q, shape.seqlen_k, row);
    pairs += static_cast<double>(see.sink_end + see.end - see.begin);
  }
  return pairs;
}

Cost SoftmaxCost(const AttentionShape& shape, double pairs) {
  const double batch = static_cast<double>(shape.batch);
  const double queries = batch * static_cast<double>(shape.seqlen_q) *
                         static_cast<double>(shape.num_heads);
  const double keys = batch * static_cast<double>(shape.seqlen_k) *
                      static_cast<double>(shape.num_kv_heads);
  const auto row_bytes = [](DType dtype, int64_t dim) {
    return static_cast<double>(BytesOf(dtype, dim));
  };
  const double dims = static_cast<double>(shape.head_dim + shape.head_dim_v);
  Cost cost;
  cost.flops = 2 * batch * static_cast<double>(shape.num_heads) * pairs * dims;
  cost.bytes = queries * (row_bytes(shape.query_dtype, shape.head_dim) +
                          row_bytes(shape.out_dtype, shape.head_dim_v)) +
               keys * (row_bytes(shape.key_dtype, shape.head_dim) +
                       row_bytes(shape.value_dtype, shape.head_dim_v));
  return cost;
}

}  // namespace heed::ops
