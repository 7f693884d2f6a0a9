// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The values of the step of few query rows: lanes are columns, keys come in
// order, and each row of values is widened in registers.
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
#include "lib/kernels/decode_step-inl.h"
#include "lib/kernels/hwy_targets.h"

#ifndef HEED_DECODE_ROWS
#define HEED_DECODE_ROWS(X) X(0) X(1) X(2) X(3)
#endif

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;

// A product of weights and values, for a few rows.
template <class T>
struct DecodeValues {
  const T* const* value;  // by key
  size_t first, last;     // keys
  const float* weight;    // [row][kBlockKeys]
  const float* alpha;     // [row]
  float* acc;             // [row][dim]
  size_t dim;
  uintptr_t ahead;  // bytes to what is fetched meanwhile, 0 for nothing
};

// acc[r][c ..] = alpha[r] * acc, then fma(value[key], weight[r][key], acc), key
// by key, for MR rows and NV vectors of columns.
template <int MR, int NV, class D, class T>
HWY_NOINLINE void WeighColumns(D d, const DecodeValues<T>& v, size_t c) {
  const size_t N = hn::Lanes(d);
  const size_t N1 = NV > 1 ? N : 0;
  const size_t N2 = NV > 2 ? 2 * N : 0;
  const size_t N3 = NV > 3 ? 3 * N : 0;
#define HEED_ROW(r)                                             \
  const float* w##r = v.weight + (r < MR ? r : 0) * kBlockKeys; \
  float* a##r = v.acc + (r < MR ? r : 0) * v.dim + c;           \
  const auto f##r = hn::Set(d, v.alpha[r < MR ? r : 0]);        \
  auto s##r##0 = hn::Mul(f##r, hn::LoadU(d, a##r));             \
  auto s##r##1 = hn::Mul(f##r, hn::LoadU(d, a##r + N1));        \
  auto s##r##2 = hn::Mul(f##r, hn::LoadU(d, a##r + N2));        \
  auto s##r##3 = hn::Mul(f##r, hn::LoadU(d, a##r + N3));
  HEED_DECODE_ROWS(HEED_ROW)
#undef HEED_ROW
  for (size_t key = v.first; key < v.last; ++key) {
    const T* row = v.value[key] + c;
    if (NV > 1 && v.ahead != 0) {
      FetchLines(reinterpret_cast<uintptr_t>(row) + v.ahead,
                 NV * N * sizeof(T));
    }
    const auto x0 = LoadWiden(d, row);
    const auto x1 = LoadWiden(d, row + N1);
    const auto x2 = LoadWiden(d, row + N2);
    const auto x3 = LoadWiden(d, row + N3);
#define HEED_ROW(r)                                             \
  if constexpr (r < MR) {                                       \
    const auto b = hn::Set(d, w##r[key]);                       \
    s##r##0 = hn::MulAdd(x0, b, s##r##0);                       \
    if constexpr (NV > 1) s##r##1 = hn::MulAdd(x1, b, s##r##1); \
    if constexpr (NV > 2) s##r##2 = hn::MulAdd(x2, b, s##r##2); \
    if constexpr (NV > 3) s##r##3 = hn::MulAdd(x3, b, s##r##3); \
  }
    HEED_DECODE_ROWS(HEED_ROW)
#undef HEED_ROW
  }
#define HEED_ROW(r)                                          \
  if constexpr (r < MR) {                                    \
    hn::StoreU(s##r##0, d, a##r);                            \
    if constexpr (NV > 1) hn::StoreU(s##r##1, d, a##r + N1); \
    if constexpr (NV > 2) hn::StoreU(s##r##2, d, a##r + N2); \
    if constexpr (NV > 3) hn::StoreU(s##r##3, d, a##r + N3); \
  }
  HEED_DECODE_ROWS(HEED_ROW)
#undef HEED_ROW
}

// All columns of MR rows.
template <int MR, class T>
HWY_INLINE void WeighRows(const DecodeValues<T>& v) {
  // 8 accumulators either way: enough to hide the latency of an FMA.
  constexpr int kVectors = MR <= 2 ? 4 : 2;
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> one;
  const size_t N = hn::Lanes(d);
  size_t c = 0;
  for (; c + kVectors * N <= v.dim; c += kVectors * N) {
    WeighColumns<MR, kVectors>(d, v, c);
  }
  for (; c + N <= v.dim; c += N) WeighColumns<MR, 1>(d, v, c);
  for (; c < v.dim; ++c) WeighColumns<MR, 1>(one, v, c);
}

// The same where a masked value is not finite: a row leaves out what it does
// not see, as 0 * Inf would be NaN. Rare, so plain.
template <class T>
HWY_NOINLINE void WeighVisible(const QueryTile& tile, const int32_t* position,
                               size_t row, const DecodeValues<T>& v) {
  const hn::CappedTag<float, 1> d;
  for (size_t c = 0; c < v.dim; ++c) {
    v.acc[c] *= v.alpha[0];
    for (size_t key = v.first; key < v.last; ++key) {
      const int32_t p = position[key];
      const bool visible =
          (p >= tile.begin[row] && p < tile.end[row]) || p < tile.sink_end[row];
      if (!visible) continue;
      const auto x = LoadWiden(d, v.value[key] + c);
      const auto sum =
          hn::MulAdd(x, hn::Set(d, v.weight[key]), hn::Set(d, v.acc[c]));
      v.acc[c] = hn::GetLane(sum);
    }
  }
}

template <class T>
HWY_INLINE bool HasNonFiniteValue(const DecodeValues<T>& v) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const auto zero = hn::Zero(d);
  auto sum = zero;  // 0 * x is NaN for those x and nothing makes it a number
  float tail = 0.0f;
  for (size_t key = v.first; key < v.last; ++key) {
    size_t c = 0;
    for (; c + N <= v.dim; c += N) {
      sum = hn::MulAdd(LoadWiden(d, v.value[key] + c), zero, sum);
    }
    for (; c < v.dim; ++c) {
      tail += 0.0f * internal::scalar::Widen(v.value[key][c]);
    }
  }
  return tail != tail || !hn::AllTrue(d, hn::Eq(sum, sum));
}

template <class T>
HWY_NOINLINE void AllDecodeValues(const DecodeStep& s, const int32_t* position,
                                  const float* alpha, float* acc) {
  const size_t rows = static_cast<size_t>(s.tile->shape.rows);
  const size_t dim = static_cast<size_t>(s.tile->shape.head_dim_v);
  const T* value[kBlockKeys];
  for (size_t k = s.first; k < s.last; ++k) {
    value[k] = static_cast<const T*>(s.block->value[k]);
  }
  DecodeValues<T> v = {
      value, s.first, s.last, s.tile->score,
      alpha, acc,     dim,    static_cast<uintptr_t>(s.block->next_value)};
  const bool select = !s.full && HasNonFiniteValue(v);
  for (size_t r = 0; r < rows;) {
    const size_t left = rows - r;
    v.weight = s.tile->score + r * kBlockKeys;
    v.alpha = alpha + r;
    v.acc = acc + r * dim;
    if (r > 0) v.ahead = 0;  // once for all rows
    if (select) {
      WeighVisible(*s.tile, position, r, v);
      r += 1;
    } else if (left >= 4) {
      WeighRows<4>(v);
      r += 4;
    } else if (left == 3) {
      WeighRows<3>(v);
      r += 3;
    } else if (left == 2) {
      WeighRows<2>(v);
      r += 2;
    } else {
      WeighRows<1>(v);
      r += 1;
    }
  }
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_DECODE_VALUES_INL_H_
