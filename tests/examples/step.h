// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Ranks of examples/context_parallel in one process, and what their results are
// compared with.
#ifndef HEED_TESTS_EXAMPLES_STEP_H_
#define HEED_TESTS_EXAMPLES_STEP_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "examples/context_parallel/exchanged_states.h"
#include "heed/heed.h"
#include "lib/eval/workload.h"

namespace heed::test {

inline constexpr int kMostRanks = 8;

// Numbers of ranks: all of 1 to 8, or those at the ends and an odd one.
std::vector<int> RankCounts();

// Sequences of one step, rows packed, beside the result of one ragged call.
class Step {
 public:
  explicit Step(const std::vector<context_parallel::SequenceSize>& sequences,
                int64_t num_heads = 2, int64_t num_kv_heads = 1);

  int64_t num_sequences() const { return static_cast<int64_t>(sizes.size()); }

  // One process's call, from which `want` is.
  void Attend();
  // The call's arguments but for out.
  AttentionArgs Args() const;

  // Sequence s of packed rows, and of keys or values.
  TensorView Rows(const TensorView& rows, size_t s) const;
  TensorView Keys(const TensorView& keys, size_t s) const;

  // `got` has the bits of `want`, and nothing beside it was written. Clears it.
  void ExpectSame() const;

  std::vector<context_parallel::SequenceSize> sizes;
  int64_t num_heads, num_kv_heads, head_dim = 4, head_dim_v = 3;
  AttentionParams params;
  eval::Tensor query, key, value, want, got;

 private:
  std::vector<int32_t> cu_seqlens_q_ = {0}, seqlens_k_;
};

// Calls check() with the masks of every test, and with a NaN and an infinity.
void ForEachMask(Step* step, const std::function<void()>& check);

// So many floats, all NaN: what is sent must be written.
std::vector<float> Floats(int64_t count);

// How many floats one rank sends to another.
using FloatCount = std::function<int64_t(int from, int to)>;

// What rank `from` sends to all.
int64_t SentBy(int from, int ranks, const FloatCount& count);
// What rank `to` receives of what all sent.
std::vector<float> Received(const std::vector<std::vector<float>>& sent, int to,
                            const FloatCount& count);

// Copies rows of f32, batch 1.
void CopyRows(const ConstTensorView& from, const TensorView& to);

}  // namespace heed::test

#endif  // HEED_TESTS_EXAMPLES_STEP_H_
