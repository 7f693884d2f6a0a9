// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The matrix product of heed/ops.h: rows of broadcast scalars times vectors of
// b, accumulated in registers.
#if defined(HEED_LIB_KERNELS_OPS_MATMUL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_OPS_MATMUL_INL_H_
#undef HEED_LIB_KERNELS_OPS_MATMUL_INL_H_
#else
#define HEED_LIB_KERNELS_OPS_MATMUL_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/matmul_tile-inl.h"
#include "lib/kernels/ops_table.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// Rows of b whose panel (24 KiB at 48 columns) stays in L1 for all rows of a.
constexpr size_t kPanelRows = 128;

struct PanelBuffers {
  alignas(64) float b[kPanelRows * kMatMulVectors * kMaxLanes];
  alignas(64) float c[kMatMulRows * kMatMulVectors * kMaxLanes];
};

// Copies b[0..depth)[0..cols) into rows of `width` floats, padded with zeros.
inline void PackPanel(const float* b, const ops::ConstMatrix& shape,
                      size_t depth, size_t cols, size_t width, float* panel) {
  const size_t row = static_cast<size_t>(shape.row_stride);
  const size_t col = static_cast<size_t>(shape.col_stride);
  if (row == 1) {
    for (size_t j = 0; j < cols; ++j) {
      for (size_t k = 0; k < depth; ++k) panel[k * width + j] = b[j * col + k];
    }
  } else {
    for (size_t k = 0; k < depth; ++k) {
      for (size_t j = 0; j < cols; ++j) {
        panel[k * width + j] = b[k * row + j * col];
      }
    }
  }
  for (size_t k = 0; k < depth; ++k) {
    for (size_t j = cols; j < width; ++j) panel[k * width + j] = 0.0f;
  }
}

// c's columns end inside a vector: the tile is computed beside it. The columns
// beyond the last are zeros times what the buffer holds, and never stored.
HWY_INLINE size_t MultiplyBeside(MatMulTile t, size_t rows, size_t cols,
                                 size_t vectors, float* buffer) {
  const size_t width = vectors * hn::Lanes(MatMulTag());
  const size_t most = rows < kMatMulRows ? rows : kMatMulRows;
  float* const c = t.c;
  const size_t c_row = t.c_row;
  t.c = buffer;
  t.c_row = width;
  for (size_t r = 0; t.add && r < most; ++r) {
    for (size_t j = 0; j < cols; ++j) buffer[r * width + j] = c[r * c_row + j];
    for (size_t j = cols; j < width; ++j) buffer[r * width + j] = 0.0f;
  }
  const size_t done = MultiplySome(t, rows, vectors);
  for (size_t r = 0; r < done; ++r) {
    for (size_t j = 0; j < cols; ++j) c[r * c_row + j] = buffer[r * width + j];
  }
  return done;
}

// Columns [j, j + cols) of c, cols at most a panel's width.
HWY_INLINE void MultiplyPanel(const ops::ConstMatrix& a,
                              const ops::ConstMatrix& b, const ops::Matrix& c,
                              size_t j, size_t cols, bool add) {
  PanelBuffers buffers;
  const size_t N = hn::Lanes(MatMulTag());
  const size_t vectors = (cols + N - 1) / N;
  const bool whole = cols % N == 0;
  const size_t depth = static_cast<size_t>(a.cols);
  const size_t rows = static_cast<size_t>(a.rows);
  MatMulTile t;
  t.a_row = static_cast<size_t>(a.row_stride);
  t.a_col = static_cast<size_t>(a.col_stride);
  t.c_row = static_cast<size_t>(c.row_stride);
  for (size_t k = 0; k < depth; k += kPanelRows) {
    t.depth = depth - k < kPanelRows ? depth - k : kPanelRows;
    t.add = add || k > 0;
    t.b = b.data + k * static_cast<size_t>(b.row_stride) +
          j * static_cast<size_t>(b.col_stride);
    t.b_row = static_cast<size_t>(b.row_stride);
    if (!whole || b.col_stride != 1) {
      PackPanel(t.b, b, t.depth, cols, vectors * N, buffers.b);
      t.b = buffers.b;
      t.b_row = vectors * N;
    }
    for (size_t i = 0; i < rows;) {
      t.a = a.data + i * t.a_row + k * t.a_col;
      t.c = c.data + i * t.c_row + j;
      i += whole ? MultiplySome(t, rows - i, vectors)
                 : MultiplyBeside(t, rows - i, cols, vectors, buffers.c);
    }
  }
}

void MatMul(const ops::ConstMatrix& a, const ops::ConstMatrix& b,
            const ops::Matrix& c, bool add) {
  if (a.cols == 0 && !add) {
    for (int64_t i = 0; i < c.rows; ++i) {
      for (int64_t j = 0; j < c.cols; ++j) c.row(i)[j] = 0.0f;
    }
  }
  const size_t width = kMatMulVectors * hn::Lanes(MatMulTag());
  const size_t cols = static_cast<size_t>(c.cols);
  for (size_t j = 0; j < cols; j += width) {
    MultiplyPanel(a, b, c, j, cols - j < width ? cols - j : width, add);
  }
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_OPS_MATMUL_INL_H_
