// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// States as rows, [m, l, acc] of one query row, and what is done with them. The
// bits are those of the kernels with FMA.
#ifndef HEED_LIB_CORE_STATE_ROWS_H_
#define HEED_LIB_CORE_STATE_ROWS_H_

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "heed/types.h"
#include "lib/kernels/kernel_table.h"
#include "lib/kernels/ops_table.h"

namespace heed::internal {

// Merges the state of later keys into `state`, both of `size` numbers.
inline void MergeRow(const OpsTable& ops, const float* later, int64_t size,
                     float* state) {
  const float m = std::max(state[0], later[0]);
  const float a = scalar::Rescale(state[0] - m);
  const float b = scalar::Rescale(later[0] - m);
  ops.scale(a, state + 1, size - 1);
  ops.axpy(b, later + 1, state + 1, size - 1);
  state[0] = m;
}

inline void ClearRow(int64_t size, float* state) {
  std::fill_n(state, size, 0.0f);
  state[0] = kEmptyMax;
}

// Who divides a row's acc by its l: kUnit as the bf16 unit does for an out of
// bf16 (docs/numerics.md).
enum class DividedBy : uint8_t { kTable, kUnit };

inline void DivideRow(DividedBy by, int64_t dim, float l, float* acc) {
  if (l == 0.0f) {
    std::fill_n(acc, dim, 0.0f);
  } else if (by == DividedBy::kUnit) {
    const float inverse = 1.0f / l;
    for (int64_t c = 0; c < dim; ++c) {
      const float x = std::fma(acc[c], inverse, 0.0f);
      acc[c] = std::fabs(x) < FLT_MIN ? std::copysign(0.0f, x) : x;
    }
  } else {
    // + 0 turns -0 into 0.
    for (int64_t c = 0; c < dim; ++c) acc[c] = acc[c] / l + 0.0f;
  }
}

// Writes `dim` elements of out and, where lse is not null, *lse. Spends
// `state`.
inline void FinishRow(const OpsTable& ops, int64_t dim, bool rotate,
                      DType dtype, float* state, void* out, float* lse,
                      DividedBy by = DividedBy::kTable) {
  const float l = state[1];
  float* const acc = state + 2;
  DivideRow(by, dim, l, acc);
  if (rotate) ops.rotate(acc, dim);
  ops.narrow(dtype, acc, dim, out);
  if (lse != nullptr) *lse = scalar::LogSum(state[0], l);
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_STATE_ROWS_H_
