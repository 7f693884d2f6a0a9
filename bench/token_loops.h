// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Linear attention token by token, as it is usually written: what chunks are
// measured against.
#ifndef HEED_BENCH_TOKEN_LOOPS_H_
#define HEED_BENCH_TOKEN_LOOPS_H_

#include <cstdint>
#include <string>

namespace heed::bench {

// One head, rows `row` floats apart; a token's gate and beta `heads` apart.
struct TokenLoop {
  int64_t tokens, dim, row, heads;  // dim: of keys and values, up to 256
  float scale;
  const float *query, *key, *value;
  const float* gate;  // logarithms; null: none
  const float* beta;  // null: nothing is erased
  float* out;
  float* state;  // [dim][dim]
};

enum class LoopKind {
  // Each token sweeps over the whole state: it fades, is read under the key,
  // is written, is read under the query. As ggml and ONNX Runtime have it, here
  // with lanes along the values, which spares the sums across lanes.
  kFourSweeps,
  // Each token passes over the whole state twice: it is read under key and
  // query at once, then it fades and is written.
  kTwoPasses,
  // The same two passes over tiles of four vectors of columns, tiles outside
  // and tokens inside. The tile stays in the first-level cache.
  kFused,
};

// Returns whether the target runs here, and if so runs the loop.
bool RunTokenLoop(const std::string& target, LoopKind kind,
                  const TokenLoop& loop);

}  // namespace heed::bench

#endif  // HEED_BENCH_TOKEN_LOOPS_H_
