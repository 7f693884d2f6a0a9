// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The nest of vdpbf16ps behind scores and values.
#if defined(HEED_LIB_ARCH_AVX512_BF16_NEST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_ARCH_AVX512_BF16_NEST_INL_H_
#undef HEED_LIB_ARCH_AVX512_BF16_NEST_INL_H_
#else
#define HEED_LIB_ARCH_AVX512_BF16_NEST_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "lib/kernels/fma_tile-inl.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"

// Of lambdas, which clang does not give the attributes of the frame.
#ifndef HEED_UNIT_ATTR
#define HEED_UNIT_ATTR __attribute__((target(HWY_TARGET_STR ",avx512bf16")))
#endif

#if HEED_COMPILE_UNIT && __has_include(<avx512bf16intrin.h>)
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16")
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target

constexpr size_t kLanes = 16;
constexpr size_t kPairs = internal::kBlockKeys / 2;

// Words of the lower and the upper half in turn.
alignas(64) constexpr uint16_t kInterleaveHalves[32] = {
    0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
    8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};

HWY_INLINE __m512 Dot(__m512 sum, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

// Two elements, or the only one that is left and +0: aligned as one of them.
HWY_INLINE __m512i PairAt(const char* at) {
  int32_t pair;
  std::memcpy(&pair, at, sizeof(pair));
  return _mm512_set1_epi32(pair);
}
HWY_INLINE __m512i OneAt(const char* at) {
  uint16_t one;
  std::memcpy(&one, at, sizeof(one));
  return _mm512_set1_epi32(one);
}

// The scalars of a tile: those of row r in turn k are the pair at
// Row(r) + Turn(k). With kOdd there is one more turn, whose scalars are half a
// pair.
template <bool kOddDim>
struct KeyPairs {  // row r is a key, in place
  static constexpr bool kOdd = kOddDim;
  const void* const* key;
  HWY_INLINE const char* Row(int r) const {
    return static_cast<const char*>(key[r]);
  }
  HWY_INLINE size_t Turn(size_t k) const { return k * sizeof(uint32_t); }
};
struct ValuePairs {  // row r is a column of values, a turn is a pair of keys
  static constexpr bool kOdd = false;
  const uint32_t* value;
  size_t dim;
  HWY_INLINE const char* Row(int r) const {
    return reinterpret_cast<const char*>(value + r);
  }
  HWY_INLINE size_t Turn(size_t k) const { return k * dim * sizeof(uint32_t); }
};

// FmaTile (lib/kernels/fma_tile-inl.h) for pairs: `vectors` are pairs too.
template <int MR, int NV, class Scalars>
HWY_INLINE void DotTile(const Scalars& scalars, size_t depth,
                        const uint32_t* HWY_RESTRICT vectors,
                        const FmaTileEnds& ends) {
  constexpr size_t N1 = NV > 1 ? kLanes : 0;
  constexpr size_t N2 = NV > 2 ? 2 * kLanes : 0;
#define HEED_ROW(r)                               \
  const char* x##r = scalars.Row(r < MR ? r : 0); \
  __m512 s##r##0 = _mm512_setzero_ps();           \
  __m512 s##r##1 = s##r##0, s##r##2 = s##r##0;    \
  (void)x##r;
  HEED_ROWS(HEED_ROW)
#undef HEED_ROW
  if (ends.load) {
#define HEED_ROW(r)                                            \
  if constexpr (r < MR) {                                      \
    const float* from = ends.out + r * ends.out_row;           \
    s##r##0 = _mm512_load_ps(from);                            \
    if constexpr (NV > 1) s##r##1 = _mm512_load_ps(from + N1); \
    if constexpr (NV > 2) s##r##2 = _mm512_load_ps(from + N2); \
  }
    HEED_ROWS(HEED_ROW)
#undef HEED_ROW
  }
  if (ends.scale != nullptr) {
    const __m512 f0 = _mm512_load_ps(ends.scale);
    const __m512 f1 = _mm512_load_ps(ends.scale + N1);
    const __m512 f2 = _mm512_load_ps(ends.scale + N2);
#define HEED_ROW(r)                                             \
  if constexpr (r < MR) {                                       \
    s##r##0 = _mm512_mul_ps(s##r##0, f0);                       \
    if constexpr (NV > 1) s##r##1 = _mm512_mul_ps(s##r##1, f1); \
    if constexpr (NV > 2) s##r##2 = _mm512_mul_ps(s##r##2, f2); \
  }
    HEED_ROWS(HEED_ROW)
#undef HEED_ROW
  }
#define HEED_ROW_OF(r, Load)                             \
  if constexpr (r < MR) {                                \
    const __m512i b = Load(x##r + turn);                 \
    s##r##0 = Dot(s##r##0, b, v0);                       \
    if constexpr (NV > 1) s##r##1 = Dot(s##r##1, b, v1); \
    if constexpr (NV > 2) s##r##2 = Dot(s##r##2, b, v2); \
  }
  for (size_t k = 0; k < depth; ++k) {
    const size_t turn = scalars.Turn(k);
    const __m512i v0 = _mm512_load_si512(vectors);
    const __m512i v1 = _mm512_load_si512(vectors + N1);
    const __m512i v2 = _mm512_load_si512(vectors + N2);
    vectors += NV * kLanes;
#define HEED_ROW(r) HEED_ROW_OF(r, PairAt)
    HEED_ROWS(HEED_ROW)
#undef HEED_ROW
  }
  if constexpr (Scalars::kOdd) {
    const size_t turn = scalars.Turn(depth);
    const __m512i v0 = _mm512_load_si512(vectors);
    const __m512i v1 = _mm512_load_si512(vectors + N1);
    const __m512i v2 = _mm512_load_si512(vectors + N2);
#define HEED_ROW(r) HEED_ROW_OF(r, OneAt)
    HEED_ROWS(HEED_ROW)
#undef HEED_ROW
  }
#undef HEED_ROW_OF
#define HEED_ROW(r)                                          \
  if constexpr (r < MR) {                                    \
    float* HWY_RESTRICT to = ends.out + r * ends.out_row;    \
    _mm512_store_ps(to, s##r##0);                            \
    if constexpr (NV > 1) _mm512_store_ps(to + N1, s##r##1); \
    if constexpr (NV > 2) _mm512_store_ps(to + N2, s##r##2); \
  }
  HEED_ROWS(HEED_ROW)
#undef HEED_ROW
  if (ends.max != nullptr) {
    __m512 m0 = _mm512_load_ps(ends.max);
    __m512 m1 = _mm512_load_ps(ends.max + N1);
    __m512 m2 = _mm512_load_ps(ends.max + N2);
#define HEED_ROW(r)                                        \
  if constexpr (r < MR) {                                  \
    m0 = _mm512_max_ps(m0, s##r##0);                       \
    if constexpr (NV > 1) m1 = _mm512_max_ps(m1, s##r##1); \
    if constexpr (NV > 2) m2 = _mm512_max_ps(m2, s##r##2); \
  }
    HEED_ROWS(HEED_ROW)
#undef HEED_ROW
    _mm512_store_ps(ends.max, m0);
    if constexpr (NV > 1) _mm512_store_ps(ends.max + N1, m1);
    if constexpr (NV > 2) _mm512_store_ps(ends.max + N2, m2);
  }
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_POP_ATTRIBUTES
#endif  // HEED_COMPILE_UNIT

#endif  // HEED_LIB_ARCH_AVX512_BF16_NEST_INL_H_
