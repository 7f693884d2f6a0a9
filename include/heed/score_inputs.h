// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What is added to scores, and what hides keys beyond AttentionParams: all by
// data, all optional, each with all others.
#ifndef HEED_SCORE_INPUTS_H_
#define HEED_SCORE_INPUTS_H_

#include <cstdint>

#include "heed/tensor.h"

namespace heed {

// A tile of scores on its way from the query-key products to the softmax, in
// the memory of the worker: plain floats, natural units (not log2).
// score[key * key_stride + row * row_stride] is of the key at position
// key_position[key] and of the query row row_index[row] of sequence `batch`,
// head row_head[row].
struct ScoreTile {
  int64_t batch = 0;
  int32_t num_keys = 0;
  int32_t num_rows = 0;
  const int32_t* key_position = nullptr;
  const int32_t* row_index = nullptr;
  const int32_t* row_head = nullptr;
  int64_t key_stride = 0;
  int64_t row_stride = 0;
  float* score = nullptr;
};

// Changes scores as it likes; -inf hides a pair. Called from any worker, for
// tiles in any order and of any size, also with pairs that masks hide: what it
// writes there counts for nothing. Results keep their bits as long as what it
// writes for a pair depends on that pair alone. It must not throw.
using ScoreHook = void (*)(void* self, const ScoreTile& tile);

// Query row i of a sequence stands at position p = i + offset (as in
// AttentionParams), its key j at j. The score of the pair, after scale and
// softcap, is
//
//   score + (bias[i, j] + relative_bias[j - p] + (query_decay[i] -
//   key_decay[j]) - alibi_slope * |p - j|),          then hook(score)
//
// each part absent until set (docs/numerics.md has the order of rounding). The
// row sees the key where AttentionParams, key_intervals and all of the masks
// below allow it, and a bias (or the sum of the first three) of -inf hides it
// as a mask does. NaN and +inf make a row that sees them NaN.
//
// Tensors by query row have batch and seqlen as the query has them, packed
// where it is. Tensors by key are [sequences, keys] by positions, in pages or
// not. Zero strides repeat; along the last axis only a bias and a mask may.
struct ScoreInputs {
  // Added: [batch, seqlen_q, num_heads, seqlen_k], f32, bf16 or f16. (Bhsd
  // makes that of [batch][heads][seqlen_q][seqlen_k].)
  ConstTensorView bias;
  // The same extents, a byte each: not 0 is seen.
  ConstTensorView mask;
  // f32 [num_sequences, 1, num_heads, 1]: Press et al. 2022, arXiv:2108.12409.
  ConstTensorView alibi_slopes;
  // f32 [num_sequences, 1, num_heads, 2 R + 1], entry R + clamp(j - p, -R, R):
  // any bias by distance, as T5's (Raffel et al. 2020, arXiv:1910.10683).
  ConstTensorView relative_bias;
  // f32 [batch, seqlen_q, num_heads, 1] and [num_sequences, seqlen_k,
  // num_heads, 1], both or none: sums of log forget gates (Forgetting
  // Transformer, Lin et al. 2025, arXiv:2503.02130).
  ConstTensorView query_decay;
  ConstTensorView key_decay;
  // f32 [num_sequences, 1, num_heads, 1]: the score of one more key, whose
  // value is zero: it takes weight from the others, and is part of lse.
  ConstTensorView sink_logits;

  // i32 [num_sequences, 1, 1, 1]: keys before it are seen by every row,
  // whatever `causal` and windows say (prefix-LM).
  ConstTensorView prefix_lengths;
  // i32 [batch, seqlen_q, 1, 1], 0 to the sequence's keys: a row sees keys
  // before this one only.
  ConstTensorView row_lengths;
  // i32 [batch, seqlen_q, 1, 1] and [num_sequences, seqlen_k, 1, 1], both or
  // none: a row sees the keys of its own document. Along keys they never fall.
  ConstTensorView query_documents;
  ConstTensorView key_documents;
  // u64 [batch, seqlen_q, 1, words]: of the last seqlen_q keys of the sequence
  // (the draft), a row sees key seqlen_k - seqlen_q + t where bit t % 64 of
  // word t / 64 is set; earlier keys are as ever. Speculative decoding by
  // trees: Miao et al. 2024, arXiv:2305.09781.
  ConstTensorView tree_mask;

  ScoreHook hook = nullptr;
  void* hook_self = nullptr;

  // Whether anything is given.
  bool any() const {
    return hook != nullptr || !bias.absent() || !mask.absent() ||
           !alibi_slopes.absent() || !relative_bias.absent() ||
           !query_decay.absent() || !key_decay.absent() ||
           !sink_logits.absent() || !prefix_lengths.absent() ||
           !row_lengths.absent() || !query_documents.absent() ||
           !key_documents.absent() || !tree_mask.absent();
  }
};

}  // namespace heed

#endif  // HEED_SCORE_INPUTS_H_
