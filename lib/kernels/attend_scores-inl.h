// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What happens to stored scores of a lane group before they are weights:
// softcap, score inputs, masks.
#if defined(HEED_LIB_KERNELS_ATTEND_SCORES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_ATTEND_SCORES_INL_H_
#undef HEED_LIB_KERNELS_ATTEND_SCORES_INL_H_
#else
#define HEED_LIB_KERNELS_ATTEND_SCORES_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/attend_tile-inl.h"
#include "lib/kernels/coefficients.h"
#include "lib/kernels/group_step-inl.h"
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
using internal::kBlockKeys;
using internal::QueryTile;
using internal::ScoreRows;

// Lanes that may see the key at `position`. `row` is the vector's first row.
template <class D, class M = hn::Mask<D>>
HWY_INLINE M VisibleLanes(D d, const QueryTile& tile, size_t row,
                          int32_t position) {
  const hn::Rebind<int32_t, D> di;
  const auto p = hn::Set(di, position);
  const auto window = hn::AndNot(hn::Lt(p, hn::Load(di, tile.begin + row)),
                                 hn::Lt(p, hn::Load(di, tile.end + row)));
  const auto sink = hn::Lt(p, hn::Load(di, tile.sink_end + row));
  auto visible = hn::Or(window, sink);
  if (tile.scores != nullptr && tile.scores->first != nullptr) {
    const auto first = hn::Load(di, tile.scores->first + row);
    visible = hn::AndNot(hn::Lt(p, first), visible);
  }
  return hn::RebindMask(d, visible);
}

// Lanes of vector v that see the block's key `key`, score inputs included.
template <int NV, class D, class M = hn::Mask<D>>
HWY_INLINE M SeenLanes(D d, const GroupStep& s, size_t v, size_t key) {
  const size_t N = hn::Lanes(d);
  const M visible =
      VisibleLanes(d, *s.tile, s.row + v * N, s.block->position[key]);
  if (s.addend == nullptr) return visible;
  const auto addend = hn::Load(d, s.addend + (key * NV + v) * N);
  return hn::AndNot(hn::Eq(addend, MinusInfinity(d)), visible);
}

// Hands scores to the hook in natural units; a pair that is -inf afterwards is
// hidden.
template <int NV>
HWY_NOINLINE void HookScores(const GroupStep& s, float* HWY_RESTRICT max) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const ScoreRows& scores = *s.tile->scores;
  float* const first = s.tile->score + s.first * NV * N;
  const size_t floats = (s.last - s.first) * NV * N;
  for (size_t i = 0; i < floats; i += N) {
    const auto x = hn::Load(d, first + i);
    hn::Store(hn::Mul(x, hn::Set(d, internal::kLn2)), d, first + i);
  }
  const size_t rows = static_cast<size_t>(s.tile->shape.rows) - s.row;
  ScoreTile tile;
  tile.batch = scores.batch;
  tile.num_keys = static_cast<int32_t>(s.last - s.first);
  tile.num_rows = static_cast<int32_t>(HWY_MIN(rows, NV * N));
  tile.key_position = s.block->position + s.first;
  tile.row_index = scores.row_index + s.row;
  tile.row_head = scores.row_head + s.row;
  tile.key_stride = static_cast<int64_t>(NV * N);
  tile.row_stride = 1;
  tile.score = first;
  scores.hook(scores.hook_self, tile);
  const auto masked = MinusInfinity(d);
  for (size_t key = s.first; key < s.last; ++key) {
    for (size_t v = 0; v < NV; ++v) {
      float* at = s.tile->score + (key * NV + v) * N;
      float* addend = s.tile->addend + (key * NV + v) * N;
      auto x = hn::Load(d, at);
      const auto seen =
          hn::AndNot(hn::Eq(x, masked), SeenLanes<NV>(d, s, v, key));
      hn::Store(hn::IfThenElse(seen, hn::Load(d, addend), masked), d, addend);
      x = hn::IfThenElse(seen, hn::Mul(x, hn::Set(d, internal::kLog2E)),
                         masked);
      hn::Store(x, d, at);
      hn::Store(hn::Max(hn::Load(d, max + v * N), x), d, max + v * N);
    }
  }
}

// Softcap on stored scores: a loop of its own, as beside tanh the rest is
// little.
template <int NV>
HWY_NOINLINE void CapScores(const GroupStep& s) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const internal::ScoreRule& rule = s.tile->shape.rule;
  float* HWY_RESTRICT score = s.tile->score;
  for (size_t i = s.first * NV * N; i < s.last * NV * N; i += N) {
    const auto x = hn::Mul(hn::Load(d, score + i), hn::Set(d, rule.in_scale));
    hn::Store(hn::Mul(Tanh(d, x), hn::Set(d, rule.out_scale)), d, score + i);
  }
}

// What there is to do, known when compiled: every loop is short then.
template <int NV, bool kScales, bool kAddends, bool kSlopes, bool kCut>
HWY_NOINLINE bool ModifyAndHide(const GroupStep& s, float* HWY_RESTRICT max) {
  const hn::ScalableTag<float> d;
  const hn::Rebind<int32_t, decltype(d)> di;
  const size_t N = hn::Lanes(d);
  const auto log2e = hn::Set(d, internal::kLog2E);
  const auto masked = MinusInfinity(d);
  const auto zero = hn::Zero(d);
  auto any_hidden = hn::Ne(zero, zero);
  // Rows outside, so that what is of rows stays in registers.
  for (size_t v = 0; v < NV; ++v) {
    const size_t row = s.row + v * N;
    auto slope = zero, row_position = zero;
    if constexpr (kSlopes) {
      slope = hn::Load(d, s.tile->scores->alibi_slope + row);
      row_position = hn::Load(d, s.tile->scores->position + row);
    }
    const int32_t* HWY_RESTRICT position = s.block->position;
    const float* HWY_RESTRICT addends = nullptr;
    if constexpr (kAddends) addends = s.addend + v * N;
    float* HWY_RESTRICT scores = s.tile->score + v * N;
    auto most = hn::Load(d, max + v * N);
    for (size_t key = s.first; key < s.last; ++key) {
      auto x = hn::Load(d, scores + key * NV * N);
      auto addend = zero;
      if constexpr (kAddends) addend = hn::Load(d, addends + key * NV * N);
      const auto hidden = hn::Eq(addend, masked);
      if constexpr (kSlopes) {
        const auto at = hn::ConvertTo(d, hn::Set(di, position[key]));
        const auto distance = hn::Abs(hn::Sub(row_position, at));
        addend = hn::NegMulAdd(slope, distance, addend);
      }
      if constexpr (kAddends || kSlopes) {
        if constexpr (kScales) x = hn::Mul(x, hn::Set(d, s.scale));
        x = hn::MulAdd(addend, log2e, x);
      }
      if constexpr (kAddends) {
        x = hn::IfThenElse(hidden, masked, x);
        any_hidden = hn::Or(any_hidden, hidden);
      }
      if constexpr (kCut) {
        x = hn::IfThenElse(VisibleLanes(d, *s.tile, row, position[key]), x,
                           masked);
      }
      hn::Store(x, d, scores + key * NV * N);
      most = hn::Max(most, x);
    }
    hn::Store(most, d, max + v * N);
  }
  return !kAddends || hn::AllFalse(d, any_hidden);
}

// Softcap, score inputs and masks on stored scores, then their maximum. Only
// for blocks where something is to do: elsewhere the micro-kernel takes the
// maximum. Returns whether score inputs hide nothing. kScales: s.scale counts.
template <int NV, bool kScales>
HWY_NOINLINE bool ModifyScores(const GroupStep& s, float* HWY_RESTRICT max) {
  if (s.tile->shape.rule.softcap) CapScores<NV>(s);
  const ScoreRows* scores = s.modified ? s.tile->scores : nullptr;
  const bool addends = s.addend != nullptr;
  const bool slopes = scores != nullptr && scores->alibi_slope != nullptr;
  bool all_seen;
#define HEED_MODIFY(addends, slopes)                                   \
  (s.full ? ModifyAndHide<NV, kScales, addends, slopes, false>(s, max) \
          : ModifyAndHide<NV, kScales, addends, slopes, true>(s, max))
  if (addends) {
    all_seen = slopes ? HEED_MODIFY(true, true) : HEED_MODIFY(true, false);
  } else {
    all_seen = slopes ? HEED_MODIFY(false, true) : HEED_MODIFY(false, false);
  }
#undef HEED_MODIFY
  if (scores == nullptr || scores->hook == nullptr) return all_seen;
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  for (size_t v = 0; v < NV; ++v) {
    hn::Store(hn::Set(d, internal::kEmptyMax), d, max + v * N);
  }
  HookScores<NV>(s, max);
  return false;
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_ATTEND_SCORES_INL_H_
