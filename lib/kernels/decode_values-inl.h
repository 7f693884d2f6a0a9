// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The values of a decode step: what the weights of a few query rows add to acc.
#if defined(HEED_LIB_KERNELS_DECODE_VALUES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_DECODE_VALUES_INL_H_
#undef HEED_LIB_KERNELS_DECODE_VALUES_INL_H_
#else
#define HEED_LIB_KERNELS_DECODE_VALUES_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/convert-inl.h"
#include "lib/kernels/decode_f8-inl.h"
#include "lib/kernels/decode_fetch-inl.h"
#include "lib/kernels/decode_nest-inl.h"
#include "lib/kernels/decode_tile-inl.h"
#include "lib/kernels/decode_turn-inl.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"
#include "lib/kernels/scaled_rows-inl.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;
using internal::KeyBlock;
using internal::QueryTile;

// A step's rows of values from row k on, equally far apart.
template <class T>
HWY_INLINE StoredVectors<T> ValuesFrom(const DecodeStep& s, size_t k,
                                       ptrdiff_t step) {
  internal::RowScales scales = s.block->value_scales;
  if (scales.scale != nullptr) scales.scale += s.first + k;
  if (scales.minimum != nullptr) scales.minimum += s.first + k;
  return {static_cast<const T*>(s.block->value[s.first + k]), step, scales};
}

// How many rows from row k on are equally far apart, and how far.
template <class T>
HWY_INLINE size_t ValueRun(const DecodeStep& s, size_t k, ptrdiff_t* step) {
  const void* const* row = s.block->value + s.first;
  const auto apart = [&](size_t i) {
    return reinterpret_cast<uintptr_t>(row[i + 1]) -
           reinterpret_cast<uintptr_t>(row[i]);
  };
  *step = 0;
  if (k + 1 == s.keys) return 1;
  const uintptr_t first = apart(k);
  *step = static_cast<ptrdiff_t>(first) / static_cast<ptrdiff_t>(sizeof(T));
  uintptr_t other = 0;
  for (size_t i = k + 1; i + 1 < s.keys; ++i) other |= apart(i) ^ first;
  if (other == 0) return s.keys - k;
  size_t end = k + 2;
  while (end < s.keys && apart(end - 1) == first) ++end;
  return end - k;
}

// Whether any of the step's values is not finite.
template <class T>
HWY_NOINLINE bool HasNonFiniteValue(const DecodeStep& s) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const size_t dim = static_cast<size_t>(s.tile->shape.head_dim_v);
  const auto zero = hn::Zero(d);
  auto sum = zero;  // 0 * x is NaN for those x and nothing makes it a number
  float tail = 0.0f;
  for (size_t k = 0; k < s.keys; ++k) {
    const auto value = ValuesFrom<T>(s, k, 0).At(0);
    size_t c = 0;
    for (; c + N <= dim; c += N) {
      sum = hn::MulAdd(value.Load(d, c), zero, sum);
    }
    for (; c < dim; ++c) tail += 0.0f * value.One(c);
  }
  return tail != tail || !hn::AllTrue(d, hn::Eq(sum, sum));
}

// acc[row][c] += value[key][c] * weight[row][key], key by key.
template <class T>
HWY_NOINLINE void WeighDecodeValues(const DecodeStep& s) {
  const size_t N = hn::Lanes(hn::ScalableTag<float>());
  const size_t dim = static_cast<size_t>(s.tile->shape.head_dim_v);
  const BlockRows block(s.block->value + s.first, s.block->fetch_value,
                        s.block->next_value, s.keys, RowBytes<T>(dim));
  uintptr_t address[2 * kBlockKeys];
  const FetchValues<T> fetch(block, address);
  NestRows rows = {s.tile->score, KeyStride(), s.state.acc, s.state.acc_row, 0};
  for (size_t k = 0; k < s.keys; k += rows.depth) {
    ptrdiff_t step;
    rows.depth = ValueRun<T>(s, k, &step);
    rows.scalar = s.tile->score + k;
    NestAll(rows, s.rows, ValuesFrom<T>(s, k, step), dim / N, fetch.Skip(k));
  }
  const size_t whole = dim / N * N;
  if (whole == dim) return;
  float* HWY_RESTRICT last = s.tile->value_f32;
  for (size_t k = 0; k < s.keys; ++k) {
    const auto value = ValuesFrom<T>(s, k, 0).At(0);
    for (size_t c = whole; c < dim; ++c) {
      last[k * N + c - whole] = value.One(c);
    }
    for (size_t c = dim - whole; c < N; ++c) last[k * N + c] = 0.0f;
  }
  const ptrdiff_t apart = static_cast<ptrdiff_t>(N);
  NestAll(NestRows{s.tile->score, KeyStride(), s.state.acc + whole,
                   s.state.acc_row, s.keys},
          s.rows, PlainVectors<float>(last, apart, {}), 1, FetchNothing());
}

// The same where a value is not finite and some row does not see every key:
// weights of keys that a row does not see are passed over, as 0 * Inf would be
// NaN. Rare, so key by key and row by row.
template <class T>
HWY_NOINLINE void WeighSeenValues(const DecodeStep& s) {
  for (size_t row = 0; row < s.rows; ++row) {
    DecodeStep one = s;
    QueryTile tile = *s.tile;
    KeyBlock block = *s.block;
    block.fetch_value = nullptr;
    one.tile = &tile;
    one.block = &block;
    one.rows = 1;
    one.keys = 1;
    one.state.acc += row * s.state.acc_row;
    for (size_t k = 0; k < s.keys; ++k) {
      if (!SeesKey(*s.tile, row, k, s.block->position[s.first + k])) continue;
      one.first = s.first + k;
      tile.score = s.tile->score + row * KeyStride() + k;
      WeighDecodeValues<T>(one);
    }
  }
}

template <class T>
HWY_INLINE void DecodeValues(const DecodeStep& s) {
  const internal::ScoreRows* scores = s.tile->scores;
  const bool all_seen = s.full && (scores == nullptr || !scores->adds);
  if (!all_seen && HasNonFiniteValue<T>(s)) {
    return WeighSeenValues<T>(s);
  }
  if constexpr (kMayBeFinite<T>) {
    if (AreFinite<T>(s.block->value, s.block->value_scales, s.first, s.keys,
                     static_cast<size_t>(s.tile->shape.head_dim_v))) {
      return WeighDecodeValues<Finite<T>>(s);
    }
  }
  WeighDecodeValues<T>(s);
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_DECODE_VALUES_INL_H_
