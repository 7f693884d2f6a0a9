// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Whole numbers throughout, which doubles hold exactly.
#include "lib/eval/recorded_cost.h"

namespace heed::eval {
namespace {

double RowBytes(DType dtype, int64_t dim) {
  return static_cast<double>(BytesOf(dtype, dim));
}

double QueryAndOutputBytes(const AttentionShape& shape) {
  return static_cast<double>(shape.batch * shape.num_heads * shape.seqlen_q) *
         (RowBytes(shape.query_dtype, shape.head_dim) +
          RowBytes(shape.out_dtype, shape.head_dim_v));
}

}  // namespace

Cost RecordedCost(const Cost& formula, const AttentionShape& shape,
                  const Selection& selection) {
  Cost cost = formula;
  cost.flops = 2 * selection.KeptPairs() *
                   static_cast<double>(shape.head_dim + shape.head_dim_v) +
               formula.select_flops;
  cost.bytes = QueryAndOutputBytes(shape) +
               KeyValueBytes(shape, selection.TouchedKeys()) +
               formula.select_bytes;
  return cost;
}

double KeyValueBytes(const AttentionShape& shape, double key_rows) {
  return key_rows * (RowBytes(shape.key_dtype, shape.head_dim) +
                     RowBytes(shape.value_dtype, shape.head_dim_v));
}

}  // namespace heed::eval
