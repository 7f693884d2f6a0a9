// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// How models tell a layer where its tokens stand: numbers to add to a token, to
// turn queries and keys by (with heed/rope.h), or to add to scores (with
// heed/score_inputs.h). Tables are made in double by series of their own and
// rounded once: the same bits on every machine.
#ifndef HEED_POSITIONS_H_
#define HEED_POSITIONS_H_

#include <cstdint>

#include "heed/executor.h"
#include "heed/export.h"
#include "heed/status.h"
#include "heed/tensor.h"

namespace heed {

// ---- Added to tokens --------------------------------------------------------

// Writes the sinusoids of Vaswani et al. 2017, arXiv:1706.03762, section 3.5,
// for positions [first, first + count), table[count][dim]:
//
//   table[p][2i]     = sin(p / 10000^(2i / dim))
//   table[p][2i + 1] = cos(p / 10000^(2i / dim))
//
// dim even, 2 to 2^31 - 2; positions 0 to 2^31 - 1.
HEED_API Status FillSinusoids(int64_t dim, int64_t first, int64_t count,
                              float* table);

// Writes x + table[position] to `to`, a sum of f32 rounded once: sinusoids, or
// embeddings that were learned. x and `to` are f32, [batch, seqlen, 1, dim],
// and may be the same view; the table is f32, [1, num_positions, 1, dim].
// positions has batch * seqlen numbers in [0, num_positions). Refuses, with
// nothing written, what other calls refuse of views and positions. Allocates
// nothing.
HEED_API Status AddPositions(const ConstTensorView& x, const int32_t* positions,
                             const ConstTensorView& table, const TensorView& to,
                             const Executor& executor = SerialExecutor());

// ---- Rotary positions of models that were stretched -------------------------

enum class RopeScalingKind : uint8_t {
  kNone,
  // Positions are divided by `factor` (Chen et al. 2023, arXiv:2306.15595).
  kLinear,
  // theta grows by factor^(d / (d - 2)), d = rotary_dim, so that the slowest
  // pair is as with kLinear and the fastest stays. With `seqlen` beyond
  // original_positions n the factor is factor * seqlen / n - (factor - 1), and
  // 1 up to there: "dynamic NTK".
  kNtk,
  // Slow pairs as with kLinear, fast ones as they were, a ramp between those
  // that turn beta_slow and beta_fast times in original_positions (Peng et al.
  // 2023, arXiv:2309.00071).
  kYarn,
  // The same by wavelengths, between original_positions / low_freq_factor and
  // original_positions / high_freq_factor (Llama 3.1, Grattafiori et al. 2024,
  // arXiv:2407.21783).
  kLlama3,
};

struct RopeScaling {
  RopeScalingKind kind = RopeScalingKind::kNone;
  double factor = 1;               // at least 1
  int64_t original_positions = 0;  // that the model was trained on
  int64_t seqlen = 0;              // kNtk alone; 0: the factor as it is
  // kYarn.
  double beta_fast = 32;
  double beta_slow = 1;
  bool truncate = true;  // the ramp's ends are rounded to whole pairs
  // What cosines and sines are multiplied by; 0: 0.1 ln(factor) + 1 of kYarn.
  double attention_factor = 0;
  // kLlama3.
  double low_freq_factor = 1;
  double high_freq_factor = 4;
};

// Writes the rotary_dim / 2 angles a position of a model whose positions were
// stretched, and to *attention_factor, where it is not null, what its tables
// are multiplied by: 1 but for kYarn. Refuses, with nothing written, what
// RopeFrequencies refuses, numbers that are not finite or positive, a factor
// below 1, original_positions below 1 where they are needed, and a rotary_dim
// below 4 with kNtk.
HEED_API Status ScaledRopeFrequencies(double theta, int64_t rotary_dim,
                                      const RopeScaling& scaling,
                                      double* frequency,
                                      double* attention_factor);

// The same, then FillRopeTables: cosines and sines of positions [first, first +
// count), times attention_factor (rounded to f32, and the product again).
HEED_API Status FillScaledRopeTables(double theta, int64_t rotary_dim,
                                     const RopeScaling& scaling, int64_t first,
                                     int64_t count, float* cos, float* sin);

// ---- Added to scores --------------------------------------------------------

// Writes the slopes of Press et al. 2022, arXiv:2108.12409, 2^(-8 h /
// num_heads) for h = 1 ... num_heads where that is a power of two. Otherwise
// those of the power of two below, then every other one of the power above, as
// the authors' code does. For ScoreInputs::alibi_slopes.
HEED_API Status AlibiSlopes(int64_t num_heads, float* slope);

// The buckets of Raffel et al. 2020, arXiv:1910.10683: half of them for each
// side where `bidirectional`, else all for keys before the query (later ones
// are in bucket 0). The first half of a side's are a distance each, the others
// grow by powers up to max_distance; the last one has everything beyond.
struct T5Buckets {
  int64_t num_buckets = 32;
  int64_t max_distance = 128;
  bool bidirectional = true;
};

// Returns the bucket of a key at `distance` = key - query; -1 for buckets that
// FillT5Bias refuses.
HEED_API int64_t T5Bucket(const T5Buckets& buckets, int64_t distance);

// Writes bias[num_heads][2 reach + 1], entry reach + distance, from the learned
// weight[num_buckets][num_heads], as torch.nn.Embedding has it. For
// ScoreInputs::relative_bias, where distances beyond reach take the last entry:
// that is T5's own from reach = max_distance on, or where no two positions are
// further apart. (T5 takes a softmax_scale of 1.) Refuses num_buckets that
// leave a side fewer than 2 or are odd with two sides, a max_distance that is
// not above the buckets of single distances, and a negative reach.
HEED_API Status FillT5Bias(const T5Buckets& buckets, int64_t num_heads,
                           const float* weight, int64_t reach, float* bias);

}  // namespace heed

#endif  // HEED_POSITIONS_H_
