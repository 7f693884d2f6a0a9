// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The cap of scores that are only estimated by.
#ifndef HEED_LIB_SPARSE_SOFT_CAP_H_
#define HEED_LIB_SPARSE_SOFT_CAP_H_

#include <cstdint>

#include "heed/ops.h"

namespace heed::sparse {

// x = cap * tanh(x / cap), by ops::Exp: the host's tanh rounds as it likes.
inline void SoftCap(float cap, float* x, int64_t n) {
  ops::Scale(2.0f / cap, x, n);
  ops::Exp(x, x, n);
  for (int64_t i = 0; i < n; ++i) x[i] = cap * (1.0f - 2.0f / (x[i] + 1.0f));
}

}  // namespace heed::sparse

#endif  // HEED_LIB_SPARSE_SOFT_CAP_H_
