// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Draws a case's score inputs, all kinds of them, for dense and ragged calls.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "lib/eval/workload.h"
#include "lib/oracle/element.h"
#include "tests/differential/fuzz_tensors.h"

namespace heed::test {
namespace {

// Some pairs hidden, some made dearer: by the pair alone.
void Hook(void*, const ScoreTile& tile) {
  for (int k = 0; k < tile.num_keys; ++k) {
    for (int r = 0; r < tile.num_rows; ++r) {
      float& score = tile.score[k * tile.key_stride + r * tile.row_stride];
      const int64_t a = int64_t{tile.key_position[k]} + 3 * tile.row_index[r] +
                        5 * tile.row_head[r] + 2 * tile.batch;
      score =
          a % 7 == 0 ? -INFINITY : score + 0.25f * static_cast<float>(a % 5);
    }
  }
}

template <typename T>
void Store(const TensorView& view, int64_t b, int64_t s, int64_t i, T value) {
  std::memcpy(oracle::AddressOf(view, b, s, 0, i), &value, sizeof(T));
}

// The sequences of a call: their rows, where those lie, and their keys.
struct Lengths {
  int64_t batch, first_row, rows, keys;
};

std::vector<Lengths> LengthsOf(const AttentionArgs& args) {
  std::vector<Lengths> all;
  const Ragged& ragged = args.ragged;
  const int64_t count =
      ragged.num_sequences != 0 ? ragged.num_sequences : args.query.batch();
  for (int64_t s = 0; s < count; ++s) {
    Lengths one = {s, 0, args.query.seqlen(), args.key.seqlen()};
    if (ragged.cu_seqlens_q != nullptr) {
      one.batch = 0;
      one.first_row = ragged.cu_seqlens_q[s];
      one.rows = ragged.cu_seqlens_q[s + 1] - one.first_row;
    }
    if (ragged.seqlens_k != nullptr) one.keys = ragged.seqlens_k[s];
    if (ragged.cu_seqlens_k != nullptr) {
      one.keys = ragged.cu_seqlens_k[s + 1] - ragged.cu_seqlens_k[s];
    }
    all.push_back(one);
  }
  return all;
}

}  // namespace

void FuzzTensors::SetScores(const FuzzCase& c) {
  ScoreInputs& in = args.scores;
  if (c.scores == 0) return;
  eval::Random random(static_cast<uint64_t>(c.seed) + 17);
  const std::vector<Lengths> sequences = LengthsOf(args);
  const int64_t count = std::ssize(sequences);
  const int64_t batch = args.query.batch(), rows = args.query.seqlen();
  const int64_t heads = args.query.heads();
  int64_t keys = 0, draft = 0, least = INT32_MAX;
  for (const Lengths& s : sequences) {
    keys = std::max(keys, s.keys);
    draft = std::max(draft, s.rows);
    least = std::min(least, s.keys);
  }
  // All but biases and masks lie as one placement says.
  int used = 0;
  const auto place = [&](const Placement& placement, DType dtype,
                         ConstTensorView* to, int64_t b, int64_t s, int64_t h,
                         int64_t d) {
    const int64_t extent[4] = {b, s, h, d};
    FuzzTensor& tensor = scores_[used++];
    tensor.Place(placement, dtype, extent);
    *to = tensor.view;
    return tensor.view;
  };
  const auto numbers = [&](const Placement& placement, ConstTensorView* to,
                           int64_t b, int64_t s, int64_t h, int64_t d) {
    const TensorView view =
        place(placement, DTypeOf(placement), to, b, s, h, d);
    eval::FillTensor({nullptr, view}, used, static_cast<eval::Fill>(c.fill),
                     static_cast<uint64_t>(c.seed));
    float_scores_.push_back(view);
    return view;
  };
  const auto has = [&](int64_t use) { return (c.scores & use) != 0; };
  const Placement& other = c.score;
  const int64_t more = random.Below(3);
  if (has(kFuzzBias)) {
    const TensorView bias =
        numbers(c.bias, &in.bias, batch, rows, heads, keys + more);
    ForEachElement(bias, [&](int64_t b, int64_t s, int64_t h, int64_t i) {
      if (c.hides == 0 || random.Below(c.hides + 1) != 0) return;
      oracle::StoreElement(bias, b, s, h, i, -INFINITY);
    });
  }
  if (has(kFuzzMask)) {
    const TensorView mask =
        place(c.mask, DType::kBool, &in.mask, batch, rows, heads, keys + more);
    // Runs of keys, so that whole blocks are seen and hidden.
    int64_t left = 0;
    bool seen = true;
    ForEachElement(mask, [&](int64_t b, int64_t s, int64_t h, int64_t i) {
      if (left-- == 0) {
        left = random.Below(c.hides * c.hides + 2);
        seen = !seen;
      }
      *oracle::AddressOf(mask, b, s, h, i) =
          static_cast<char>(seen ? 1 + random.Below(255) : 0);
    });
  }
  if (has(kFuzzAlibi)) numbers(other, &in.alibi_slopes, count, 1, heads, 1);
  if (has(kFuzzRelative)) {
    const int64_t reach = random.Below(random.Below(keys + 3) + 1);
    numbers(other, &in.relative_bias, count, 1, heads, 2 * reach + 1);
  }
  if (has(kFuzzDecay)) {
    numbers(other, &in.query_decay, batch, rows, heads, 1);
    numbers(other, &in.key_decay, count, keys + more, heads, 1);
  }
  if (has(kFuzzSink)) numbers(other, &in.sink_logits, count, 1, heads, 1);
  // Where sequences share a number, it suits the shortest.
  const auto length = [&](int64_t of_one) {
    const int64_t most = other.repeat != 0 ? least : of_one;
    return static_cast<int32_t>(random.Below(most + 1));
  };
  if (has(kFuzzPrefix)) {
    const TensorView prefix =
        place(other, DType::kI32, &in.prefix_lengths, count, 1, 1, 1);
    for (int64_t s = 0; s < count; ++s) {
      Store(prefix, s, 0, 0, length(sequences[static_cast<size_t>(s)].keys));
    }
  }
  if (has(kFuzzLengths)) {
    const TensorView lengths =
        place(other, DType::kI32, &in.row_lengths, batch, rows, 1, 1);
    for (const Lengths& s : sequences) {
      for (int64_t i = 0; i < s.rows; ++i) {
        Store(lengths, s.batch, s.first_row + i, 0, length(s.keys));
      }
    }
  }
  if (has(kFuzzDocuments)) {
    const TensorView of_rows =
        place(other, DType::kI32, &in.query_documents, batch, rows, 1, 1);
    const TensorView of_keys =
        place(other, DType::kI32, &in.key_documents, count, keys + more, 1, 1);
    const int64_t each = 1 + random.Below(keys + 2);
    ForEachElement(of_rows, [&](int64_t b, int64_t s, int64_t, int64_t) {
      Store(of_rows, b, s, 0,
            static_cast<int32_t>(random.Below(keys / each + 2) - 1));
    });
    for (int64_t s = 0; s < count; ++s) {
      int32_t document = static_cast<int32_t>(random.Below(3)) - 1;
      for (int64_t i = 0; i < keys + more; ++i) {
        if (random.Below(each) == 0) ++document;
        Store(of_keys, s, i, 0, document);
      }
    }
  }
  if (has(kFuzzTree)) {
    const TensorView tree = place(other, DType::kU64, &in.tree_mask, batch,
                                  rows, 1, (draft + 63) / 64);
    ForEachElement(tree, [&](int64_t b, int64_t s, int64_t, int64_t i) {
      Store(tree, b, s, i, random.Next());
    });
  }
  if (has(kFuzzHook)) in.hook = Hook;
}

}  // namespace heed::test
