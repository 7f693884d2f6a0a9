// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The micro-kernel of matrix products: some leading rows of a panel of columns.
#if defined(HEED_LIB_KERNELS_MATMUL_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_MATMUL_TILE_INL_H_
#undef HEED_LIB_KERNELS_MATMUL_TILE_INL_H_
#else
#define HEED_LIB_KERNELS_MATMUL_TILE_INL_H_
#endif

#include <cstddef>

#include "hwy/highway.h"
#include "lib/kernels/fma_tile-inl.h"
#include "lib/kernels/hwy_targets.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes, so that the buffers below fit a small stack on any SVE.
using MatMulTag = hn::CappedTag<float, 16>;
constexpr size_t kMaxLanes = 16;

constexpr int kMatMulRows = HEED_TARGET_FACTS.matmul.rows;
constexpr int kMatMulVectors = HEED_TARGET_FACTS.matmul.vectors;

// One call of the micro-kernel; strides in floats.
struct MatMulTile {
  const float* a;
  size_t a_row;
  size_t a_col;
  const float* b;  // rows of whole vectors
  size_t b_row;
  float* c;
  size_t c_row;
  size_t depth;
  bool add;  // start from c instead of 0
  // Times these first, one a row of c; null: as they are. Only with add.
  const float* row_scale = nullptr;
};

template <int MR, int NV>
HWY_NOINLINE void MultiplyTile(const MatMulTile& t) {
  FmaTile<MR, NV>(MatMulTag(), StridedRows{t.a, t.a_row, t.a_col}, t.depth, t.b,
                  t.b_row,
                  {/*out=*/t.c, /*out_row=*/t.c_row, /*load=*/t.add,
                   /*scale=*/nullptr, /*max=*/nullptr, t.row_scale});
}

template <int MR>
HWY_INLINE void MultiplyRows(const MatMulTile& t, size_t vectors) {
  if (vectors == 1) {
    MultiplyTile<MR, 1>(t);
  } else if (vectors == 2 || kMatMulVectors == 2) {
    MultiplyTile<MR, 2>(t);
  } else {
    MultiplyTile<MR, kMatMulVectors>(t);
  }
}

// Multiplies the leading rows of a tile that has `rows` left, and returns how
// many those were.
HWY_INLINE size_t MultiplySome(const MatMulTile& t, size_t rows,
                               size_t vectors) {
  if (rows >= kMatMulRows) {
    MultiplyRows<kMatMulRows>(t, vectors);
    return kMatMulRows;
  }
  if (rows >= 4) {
    MultiplyRows<4>(t, vectors);
    return 4;
  }
  if (rows >= 2) {
    MultiplyRows<2>(t, vectors);
    return 2;
  }
  MultiplyRows<1>(t, vectors);
  return 1;
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_MATMUL_TILE_INL_H_
