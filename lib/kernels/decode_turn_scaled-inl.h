// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// decode_turn-inl.h for quantised rows, which become floats on the way.
#if defined(HEED_LIB_KERNELS_DECODE_TURN_SCALED_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_DECODE_TURN_SCALED_INL_H_
#undef HEED_LIB_KERNELS_DECODE_TURN_SCALED_INL_H_
#else
#define HEED_LIB_KERNELS_DECODE_TURN_SCALED_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "hwy/highway.h"
#include "lib/kernels/decode_turn-inl.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"
#include "lib/kernels/scaled_rows-inl.h"
#include "lib/kernels/transpose-inl.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;

// TurnKeyRows of quantised rows: made floats first, TurnKeys() rows of up to
// kMostTurnColumns columns at a time in `wide`.
template <class T>
HWY_NOINLINE void TurnScaledRows(const T* const* key,
                                 const internal::RowScales& scales, size_t keys,
                                 size_t column, size_t columns,
                                 FetchAhead<T>* fetch, float* HWY_RESTRICT wide,
                                 float* HWY_RESTRICT turned) {
  const size_t step = TurnKeys();
  const float* at[kMostTurnKeys];
  FetchAhead<float> nothing(nullptr, 0, 0, 0, 0);
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
template <class T, class D>
HWY_INLINE void SpreadWord(D d, hn::Vec<D> word, hn::Vec<D> scale,
                           hn::Vec<D> minimum, float* HWY_RESTRICT to,
                           size_t stride) {
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
      auto r0 = load(0);
      auto r1 = load(1);
      auto r2 = load(2);
      auto r3 = load(3);
      TransposeInBlocks(d, r0, r1, r2, r3);
      float* HWY_RESTRICT to = turned + c * stride + k;
      SpreadWord<T>(d, r0, scale, minimum, to, stride);
      SpreadWord<T>(d, r1, scale, minimum, to + kWord * stride, stride);
      SpreadWord<T>(d, r2, scale, minimum, to + 2 * kWord * stride, stride);
      SpreadWord<T>(d, r3, scale, minimum, to + 3 * kWord * stride, stride);
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
  if constexpr (kPerUnit<T> == 2 || std::is_same_v<T, int8_t>) {
    if (columns % (16 * kPerUnit<T>) == 0) {
      return TurnWords(key, scales, keys, column, columns, fetch, turned);
    }
  }
#endif
  TurnScaledRows(key, scales, keys, column, columns, fetch, wide, turned);
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_DECODE_TURN_SCALED_INL_H_
