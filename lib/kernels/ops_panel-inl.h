// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Few rows times a panel of packed weights, which are read once, as they are
// stored, and widened in registers: so the memory is what takes the time.
#if defined(HEED_LIB_KERNELS_OPS_PANEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_OPS_PANEL_INL_H_
#undef HEED_LIB_KERNELS_OPS_PANEL_INL_H_
#else
#define HEED_LIB_KERNELS_OPS_PANEL_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/convert-inl.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/matmul_tile-inl.h"
#include "lib/kernels/ops_table.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kPanelWidth = internal::kPanelOutputs;
static_assert(kPanelWidth % (3 * kMaxLanes) == 0);

// Bytes. One row of bf16 from memory, as a share of its stream (Emerald Rapids,
// 12.6 GB/s): none 0.67, 2 KiB 0.86, 4 KiB 0.95, 8 KiB 0.92.
constexpr size_t kFetchAhead = 4096;

struct PanelRows {
  const float* x;
  size_t x_row;
  size_t depth;
  float* c;  // rows of kPanelWidth, where chains begin and end
};

#define HEED_PANEL_ROWS(X) X(0) X(1) X(2) X(3)

// c[r][v] = fma(x[r][k], panel[k][v], it) for k = 0, 1, ...: three vectors of
// columns.
template <int MR, class Element>
HWY_NOINLINE void MultiplyStrip(const PanelRows& t, const Element* panel,
                                size_t column) {
  static_assert(MR <= internal::kFewRows);
  const MatMulTag d;
  const size_t N = hn::Lanes(d);
#define HEED_ROW(r)                                                  \
  const float* const x##r = t.x + (r < MR ? r : 0) * t.x_row;        \
  float* const c##r = t.c + (r < MR ? r : 0) * kPanelWidth + column; \
  auto s##r##0 = hn::LoadU(d, c##r);                                 \
  auto s##r##1 = hn::LoadU(d, c##r + N);                             \
  auto s##r##2 = hn::LoadU(d, c##r + 2 * N);
  HEED_PANEL_ROWS(HEED_ROW)
#undef HEED_ROW
  const Element* w = panel + column;
  for (size_t k = 0; k < t.depth; ++k, w += kPanelWidth) {
    // What the hardware fetches ahead is too little where a turn reads less
    // than it does of f32.
    if constexpr (sizeof(Element) == 2) {
      const char* const ahead = reinterpret_cast<const char*>(w) + kFetchAhead;
      __builtin_prefetch(ahead, 0, 2);
      __builtin_prefetch(ahead + kPanelWidth, 0, 2);
    }
    const auto w0 = LoadWiden(d, w);
    const auto w1 = LoadWiden(d, w + N);
    const auto w2 = LoadWiden(d, w + 2 * N);
#define HEED_ROW(r)                       \
  if constexpr (r < MR) {                 \
    const auto b = hn::Set(d, x##r[k]);   \
    s##r##0 = hn::MulAdd(b, w0, s##r##0); \
    s##r##1 = hn::MulAdd(b, w1, s##r##1); \
    s##r##2 = hn::MulAdd(b, w2, s##r##2); \
  }
    HEED_PANEL_ROWS(HEED_ROW)
#undef HEED_ROW
  }
#define HEED_ROW(r)                       \
  if constexpr (r < MR) {                 \
    hn::StoreU(s##r##0, d, c##r);         \
    hn::StoreU(s##r##1, d, c##r + N);     \
    hn::StoreU(s##r##2, d, c##r + 2 * N); \
  }
  HEED_PANEL_ROWS(HEED_ROW)
#undef HEED_ROW
}

template <class Element>
HWY_INLINE void MultiplyStrips(const PanelRows& t, size_t rows,
                               const void* panel) {
  const Element* const weight = static_cast<const Element*>(panel);
  const size_t strip = 3 * hn::Lanes(MatMulTag());
  for (size_t column = 0; column < kPanelWidth; column += strip) {
    if (rows == 1) {
      MultiplyStrip<1>(t, weight, column);
    } else if (rows == 2) {
      MultiplyStrip<2>(t, weight, column);
    } else {
      MultiplyStrip<4>(t, weight, column);
    }
  }
}

void MultiplyPanel(const ops::ConstMatrix& x, DType type, const void* panel,
                   const ops::Matrix& c, bool add) {
  // Chains run in a buffer, as the last panel may be wider than c.
  alignas(64) float buffer[internal::kFewRows * kPanelWidth] = {};
  const size_t cols = static_cast<size_t>(c.cols);
  const size_t rows = static_cast<size_t>(c.rows);
  for (size_t r = 0; add && r < rows; ++r) {
    const float* const from = c.row(static_cast<int64_t>(r));
    for (size_t j = 0; j < cols; ++j) buffer[r * kPanelWidth + j] = from[j];
  }
  PanelRows t = {x.data, static_cast<size_t>(x.row_stride),
                 static_cast<size_t>(x.cols), buffer};
  const auto multiply = [&](size_t some) {
    switch (type) {
      case DType::kF32:
        return MultiplyStrips<float>(t, some, panel);
      case DType::kBF16:
        return MultiplyStrips<bf16>(t, some, panel);
      default:
        return MultiplyStrips<f16>(t, some, panel);
    }
  };
  if (rows == 3) {
    multiply(2);
    t.x += 2 * t.x_row;
    t.c += 2 * kPanelWidth;
    multiply(1);
  } else {
    multiply(rows);
  }
  for (size_t r = 0; r < rows; ++r) {
    float* const to = c.row(static_cast<int64_t>(r));
    for (size_t j = 0; j < cols; ++j) to[j] = buffer[r * kPanelWidth + j];
  }
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_OPS_PANEL_INL_H_
