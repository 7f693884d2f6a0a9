// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attention to keys and values of bf16 by vdpbf16ps: a lane adds the products
// of two pairs of bf16 in one instruction. Steps of the f32 kernel's loop, with
// other micro-kernels; states are the f32 kernel's. docs/numerics.md says what
// comes out ("kFast").
#define HEED_UNIT_FILE_Avx512Bf16 1

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernels.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/arch/avx512_bf16.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"
#include "lib/arch/avx512_bf16_nest-inl.h"
#include "lib/arch/avx512_bf16_tile-inl.h"
#include "lib/kernels/attend_step-inl.h"
#include "lib/kernels/attend_tile-inl.h"

// Whether the compiler knows the instructions.
#if HEED_COMPILE_UNIT && __has_include(<avx512bf16intrin.h>)
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16")
namespace heed {
namespace HWY_NAMESPACE {
namespace {

// ---- Scores -----------------------------------------------------------------

// score[r][lane] = key[r] . query[lane], not scaled. `max` as in FmaTileEnds.
template <int MR, int NV, bool kOdd>
HWY_NOINLINE void DotScores(const void* const* HWY_RESTRICT key,
                            const uint32_t* HWY_RESTRICT query, size_t head_dim,
                            float* HWY_RESTRICT score,
                            float* HWY_RESTRICT max) {
  DotTile<MR, NV>(KeyPairs<kOdd>{key}, head_dim / 2, query,
                  {/*out=*/score, /*out_row=*/NV * kLanes, /*load=*/false,
                   /*scale=*/nullptr, /*max=*/max});
}

template <int NV, bool kOdd>
HWY_INLINE void AllDotScores(const GroupStep& s, float* HWY_RESTRICT max) {
  constexpr size_t L = NV * kLanes;
  const size_t dim = static_cast<size_t>(s.tile->shape.head_dim);
  const uint32_t* query = reinterpret_cast<const uint32_t*>(s.tile->query) +
                          s.row * ((dim + 1) / 2);
  const void* const* key = s.block->key;
  float* HWY_RESTRICT score = s.tile->score;
  FetchAhead fetch(s, key, s.block->next_key, s.key_bytes,
                   (s.last - s.first) / kMaxRows);
  size_t k = s.first;
  for (; k + kMaxRows <= s.last; k += kMaxRows) {
    DotScores<kMaxRows, NV, kOdd>(key + k, query, dim, score + k * L, max);
    fetch.Next();
  }
  for (; k + 4 <= s.last; k += 4) {
    DotScores<4, NV, kOdd>(key + k, query, dim, score + k * L, max);
  }
  for (; k + 2 <= s.last; k += 2) {
    DotScores<2, NV, kOdd>(key + k, query, dim, score + k * L, max);
  }
  if (k < s.last) {
    DotScores<1, NV, kOdd>(key + k, query, dim, score + k * L, max);
  }
}

// ---- Weights ----------------------------------------------------------------

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

// ---- Values -----------------------------------------------------------------

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
  FetchAhead fetch(s, s.block->value, s.block->next_value, s.value_bytes,
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
        seen[i] = !in      ? 0
                  : s.full ? 0xffff
                           : VisibleLanes(d, *s.tile, s.row + v * kLanes,
                                          s.block->position[key + i])
                                 .raw;
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

// ---- The step ---------------------------------------------------------------

template <int NV>
HWY_NOINLINE void StepDotGroup(const GroupStep& s, uint64_t nonfinite) {
  constexpr size_t L = NV * kLanes;
  HWY_ALIGN float max[kMaxGroupRows];
  HWY_ALIGN float alpha[kMaxGroupRows];
  const internal::TileShape& shape = s.tile->shape;
  const __m512 least = _mm512_castsi512_ps(
      _mm512_set1_epi32(static_cast<int32_t>(0xff800000u)));  // -inf
  for (size_t v = 0; v < NV; ++v) _mm512_store_ps(max + v * kLanes, least);
  const bool plain = s.full && !shape.rule.softcap;
  float* raise = plain ? max : nullptr;
  if (shape.head_dim % 2 == 0) {
    AllDotScores<NV, false>(s, raise);
  } else {
    AllDotScores<NV, true>(s, raise);
  }
  if (!plain) ModifyScores<NV>(s, max);
  const float scale = ScoreScale(shape.rule);
  for (size_t v = 0; v < NV; ++v) {
    float* at = max + v * kLanes;
    _mm512_store_ps(at,
                    _mm512_mul_ps(_mm512_load_ps(at), _mm512_set1_ps(scale)));
  }
  const bool moved = MoveMaximum<NV>(s, max, alpha);
  // Pairs are those of the block, whatever the group sees of it; so the bits of
  // a row do not depend on the rows beside it.
  const size_t first = s.first & ~size_t{1};
  const size_t last = (s.last + 1) & ~size_t{1};
  for (size_t v = 0; v < NV; ++v) {
    if (first != s.first) {
      _mm512_store_ps(s.tile->score + first * L + v * kLanes, least);
    }
    if (last != s.last) {
      _mm512_store_ps(s.tile->score + s.last * L + v * kLanes, least);
    }
  }
  if (HWY_UNLIKELY((!PairWeights<NV, false>(s, first, last, scale)))) {
    PairWeights<NV, true>(s, first, last, scale);
  }
  const float* rescale = moved ? alpha : nullptr;
  const uint64_t in_group = (~uint64_t{0} >> (64 - (last - first) / 2))
                            << first / 2;
  if (HWY_UNLIKELY((nonfinite & in_group) != 0)) {
    SelectedDotValues<NV>(s, first, last, rescale);
  } else if (s.fresh) {
    AllDotValues<NV, true>(s, first, last, nullptr);
  } else {
    AllDotValues<NV, false>(s, first, last, rescale);
  }
}

void DotStep(const QueryTile& tile, const KeyBlock& block) {
  const internal::TileShape& shape = tile.shape;
  const size_t keys = static_cast<size_t>(block.num_keys);
  const size_t groups = static_cast<size_t>(tile.num_groups);
  const size_t dim = static_cast<size_t>(shape.head_dim_v);
  size_t first = keys, last = 0;
  for (size_t g = 0; g < groups; ++g) {
    if (block.first[g] >= block.last[g]) continue;
    first = HWY_MIN(first, size_t{block.first[g]});
    last = HWY_MAX(last, size_t{block.last[g]});
  }
  first &= ~size_t{1};
  PairValues(block.value, first, last, dim, tile.value_pair);
  // Whether some row meets a value that it does not see: with weight 0.
  bool unseen = false;
  for (size_t g = 0; g < groups; ++g) {
    if (block.first[g] >= block.last[g]) continue;
    unseen |= !block.full[g] || block.first[g] % 2 != 0 ||
              (block.last[g] % 2 != 0 && block.last[g] != last);
  }
  const uint64_t nonfinite =
      unseen ? NonFinitePairs(tile.value_pair, first / 2, (last + 1) / 2, dim)
             : 0;
  ForEachGroup(tile, [&](const GroupRows& group) HEED_UNIT_ATTR {
    const size_t g = group.index;
    const GroupStep s = {
        &tile,
        &block,
        /*key=*/nullptr,
        /*value=*/nullptr,
        /*key_bytes=*/sizeof(bf16) * static_cast<size_t>(shape.head_dim),
        /*value_bytes=*/sizeof(bf16) * dim,
        StateOf(tile),
        group.row,
        block.first[g],
        block.last[g],
        block.full[g],
        IsFresh(StateOf(tile), group.row),
        keys * g / groups,
        keys * (g + 1) / groups};
    if (s.first >= s.last) return;
    const size_t vectors = group.lanes / kLanes;
    if (vectors == 1) {
      StepDotGroup<1>(s, nonfinite);
    } else if (vectors == 2) {
      StepDotGroup<2>(s, nonfinite);
    } else {
      StepDotGroup<3>(s, nonfinite);
    }
  });
}

int DotLanes() { return static_cast<int>(kLanes); }

constexpr internal::AttendKernel kTable = {
    /*name=*/"attend_bf16_8x3x16_avx512_bf16",
    /*same_bits=*/false,
    /*lanes=*/&DotLanes,
    /*max_group_vectors=*/kMaxVectors,
    /*tile_bytes=*/&PairTileBytes,
    /*state_bytes=*/&StateBytes,
    /*open=*/&PairOpen,
    /*pack=*/&PackPairs,
    /*clear=*/&Clear,
    /*step=*/&DotStep,
    /*merge=*/&Merge,
    /*finish=*/&PairFinish,
};

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_POP_ATTRIBUTES
#elif HEED_COMPILE_TARGET
namespace heed {
namespace HWY_NAMESPACE {
namespace {

constexpr internal::AttendKernel kTable = {};

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
#endif  // HEED_COMPILE_UNIT

#if HWY_ONCE
namespace heed::internal {

const AttendKernel* Avx512Bf16Attend() {
  static constexpr const AttendKernel* kTables[] = {HEED_TABLES};
  const Target target = FactsOf(Unit::kAvx512Bf16).target;
  const AttendKernel* kernel = kTables[static_cast<int>(target)];
  return kernel == nullptr || kernel->name == nullptr ? nullptr : kernel;
}

}  // namespace heed::internal
#endif  // HWY_ONCE
