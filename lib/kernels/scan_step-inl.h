// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// One token against the state where it lies in the caller's memory: a state far
// larger than the caches comes by once, in the order of its bytes, and goes
// back. Under the delta rule it is read once before, for what is erased, and
// meets the second pass in the second-level cache. Chains of sums are those of
// scan_apply-inl.h.
#if defined(HEED_LIB_KERNELS_SCAN_STEP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_SCAN_STEP_INL_H_
#undef HEED_LIB_KERNELS_SCAN_STEP_INL_H_
#else
#define HEED_LIB_KERNELS_SCAN_STEP_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "hwy/highway.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/matmul_tile-inl.h"
#include "lib/kernels/scan_table.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// Rows of the state that are met together: a row of sums is loaded and stored
// once for all of them.
constexpr size_t kStepRows = 4;

constexpr size_t kLineFloats = 16;

// Calls f(tag, column) for each vector of `columns`, single lanes at the end.
template <class F>
HWY_INLINE void ForEachVector(size_t columns, const F& f) {
  const MatMulTag d;
  const size_t N = hn::Lanes(d);
  size_t x = 0;
  for (; x + N <= columns; x += N) f(d, x);
  for (; x < columns; ++x) f(hn::CappedTag<float, 1>(), x);
}

// Calls f(rows, row) for all rows, kStepRows at a time, then single ones.
template <class F>
HWY_INLINE void ForEachStepRows(size_t rows, const F& f) {
  size_t m = 0;
  for (; m + kStepRows <= rows; m += kStepRows) {
    f(std::integral_constant<size_t, kStepRows>(), m);
  }
  for (; m < rows; ++m) f(std::integral_constant<size_t, 1>(), m);
}

// sum + a[0] r0 + a[1] r1 + ..., a chain over kRows rows.
template <size_t kRows, class D, class V = hn::Vec<D>>
HWY_INLINE V AddRows(D d, const float* a, V r0, V r1, V r2, V r3, V sum) {
  sum = hn::MulAdd(hn::Set(d, a[0]), r0, sum);
  if constexpr (kRows == kStepRows) {
    sum = hn::MulAdd(hn::Set(d, a[1]), r1, sum);
    sum = hn::MulAdd(hn::Set(d, a[2]), r2, sum);
    sum = hn::MulAdd(hn::Set(d, a[3]), r3, sum);
  }
  return sum;
}

// written = beta v + erase state, or two rows of them.
HWY_INLINE void SolveStep(const internal::ScanChunk& c,
                          const internal::ScanStep& s) {
  const size_t columns = static_cast<size_t>(s.columns);
  const size_t stride = static_cast<size_t>(s.from_row);
  float* const value = s.written + static_cast<size_t>(c.writes - 1) * columns;
  ForEachVector(columns, [&](auto d, size_t x) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, s.value + x), hn::Set(d, c.beta[0])), d,
               value + x);
    if (c.writes > 1) hn::StoreU(hn::Zero(d), d, s.written + x);
  });
  const auto add = [&](auto rows, size_t m) HWY_ATTR {
    const float* const state = s.from + m * stride;
    const size_t more = rows > 1 ? stride : 0;
    ForEachVector(columns, [&](auto d, size_t x) HWY_ATTR {
      const float* const at = state + x;
      const auto sum = AddRows<rows>(
          d, c.erase + m, hn::LoadU(d, at), hn::LoadU(d, at + more),
          hn::LoadU(d, at + 2 * more), hn::LoadU(d, at + 3 * more),
          hn::LoadU(d, s.written + x));
      hn::StoreU(sum, d, s.written + x);
    });
  };
  ForEachStepRows(static_cast<size_t>(c.head_dim), add);
}

// kRows rows of the state from m on: what every query reads of them, then what
// they become, with kWrites rows to write; 0: they stay.
template <size_t kRows, size_t kWrites>
HWY_INLINE void StepRows(const internal::ScanChunk& c,
                         const internal::ScanStep& s, const float* written,
                         size_t m) {
  const size_t from_row = static_cast<size_t>(s.from_row);
  const size_t to_row = static_cast<size_t>(s.to_row);
  const size_t queries = static_cast<size_t>(c.rows);
  const size_t columns = static_cast<size_t>(s.columns);
  const float* const from = s.from + m * from_row;
  const size_t more = kRows > 1 ? from_row : 0;
  const float* const next = s.next + m * from_row;
  const auto step = [&](auto d, size_t x) HWY_ATTR {
    if (s.next != nullptr && x % kLineFloats == 0) {
      for (size_t i = 0; i < kRows; ++i) {
        __builtin_prefetch(next + i * from_row + x, /*rw=*/1, /*locality=*/2);
      }
    }
    const auto r0 = hn::LoadU(d, from + x);
    const auto r1 = hn::LoadU(d, from + more + x);
    const auto r2 = hn::LoadU(d, from + 2 * more + x);
    const auto r3 = hn::LoadU(d, from + 3 * more + x);
    for (size_t r = 0; r < queries; ++r) {
      float* const out = s.out + r * static_cast<size_t>(s.out_row) + x;
      const float* const read = c.read + r * static_cast<size_t>(c.row_floats);
      hn::StoreU(AddRows<kRows>(d, read + m, r0, r1, r2, r3, hn::LoadU(d, out)),
                 d, out);
    }
    if constexpr (kWrites > 0) {
      const auto u = hn::LoadU(d, written + x);
      const auto u2 = hn::LoadU(d, written + (kWrites - 1) * columns + x);
      const float* const write2 =
          c.write + (kWrites - 1) * static_cast<size_t>(c.row_floats) + m;
      float* const to = s.to + m * to_row + x;
      const auto become = [&](size_t i, auto row) HWY_ATTR {
        const auto kept = hn::Mul(row, hn::Set(d, c.keep[m + i]));
        auto sum = hn::MulAdd(hn::Set(d, c.write[m + i]), u, kept);
        if constexpr (kWrites > 1) {
          sum = hn::MulAdd(hn::Set(d, write2[i]), u2, sum);
        }
        hn::StoreU(sum, d, to + i * to_row);
      };
      become(0, r0);
      if constexpr (kRows == kStepRows) {
        become(1, r1);
        become(2, r2);
        become(3, r3);
      }
    }
  };
  ForEachVector(columns, step);
}

void Step(const internal::ScanChunk& c, const internal::ScanStep& s) {
  const size_t columns = static_cast<size_t>(s.columns);
  const size_t queries = static_cast<size_t>(c.rows);
  const float* written = s.value;
  if (c.erase != nullptr) {
    SolveStep(c, s);
    written = s.written;
  }
  const auto out = [&](size_t r) {
    return s.out + r * static_cast<size_t>(s.out_row);
  };
  for (size_t r = 0; r < queries; ++r) std::fill_n(out(r), columns, 0.0f);
  ForEachStepRows(static_cast<size_t>(c.head_dim),
                  [&](auto rows, size_t m) HWY_ATTR {
                    if (s.to == nullptr) {
                      StepRows<rows, 0>(c, s, written, m);
                    } else if (c.writes == 1) {
                      StepRows<rows, 1>(c, s, written, m);
                    } else {
                      StepRows<rows, 2>(c, s, written, m);
                    }
                  });
  for (size_t r = 0; r < queries; ++r) {
    const float* const weight = c.weight + r * static_cast<size_t>(c.stride);
    const auto weigh = [&](size_t i) HWY_ATTR {
      ForEachVector(columns, [&](auto d, size_t x) HWY_ATTR {
        hn::StoreU(hn::MulAdd(hn::Set(d, weight[i]),
                              hn::LoadU(d, written + i * columns + x),
                              hn::LoadU(d, out(r) + x)),
                   d, out(r) + x);
      });
    };
    weigh(0);
    if (c.writes > 1) weigh(1);
  }
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_SCAN_STEP_INL_H_
