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

double VisibleKeyRows(const AttentionShape& shape,
                      const AttentionParams& params) {
  const auto see = [&](int64_t row) {
    return VisibleTo(params, shape.seqlen_q, shape.seqlen_k, row);
  };
  int64_t covered = 0;  // by sinks, then by windows from the left
  for (int64_t row = 0; row < shape.seqlen_q; ++row) {
    covered = std::max(covered, see(row).sink_end);
  }
  int64_t rows = covered;
  // What a row sees only moves right from row to row.
  for (int64_t row = 0; row < shape.seqlen_q; ++row) {
    const VisibleKeys keys = see(row);
    if (keys.begin == keys.end) continue;
    covered = std::max(covered, keys.begin);
    rows += std::max<int64_t>(0, keys.end - covered);
    covered = std::max(covered, keys.end);
  }
  return static_cast<double>(rows);
}

Cost SoftmaxCost(const AttentionShape& shape, double pairs) {
  return SoftmaxCost(shape, pairs, static_cast<double>(shape.seqlen_k));
}

Cost SoftmaxCost(const AttentionShape& shape, double pairs, double key_rows) {
  const double batch = static_cast<double>(shape.batch);
  const double queries = batch * static_cast<double>(shape.seqlen_q) *
                         static_cast<double>(shape.num_heads);
  const double keys =
      batch * key_rows * static_cast<double>(shape.num_kv_heads);
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
