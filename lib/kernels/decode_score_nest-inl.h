// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The nest of FMAs behind the scores of decoding: key rows are turned in
// registers, and what is turned is multiplied where it stands.
#if defined(HEED_LIB_KERNELS_DECODE_SCORE_NEST_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_DECODE_SCORE_NEST_INL_H_
#undef HEED_LIB_KERNELS_DECODE_SCORE_NEST_INL_H_
#else
#define HEED_LIB_KERNELS_DECODE_SCORE_NEST_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/decode_fetch-inl.h"
#include "lib/kernels/decode_nest-inl.h"
#include "lib/kernels/decode_turn-inl.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"
#include "lib/kernels/scalar_convert.h"
#include "lib/kernels/scaled_rows-inl.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;

// Vectors of keys of a nest of R rows: R * vectors sums, two turned pieces, and
// what they need on the way.
template <int R>
inline constexpr int kNestKeys =
    HEED_TARGET_FACTS.attend.rows == 8 || R <= 2 ? kScoreVectors
                                                 : kScoreVectors / 2;

// What elements of keys are multiplied by (finite ones by the factor too) and
// what is added, where keys are
// lanes: of group g of a row's elements, of the keys k, k + 1, ..., at
// [g * KeyStride() + k].
struct TurnedScales {
  const float* scale = nullptr;
  const float* minimum = nullptr;
  size_t group = 1;  // elements
  HWY_INLINE TurnedScales Skip(size_t keys) const {
    return {scale == nullptr ? nullptr : scale + keys,
            minimum == nullptr ? nullptr : minimum + keys, group};
  }
};

// An element of a row as it is used: what fills no piece.
template <class T>
HWY_INLINE float OneElement(const T* row, const TurnedScales& scales,
                            size_t k) {
  if constexpr (kIsFinite<T>) {
    return ScaledRow<T>::ScaledOne(*row, scales.scale[k]);
  } else if constexpr (kPerUnit<T> == 1) {
    const float x = internal::scalar::Widen(*row);
    return kScaled<T> ? x * scales.scale[k] : x;
  } else {
    return 0.0f;  // rows of u4 are whole groups, so whole pieces
  }
}

// The keys of up to kScoreVectors vectors: the first of each two, the others
// equally far apart.
template <class T>
struct KeyVectors {
  const T* first[kScoreVectors / 2];
  ptrdiff_t step;  // bytes
};

// out[r][k] = fma(element c of key k, scalar[r][c], it) for c = 0, 1, ... <
// depth, in R rows and the keys of G vectors: one chain a score.
template <class T, int R, int G>
HWY_NOINLINE void ScoreNest(const KeyVectors<T>& keys, const NestRows& rows,
                            const TurnedScales& scales, FetchKeys ahead) {
  static_assert(R <= kNestRows && G <= kScoreVectors);
  const TurnTag d;
  constexpr size_t N = TurnKeys();
  const size_t depth = rows.depth;
  static_assert(G == 2 || G == 4);
  constexpr ptrdiff_t kKeys = N;
  ptrdiff_t step = keys.step;
  const T* key0 = keys.first[0];
  const T* key2 = keys.first[G / 2 - 1];
  const float* HWY_RESTRICT x0 = rows.scalar;
  const float* HWY_RESTRICT x1 = x0 + (R > 1 ? 1 * rows.scalar_row : 0);
  const float* HWY_RESTRICT x2 = x0 + (R > 2 ? 2 * rows.scalar_row : 0);
  const float* HWY_RESTRICT x3 = x0 + (R > 3 ? 3 * rows.scalar_row : 0);
  float* out0 = rows.out;
  float* out1 = out0 + (R > 1 ? 1 * rows.out_row : 0);
  float* out2 = out0 + (R > 2 ? 2 * rows.out_row : 0);
  float* out3 = out0 + (R > 3 ? 3 * rows.out_row : 0);
#define HEED_VECTOR(g)                                       \
  auto s0##g = hn::Zero(d);                                  \
  auto s1##g = hn::Zero(d);                                  \
  auto s2##g = hn::Zero(d);                                  \
  auto s3##g = hn::Zero(d);                                  \
  if constexpr (g < G) {                                     \
    s0##g = hn::LoadU(d, out0 + g * N);                      \
    if constexpr (R > 1) s1##g = hn::LoadU(d, out1 + g * N); \
    if constexpr (R > 2) s2##g = hn::LoadU(d, out2 + g * N); \
    if constexpr (R > 3) s3##g = hn::LoadU(d, out3 + g * N); \
  }
  HEED_VECTOR(0)
  HEED_VECTOR(1)
  HEED_VECTOR(2)
  HEED_VECTOR(3)
#undef HEED_VECTOR
  // Row r of element i, for the vectors g and h.
#define HEED_ROW(r, g, h)                 \
  if constexpr (r < R) {                  \
    const auto q = hn::Set(d, x##r[i]);   \
    s##r##g = hn::MulAdd(xa, q, s##r##g); \
    s##r##h = hn::MulAdd(xb, q, s##r##h); \
  }
  // Element j of word w of the turned pieces.
#define HEED_ELEMENT(w, j, g, h)                                            \
  if constexpr (j < kPerWord<T>) {                                          \
    const size_t i = c + w * kPerWord<T> + j;                               \
    const auto xa = ElementOfWord<T, j>(d, a##w, scale_a, minimum_a);       \
    const auto xb = ElementOfWord<T, j>(d, b##w, scale_b, minimum_b);       \
    HEED_ROW(0, g, h) HEED_ROW(1, g, h) HEED_ROW(2, g, h) HEED_ROW(3, g, h) \
  }
#define HEED_WORD(w, g, h) \
  HEED_ELEMENT(w, 0, g, h) \
  HEED_ELEMENT(w, 1, g, h) \
  HEED_ELEMENT(w, 2, g, h) \
  HEED_ELEMENT(w, 3, g, h) \
  HEED_ELEMENT(w, 4, g, h) \
  HEED_ELEMENT(w, 5, g, h) HEED_ELEMENT(w, 6, g, h) HEED_ELEMENT(w, 7, g, h)
  // A piece of the vectors g and h, which share the broadcasts.
#define HEED_PAIR(g, h)                                              \
  if constexpr (g < G) {                                             \
    auto a0 = hn::Zero(d), a1 = a0, a2 = a0, a3 = a0;                \
    auto b0 = a0, b1 = a0, b2 = a0, b3 = a0;                         \
    auto scale_a = a0, scale_b = a0, minimum_a = a0, minimum_b = a0; \
    Forget(step);                                                    \
    TurnPiece(key##g, step, a0, a1, a2, a3);                         \
    TurnPiece(RowBehind(key##g, kKeys* step), step, b0, b1, b2, b3); \
    key##g += kTurnedPiece<T> / kPerUnit<T>;                         \
    if constexpr (kScaled<T>) {                                      \
      scale_a = hn::LoadU(d, scale + g * N);                         \
      scale_b = hn::LoadU(d, scale + h * N);                         \
    }                                                                \
    if constexpr (kPerUnit<T> == 2) {                                \
      minimum_a = hn::LoadU(d, minimum + g * N);                     \
      minimum_b = hn::LoadU(d, minimum + h * N);                     \
    }                                                                \
    HEED_WORD(0, g, h)                                               \
    HEED_WORD(1, g, h)                                               \
    HEED_WORD(2, g, h)                                               \
    HEED_WORD(3, g, h)                                               \
  }
  size_t c = 0;
  for (; c + kTurnedPiece<T> <= depth; c += kTurnedPiece<T>) {
    ahead.Next();
    const float* HWY_RESTRICT scale = scales.scale;
    const float* HWY_RESTRICT minimum = scales.minimum;
    if constexpr (kPerUnit<T> == 2) {
      const size_t group = c / scales.group * KeyStride();
      scale += group;
      minimum += group;
    }
    HEED_PAIR(0, 1)
    HEED_PAIR(2, 3)
  }
  for (; c < depth; ++c) {  // columns that fill no piece
    float turned[kScoreVectors * N] = {};
    for (size_t k = 0; k < G * N; ++k) {
      const size_t pair = k / (2 * N);
      const ptrdiff_t behind = static_cast<ptrdiff_t>(k % (2 * N)) * keys.step;
      turned[k] =
          OneElement(RowBehind(keys.first[pair] + c, behind), scales, k);
    }
    const size_t i = c;
#define HEED_TAIL(g, h)                                                     \
  if constexpr (g < G) {                                                    \
    const auto xa = hn::LoadU(d, turned + g * N);                           \
    const auto xb = hn::LoadU(d, turned + h * N);                           \
    HEED_ROW(0, g, h) HEED_ROW(1, g, h) HEED_ROW(2, g, h) HEED_ROW(3, g, h) \
  }
    HEED_TAIL(0, 1)
    HEED_TAIL(2, 3)
#undef HEED_TAIL
  }
#undef HEED_PAIR
#undef HEED_WORD
#undef HEED_ELEMENT
#undef HEED_ROW
#define HEED_VECTOR(g)                                       \
  if constexpr (g < G) {                                     \
    hn::StoreU(s0##g, d, out0 + g * N);                      \
    if constexpr (R > 1) hn::StoreU(s1##g, d, out1 + g * N); \
    if constexpr (R > 2) hn::StoreU(s2##g, d, out2 + g * N); \
    if constexpr (R > 3) hn::StoreU(s3##g, d, out3 + g * N); \
  }
  HEED_VECTOR(0) HEED_VECTOR(1) HEED_VECTOR(2) HEED_VECTOR(3)
#undef HEED_VECTOR
}

// R rows and the keys of `vectors` vectors, an even number and kScoreVectors at
// most, the first of which is key `k` of its block.
template <class T, int R, int G = kNestKeys<R>>
HWY_INLINE void ScoreVectors(KeyVectors<T> keys, size_t vectors, NestRows rows,
                             TurnedScales scales, const BlockRows* ahead,
                             size_t k) {
  constexpr size_t kKeys = G * TurnKeys();
  for (; vectors >= G; vectors -= G) {
    FetchKeys fetch;
    if (ahead != nullptr) {
      fetch = FetchKeys(*ahead, k, kKeys, rows.depth / kTurnedPiece<T>);
    }
    ScoreNest<T, R, G>(keys, rows, scales, fetch);
    keys.first[0] = keys.first[1];
    rows.out += kKeys;
    scales = scales.Skip(kKeys);
    k += kKeys;
  }
  if constexpr (G > 2) {
    if (vectors != 0) {
      ScoreVectors<T, R, G / 2>(keys, vectors, rows, scales, ahead, k);
    }
  }
}

// The same for any number of rows.
template <class T>
HWY_NOINLINE void ScoreRows(const KeyVectors<T>& keys, size_t vectors,
                            const NestRows& rows, size_t num_rows,
                            const TurnedScales& scales, const BlockRows* ahead,
                            size_t k) {
  ForRowParts(rows, num_rows, [&](auto count, const NestRows& part) HWY_ATTR {
    ScoreVectors<T, decltype(count)::value>(keys, vectors, part, scales, ahead,
                                            k);
    ahead = nullptr;  // the other parts read what is there
  });
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_DECODE_SCORE_NEST_INL_H_
