// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Numbers that every rank draws alike, so that each can have its own part and,
// for the check, the whole.
#ifndef HEED_EXAMPLES_CONTEXT_PARALLEL_NUMBERS_H_
#define HEED_EXAMPLES_CONTEXT_PARALLEL_NUMBERS_H_

#include <cstdint>

#include "spread.h"

namespace context_parallel {

// Whose numbers are drawn.
enum Tensor : uint64_t { kQuery = 1, kKey, kValue };

// Writes `size` numbers in [-2, 2) a token, which depend on the tensor and the
// token alone; returns the end. (splitmix64: Steele, Lea, Flood 2014.)
inline float* Draw(Tensor tensor, Range tokens, int64_t size, float* to) {
  for (int64_t token = tokens.begin; token < tokens.end; ++token) {
    uint64_t state =
        (uint64_t{tensor} << 56) + (static_cast<uint64_t>(token) << 20);
    for (int64_t i = 0; i < size; ++i) {
      uint64_t z = state += 0x9e3779b97f4a7c15u;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
      *to++ = static_cast<float>(z >> 40) * 0x1p-22f - 2.0f;
    }
  }
  return to;
}

}  // namespace context_parallel

#endif  // HEED_EXAMPLES_CONTEXT_PARALLEL_NUMBERS_H_
