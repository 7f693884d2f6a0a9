// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What decoding spends its time on: key rows turned into columns, and the nest
// of FMAs whose vectors are keys (scores) or columns of values.
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
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"
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
using internal::kBlockKeys;

// Rows that a nest takes at most, and the vectors that it takes of so many:
// rows * vectors accumulators, the rows' broadcasts and one vector.
inline constexpr size_t kNestRows = 4;
template <int R>
inline constexpr int kNestVectors = HEED_TARGET_FACTS.attend.rows == 8
                                        ? (R <= 2 ? 8 : 4)
                                        : (R == 1   ? 8
                                           : R <= 3 ? 4
                                                    : 2);

// Columns of key rows that are turned at a time: 4 KiB as floats. Zen 4, one
// row, head_dim 128, f32 from memory: 22 GB/s with 16 columns, 19 with 32, 18
// with 64 (from cache 34, 39 and 40). Of quantised keys a group of 4-bit ones.
inline constexpr size_t kMostTurnColumns = internal::kMinScaleGroup;
template <class T>
inline constexpr size_t kTurnColumns = kScaled<T> ? kMostTurnColumns : 16;

// Floats from one column of turned keys to the next, and from one row of scores
// to the next: room for whole vectors.
#if HWY_HAVE_SCALABLE
inline constexpr size_t kMostKeyLanes = 2 * kBlockKeys;
#else
inline constexpr size_t kMostKeyLanes = kBlockKeys;
#endif
HWY_INLINE size_t KeyStride() {
  const size_t N = hn::Lanes(hn::ScalableTag<float>());
  return (kBlockKeys + N - 1) / N * N;
}

// Brings the rows into the second-level cache that will stand in a block's
// places in the next: row by row, in the order of memory, a share with each
// share of the work at hand.
template <class T>
class FetchAhead {
 public:
  // `ahead` bytes from each of `rows` rows of `dim` elements; 0: nothing.
  FetchAhead(const T* const* row, size_t rows, size_t dim, int64_t ahead)
      : row_(row),
        last_(ahead == 0 ? row : row + rows),
        ahead_(static_cast<uintptr_t>(ahead)),
        row_bytes_(dim * sizeof(T) / kPerUnit<T>) {}

  // Takes the share of `elements`.
  HWY_INLINE void Next(size_t elements) {
    constexpr uintptr_t kLine = 64;
    if (row_ == last_) return;
    // As an integer: the address may lie past the end, and is never read.
    const uintptr_t from = reinterpret_cast<uintptr_t>(*row_) + ahead_ + at_;
    const size_t bytes = elements * sizeof(T) / kPerUnit<T>;
    for (uintptr_t line = 0; line < bytes; line += kLine) {
      __builtin_prefetch(reinterpret_cast<const void*>(from + line), /*rw=*/0,
                         /*locality=*/2);
    }
    at_ += bytes;
    if (at_ >= row_bytes_) {
      at_ = 0;
      ++row_;
    }
  }

  // The same in whole lines: what is less is owed to the next call.
  HWY_INLINE void NextLines(size_t elements) {
    constexpr size_t kLine = 64;
    owed_ += elements * sizeof(T) / kPerUnit<T>;
    for (; owed_ >= kLine && row_ != last_; owed_ -= kLine) {
      const uintptr_t line = reinterpret_cast<uintptr_t>(*row_) + ahead_ + at_;
      __builtin_prefetch(reinterpret_cast<const void*>(line), /*rw=*/0,
                         /*locality=*/2);
      at_ += kLine;
      if (at_ >= row_bytes_) {
        at_ = 0;
        ++row_;
      }
    }
  }

 private:
  const T* const* row_;
  const T* const* last_;
  uintptr_t ahead_;
  size_t row_bytes_;
  size_t at_ = 0;
  size_t owed_ = 0;  // bytes
};

// ---- Turning keys -----------------------------------------------------------

// Keys are turned in vectors of at most 256 bits: wider inserts and stores take
// two cycles where units have that width, and shuffles of 512 bits gain nothing
// elsewhere.
#if HWY_HAVE_SCALABLE
using TurnTag = hn::CappedTag<float, 4>;
HWY_INLINE size_t TurnKeys() { return 4; }
#else
using TurnTag = hn::CappedTag<float, 8>;
HWY_INLINE size_t TurnKeys() { return hn::MaxLanes(TurnTag()); }
#endif
inline constexpr size_t kMostTurnKeys = 8;

// Elements of each row that are turned at a time: four floats, or the eight
// bf16 in the room of four, which move as pairs and are widened after.
template <class T>
inline constexpr size_t kTurnedPiece = std::is_same_v<T, bf16> ? 8 : 4;

// The pieces of key[0], key[4], ... from element c on, side by side.
template <class D, class T>
HWY_INLINE hn::Vec<D> LoadPieces(D d, const T* const* key, size_t c) {
#if !HWY_HAVE_SCALABLE
  if constexpr (hn::MaxLanes(D()) > 4) {
    const hn::Half<D> half;
    return hn::Combine(d, LoadPieces(half, key + 4, c),
                       LoadPieces(half, key, c));
  } else  // NOLINT(readability/braces)
#endif
  {
    if constexpr (std::is_same_v<T, bf16>) {
      return hn::LoadU(d, reinterpret_cast<const float*>(key[0] + c));
    } else {
      return LoadWiden(d, key[0] + c);
    }
  }
}

// Stores a column, or the two columns of pairs, as floats.
template <class T, class D, class V>
HWY_INLINE void StoreColumns(D d, V x, float* HWY_RESTRICT to, size_t stride) {
  if constexpr (std::is_same_v<T, bf16>) {
    const hn::RebindToUnsigned<D> du;
    const auto pairs = hn::BitCast(du, x);
    const auto second = hn::And(pairs, hn::Set(du, 0xffff0000u));
    hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(pairs)), d, to);
    hn::StoreU(hn::BitCast(d, second), d, to + stride);
  } else {
    hn::StoreU(hn::BitCast(d, x), d, to);
  }
}

// to[i * stride + k] = key[k][c + i], i < kTurnedPiece<T> and k < TurnKeys().
template <class T>
HWY_INLINE void TurnPiece(const T* const* key, size_t c, float* HWY_RESTRICT to,
                          size_t stride) {
  const TurnTag d;
  const hn::RepartitionToWide<hn::RebindToUnsigned<TurnTag>> dw;
  const auto r0 = LoadPieces(d, key, c);
  const auto r1 = LoadPieces(d, key + 1, c);
  const auto r2 = LoadPieces(d, key + 2, c);
  const auto r3 = LoadPieces(d, key + 3, c);
  const auto a = hn::BitCast(dw, hn::InterleaveLower(d, r0, r1));
  const auto b = hn::BitCast(dw, hn::InterleaveLower(d, r2, r3));
  const auto e = hn::BitCast(dw, hn::InterleaveUpper(d, r0, r1));
  const auto f = hn::BitCast(dw, hn::InterleaveUpper(d, r2, r3));
  const size_t step = kTurnedPiece<T> / 4 * stride;
  StoreColumns<T>(d, hn::InterleaveLower(dw, a, b), to, stride);
  StoreColumns<T>(d, hn::InterleaveUpper(dw, a, b), to + step, stride);
  StoreColumns<T>(d, hn::InterleaveLower(dw, e, f), to + 2 * step, stride);
  StoreColumns<T>(d, hn::InterleaveUpper(dw, e, f), to + 3 * step, stride);
}

// turned[i * KeyStride() + k] = key[k][column + i] for i < columns and k <
// keys, a multiple of TurnKeys().
template <class T>
HWY_NOINLINE void TurnKeyRows(const T* const* key, size_t keys, size_t column,
                              size_t columns, FetchAhead<T>* fetch,
                              float* HWY_RESTRICT turned) {
  const size_t stride = KeyStride();
  const size_t step = TurnKeys();
  const size_t whole = columns / kTurnedPiece<T> * kTurnedPiece<T>;
  const T* at[kMostTurnKeys];
  FetchAhead<T> ahead = *fetch;
  for (size_t k = 0; k < keys; k += step) {
    for (size_t i = 0; i < step; ++i) at[i] = key[k + i] + column;
    for (size_t c = 0; c < whole; c += kTurnedPiece<T>) {
      TurnPiece(at, c, turned + c * stride + k, stride);
      ahead.Next(kTurnedPiece<T> * step);
    }
    for (size_t c = whole; c < columns; ++c) {
      for (size_t i = k; i < k + step; ++i) {
        turned[c * stride + i] = internal::scalar::Widen(key[i][column + c]);
      }
    }
  }
  *fetch = ahead;
}

// ---- Turning quantised keys -------------------------------------------------

// The same of quantised rows: made floats first, TurnKeys() rows of up to
// kMostTurnColumns columns at a time in `wide`.
template <class T>
HWY_NOINLINE void TurnScaledRows(const T* const* key,
                                 const internal::RowScales& scales, size_t keys,
                                 size_t column, size_t columns,
                                 FetchAhead<T>* fetch, float* HWY_RESTRICT wide,
                                 float* HWY_RESTRICT turned) {
  const size_t step = TurnKeys();
  const float* at[kMostTurnKeys];
  FetchAhead<float> nothing(at, 0, 0, 0);
  for (size_t k = 0; k < keys; k += step) {
    for (size_t i = 0; i < step; ++i) {
      ScaledRow<T> row(key[k + i], scales, k + i);
      row.Skip(column);
      WidenScaledRow(row, columns, wide + i * kMostTurnColumns);
      at[i] = wide + i * kMostTurnColumns;
      fetch->Next(columns);
    }
    TurnKeyRows(at, step, 0, columns, &nothing, turned + k);
  }
}

#if !HWY_HAVE_SCALABLE
// The 16 bytes from `at` on of each of row[0], row[4], ...
template <class D>
HWY_INLINE hn::Vec<D> LoadByteBlocks(D d, const uint8_t* const* row,
                                     size_t at) {
  if constexpr (hn::MaxLanes(D()) > 16) {
    const hn::Half<D> half;
    constexpr size_t kRows = hn::MaxLanes(hn::Half<D>()) / 4;
    return hn::Combine(d, LoadByteBlocks(half, row + kRows, at),
                       LoadByteBlocks(half, row, at));
  } else {
    return hn::LoadU(d, row[0] + at);
  }
}

// Writes the elements that a vector of keys holds in 4 bytes each: columns of
// `stride` floats from `to` on.
template <class T, class D, class V>
HWY_INLINE void SpreadWord(D d, V word, hn::Vec<D> scale, hn::Vec<D> minimum,
                           float* HWY_RESTRICT to, size_t stride) {
  const hn::RebindToSigned<D> di;
  const auto bits = hn::BitCast(di, word);
  const auto store = [&](auto whole, size_t column) HWY_ATTR {
    const auto q = hn::ConvertTo(d, whole);
    if constexpr (kPerUnit<T> == 2) {
      hn::StoreU(hn::MulAdd(q, scale, minimum), d, to + column * stride);
    } else {
      hn::StoreU(hn::Mul(q, scale), d, to + column * stride);
    }
  };
  if constexpr (kPerUnit<T> == 2) {
    const auto low = hn::Set(di, 15);
    store(hn::And(bits, low), 0);
    store(hn::And(hn::ShiftRight<4>(bits), low), 1);
    store(hn::And(hn::ShiftRight<8>(bits), low), 2);
    store(hn::And(hn::ShiftRight<12>(bits), low), 3);
    store(hn::And(hn::ShiftRight<16>(bits), low), 4);
    store(hn::And(hn::ShiftRight<20>(bits), low), 5);
    store(hn::And(hn::ShiftRight<24>(bits), low), 6);
    store(hn::And(hn::ShiftRight<28>(bits), low), 7);
  } else {
    store(hn::ShiftRight<24>(hn::ShiftLeft<24>(bits)), 0);
    store(hn::ShiftRight<24>(hn::ShiftLeft<16>(bits)), 1);
    store(hn::ShiftRight<24>(hn::ShiftLeft<8>(bits)), 2);
    store(hn::ShiftRight<24>(bits), 3);
  }
}

// TurnScaledRows of int8 and 4-bit rows in whole 16 bytes: words of several
// elements are turned, and taken apart where keys are lanes.
template <class T>
HWY_NOINLINE void TurnWords(const T* const* key,
                            const internal::RowScales& scales, size_t keys,
                            size_t column, size_t columns, FetchAhead<T>* fetch,
                            float* HWY_RESTRICT turned) {
  const TurnTag d;
  const hn::Repartition<uint8_t, TurnTag> d8;
  const hn::RepartitionToWide<hn::RebindToUnsigned<TurnTag>> dw;
  constexpr size_t kWord = 4 * kPerUnit<T>;  // elements
  const size_t stride = KeyStride();
  const size_t step = TurnKeys();
  const size_t group =
      kPerUnit<T> == 2 ? column / static_cast<size_t>(scales.group) : 0;
  FetchAhead<T> ahead = *fetch;
  for (size_t k = 0; k < keys; k += step) {
    const uint8_t* at[kMostTurnKeys];
    float scale_of[kMostTurnKeys];
    float minimum_of[kMostTurnKeys] = {};
    for (size_t i = 0; i < step; ++i) {
      at[i] =
          reinterpret_cast<const uint8_t*>(key[k + i]) + column / kPerUnit<T>;
      scale_of[i] = scales.scale[k + i][group];
      if constexpr (kPerUnit<T> == 2) {
        minimum_of[i] = scales.minimum[k + i][group];
      }
    }
    const auto scale = hn::LoadU(d, scale_of);
    const auto minimum = hn::LoadU(d, minimum_of);
    for (size_t c = 0; c < columns; c += 4 * kWord) {
      const size_t byte = c / kPerUnit<T>;
      const auto load = [&](size_t i) HWY_ATTR {
        return hn::BitCast(d, LoadByteBlocks(d8, at + i, byte));
      };
      const auto r0 = load(0);
      const auto r1 = load(1);
      const auto r2 = load(2);
      const auto r3 = load(3);
      const auto a = hn::BitCast(dw, hn::InterleaveLower(d, r0, r1));
      const auto b = hn::BitCast(dw, hn::InterleaveLower(d, r2, r3));
      const auto e = hn::BitCast(dw, hn::InterleaveUpper(d, r0, r1));
      const auto f = hn::BitCast(dw, hn::InterleaveUpper(d, r2, r3));
      float* HWY_RESTRICT to = turned + c * stride + k;
      SpreadWord<T>(d, hn::InterleaveLower(dw, a, b), scale, minimum, to,
                    stride);
      SpreadWord<T>(d, hn::InterleaveUpper(dw, a, b), scale, minimum,
                    to + kWord * stride, stride);
      SpreadWord<T>(d, hn::InterleaveLower(dw, e, f), scale, minimum,
                    to + 2 * kWord * stride, stride);
      SpreadWord<T>(d, hn::InterleaveUpper(dw, e, f), scale, minimum,
                    to + 3 * kWord * stride, stride);
      ahead.NextLines(step * 4 * kWord);
    }
  }
  *fetch = ahead;
}
#endif

// The fastest that there is for a type and a number of columns.
template <class T>
HWY_INLINE void TurnQuantised(const T* const* key,
                              const internal::RowScales& scales, size_t keys,
                              size_t column, size_t columns,
                              FetchAhead<T>* fetch, float* HWY_RESTRICT wide,
                              float* HWY_RESTRICT turned) {
#if !HWY_HAVE_SCALABLE
  if constexpr (kPerUnit<T> == 2 || hwy::IsSame<T, int8_t>()) {
    if (columns % (16 * kPerUnit<T>) == 0) {
      return TurnWords(key, scales, keys, column, columns, fetch, turned);
    }
  }
#endif
  TurnScaledRows(key, scales, keys, column, columns, fetch, wide, turned);
}

// ---- The nest ---------------------------------------------------------------

// Vectors k = 0, 1, ... of a nest: where they start, and what to fetch
// meanwhile.
struct FetchNothing {
  HWY_INLINE void Next(size_t) const {}
};

// At(k) is what Load then takes columns of vector k from.
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

struct PackedVectors {
  const float* first;
  size_t stride;
  HWY_INLINE RowAt<float> At(size_t k) const { return {first + k * stride}; }
  HWY_INLINE void Skip(size_t columns) { first += columns; }
};

template <class T>
struct ListedVectors {
  const T* const* row;
  size_t column = 0;
  ListedVectors(const T* const* rows, const internal::RowScales&) : row(rows) {}
  HWY_INLINE RowAt<T> At(size_t k) const { return {row[k] + column}; }
  HWY_INLINE void Skip(size_t columns) { column += columns; }
};

template <class T>
struct ScaledVectors {
  const T* const* row;
  internal::RowScales scales;
  size_t column = 0;
  ScaledVectors(const T* const* rows, const internal::RowScales& with)
      : row(rows), scales(with) {}
  HWY_INLINE ScaledRow<T> At(size_t k) const {
    ScaledRow<T> at(row[k], scales, k);
    at.Skip(column);
    return at;
  }
  HWY_INLINE void Skip(size_t columns) { column += columns; }
};

// Rows of values as they are stored.
template <class T>
using StoredVectors =
    std::conditional_t<kScaled<T>, ScaledVectors<T>, ListedVectors<T>>;

// The scalars of a nest, and where its results go: row r of either is `..._row`
// floats from row r - 1.
struct NestRows {
  const float* scalar;
  size_t scalar_row;
  float* out;
  size_t out_row;
  size_t depth;
};

// out[r][c] = fma(vector[k][c], scalar[r][k], it) for k = 0, 1, ... < depth,
// in R rows of C vectors: one chain an element.
template <int R, int C, class Vectors, class Fetch>
HWY_NOINLINE void Nest(const NestRows& rows, const Vectors& vectors,
                       Fetch* fetch) {
  static_assert(R <= 4 && C <= 8);
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
  Fetch ahead = *fetch;
  const size_t depth = rows.depth;
  for (size_t k = 0; k < depth; ++k) {
    const auto at = from.At(k);
    ahead.Next(C * N);
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
  *fetch = ahead;
}

// R rows of any number of vectors.
template <int R, int C, class Vectors, class Fetch>
HWY_INLINE void NestColumns(NestRows rows, Vectors vectors, size_t count,
                            Fetch* fetch) {
  const size_t N = hn::Lanes(hn::ScalableTag<float>());
  for (; count >= C; count -= C) {
    Nest<R, C>(rows, vectors, fetch);
    vectors.Skip(C * N);
    rows.out += C * N;
  }
  if constexpr (R == 1 && C == 4) {
    // One row by 2 and by 1 vectors would wait for its chains twice.
    if (count == 3) return Nest<1, 3>(rows, vectors, fetch);
  }
  if constexpr (C > 1) {
    if (count != 0) NestColumns<R, C / 2>(rows, vectors, count, fetch);
  }
}

// The same for any number of rows, cut into parts that differ by one at most.
template <class Vectors, class Fetch>
HWY_INLINE void NestAll(NestRows rows, size_t num_rows, const Vectors& vectors,
                        size_t count, Fetch* fetch) {
  for (size_t parts = (num_rows + kNestRows - 1) / kNestRows; parts != 0;
       --parts) {
    const size_t take = (num_rows + parts - 1) / parts;
    if (take == 1) NestColumns<1, kNestVectors<1>>(rows, vectors, count, fetch);
    if (take == 2) NestColumns<2, kNestVectors<2>>(rows, vectors, count, fetch);
    if (take == 3) NestColumns<3, kNestVectors<3>>(rows, vectors, count, fetch);
    if (take == 4) NestColumns<4, kNestVectors<4>>(rows, vectors, count, fetch);
    rows.scalar += take * rows.scalar_row;
    rows.out += take * rows.out_row;
    num_rows -= take;
  }
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_DECODE_NEST_INL_H_
