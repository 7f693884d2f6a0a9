// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/examples/step.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/support/compare.h"
#include "tests/support/quick.h"

namespace heed::test {

std::vector<int> RankCounts() {
  if (Quick()) return {1, 3, kMostRanks};
  std::vector<int> counts;
  for (int ranks = 1; ranks <= kMostRanks; ++ranks) counts.push_back(ranks);
  return counts;
}

Step::Step(const std::vector<context_parallel::SequenceSize>& sequences,
           int64_t heads, int64_t kv_heads)
    : sizes(sequences), num_heads(heads), num_kv_heads(kv_heads) {
  params.causal = true;
  int64_t most_keys = 0;
  for (const context_parallel::SequenceSize& size : sizes) {
    cu_seqlens_q_.push_back(cu_seqlens_q_.back() +
                            static_cast<int32_t>(size.num_rows));
    seqlens_k_.push_back(static_cast<int32_t>(size.num_keys));
    most_keys = std::max(most_keys, size.num_keys);
  }
  const int64_t rows = cu_seqlens_q_.back();
  const auto make = [](int64_t batch, int64_t seqlen, int64_t of_heads,
                       int64_t dim) {
    return eval::MakeTensor(batch, seqlen, of_heads, dim,
                            eval::Layout::kPadded);
  };
  query = make(1, rows, num_heads, head_dim);
  key = make(num_sequences(), most_keys, num_kv_heads, head_dim);
  value = make(num_sequences(), most_keys, num_kv_heads, head_dim_v);
  want = make(1, rows, num_heads, head_dim_v);
  got = make(1, rows, num_heads, head_dim_v);
  eval::FillTensor(query, 0, eval::Fill::kSpread, 1);
  eval::FillTensor(key, 1, eval::Fill::kSpread, 2);
  eval::FillTensor(value, 2, eval::Fill::kSpread, 3);
}

AttentionArgs Step::Args() const {
  AttentionArgs args;
  args.query = query.view;
  args.key = key.view;
  args.value = value.view;
  args.ragged.num_sequences = num_sequences();
  args.ragged.cu_seqlens_q = cu_seqlens_q_.data();
  args.ragged.seqlens_k = seqlens_k_.data();
  return args;
}

void Step::Attend() {
  AttentionArgs args = Args();
  args.out = want.view;
  const Status status = Attention(params, args);
  ASSERT_TRUE(status.ok()) << ToString(status);
}

TensorView Step::Rows(const TensorView& rows, size_t s) const {
  return TokensOf(rows, cu_seqlens_q_[s], sizes[s].num_rows);
}

TensorView Step::Keys(const TensorView& keys, size_t s) const {
  TensorView view = TokensOf(keys, 0, sizes[s].num_keys);
  view.data = RowAt(keys, static_cast<int64_t>(s), 0, 0);
  view.extent[0] = 1;
  return view;
}

void Step::ExpectSame() const {
  EXPECT_TRUE(SameBits(got, want));
  EXPECT_TRUE(got.PaddingIntact());
  got.FillAll(eval::kSentinelBits);
}

void ForEachMask(Step* step, const std::function<void()>& check) {
  const auto with = [&](const char* name) {
    SCOPED_TRACE(name);
    step->Attend();
    check();
  };
  with("causal");
  step->params.window_left = 700;
  with("window");
  step->params.sink_size = 4100;
  with("window and sinks");
  if (!Quick()) {
    step->params.causal = false;
    step->params.window_right = 50;
    with("not causal");
    step->params.causal = true;
    step->params.window_left = step->params.window_right = -1;
    step->params.causal_offset = 4000;
    with("an offset of its own");
  }
  step->params = AttentionParams();
  step->params.causal = true;
  const int64_t last = step->key.view.seqlen() - 1;
  *step->key.At(0, std::min<int64_t>(4200, last), 0) =
      std::numeric_limits<float>::quiet_NaN();
  *step->value.At(0, last, 0, 1) = INFINITY;
  with("NaN");
}

void CopyRows(const ConstTensorView& from, const TensorView& to) {
  for (int64_t s = 0; s < from.seqlen(); ++s) {
    for (int64_t h = 0; h < from.heads(); ++h) {
      std::copy_n(RowAt(from, 0, s, h), from.head_dim(), RowAt(to, 0, s, h));
    }
  }
}

std::vector<float> Received(const std::vector<std::vector<float>>& sent, int to,
                            const FloatCount& count) {
  std::vector<float> received;
  for (int from = 0; from < static_cast<int>(sent.size()); ++from) {
    const std::vector<float>& floats = sent[static_cast<size_t>(from)];
    int64_t first = 0;
    for (int rank = 0; rank < to; ++rank) first += count(from, rank);
    EXPECT_LE(first + count(from, to), static_cast<int64_t>(floats.size()));
    received.insert(received.end(), floats.begin() + first,
                    floats.begin() + first + count(from, to));
  }
  return received;
}

int64_t SentBy(int from, int ranks, const FloatCount& count) {
  int64_t floats = 0;
  for (int to = 0; to < ranks; ++to) floats += count(from, to);
  return floats;
}

std::vector<float> Floats(int64_t count) {
  return std::vector<float>(static_cast<size_t>(count),
                            std::numeric_limits<float>::quiet_NaN());
}

}  // namespace heed::test
