// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The one nest of FMAs behind scores, values and matrix products: MR broadcast
// scalars times NV vectors a turn, accumulated in MR * NV registers.
#if defined(HEED_LIB_KERNELS_FMA_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_FMA_TILE_INL_H_
#undef HEED_LIB_KERNELS_FMA_TILE_INL_H_
#else
#define HEED_LIB_KERNELS_FMA_TILE_INL_H_
#endif

#include <cstddef>

#include "hwy/highway.h"
#include "lib/kernels/hwy_targets.h"

// SVE vectors may stand neither in arrays nor in structs, so the rows of a tile
// are named variables; rows and vectors beyond MR and NV vanish.
#ifndef HEED_ROWS
#define HEED_ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#endif

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;

// The scalars of a tile, read in place. FmaTile asks for Row(r) before the
// first turn, for Turn(k) once a turn, and for each scalar by both.

// Scalar (r, k) is row[r][k].
struct ListedRows {
  const float* const* row;
  HWY_INLINE const float* Row(int r) const { return row[r]; }
  HWY_INLINE size_t Turn(size_t k) const { return k; }
  HWY_INLINE float Scalar(int, const float* from, size_t k) const {
    return from[k];
  }
};

// Scalar (r, k) is x[r * row + k * col].
struct StridedRows {
  const float* x;
  size_t row, col;
  HWY_INLINE const float* Row(size_t r) const { return x + r * row; }
  HWY_INLINE size_t Turn(size_t k) const { return k * col; }
  HWY_INLINE float Scalar(int, const float* from, size_t k) const {
    return from[k];
  }
};

// Scalar (r, k) is turn[k][first + r].
struct ListedTurns {
  const float* const* turn;
  size_t first;
  HWY_INLINE const float* Row(int) const { return nullptr; }
  HWY_INLINE const float* Turn(size_t k) const { return turn[k] + first; }
  HWY_INLINE float Scalar(int r, const float*, const float* x) const {
    return x[r];
  }
};

// Where a tile's MR rows of NV vectors start and end. What is constant at the
// call costs nothing: FmaTile is inlined.
struct FmaTileEnds {
  float* out;
  size_t out_row;      // floats from a row to the next
  bool load;           // start from `out` instead of 0
  const float* scale;  // times these NV vectors; null: as they are
  float* max;          // raise these NV vectors to the results; null: don't
  // Times these, one a row, which excludes `scale`; null: as they are.
  const float* row_scale = nullptr;
};

// out[r][v] = start, then fma(scalar(r, k), vectors[k][v], it) for k = 0, 1,
// ... < depth: one chain an element.
//
//                       NV vectors
//                    +---------------+
//                    | k = 0 ..      |   rows of vectors_row floats
//                    +---------------+
//   scalar(0, k) ->   s00  s01  s02
//   scalar(1, k) ->   s10  s11  s12      accumulators
//   ...
//
// To be wrapped in functions that are not inlined: else GCC keeps values of the
// caller in registers and spills a vector of the inner loop (8 loads more a
// turn).
template <int MR, int NV, class D, class Scalars>
HWY_INLINE void FmaTile(D d, const Scalars& scalars, size_t depth,
                        const float* HWY_RESTRICT vectors, size_t vectors_row,
                        const FmaTileEnds& ends) {
  static_assert(MR <= 8 && NV <= 3);
  const size_t N = hn::Lanes(d);
  const size_t N1 = NV > 1 ? N : 0;
  const size_t N2 = NV > 2 ? 2 * N : 0;
#define HEED_ROW(r)                              \
  const auto x##r = scalars.Row(r < MR ? r : 0); \
  auto s##r##0 = hn::Zero(d);                    \
  auto s##r##1 = hn::Zero(d);                    \
  auto s##r##2 = hn::Zero(d);
  HEED_ROWS(HEED_ROW)
#undef HEED_ROW
  if (ends.load) {
#define HEED_ROW(r)                                          \
  if constexpr (r < MR) {                                    \
    const float* from = ends.out + r * ends.out_row;         \
    s##r##0 = hn::LoadU(d, from);                            \
    if constexpr (NV > 1) s##r##1 = hn::LoadU(d, from + N1); \
    if constexpr (NV > 2) s##r##2 = hn::LoadU(d, from + N2); \
  }
    HEED_ROWS(HEED_ROW)
#undef HEED_ROW
  }
  if (ends.scale != nullptr) {
    const auto f0 = hn::LoadU(d, ends.scale);
    const auto f1 = hn::LoadU(d, ends.scale + N1);
    const auto f2 = hn::LoadU(d, ends.scale + N2);
#define HEED_ROW(r)                                       \
  if constexpr (r < MR) {                                 \
    s##r##0 = hn::Mul(s##r##0, f0);                       \
    if constexpr (NV > 1) s##r##1 = hn::Mul(s##r##1, f1); \
    if constexpr (NV > 2) s##r##2 = hn::Mul(s##r##2, f2); \
  }
    HEED_ROWS(HEED_ROW)
#undef HEED_ROW
  }
  if (ends.row_scale != nullptr) {
#define HEED_ROW(r)                                      \
  if constexpr (r < MR) {                                \
    const auto f = hn::Set(d, ends.row_scale[r]);        \
    s##r##0 = hn::Mul(s##r##0, f);                       \
    if constexpr (NV > 1) s##r##1 = hn::Mul(s##r##1, f); \
    if constexpr (NV > 2) s##r##2 = hn::Mul(s##r##2, f); \
  }
    HEED_ROWS(HEED_ROW)
#undef HEED_ROW
  }
  for (size_t k = 0; k < depth; ++k) {
    const auto turn = scalars.Turn(k);
    const auto v0 = hn::LoadU(d, vectors);
    const auto v1 = hn::LoadU(d, vectors + N1);
    const auto v2 = hn::LoadU(d, vectors + N2);
    vectors += vectors_row;
#define HEED_ROW(r)                                             \
  if constexpr (r < MR) {                                       \
    const auto b = hn::Set(d, scalars.Scalar(r, x##r, turn));   \
    s##r##0 = hn::MulAdd(b, v0, s##r##0);                       \
    if constexpr (NV > 1) s##r##1 = hn::MulAdd(b, v1, s##r##1); \
    if constexpr (NV > 2) s##r##2 = hn::MulAdd(b, v2, s##r##2); \
  }
    HEED_ROWS(HEED_ROW)
#undef HEED_ROW
  }
#define HEED_ROW(r)                                        \
  if constexpr (r < MR) {                                  \
    float* HWY_RESTRICT to = ends.out + r * ends.out_row;  \
    hn::StoreU(s##r##0, d, to);                            \
    if constexpr (NV > 1) hn::StoreU(s##r##1, d, to + N1); \
    if constexpr (NV > 2) hn::StoreU(s##r##2, d, to + N2); \
  }
  HEED_ROWS(HEED_ROW)
#undef HEED_ROW
  if (ends.max != nullptr) {
    auto m0 = hn::LoadU(d, ends.max);
    auto m1 = hn::LoadU(d, ends.max + N1);
    auto m2 = hn::LoadU(d, ends.max + N2);
#define HEED_ROW(r)                                  \
  if constexpr (r < MR) {                            \
    m0 = hn::Max(m0, s##r##0);                       \
    if constexpr (NV > 1) m1 = hn::Max(m1, s##r##1); \
    if constexpr (NV > 2) m2 = hn::Max(m2, s##r##2); \
  }
    HEED_ROWS(HEED_ROW)
#undef HEED_ROW
    hn::StoreU(m0, d, ends.max);
    if constexpr (NV > 1) hn::StoreU(m1, d, ends.max + N1);
    if constexpr (NV > 2) hn::StoreU(m2, d, ends.max + N2);
  }
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_FMA_TILE_INL_H_
