// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Scores become weights of bf16, in pairs of keys.
#if defined(HEED_LIB_ARCH_AVX512_BF16_WEIGHTS_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_ARCH_AVX512_BF16_WEIGHTS_INL_H_
#undef HEED_LIB_ARCH_AVX512_BF16_WEIGHTS_INL_H_
#else
#define HEED_LIB_ARCH_AVX512_BF16_WEIGHTS_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/arch/avx512_bf16_nest-inl.h"
#include "lib/kernels/attend_step-inl.h"
#include "lib/kernels/hwy_targets.h"

#if HEED_COMPILE_UNIT && __has_include(<avx512bf16intrin.h>)
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16")
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target

// 2^f = 1 + f * P(f) for f in [0, 1], relative error 8.6e-5: a 45th of what
// rounding to bf16 adds. Highest power first.
constexpr float kPower[] = {0x1.3baaa6p-4f, 0x1.d2378ap-3f, 0x1.63e658p-1f};
// The exponent at which a bf16 is 0 or flushed: what is less counts for
// nothing.
constexpr float kLeastExponent = -127.0f;
// 1.5 * 2^16 + 127: with n + f * P(f) added, the lower half of the float is the
// bf16 nearest to 2^(n + f), in fixed point: exponent, then seven bits.
constexpr float kToBits = 98431.0f;
constexpr int32_t kNaNBits = 0x38000000;  // set in NaNs, not in what is added
constexpr int32_t kOnePair = 0x3f803f80;
// A maximum from here on is that of rounded products: what rounding takes from
// score * scale, 2^-2 or more, would be seen in an FMA's score * scale - m.
constexpr float kLargeMaximum = 0x1p22f;

// Lanes with such a maximum; those that have seen no key have none.
HWY_INLINE __mmask16 HasLargeMaximum(__m512 minus_m) {
  const __mmask16 large = _mm512_cmp_ps_mask(
      _mm512_abs_ps(minus_m), _mm512_set1_ps(kLargeMaximum), _CMP_GE_OQ);
  return _mm512_mask_cmp_ps_mask(large, minus_m, _mm512_set1_ps(-kEmptyMax),
                                 _CMP_NEQ_OQ);
}

// The bits of 2^x in the lower half.
HWY_INLINE __m512i WeightBits(__m512 x) {
  // The second operand where one is NaN.
  x = _mm512_max_ps(_mm512_set1_ps(kLeastExponent), x);
  const __m512 n =
      _mm512_roundscale_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(kPower[0]);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(kPower[1]));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(kPower[2]));
  p = _mm512_fmadd_ps(p, f, n);
  return _mm512_castps_si512(_mm512_add_ps(p, _mm512_set1_ps(kToBits)));
}

// Scores of the keys [first, last), both even, become weights; l grows by them,
// pair by pair. Returns false, with nothing done to l, where a weight is NaN or
// a maximum large, unless kCareful; the bits of other lanes are the same.
template <int NV, bool kCareful>
HWY_INLINE bool PairWeights(const GroupStep& s, size_t first, size_t last,
                            float scale) {
  // A shift and a blend: vpermt2w would take a turn of the ports that multiply.
  constexpr __mmask32 kUpperHalves = 0xaaaaaaaa;
  const __m512i ones = _mm512_set1_epi32(kOnePair);
  const __m512 factor = _mm512_set1_ps(scale);
  __m512 minus_m[NV], sum[NV];
  __m512i seen = _mm512_setzero_si512();
  __mmask16 large[NV];
  for (size_t v = 0; v < NV; ++v) {
    minus_m[v] = _mm512_sub_ps(_mm512_setzero_ps(),
                               _mm512_load_ps(s.state.m + s.row + v * kLanes));
    large[v] = HasLargeMaximum(minus_m[v]);
    if (!kCareful && HWY_UNLIKELY(large[v] != 0)) return false;
    sum[v] = _mm512_load_ps(s.state.l + s.row + v * kLanes);
  }
  const auto weight_bits = [&](const float* at, size_t v) HEED_UNIT_ATTR {
    const __m512 x = _mm512_load_ps(at);
    __m512 power = _mm512_fmadd_ps(x, factor, minus_m[v]);
    if constexpr (kCareful) {
      power = _mm512_mask_add_ps(power, large[v], _mm512_mul_ps(x, factor),
                                 minus_m[v]);
    }
    return WeightBits(power);
  };
  const float* HWY_RESTRICT score = s.tile->score + first * NV * kLanes;
  uint32_t* HWY_RESTRICT weight = s.tile->weight_pair + first / 2 * NV * kLanes;
  for (size_t key = first; key < last; key += 2) {
    for (size_t v = 0; v < NV; ++v) {
      __m512i a = weight_bits(score + v * kLanes, v);
      __m512i b = weight_bits(score + (NV + v) * kLanes, v);
      if constexpr (kCareful) {
        const __m512i nan = _mm512_set1_epi32(0x7fc0);
        const __m512 x = _mm512_castsi512_ps(a), y = _mm512_castsi512_ps(b);
        a = _mm512_mask_mov_epi32(a, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q),
                                  nan);
        b = _mm512_mask_mov_epi32(b, _mm512_cmp_ps_mask(y, y, _CMP_UNORD_Q),
                                  nan);
      } else {
        seen = _mm512_ternarylogic_epi32(seen, a, b, 0xfe);  // or
      }
      const __m512i pair =
          _mm512_mask_blend_epi16(kUpperHalves, a, _mm512_slli_epi32(b, 16));
      sum[v] = Dot(sum[v], pair, ones);
      _mm512_store_si512(weight + v * kLanes, pair);
    }
    score += 2 * NV * kLanes;
    weight += NV * kLanes;
  }
  if (!kCareful &&
      _mm512_test_epi32_mask(seen, _mm512_set1_epi32(kNaNBits)) != 0) {
    return false;
  }
  for (size_t v = 0; v < NV; ++v) {
    _mm512_store_ps(s.state.l + s.row + v * kLanes, sum[v]);
  }
  return true;
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_POP_ATTRIBUTES
#endif  // HEED_COMPILE_UNIT

#endif  // HEED_LIB_ARCH_AVX512_BF16_WEIGHTS_INL_H_
