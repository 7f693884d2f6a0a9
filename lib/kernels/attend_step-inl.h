// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The step: one query tile against one key block, lane group by lane group.
#if defined(HEED_LIB_KERNELS_ATTEND_STEP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_ATTEND_STEP_INL_H_
#undef HEED_LIB_KERNELS_ATTEND_STEP_INL_H_
#else
#define HEED_LIB_KERNELS_ATTEND_STEP_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/attend_addends-inl.h"
#include "lib/kernels/attend_scores-inl.h"
#include "lib/kernels/attend_tile-inl.h"
#include "lib/kernels/group_step-inl.h"
#include "lib/kernels/hwy_math-inl.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"
#include "lib/kernels/micro_kernel-inl.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;
using internal::kBlockKeys;
using internal::kEmptyMax;
using internal::KeyBlock;
using internal::QueryTile;

// Whether any of the values at the block's keys [first, last) is not finite.
HWY_INLINE bool HasNonFinite(const GroupStep& s) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const size_t dim = static_cast<size_t>(s.tile->shape.head_dim_v);
  const auto zero = hn::Zero(d);
  auto sum = zero;  // 0 * x is NaN for those x and nothing makes it a number
  float tail = 0.0f;
  for (size_t key = s.first; key < s.last; ++key) {
    const float* value = s.value[key];
    size_t c = 0;
    for (; c + N <= dim; c += N) {
      sum = hn::MulAdd(hn::LoadU(d, value + c), zero, sum);
    }
    for (; c < dim; ++c) tail += 0.0f * value[c];
  }
  return tail != tail || !hn::AllTrue(d, hn::Eq(sum, sum));
}

template <int NV, bool kMax>
HWY_INLINE void AllScores(const GroupStep& s, float* HWY_RESTRICT max) {
  const hn::ScalableTag<float> d;
  const size_t L = NV * hn::Lanes(d);
  const size_t dim = static_cast<size_t>(s.tile->shape.head_dim);
  const float* HWY_RESTRICT query = s.tile->query + s.row * dim;
  const float* const* key = s.key;
  float* HWY_RESTRICT score = s.tile->score;
  FetchAhead fetch(s, s.fetch_key, s.block->next_key, s.key_bytes,
                   (s.last - s.first) / kMaxRows);
  size_t k = s.first;
  for (; k + kMaxRows <= s.last; k += kMaxRows) {
    Scores<kMaxRows, NV, kMax>(key + k, query, dim, score + k * L, max);
    fetch.Next();
  }
  for (; k + 4 <= s.last; k += 4) {
    Scores<4, NV, kMax>(key + k, query, dim, score + k * L, max);
  }
  for (; k + 2 <= s.last; k += 2) {
    Scores<2, NV, kMax>(key + k, query, dim, score + k * L, max);
  }
  if (k < s.last) {
    Scores<1, NV, kMax>(key + k, query, dim, score + k * L, max);
  }
}

// Scores become weights in place; l grows by them, key by key.
template <int NV>
HWY_INLINE void Weights(const GroupStep& s, const float* HWY_RESTRICT m,
                        float* HWY_RESTRICT l) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const auto m0 = hn::Load(d, m);
  const auto m1 = hn::Load(d, m + (NV > 1 ? N : 0));
  const auto m2 = hn::Load(d, m + (NV > 2 ? 2 * N : 0));
  auto l0 = hn::Load(d, l);
  auto l1 = hn::Load(d, l + (NV > 1 ? N : 0));
  auto l2 = hn::Load(d, l + (NV > 2 ? 2 * N : 0));
  float* HWY_RESTRICT score = s.tile->score + s.first * NV * N;
  for (size_t key = s.first; key < s.last; ++key) {
    const auto w0 = Exp2(d, hn::Sub(hn::Load(d, score), m0));
    l0 = hn::Add(l0, w0);
    hn::Store(w0, d, score);
    if constexpr (NV > 1) {
      const auto w1 = Exp2(d, hn::Sub(hn::Load(d, score + N), m1));
      l1 = hn::Add(l1, w1);
      hn::Store(w1, d, score + N);
    }
    if constexpr (NV > 2) {
      const auto w2 = Exp2(d, hn::Sub(hn::Load(d, score + 2 * N), m2));
      l2 = hn::Add(l2, w2);
      hn::Store(w2, d, score + 2 * N);
    }
    score += NV * N;
  }
  hn::Store(l0, d, l);
  if constexpr (NV > 1) hn::Store(l1, d, l + N);
  if constexpr (NV > 2) hn::Store(l2, d, l + 2 * N);
}

template <int NV, bool kFresh>
HWY_INLINE void AllValues(const GroupStep& s, const float* alpha) {
  const hn::ScalableTag<float> d;
  const size_t L = NV * hn::Lanes(d);
  const size_t dim = static_cast<size_t>(s.tile->shape.head_dim_v);
  const size_t keys = s.last - s.first;
  const float* const* value = s.value + s.first;
  const float* HWY_RESTRICT weight = s.tile->score + s.first * L;
  float* HWY_RESTRICT acc = s.state.acc + s.row * dim;
  FetchAhead fetch(s, s.fetch_value, s.block->next_value, s.value_bytes,
                   dim / kMaxRows);
  size_t c = 0;
  for (; c + kMaxRows <= dim; c += kMaxRows) {
    WeighValues<kMaxRows, NV, kFresh>(value, c, keys, weight, alpha,
                                      acc + c * L);
    fetch.Next();
  }
  for (; c + 4 <= dim; c += 4) {
    WeighValues<4, NV, kFresh>(value, c, keys, weight, alpha, acc + c * L);
  }
  for (; c + 2 <= dim; c += 2) {
    WeighValues<2, NV, kFresh>(value, c, keys, weight, alpha, acc + c * L);
  }
  if (c < dim) {
    WeighValues<1, NV, kFresh>(value, c, keys, weight, alpha, acc + c * L);
  }
}

// The same where a masked value is not finite: lanes that do not see a key keep
// their sums, as 0 * Inf would be NaN. Rare, so plain.
template <int NV>
HWY_NOINLINE void SelectedValues(const GroupStep& s, const float* alpha) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const size_t dim = static_cast<size_t>(s.tile->shape.head_dim_v);
  float* acc = s.state.acc + s.row * dim;
  for (size_t v = 0; v < NV; ++v) {
    const auto scale =
        alpha == nullptr ? hn::Set(d, 1.0f) : hn::Load(d, alpha + v * N);
    for (size_t c = 0; c < dim; ++c) {
      float* at = acc + (c * NV + v) * N;
      hn::Store(s.fresh ? hn::Zero(d) : hn::Mul(hn::Load(d, at), scale), d, at);
    }
    for (size_t key = s.first; key < s.last; ++key) {
      const auto visible = SeenLanes<NV>(d, s, v, key);
      const auto weight = hn::Load(d, s.tile->score + (key * NV + v) * N);
      const float* value = s.value[key];
      for (size_t c = 0; c < dim; ++c) {
        float* at = acc + (c * NV + v) * N;
        const auto old = hn::Load(d, at);
        const auto sum = hn::MulAdd(hn::Set(d, value[c]), weight, old);
        hn::Store(hn::IfThenElse(visible, sum, old), d, at);
      }
    }
  }
}

// Returns whether a lane's maximum moved; then `alpha` is what to multiply by.
template <int NV>
HWY_INLINE bool MoveMaximum(const GroupStep& s, const float* max,
                            float* HWY_RESTRICT alpha) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  float* HWY_RESTRICT m = s.state.m + s.row;
  float* HWY_RESTRICT l = s.state.l + s.row;
  if (s.fresh) {  // there is nothing to rescale
    for (size_t v = 0; v < NV; ++v) {
      const auto most = hn::Round(hn::Load(d, max + v * N));
      hn::Store(hn::Max(hn::Set(d, kEmptyMax), most), d, m + v * N);
    }
    return false;
  }
  bool still = true;
  for (size_t v = 0; v < NV; ++v) {
    const auto before = hn::Load(d, m + v * N);
    // An integer, so that rescaling is exact and leaves no trace of the blocks.
    const auto after = hn::Max(before, hn::Round(hn::Load(d, max + v * N)));
    still = still && hn::AllTrue(d, hn::Eq(before, after));
    const auto a = Rescale(d, hn::Sub(before, after));
    hn::Store(a, d, alpha + v * N);
    hn::Store(after, d, m + v * N);
    hn::Store(hn::Mul(hn::Load(d, l + v * N), a), d, l + v * N);
  }
  return !still;
}

// With score inputs `s` is narrowed to the keys that some row sees.
template <int NV>
HWY_NOINLINE void StepGroup(GroupStep& s) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  HWY_ALIGN float max[kMaxGroupRows];
  HWY_ALIGN float alpha[kMaxGroupRows];
  if (s.tile->scores != nullptr && !LayOutAddends<NV>(&s)) return;
  for (size_t v = 0; v < NV; ++v) {
    hn::Store(hn::Set(d, kEmptyMax), d, max + v * N);
  }
  bool all_seen = s.full;
  if (s.full && !s.modified && !s.tile->shape.rule.softcap) {
    AllScores<NV, true>(s, max);
  } else {
    AllScores<NV, false>(s, max);
    all_seen = ModifyScores<NV, /*kScales=*/false>(s, max) && s.full;
  }
  const bool moved = MoveMaximum<NV>(s, max, alpha);
  Weights<NV>(s, s.state.m + s.row, s.state.l + s.row);
  const float* rescale = moved ? alpha : nullptr;
  if (!all_seen && HasNonFinite(s)) {
    SelectedValues<NV>(s, rescale);
  } else if (s.fresh) {
    AllValues<NV, true>(s, nullptr);
  } else {
    AllValues<NV, false>(s, rescale);
  }
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_ATTEND_STEP_INL_H_
