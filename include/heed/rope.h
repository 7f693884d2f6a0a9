// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Rotary position embedding (Su et al. 2021, arXiv:2104.09864): of queries
// here, of keys also on their way into a cache (heed/append.h).
#ifndef HEED_ROPE_H_
#define HEED_ROPE_H_

#include <cstdint>

#include "heed/executor.h"
#include "heed/export.h"
#include "heed/status.h"
#include "heed/tensor.h"

namespace heed {

// Turns the pairs (a, b) of a row's first rotary_dim channels, pair i by angle
// i of the row's position:
//
//   a' = a cos - b sin
//   b' = b cos + a sin
//
// in f32, each product and each sum rounded by itself, so that the bits are
// those of the tables alone. Other channels stay as they are.
struct Rope {
  // Even, 2 to head_dim; 0 means absent.
  int64_t rotary_dim = 0;
  // Pair i is the channels (2i, 2i + 1), instead of (i, i + rotary_dim / 2).
  bool interleaved = false;
  // Dense [num_positions][rotary_dim / 2], the caller's: RopeFrequencies and
  // FillRopeTables make them, or a framework whose bits are to be met.
  int64_t num_positions = 0;
  const float* cos = nullptr;
  const float* sin = nullptr;
};

// Writes `source`, turned, to `to`: f32, bf16 or f16 each, [batch, seqlen,
// heads, head_dim] both, head_dim 1 to 1024. Numbers are widened, turned, and
// rounded once. `to` may be the very view of `source`, and may overlap it in no
// other way. positions has batch * seqlen numbers in [0, num_positions): row s
// of batch b stands at positions[b * seqlen + s]. An absent `rope` converts
// only, and reads no positions.
//
// Refuses, with nothing written, a position that the tables do not have, and
// what other calls refuse of views. Allocates nothing.
HEED_API Status ApplyRope(const ConstTensorView& source,
                          const int32_t* positions, const Rope& rope,
                          const TensorView& to,
                          const Executor& executor = SerialExecutor());

// Writes the rotary_dim / 2 angles a position, theta^(-2i / rotary_dim):
// rotary_dim even, 2 to 1024, theta finite and above 0. Models that stretch
// their positions (linear, NTK, YaRN) change these numbers.
HEED_API Status RopeFrequencies(double theta, int64_t rotary_dim,
                                double* frequency);

// Writes the cosines and sines of position * frequency[i] for the positions
// [first, first + count), [count][rotary_dim / 2] each. In double, by series of
// its own, and rounded once: the same bits on every machine, within 2^-24 of
// the exact number and 2^-51 of the angle. Frequencies are finite, at most 16
// in size; positions 0 to 2^31 - 1.
HEED_API Status FillRopeTables(const double* frequency, int64_t rotary_dim,
                               int64_t first, int64_t count, float* cos,
                               float* sin);

}  // namespace heed

#endif  // HEED_ROPE_H_
