// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What happens to the scores of a decode step before they are weights: softcap,
// score inputs, masks.
#if defined(HEED_LIB_KERNELS_DECODE_SCORES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_DECODE_SCORES_INL_H_
#undef HEED_LIB_KERNELS_DECODE_SCORES_INL_H_
#else
#define HEED_LIB_KERNELS_DECODE_SCORES_INL_H_
#endif

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/coefficients.h"
#include "lib/kernels/decode_tile-inl.h"
#include "lib/kernels/decode_turn-inl.h"
#include "lib/kernels/hwy_math-inl.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"
#include "lib/kernels/score_rows.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;
using internal::KeyBlock;
using internal::QueryTile;
using internal::ScoreRule;

// The keys of a block that a step attends to: `keys` of them from `first` on.
struct DecodeStep {
  const QueryTile* tile;
  const KeyBlock* block;
  size_t rows;
  size_t first, keys;
  bool full;
  DecodeState state;
};

// Whether `row` sees the step's key k, score inputs included.
HWY_INLINE bool SeesKey(const QueryTile& tile, size_t row, size_t k,
                        int32_t position) {
  const internal::ScoreRows* scores = tile.scores;
  if (scores != nullptr) {
    if (scores->first != nullptr && position < scores->first[row]) return false;
    if (scores->adds && tile.addend[row * KeyStride() + k] == -INFINITY) {
      return false;
    }
  }
  return (position >= tile.begin[row] && position < tile.end[row]) ||
         position < tile.sink_end[row];
}

// What is added to the step's scores, as `score` lies.
inline void LayOutDecodeAddends(const DecodeStep& s) {
  const internal::ScoreRows& scores = *s.tile->scores;
  for (size_t row = 0; row < s.rows; ++row) {
    float* addend = s.tile->addend + row * KeyStride();
    internal::AddendsOf(scores, static_cast<int>(row),
                        s.block->position + s.first, static_cast<int>(s.keys),
                        addend);
    for (size_t k = s.keys; k < KeyStride(); ++k) addend[k] = 0.0f;
  }
}

// Score inputs of `row` on vector `x` of scores at key k: hidden pairs are
// -inf.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V AddToScores(D d, const QueryTile& tile, size_t row, size_t k,
                         V position, V x) {
  const internal::ScoreRows& scores = *tile.scores;
  const V masked = MinusInfinity(d);
  V addend = hn::Zero(d);
  if (scores.adds) {
    addend = hn::LoadU(d, tile.addend + row * KeyStride() + k);
  }
  const auto hidden = hn::Eq(addend, masked);
  if (scores.alibi_slope != nullptr) {
    const V distance =
        hn::Abs(hn::Sub(hn::Set(d, scores.position[row]), position));
    addend =
        hn::NegMulAdd(hn::Set(d, scores.alibi_slope[row]), distance, addend);
  }
  x = hn::MulAdd(addend, hn::Set(d, internal::kLog2E), x);
  return hn::IfThenElse(hidden, masked, x);
}

// Softcap, score inputs, and -inf where `row` does not see the key. Positions
// beyond the keys are INT32_MAX, which no row sees.
HWY_NOINLINE void DecodeModify(const DecodeStep& s, size_t row,
                               const int32_t* HWY_RESTRICT position) {
  const hn::ScalableTag<float> d;
  const hn::ScalableTag<int32_t> di;
  const size_t N = hn::Lanes(d);
  const ScoreRule& rule = s.tile->shape.rule;
  const auto masked = MinusInfinity(d);
  const internal::ScoreRows* scores = s.tile->scores;
  const int32_t first =
      scores != nullptr && scores->first != nullptr ? scores->first[row] : 0;
  const auto begin = hn::Set(di, s.tile->begin[row]);
  const auto end = hn::Set(di, s.tile->end[row]);
  const auto sink_end = hn::Set(di, s.tile->sink_end[row]);
  float* HWY_RESTRICT score = s.tile->score + row * KeyStride();
  for (size_t k = 0; k < s.keys; k += N) {
    auto x = hn::LoadU(d, score + k);
    if (rule.softcap) {
      x = hn::Mul(Tanh(d, hn::Mul(x, hn::Set(d, rule.in_scale))),
                  hn::Set(d, rule.out_scale));
    }
    const auto p = hn::LoadU(di, position + k);
    if (scores != nullptr) {
      x = AddToScores(d, *s.tile, row, k, hn::ConvertTo(d, p), x);
    }
    const auto window = hn::AndNot(hn::Lt(p, begin), hn::Lt(p, end));
    const auto visible = hn::AndNot(hn::Lt(p, hn::Set(di, first)),
                                    hn::Or(window, hn::Lt(p, sink_end)));
    x = hn::IfThenElse(hn::RebindMask(d, visible), x, masked);
    hn::StoreU(x, d, score + k);
  }
}

// Hands scores to the hook in natural units; a pair that is -inf afterwards is
// hidden, and one that was hidden stays so.
inline void HookDecodeScores(const DecodeStep& s) {
  const internal::ScoreRows& scores = *s.tile->scores;
  const size_t stride = KeyStride();
  for (size_t row = 0; row < s.rows; ++row) {
    for (size_t k = 0; k < s.keys; ++k) {
      float& x = s.tile->score[row * stride + k];
      if (!SeesKey(*s.tile, row, k, s.block->position[s.first + k])) {
        s.tile->addend[row * stride + k] = -INFINITY;
      }
      x *= internal::kLn2;
    }
  }
  ScoreTile tile;
  tile.batch = scores.batch;
  tile.num_keys = static_cast<int32_t>(s.keys);
  tile.num_rows = static_cast<int32_t>(s.rows);
  tile.key_position = s.block->position + s.first;
  tile.row_index = scores.row_index;
  tile.row_head = scores.row_head;
  tile.key_stride = 1;
  tile.row_stride = static_cast<int64_t>(stride);
  tile.score = s.tile->score;
  scores.hook(scores.hook_self, tile);
  for (size_t row = 0; row < s.rows; ++row) {
    for (size_t k = 0; k < s.keys; ++k) {
      float& x = s.tile->score[row * stride + k];
      float& addend = s.tile->addend[row * stride + k];
      if (x == -INFINITY) addend = -INFINITY;
      x = addend == -INFINITY ? -INFINITY : x * internal::kLog2E;
    }
  }
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_DECODE_SCORES_INL_H_
