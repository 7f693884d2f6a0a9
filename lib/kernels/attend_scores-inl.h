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
using internal::Seen;

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

// Whether no lane sees the key, by what is added to its scores.
template <int NV>
HWY_INLINE bool NoLaneSees(const GroupStep& s, size_t key) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  for (size_t v = 0; v < NV; ++v) {
    const auto addend = hn::Load(d, s.addend + (key * NV + v) * N);
    if (!hn::AllTrue(d, hn::Eq(addend, MinusInfinity(d)))) return false;
  }
  return true;
}

// What a mask that stands alone leaves of the step for all rows of the group.
template <int NV>
HWY_INLINE Seen SeenByGroup(const GroupStep& s) {
  const size_t rows = NV * hn::Lanes(hn::ScalableTag<float>());
  const int count = static_cast<int>(s.last - s.first);
  const int32_t* position = s.block->position + s.first;
  Seen all = Seen::kSome;
  for (size_t r = 0; r < rows; ++r) {
    const Seen seen =
        internal::SeenOf(s.tile->scores->row[s.row + r], position, count);
    if (r == 0) all = seen;
    if (seen != all || seen == Seen::kSome) return Seen::kSome;
  }
  return all;
}

// Lays out what is added to the step's scores, and narrows the step to the keys
// that some row sees. Returns whether there are any.
template <int NV>
HWY_NOINLINE bool LayOutAddends(GroupStep* s) {
  const size_t N = hn::Lanes(hn::ScalableTag<float>());
  const ScoreRows& scores = *s->tile->scores;
  s->modified = scores.adds || scores.alibi_slope != nullptr;
  if (!scores.adds) return true;
  if (scores.only_mask) {
    const Seen seen = SeenByGroup<NV>(*s);
    if (seen == Seen::kNone) return false;
    s->modified = seen == Seen::kSome || scores.alibi_slope != nullptr;
    if (seen == Seen::kAll) return true;
  }
  float* const addend = s->tile->addend;
  const size_t keys = s->last - s->first;
  const int32_t* position = s->block->position + s->first;
  const bool stored =
      scores.only_bias_f32 &&
      static_cast<size_t>(position[keys - 1] - position[0]) == keys - 1;
  for (size_t v = 0; v < NV; ++v) {
    const void* from[kMostLanes];
    for (size_t i = 0; i < N; ++i) {
      const size_t row = s->row + v * N + i;
      if (stored) {
        from[i] = static_cast<const float*>(scores.row[row].bias) + position[0];
        continue;
      }
      float* to = s->tile->addend_row + i * kBlockKeys;
      internal::AddendsOf(scores, static_cast<int>(row), position,
                          static_cast<int>(keys), to);
      from[i] = to;
    }
    PackRows<float>(from, keys, 1.0f, NV * N,
                    addend + s->first * NV * N + v * N);
  }
  s->addend = addend;
  while (s->first < s->last && NoLaneSees<NV>(*s, s->first)) ++s->first;
  while (s->first < s->last && NoLaneSees<NV>(*s, s->last - 1)) --s->last;
  return s->first < s->last;
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

// Softcap, score inputs and masks on stored scores, then their maximum. Only
// for blocks where something is to do: elsewhere the micro-kernel takes the
// maximum. Returns whether score inputs hide nothing.
template <int NV>
HWY_NOINLINE bool ModifyScores(const GroupStep& s, float* HWY_RESTRICT max) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const internal::ScoreRule& rule = s.tile->shape.rule;
  const ScoreRows* scores = s.modified ? s.tile->scores : nullptr;
  const bool alibi = scores != nullptr && scores->alibi_slope != nullptr;
  const auto log2e = hn::Set(d, internal::kLog2E);
  const auto masked = MinusInfinity(d);
  auto any_hidden = hn::Zero(d);
  // Rows outside, so that what is of rows stays in registers.
  for (size_t v = 0; v < NV; ++v) {
    const size_t row = s.row + v * N;
    auto most = hn::Load(d, max + v * N);
    for (size_t key = s.first; key < s.last; ++key) {
      float* HWY_RESTRICT score = s.tile->score + (key * NV + v) * N;
      auto x = hn::Load(d, score);
      if (rule.softcap) {
        x = hn::Mul(Tanh(d, hn::Mul(x, hn::Set(d, rule.in_scale))),
                    hn::Set(d, rule.out_scale));
      }
      auto addend = hn::Zero(d);
      if (s.addend != nullptr) {
        addend = hn::Load(d, s.addend + (key * NV + v) * N);
      }
      const auto hidden = hn::Eq(addend, masked);
      if (alibi) {
        const auto position =
            hn::Set(d, static_cast<float>(s.block->position[key]));
        const auto distance =
            hn::Abs(hn::Sub(hn::Load(d, scores->position + row), position));
        addend = hn::NegMulAdd(hn::Load(d, scores->alibi_slope + row), distance,
                               addend);
      }
      if (scores != nullptr) x = hn::MulAdd(addend, log2e, x);
      if (s.addend != nullptr) {
        x = hn::IfThenElse(hidden, masked, x);
        any_hidden = hn::Or(any_hidden, hn::IfThenElseZero(hidden, masked));
      }
      if (!s.full) {
        x = hn::IfThenElse(
            VisibleLanes(d, *s.tile, row, s.block->position[key]), x, masked);
      }
      hn::Store(x, d, score);
      most = hn::Max(most, x);
    }
    hn::Store(most, d, max + v * N);
  }
  if (scores != nullptr && scores->hook != nullptr) {
    for (size_t v = 0; v < NV; ++v) {
      hn::Store(hn::Set(d, internal::kEmptyMax), d, max + v * N);
    }
    HookScores<NV>(s, max);
    return false;
  }
  return hn::AllTrue(d, hn::Eq(any_hidden, hn::Zero(d)));
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_ATTEND_SCORES_INL_H_
