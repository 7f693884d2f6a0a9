// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Values as pairs of keys, and what adds them up by their weights.
#if defined(HEED_LIB_ARCH_AVX512_BF16_VALUES_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_ARCH_AVX512_BF16_VALUES_INL_H_
#undef HEED_LIB_ARCH_AVX512_BF16_VALUES_INL_H_
#else
#define HEED_LIB_ARCH_AVX512_BF16_VALUES_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/arch/avx512_bf16_nest-inl.h"
#include "lib/kernels/attend_step-inl.h"
#include "lib/kernels/group_step-inl.h"
#include "lib/kernels/hwy_targets.h"

#if HEED_COMPILE_UNIT && __has_include(<avx512bf16intrin.h>)
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16")
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target

// Values of the keys [first, last), the first even, as pairs: to[c] of a pair
// holds element c of both. A key beyond the last counts as zeros.
void PairValues(const void* const* value, size_t first, size_t last, size_t dim,
                uint32_t* to) {
  alignas(64) static constexpr uint16_t kLower[32] = {
      0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
      8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i lower = _mm512_load_si512(kLower);
  const __m512i upper = _mm512_add_epi16(lower, _mm512_set1_epi16(16));
  for (size_t key = first; key < last; key += 2) {
    const uint16_t* a = static_cast<const uint16_t*>(value[key]);
    const bool both = key + 1 < last;
    const uint16_t* b = static_cast<const uint16_t*>(value[key + both]);
    uint32_t* HWY_RESTRICT at = to + key / 2 * dim;
    for (size_t c = 0; c < dim; c += 32) {
      const size_t rest = dim - c;
      const __mmask32 in = rest < 32 ? (1u << rest) - 1 : ~0u;
      const __m512i x = _mm512_maskz_loadu_epi16(in, a + c);
      const __m512i y = _mm512_maskz_loadu_epi16(both ? in : 0, b + c);
      _mm512_mask_storeu_epi32(at + c, static_cast<__mmask16>(in),
                               _mm512_permutex2var_epi16(x, lower, y));
      if (rest <= 16) break;
      _mm512_mask_storeu_epi32(at + c + 16, static_cast<__mmask16>(in >> 16),
                               _mm512_permutex2var_epi16(x, upper, y));
    }
  }
}

// Bit p: one of the values of pair p is not finite.
uint64_t NonFinitePairs(const uint32_t* value, size_t first, size_t last,
                        size_t dim) {
  const __m512i infinity = _mm512_set1_epi16(0x7f80);
  uint64_t pairs = 0;
  for (size_t p = first; p < last; ++p) {
    for (size_t c = 0; c < dim; c += kLanes) {
      const size_t rest = dim - c;
      const __mmask16 in = rest < kLanes ? (1u << rest) - 1 : 0xffffu;
      const __m512i x = _mm512_and_si512(
          _mm512_maskz_loadu_epi32(in, value + p * dim + c), infinity);
      if (_mm512_cmpeq_epi16_mask(x, infinity) != 0) pairs |= uint64_t{1} << p;
    }
  }
  return pairs;
}

template <int MR, int NV, bool kFresh>
HWY_NOINLINE void DotValues(const uint32_t* HWY_RESTRICT value, size_t dim,
                            size_t pairs, const uint32_t* HWY_RESTRICT weight,
                            const float* HWY_RESTRICT alpha,
                            float* HWY_RESTRICT acc) {
  DotTile<MR, NV>(ValuePairs{value, dim}, pairs, weight,
                  {/*out=*/acc, /*out_row=*/NV * kLanes, /*load=*/!kFresh,
                   /*scale=*/alpha, /*max=*/nullptr});
}

template <int NV, bool kFresh>
HWY_INLINE void AllDotValues(const GroupStep& s, size_t first, size_t last,
                             const float* alpha) {
  constexpr size_t L = NV * kLanes;
  const size_t dim = static_cast<size_t>(s.tile->shape.head_dim_v);
  const size_t pairs = (last - first) / 2;
  const uint32_t* value = s.tile->value_pair + first / 2 * dim;
  const uint32_t* weight = s.tile->weight_pair + first / 2 * L;
  float* HWY_RESTRICT acc = s.state.acc + s.row * dim;
  FetchAhead fetch(s, s.fetch_value, s.block->next_value, s.value_bytes,
                   dim / kMaxRows);
  size_t c = 0;
  for (; c + kMaxRows <= dim; c += kMaxRows) {
    DotValues<kMaxRows, NV, kFresh>(value + c, dim, pairs, weight, alpha,
                                    acc + c * L);
    fetch.Next();
  }
  for (; c + 4 <= dim; c += 4) {
    DotValues<4, NV, kFresh>(value + c, dim, pairs, weight, alpha, acc + c * L);
  }
  for (; c + 2 <= dim; c += 2) {
    DotValues<2, NV, kFresh>(value + c, dim, pairs, weight, alpha, acc + c * L);
  }
  if (c < dim) {
    DotValues<1, NV, kFresh>(value + c, dim, pairs, weight, alpha, acc + c * L);
  }
}

// The same where a value that some lane does not see is not finite: what a lane
// does not see of a pair counts as zero there, as 0 * Inf would be NaN. Rare,
// so plain; the bits of what is finite are those of above.
template <int NV>
HWY_NOINLINE void SelectedDotValues(const GroupStep& s, size_t first,
                                    size_t last, const float* alpha) {
  const hn::ScalableTag<float> d;
  const size_t dim = static_cast<size_t>(s.tile->shape.head_dim_v);
  float* acc = s.state.acc + s.row * dim;
  for (size_t v = 0; v < NV; ++v) {
    const __m512 scale = alpha == nullptr ? _mm512_set1_ps(1.0f)
                                          : _mm512_load_ps(alpha + v * kLanes);
    for (size_t c = 0; c < dim; ++c) {
      float* at = acc + (c * NV + v) * kLanes;
      _mm512_store_ps(at, s.fresh ? _mm512_setzero_ps()
                                  : _mm512_mul_ps(_mm512_load_ps(at), scale));
    }
    for (size_t key = first; key < last; key += 2) {
      __mmask16 seen[2];
      for (size_t i = 0; i < 2; ++i) {
        const bool in = key + i >= s.first && key + i < s.last;
        seen[i] = in ? SeenLanes<NV>(d, s, v, key + i).raw : 0;
      }
      const __m512i weight =
          _mm512_load_si512(s.tile->weight_pair + (key / 2 * NV + v) * kLanes);
      const uint32_t* value = s.tile->value_pair + key / 2 * dim;
      for (size_t c = 0; c < dim; ++c) {
        float* at = acc + (c * NV + v) * kLanes;
        const int32_t pair = static_cast<int32_t>(value[c]);
        const __m512i visible =
            _mm512_or_si512(_mm512_maskz_set1_epi32(seen[0], pair & 0xffff),
                            _mm512_maskz_set1_epi32(seen[1], pair & ~0xffff));
        _mm512_store_ps(at, Dot(_mm512_load_ps(at), visible, weight));
      }
    }
  }
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_POP_ATTRIBUTES
#endif  // HEED_COMPILE_UNIT

#endif  // HEED_LIB_ARCH_AVX512_BF16_VALUES_INL_H_
