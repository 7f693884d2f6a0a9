// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Queries on their way into a tile: rows become lanes, scaled.
#if defined(HEED_LIB_KERNELS_ATTEND_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_ATTEND_PACK_INL_H_
#undef HEED_LIB_KERNELS_ATTEND_PACK_INL_H_
#else
#define HEED_LIB_KERNELS_ATTEND_PACK_INL_H_
#endif

#include <cstddef>

#include "hwy/highway.h"
#include "lib/kernels/attend_tile-inl.h"
#include "lib/kernels/convert-inl.h"
#include "lib/kernels/hadamard-inl.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"
#include "lib/kernels/scalar_convert.h"
#include "lib/kernels/transpose-inl.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;

// Columns [c, dim) of the rows of one vector, as far as whole squares of `d`
// go: packed[column * lanes + i] is of row i. Returns the first that is left.
template <bool kScales, class D, class T>
HWY_INLINE size_t PackSquares(D d, const T* const* query, size_t c, size_t dim,
                              float scale, size_t lanes,
                              float* HWY_RESTRICT packed) {
  const size_t side = hn::Lanes(d);
  const size_t rows = hn::Lanes(hn::ScalableTag<float>());
  const auto s = hn::Set(d, scale);
  for (; c + side <= dim; c += side) {
    for (size_t r = 0; r < rows; r += side) {
      const auto load = [&](size_t i) {
        return LoadWiden(d, query[r + i] + c);
      };
      const auto store = [&](const hn::Vec<D>& v, size_t i) {
        hn::StoreU(kScales ? hn::Mul(v, s) : v, d,
                   packed + (c + i) * lanes + r);
      };
      TransposeSquare(d, load, store);
    }
  }
  return c;
}

// The rows of one vector.
template <class T, bool kScales = true>
HWY_NOINLINE void PackRows(const void* const* rows, size_t dim, float scale,
                           size_t lanes, float* HWY_RESTRICT packed) {
  const size_t N = hn::Lanes(hn::ScalableTag<float>());
  const T* from[kMostLanes];
  for (size_t i = 0; i < N; ++i) from[i] = static_cast<const T*>(rows[i]);
  size_t c =
      PackSquares<kScales>(SquareTag(), from, 0, dim, scale, lanes, packed);
  c = PackSquares<kScales>(SmallSquareTag(), from, c, dim, scale, lanes,
                           packed);
  for (; c < dim; ++c) {
    for (size_t i = 0; i < N; ++i) {
      const float x = internal::scalar::Widen(from[i][c]);
      packed[c * lanes + i] = kScales ? x * scale : x;
    }
  }
}

// Makes rows[0 .. count - 1] rotated floats in tile.row_f32.
inline void RotateRows(const internal::QueryTile& tile, size_t count,
                       const void** rows) {
  const size_t dim = static_cast<size_t>(tile.shape.head_dim);
  for (size_t i = 0; i < count; ++i) {
    float* wide = tile.row_f32 + i * dim;
    WidenRow(tile.shape.query, rows[i], dim, wide);
    RotateRow(wide, dim);
    rows[i] = wide;
  }
}

inline void Pack(const internal::QueryTile& tile, const void* const* query) {
  const size_t N = hn::Lanes(hn::ScalableTag<float>());
  const size_t dim = static_cast<size_t>(tile.shape.head_dim);
  const size_t num_rows = static_cast<size_t>(tile.shape.rows);
  const float scale = tile.shape.rule.query_scale;
  const DType type = tile.shape.rotate_query ? DType::kF32 : tile.shape.query;
  ForEachGroup(tile, [&](const GroupRows& group) {
    for (size_t i = 0; i < group.lanes; i += N) {
      const size_t row = group.row + i, lanes = group.lanes;
      const size_t count = HWY_MIN(num_rows - row, N);
      const void* rows[kMostLanes];
      for (size_t r = 0; r < count; ++r) rows[r] = query[row + r];
      if (tile.shape.rotate_query) RotateRows(tile, count, rows);
      // Padding repeats the last row.
      for (size_t r = count; r < N; ++r) rows[r] = rows[count - 1];
      float* packed = tile.query + group.row * dim + i;
      switch (type) {
        case DType::kBF16:
          PackRows<bf16>(rows, dim, scale, lanes, packed);
          break;
        case DType::kF16:
          PackRows<f16>(rows, dim, scale, lanes, packed);
          break;
        default:
          PackRows<float>(rows, dim, scale, lanes, packed);
      }
    }
  });
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_ATTEND_PACK_INL_H_
