// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What happens to the few query rows of a decode tile before and after its
// steps. Rows are not padded, and form one lane group.
#if defined(HEED_LIB_KERNELS_DECODE_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_DECODE_TILE_INL_H_
#undef HEED_LIB_KERNELS_DECODE_TILE_INL_H_
#else
#define HEED_LIB_KERNELS_DECODE_TILE_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/carver.h"
#include "lib/kernels/convert-inl.h"
#include "lib/kernels/decode_turn-inl.h"
#include "lib/kernels/hadamard-inl.h"
#include "lib/kernels/hwy_math-inl.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;

// Floats of `dim` columns in whole vectors.
HWY_INLINE size_t WholeColumns(int dim) {
  const size_t N = hn::Lanes(hn::ScalableTag<float>());
  return (static_cast<size_t>(dim) + N - 1) / N * N;
}

// The parts of a state: acc [rows][acc_row], zeros beyond head_dim_v; then m
// (integers in log2 units) and l by row.
struct DecodeState {
  float* acc;
  size_t acc_row;
  float* m;
  float* l;
};

HWY_INLINE DecodeState DecodeStateAt(const internal::QueryTile& tile,
                                     const void* state) {
  float* acc = static_cast<float*>(const_cast<void*>(state));
  const size_t rows = static_cast<size_t>(tile.shape.rows);
  const size_t acc_row = WholeColumns(tile.shape.head_dim_v);
  float* m = acc + rows * acc_row;
  return {acc, acc_row, m, m + rows};
}

inline int64_t DecodeStateBytes(const internal::TileShape& shape) {
  const int64_t row = static_cast<int64_t>(WholeColumns(shape.head_dim_v)) + 2;
  return internal::Padded(shape.rows * row *
                          static_cast<int64_t>(sizeof(float)));
}

// Takes the parts of a tile; with a null base it only counts.
inline int64_t CarveDecode(const internal::TileShape& shape, void* memory,
                           internal::QueryTile* tile) {
  const int64_t stride = static_cast<int64_t>(KeyStride());
  internal::Carver carver(memory);
  tile->begin = carver.Take<int32_t>(shape.rows);
  tile->end = carver.Take<int32_t>(shape.rows);
  tile->sink_end = carver.Take<int32_t>(shape.rows);
  tile->query = carver.Take<float>(int64_t{shape.rows} * shape.head_dim);
  tile->score = carver.Take<float>(shape.rows * stride);
  // Keys as floats, and the scales and minima of a block's keys.
  tile->row_f32 =
      carver.Take<float>(static_cast<int64_t>(kScoreKeys * kWidenColumns));
  if (internal::IsQuantised(shape.key)) {
    const int64_t groups = shape.key == DType::kU4
                               ? 2 * shape.head_dim / internal::kMinScaleGroup
                               : 1;
    tile->key_f32 = carver.Take<float>(groups * stride);
  }
  // The last columns of values, where they fill no vector.
  tile->value_f32 = carver.Take<float>(internal::kBlockKeys *
                                       static_cast<int64_t>(WholeColumns(1)));
  if (shape.scores) tile->addend = carver.Take<float>(shape.rows * stride);
  return carver.used();
}

inline int64_t DecodeTileBytes(const internal::TileShape& shape) {
  internal::QueryTile tile;
  return CarveDecode(shape, nullptr, &tile);
}

inline void DecodeOpen(const internal::TileShape& shape, void* memory,
                       internal::QueryTile* tile) {
  tile->shape = shape;
  tile->padded_rows = shape.rows;
  tile->num_groups = shape.rows == 0 ? 0 : 1;
  tile->groups[0] = {0, shape.rows};
  CarveDecode(shape, memory, tile);
}

inline void DecodePack(const internal::QueryTile& tile,
                       const void* const* query) {
  const size_t dim = static_cast<size_t>(tile.shape.head_dim);
  const size_t floats = static_cast<size_t>(tile.shape.rows) * dim;
  for (size_t r = 0; r < static_cast<size_t>(tile.shape.rows); ++r) {
    WidenRow(tile.shape.query, query[r], dim, tile.query + r * dim);
    if (tile.shape.rotate_query) RotateRow(tile.query + r * dim, dim);
  }
  const float scale = tile.shape.rule.query_scale;
  for (size_t i = 0; i < floats; ++i) tile.query[i] *= scale;
}

inline void DecodeClear(const internal::QueryTile& tile) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const DecodeState state = DecodeStateAt(tile, tile.state);
  const size_t rows = static_cast<size_t>(tile.shape.rows);
  for (size_t i = 0; i < rows * state.acc_row; i += N) {
    hn::StoreU(hn::Zero(d), d, state.acc + i);
  }
  for (size_t r = 0; r < rows; ++r) {
    state.m[r] = internal::kEmptyMax;
    state.l[r] = 0.0f;
  }
}

inline void DecodeMerge(const internal::QueryTile& tile, const void* later) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const DecodeState to = DecodeStateAt(tile, tile.state);
  const DecodeState from = DecodeStateAt(tile, later);
  for (size_t r = 0; r < static_cast<size_t>(tile.shape.rows); ++r) {
    const auto ma = hn::Set(d, to.m[r]);
    const auto mb = hn::Set(d, from.m[r]);
    const auto max = hn::Max(ma, mb);
    const auto a = Rescale(d, hn::Sub(ma, max));
    const auto b = Rescale(d, hn::Sub(mb, max));
    const auto l =
        hn::MulAdd(b, hn::Set(d, from.l[r]), hn::Mul(a, hn::Set(d, to.l[r])));
    to.m[r] = hn::GetLane(max);
    to.l[r] = hn::GetLane(l);
    float* HWY_RESTRICT acc = to.acc + r * to.acc_row;
    const float* HWY_RESTRICT other = from.acc + r * to.acc_row;
    for (size_t c = 0; c < to.acc_row; c += N) {
      const auto old = hn::Mul(a, hn::LoadU(d, acc + c));
      hn::StoreU(hn::MulAdd(b, hn::LoadU(d, other + c), old), d, acc + c);
    }
  }
}

// As AddSinks of the tile kernel.
inline void DecodeSinks(const internal::QueryTile& tile) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const DecodeState state = DecodeStateAt(tile, tile.state);
  for (size_t r = 0; r < static_cast<size_t>(tile.shape.rows); ++r) {
    auto m = hn::Set(d, state.m[r]);
    auto l = hn::Set(d, state.l[r]);
    auto alpha = l;
    AddSink(d, hn::Set(d, tile.scores->sink[r]), m, l, alpha);
    state.m[r] = hn::GetLane(m);
    state.l[r] = hn::GetLane(l);
    float* HWY_RESTRICT acc = state.acc + r * state.acc_row;
    for (size_t c = 0; c < state.acc_row; c += N) {
      hn::StoreU(hn::Mul(hn::LoadU(d, acc + c), alpha), d, acc + c);
    }
  }
}

inline void DecodeSave(const internal::QueryTile& tile, void* const* row) {
  const DecodeState state = DecodeStateAt(tile, tile.state);
  const size_t dim = static_cast<size_t>(tile.shape.head_dim_v);
  for (size_t r = 0; r < static_cast<size_t>(tile.shape.rows); ++r) {
    float* HWY_RESTRICT to = static_cast<float*>(row[r]);
    const float* HWY_RESTRICT acc = state.acc + r * state.acc_row;
    to[0] = state.m[r];
    to[1] = state.l[r];
    for (size_t c = 0; c < dim; ++c) to[2 + c] = acc[c];
  }
}

inline void DecodeFinish(const internal::QueryTile& tile, void* const* out,
                         float* const* lse) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const DecodeState state = DecodeStateAt(tile, tile.state);
  const size_t dim = static_cast<size_t>(tile.shape.head_dim_v);
  if (tile.scores != nullptr && tile.scores->sink != nullptr) {
    DecodeSinks(tile);
  }
  for (size_t r = 0; r < static_cast<size_t>(tile.shape.rows); ++r) {
    float* HWY_RESTRICT acc = state.acc + r * state.acc_row;
    const auto l = hn::Set(d, state.l[r]);
    const auto none = hn::Eq(l, hn::Zero(d));
    // Rows without keys are divided by 1: 0 / 0 would raise a flag.
    const auto divisor = hn::IfThenElse(none, hn::Set(d, 1.0f), l);
    for (size_t c = 0; c < state.acc_row; c += N) {
      const auto x = hn::Div(hn::LoadU(d, acc + c), divisor);
      // + 0 turns -0 into 0, as a masked key may or may not have done before.
      hn::StoreU(hn::IfThenZeroElse(none, hn::Add(x, hn::Zero(d))), d, acc + c);
    }
    if (tile.shape.rotate_out) RotateRow(acc, dim);
    NarrowRow(tile.shape.out, acc, dim, out[r]);
    if (lse != nullptr) {
      *lse[r] = hn::GetLane(LogSum(d, hn::Set(d, state.m[r]), l));
    }
  }
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_DECODE_TILE_INL_H_
