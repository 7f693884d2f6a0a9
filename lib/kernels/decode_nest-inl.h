// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The nest of FMAs behind the values of decoding, whose vectors are columns,
// and what it shares with that of the scores.
#if defined(HEED_LIB_KERNELS_DECODE_NEST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_DECODE_NEST_INL_H_
#undef HEED_LIB_KERNELS_DECODE_NEST_INL_H_
#else
#define HEED_LIB_KERNELS_DECODE_NEST_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "hwy/highway.h"
#include "lib/kernels/convert-inl.h"
#include "lib/kernels/decode_fetch-inl.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"
#include "lib/kernels/scalar_convert.h"
#include "lib/kernels/scaled_rows-inl.h"

// SVE vectors may stand neither in arrays nor in structs, so the vectors of a
// nest are named variables; those beyond C and R vanish.
#ifndef HEED_COLUMNS
#define HEED_COLUMNS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#endif

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;

// Rows that a nest takes at most, and the vectors that it takes of so many:
// rows * vectors accumulators, the rows' broadcasts and one vector.
inline constexpr size_t kNestRows = 4;
template <int R>
inline constexpr int kNestVectors = HEED_TARGET_FACTS.attend.rows == 8
                                        ? (R <= 2 ? 8 : 4)
                                        : (R == 1   ? 8
                                           : R <= 3 ? 4
                                                    : 2);

// Vectors k = 0, 1, ... of a nest: At(k) is what Load then takes columns of
// vector k from.
template <class T>
struct RowAt {
  const T* from;
  template <class D>
  HWY_INLINE hn::Vec<D> Load(D d, size_t c) const {
    return LoadWiden(d, from + c);
  }
  HWY_INLINE float One(size_t c) const {
    return internal::scalar::Widen(from[c]);
  }
};

// Rows as they are stored, equally far apart. From addresses that are counted
// rather than loaded from a list Zen 4 reads memory at 31 GB/s instead of 21.
template <class T>
struct PlainVectors {
  const T* first;
  ptrdiff_t step;  // in T
  PlainVectors(const T* row, ptrdiff_t apart, const internal::RowScales&)
      : first(row), step(apart) {}
  HWY_INLINE RowAt<T> At(size_t k) const {
    return {first + static_cast<ptrdiff_t>(k) * step};
  }
  HWY_INLINE void Skip(size_t columns) { first += columns; }
};

template <class T>
struct ScaledVectors {
  const T* first;
  ptrdiff_t step;
  internal::RowScales scales;
  size_t column = 0;
  ScaledVectors(const T* row, ptrdiff_t apart, const internal::RowScales& with)
      : first(row), step(apart), scales(with) {}
  HWY_INLINE ScaledRow<T> At(size_t k) const {
    ScaledRow<T> at(first + static_cast<ptrdiff_t>(k) * step, scales, k);
    at.Skip(column);
    return at;
  }
  HWY_INLINE void Skip(size_t columns) { column += columns; }
};

template <class T>
using StoredVectors =
    std::conditional_t<kScaled<T>, ScaledVectors<T>, PlainVectors<T>>;

// The scalars of a nest, and where its results go: row r of either is `..._row`
// floats from row r - 1.
struct NestRows {
  const float* scalar;
  size_t scalar_row;
  float* out;
  size_t out_row;
  size_t depth;
};

// out[r][c] = fma(vector[k][c], scalar[r][k], it) for k = begin, ... < end,
// in R rows of C vectors: one chain an element.
template <int R, int C, class Vectors, class Fetch>
HWY_INLINE void NestPart(const NestRows& rows, const Vectors& vectors,
                         size_t begin, size_t end, Fetch& ahead) {
  static_assert(R <= kNestRows && C <= 8);
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const float* HWY_RESTRICT x0 = rows.scalar;
  const float* HWY_RESTRICT x1 = x0 + (R > 1 ? 1 * rows.scalar_row : 0);
  const float* HWY_RESTRICT x2 = x0 + (R > 2 ? 2 * rows.scalar_row : 0);
  const float* HWY_RESTRICT x3 = x0 + (R > 3 ? 3 * rows.scalar_row : 0);
  float* out0 = rows.out;
  float* out1 = out0 + (R > 1 ? 1 * rows.out_row : 0);
  float* out2 = out0 + (R > 2 ? 2 * rows.out_row : 0);
  float* out3 = out0 + (R > 3 ? 3 * rows.out_row : 0);
#define HEED_COLUMN(c)                                       \
  auto s0##c = hn::Zero(d);                                  \
  auto s1##c = hn::Zero(d);                                  \
  auto s2##c = hn::Zero(d);                                  \
  auto s3##c = hn::Zero(d);                                  \
  if constexpr (c < C) {                                     \
    s0##c = hn::LoadU(d, out0 + c * N);                      \
    if constexpr (R > 1) s1##c = hn::LoadU(d, out1 + c * N); \
    if constexpr (R > 2) s2##c = hn::LoadU(d, out2 + c * N); \
    if constexpr (R > 3) s3##c = hn::LoadU(d, out3 + c * N); \
  }
  HEED_COLUMNS(HEED_COLUMN)
#undef HEED_COLUMN
  const Vectors from = vectors;
  for (size_t k = begin; k < end; ++k) {
    const auto at = from.At(k);
    ahead.Next();
    const auto w0 = hn::Set(d, x0[k]);
    const auto w1 = hn::Set(d, x1[k]);
    const auto w2 = hn::Set(d, x2[k]);
    const auto w3 = hn::Set(d, x3[k]);
#define HEED_COLUMN(c)                                     \
  if constexpr (c < C) {                                   \
    const auto v = at.Load(d, c * N);                      \
    s0##c = hn::MulAdd(v, w0, s0##c);                      \
    if constexpr (R > 1) s1##c = hn::MulAdd(v, w1, s1##c); \
    if constexpr (R > 2) s2##c = hn::MulAdd(v, w2, s2##c); \
    if constexpr (R > 3) s3##c = hn::MulAdd(v, w3, s3##c); \
  }
    HEED_COLUMNS(HEED_COLUMN)
#undef HEED_COLUMN
  }
#define HEED_COLUMN(c)                                       \
  if constexpr (c < C) {                                     \
    hn::StoreU(s0##c, d, out0 + c * N);                      \
    if constexpr (R > 1) hn::StoreU(s1##c, d, out1 + c * N); \
    if constexpr (R > 2) hn::StoreU(s2##c, d, out2 + c * N); \
    if constexpr (R > 3) hn::StoreU(s3##c, d, out3 + c * N); \
  }
  HEED_COLUMNS(HEED_COLUMN)
#undef HEED_COLUMN
}

// All of the depth.
template <int R, int C, class Vectors, class Fetch>
HWY_NOINLINE void Nest(const NestRows& rows, const Vectors& vectors,
                       const Fetch& fetch) {
  Fetch ahead = fetch;
  NestPart<R, C>(rows, vectors, 0, rows.depth, ahead);
}

// The same for one row and `passes` times C vectors, few k at a time, so that
// memory is read nearly in its order. Zen 4, f32 of 128 columns from memory,
// AVX2: 0.62 of the stream-read bandwidth by whole passes, 0.73 by runs.
template <int C, class Vectors, class Fetch>
HWY_NOINLINE void NestRuns(const NestRows& rows, const Vectors& vectors,
                           size_t passes, const Fetch& fetch) {
  constexpr size_t kRun = 8;
  const size_t N = hn::Lanes(hn::ScalableTag<float>());
  auto ahead = fetch.Runs(passes);
  for (size_t k = 0; k < rows.depth; k += kRun) {
    NestRows part = rows;
    Vectors from = vectors;
    for (size_t pass = 0; pass < passes; ++pass) {
      NestPart<1, C>(part, from, k, HWY_MIN(k + kRun, rows.depth), ahead);
      part.out += C * N;
      from.Skip(C * N);
    }
  }
}

// R rows of any number of vectors, from column `from` on.
template <int R, int C, class Vectors, class Fetch>
HWY_INLINE void NestColumns(NestRows rows, Vectors vectors, size_t from,
                            size_t count, const Fetch& fetch) {
  const size_t N = hn::Lanes(hn::ScalableTag<float>());
  // Narrower types gain nothing by it.
  if constexpr (R == 1 && C == 8 && HEED_TARGET_FACTS.attend.rows != 8 &&
                std::is_same_v<Vectors, PlainVectors<float>>) {
    const size_t passes = count / C;
    if (passes > 1) {
      NestRuns<C>(rows, vectors, passes, fetch);
      vectors.Skip(passes * C * N);
      rows.out += passes * C * N;
      from += passes * C * N;
      count %= C;
    }
  }
  for (; count >= C; count -= C) {
    Nest<R, C>(rows, vectors, fetch.Part(from, C * N));
    vectors.Skip(C * N);
    rows.out += C * N;
    from += C * N;
  }
  if constexpr (R == 1 && C == 4) {
    // One row by 2 and by 1 vectors would wait for its chains twice.
    if (count == 3) {
      return Nest<1, 3>(rows, vectors, fetch.Part(from, 3 * N));
    }
  }
  if constexpr (C > 1) {
    if (count != 0) {
      NestColumns<R, C / 2>(rows, vectors, from, count, fetch);
    }
  }
}

// Calls f(count, rows) for parts of rows that differ by one at most, `count` a
// constant.
template <class Function>
HWY_INLINE void ForRowParts(NestRows rows, size_t num_rows, const Function& f) {
  for (size_t parts = (num_rows + kNestRows - 1) / kNestRows; parts != 0;
       --parts) {
    const size_t take = (num_rows + parts - 1) / parts;
    if (take == 1) f(std::integral_constant<int, 1>(), rows);
    if (take == 2) f(std::integral_constant<int, 2>(), rows);
    if (take == 3) f(std::integral_constant<int, 3>(), rows);
    if (take == 4) f(std::integral_constant<int, 4>(), rows);
    rows.scalar += take * rows.scalar_row;
    rows.out += take * rows.out_row;
    num_rows -= take;
  }
}

// Any number of rows. The first part of them fetches for the others.
template <class Vectors, class Fetch>
HWY_NOINLINE void NestAll(const NestRows& rows, size_t num_rows,
                          const Vectors& vectors, size_t count,
                          const Fetch& fetch) {
  Fetch ahead = fetch;
  ForRowParts(rows, num_rows, [&](auto rows_of, const NestRows& part) HWY_ATTR {
    constexpr int R = decltype(rows_of)::value;
    NestColumns<R, kNestVectors<R>>(part, vectors, 0, count, ahead);
    ahead = Fetch();
  });
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_DECODE_NEST_INL_H_
