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
// score[key * key_stride + row] belongs to the query row at position
// row_position[row] of sequence `batch` and head row_head[row], and to the key
// at position key_position[key].
struct ScoreTile {
  int64_t batch = 0;
  int32_t num_keys = 0;
  int32_t num_rows = 0;
  const int32_t* key_position = nullptr;
  const int32_t* row_index = nullptr;  // the row in its sequence
  const int32_t* row_head = nullptr;
  int64_t key_stride = 0;
  float* score = nullptr;
};

// Changes scores as it likes; -inf hides a pair. Called from any worker, for
// tiles in any order and of any size, also with pairs that masks hide: what it
// writes there counts for nothing. Results keep their bits only if what it
// writes for a pair depends on that pair alone.
using ScoreHook = void (*)(void* self, const ScoreTile& tile);

// Query row i of a sequence and its key j, at the positions p = i + offset and
// j (AttentionParams). The score of the pair, after scale and softcap, is
//
//   score + bias[i, j] + relative_bias[clamp(j - p)] - alibi_slope * |p - j|
//         + query_decay[i] - key_decay[j],          then hook(score)
//
// in that order (docs/numerics.md), and the row sees the key where the masks of
// AttentionParams, of key_intervals and all of those below allow it. A bias of
// -inf is a mask. NaN and +inf make a row that sees them NaN.
//
// Tensors by query row have batch and seqlen as the query has them (packed ones
// with it); tensors by key have [num_sequences, keys]: sequence s's key j is at
// [s, j], in pages or not. Zero strides repeat.
struct ScoreInputs {
  // Added: [batch, seqlen_q, num_heads, seqlen_k], f32, bf16 or f16. (Bhsd
  // makes that of [batch][heads][seqlen_q][seqlen_k].)
  ConstTensorView bias;
  // Booleans, a byte each, in the same order: not 0 is seen.
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
  // f32 [num_sequences, 1, num_heads, 1]: a score without a value, which only
  // takes weight from the others; it is part of lse.
  ConstTensorView sink_logits;

  // i32 [num_sequences, 1, 1, 1]: keys before it are seen by every row,
  // whatever `causal` and windows say (prefix-LM).
  ConstTensorView prefix_lengths;
  // i32 [batch, seqlen_q, 1, 1]: a row sees keys before this one only.
  ConstTensorView row_lengths;
  // i32 [batch, seqlen_q, 1, 1] and [num_sequences, seqlen_k, 1, 1], both or
  // none: a row sees the keys of its own document. Never falling along keys.
  ConstTensorView query_documents;
  ConstTensorView key_documents;
  // u64 [batch, seqlen_q, 1, words]: of the last seqlen_q keys of the sequence
  // (the draft), a row sees key seqlen_k - seqlen_q + t where bit t % 64 of
  // word t / 64 is set; earlier keys are as ever. Speculative decoding by
  // trees: Miao et al. 2024, arXiv:2305.09781.
  ConstTensorView tree_mask;

  ScoreHook hook = nullptr;
  void* hook_self = nullptr;
};

}  // namespace heed

#endif  // HEED_SCORE_INPUTS_H_
