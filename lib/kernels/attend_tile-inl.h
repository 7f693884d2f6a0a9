// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What happens to a query tile before and after its steps: split into lane
// groups, pack, clear, merge, finish.
#if defined(HEED_LIB_KERNELS_ATTEND_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_ATTEND_TILE_INL_H_
#undef HEED_LIB_KERNELS_ATTEND_TILE_INL_H_
#else
#define HEED_LIB_KERNELS_ATTEND_TILE_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/carver.h"
#include "lib/kernels/convert-inl.h"
#include "lib/kernels/hadamard-inl.h"
#include "lib/kernels/hwy_math-inl.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"
#include "lib/kernels/micro_kernel-inl.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;

// The parts of a state: acc by lane group, in each [head_dim_v][lanes], then m
// (integers in log2 units) and l by padded row.
struct State {
  float* acc;
  float* m;
  float* l;
};

HWY_INLINE State StateAt(const internal::QueryTile& tile, const void* state) {
  float* acc = static_cast<float*>(const_cast<void*>(state));
  const size_t rows = static_cast<size_t>(tile.padded_rows);
  float* m = acc + rows * static_cast<size_t>(tile.shape.head_dim_v);
  return {acc, m, m + rows};
}

HWY_INLINE State StateOf(const internal::QueryTile& tile) {
  return StateAt(tile, tile.state);
}

inline int64_t PadRows(int rows) {
  return internal::RoundUp(
      rows, static_cast<int64_t>(hn::Lanes(hn::ScalableTag<float>())));
}

inline int64_t StateBytes(const internal::TileShape& shape) {
  return internal::Padded(PadRows(shape.rows) * (shape.head_dim_v + 2) *
                          static_cast<int64_t>(sizeof(float)));
}

// Takes the parts of a tile; with a null base it only counts.
inline int64_t CarveTile(const internal::TileShape& shape, void* memory,
                         internal::QueryTile* tile) {
  const int64_t rows = PadRows(shape.rows);
  const int64_t group_rows = HWY_MIN(rows, kMaxVectors * PadRows(1));
  internal::Carver carver(memory);
  tile->begin = carver.Take<int32_t>(rows);
  tile->end = carver.Take<int32_t>(rows);
  tile->sink_end = carver.Take<int32_t>(rows);
  tile->query = carver.Take<float>(rows * shape.head_dim);
  tile->score = carver.Take<float>(internal::kBlockKeys * group_rows);
  if (shape.key != DType::kF32) {
    tile->key_f32 = carver.Take<float>(internal::kBlockKeys * shape.head_dim);
  }
  if (shape.value != DType::kF32) {
    tile->value_f32 =
        carver.Take<float>(internal::kBlockKeys * shape.head_dim_v);
  }
  if (shape.query != DType::kF32 || shape.out != DType::kF32 ||
      shape.rotate_query || shape.rotate_out) {
    tile->row_f32 =
        carver.Take<float>(4 * HWY_MAX(shape.head_dim, shape.head_dim_v));
  }
  return carver.used();
}

inline int64_t TileBytes(const internal::TileShape& shape) {
  internal::QueryTile tile;
  return CarveTile(shape, nullptr, &tile);
}

// Rows become whole vectors, and vectors become full groups; what is left over
// is evened out, as two groups of 2 vectors run faster than one of 3 and one of
// 1 (which has too few accumulators to hide the latency of an FMA).
inline void Open(const internal::TileShape& shape, void* memory,
                 internal::QueryTile* tile) {
  const int lanes = static_cast<int>(PadRows(1));
  tile->shape = shape;
  tile->padded_rows = static_cast<int>(PadRows(shape.rows));
  tile->num_groups = 0;
  int row = 0;
  int vectors = tile->padded_rows / lanes;
  while (vectors > 0) {
    int take = vectors < kMaxVectors ? vectors : kMaxVectors;
    if (vectors == kMaxVectors + 1) take = 2;
    tile->groups[tile->num_groups++] = {row, take * lanes};
    row += take * lanes;
    vectors -= take;
  }
  CarveTile(shape, memory, tile);
}

// A lane group, its padded rows from `row` on.
struct GroupRows {
  size_t index;
  size_t row, lanes;
};

// Calls visit(group) for each lane group of a tile.
template <class Function>
HWY_INLINE void ForEachGroup(const internal::QueryTile& tile,
                             const Function& visit) {
  for (int g = 0; g < tile.num_groups; ++g) {
    visit(GroupRows{static_cast<size_t>(g),
                    static_cast<size_t>(tile.groups[g].row),
                    static_cast<size_t>(tile.groups[g].rows)});
  }
}

// Transposes a 4 x 4 block: from[i] is row i, to[j] column j.
HWY_INLINE void Transpose4(const float* const from[4], float* const to[4],
                           float scale) {
  const hn::CappedTag<float, 4> d;
  const hn::CappedTag<uint64_t, 2> dw;
  const auto s = hn::Set(d, scale);
  const auto r0 = hn::Mul(hn::LoadU(d, from[0]), s);
  const auto r1 = hn::Mul(hn::LoadU(d, from[1]), s);
  const auto r2 = hn::Mul(hn::LoadU(d, from[2]), s);
  const auto r3 = hn::Mul(hn::LoadU(d, from[3]), s);
  const auto a = hn::BitCast(dw, hn::InterleaveLower(d, r0, r1));
  const auto b = hn::BitCast(dw, hn::InterleaveLower(d, r2, r3));
  const auto e = hn::BitCast(dw, hn::InterleaveUpper(d, r0, r1));
  const auto f = hn::BitCast(dw, hn::InterleaveUpper(d, r2, r3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dw, a, b)), d, to[0]);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dw, a, b)), d, to[1]);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dw, e, f)), d, to[2]);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dw, e, f)), d, to[3]);
}

// Packs by fours: rows that exist are transposed, padding is zero.
inline void Pack(const internal::QueryTile& tile, const void* const* query) {
  const size_t dim = static_cast<size_t>(tile.shape.head_dim);
  const size_t rows = static_cast<size_t>(tile.shape.rows);
  const DType type = tile.shape.query;
  const bool rotate = tile.shape.rotate_query;
  const float scale = tile.shape.rule.query_scale;
  ForEachGroup(tile, [&](const GroupRows& group) {
    const size_t row = group.row, lanes = group.lanes;
    float* HWY_RESTRICT packed = tile.query + row * dim;
    for (size_t r = 0; r < lanes; r += 4) {
      const float* from[4];
      const size_t first = row + r;
      const size_t count = first < rows ? HWY_MIN(rows - first, size_t{4}) : 0;
      for (size_t i = 0; i < count; ++i) {
        from[i] = static_cast<const float*>(query[first + i]);
        if (type == DType::kF32 && !rotate) continue;
        float* wide = tile.row_f32 + i * dim;
        WidenRow(type, query[first + i], dim, wide);
        if (rotate) RotateRow(wide, dim);
        from[i] = wide;
      }
      size_t c = 0;
      if (count == 4) {
        for (; c + 4 <= dim; c += 4) {
          const float* block[4];
          float* to[4];
          for (size_t i = 0; i < 4; ++i) {
            block[i] = from[i] + c;
            to[i] = packed + (c + i) * lanes + r;
          }
          Transpose4(block, to, scale);
        }
      }
      for (; c < dim; ++c) {
        for (size_t i = 0; i < 4; ++i) {
          packed[c * lanes + r + i] = i < count ? from[i][c] * scale : 0.0f;
        }
      }
    }
  });
}

inline void Clear(const internal::QueryTile& tile) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const size_t rows = static_cast<size_t>(tile.padded_rows);
  const size_t dim = static_cast<size_t>(tile.shape.head_dim_v);
  const State state = StateOf(tile);
  for (size_t i = 0; i < rows; i += N) {
    hn::Store(hn::Set(d, internal::kEmptyMax), d, state.m + i);
    hn::Store(hn::Zero(d), d, state.l + i);
  }
  for (size_t i = 0; i < rows * dim; i += N) {
    hn::Store(hn::Zero(d), d, state.acc + i);
  }
}

inline void Merge(const internal::QueryTile& tile, const void* later_state) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const size_t dim = static_cast<size_t>(tile.shape.head_dim_v);
  const State state = StateOf(tile);
  const State later = StateAt(tile, later_state);
  ForEachGroup(tile, [&](const GroupRows& group) {
    const size_t row = group.row, lanes = group.lanes;
    for (size_t i = 0; i < lanes; i += N) {
      const auto ma = hn::Load(d, state.m + row + i);
      const auto mb = hn::Load(d, later.m + row + i);
      const auto max = hn::Max(ma, mb);
      const auto a = Rescale(d, hn::Sub(ma, max));
      const auto b = Rescale(d, hn::Sub(mb, max));
      hn::Store(max, d, state.m + row + i);
      const auto la = hn::Mul(hn::Load(d, state.l + row + i), a);
      hn::Store(hn::MulAdd(b, hn::Load(d, later.l + row + i), la), d,
                state.l + row + i);
      for (size_t c = 0; c < dim; ++c) {
        float* at = state.acc + row * dim + c * lanes + i;
        const float* from = later.acc + row * dim + c * lanes + i;
        const auto old = hn::Mul(hn::Load(d, at), a);
        hn::Store(hn::MulAdd(b, hn::Load(d, from), old), d, at);
      }
    }
  });
}

inline void Finish(const internal::QueryTile& tile, void* const* out,
                   float* const* lse) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const size_t dim = static_cast<size_t>(tile.shape.head_dim_v);
  const size_t rows = static_cast<size_t>(tile.shape.rows);
  const DType type = tile.shape.out;
  const bool direct = type == DType::kF32 && !tile.shape.rotate_out;
  const State state = StateOf(tile);
  ForEachGroup(tile, [&](const GroupRows& group) {
    const size_t row = group.row, lanes = group.lanes;
    float* HWY_RESTRICT acc = state.acc + row * dim;
    for (size_t i = 0; i < lanes; i += N) {
      const auto l = hn::Load(d, state.l + row + i);
      const auto none = hn::Eq(l, hn::Zero(d));
      // Rows without keys are divided by 1: 0 / 0 would raise a flag.
      const auto divisor = hn::IfThenElse(none, hn::Set(d, 1.0f), l);
      for (size_t c = 0; c < dim; ++c) {
        const auto x = hn::Div(hn::Load(d, acc + c * lanes + i), divisor);
        // + 0 turns -0 into 0, as a masked key may or may not have done before.
        hn::Store(hn::IfThenZeroElse(none, hn::Add(x, hn::Zero(d))), d,
                  acc + c * lanes + i);
      }
      // l is not needed any more: it becomes the row's lse.
      const auto m = hn::Load(d, state.m + row + i);
      hn::Store(LogSum(d, m, l), d, state.l + row + i);
    }
    for (size_t r = 0; r < lanes && row + r < rows; r += 4) {
      const size_t count = HWY_MIN(rows - row - r, size_t{4});
      float* to[4];
      for (size_t i = 0; i < count; ++i) {
        to[i] = direct ? static_cast<float*>(out[row + r + i])
                       : tile.row_f32 + i * dim;
      }
      size_t c = 0;
      if (count == 4) {
        for (; c + 4 <= dim; c += 4) {
          const float* from[4];
          float* block[4];
          for (size_t i = 0; i < 4; ++i) {
            from[i] = acc + (c + i) * lanes + r;
            block[i] = to[i] + c;
          }
          Transpose4(from, block, 1.0f);
        }
      }
      for (; c < dim; ++c) {
        for (size_t i = 0; i < count; ++i) to[i][c] = acc[c * lanes + r + i];
      }
      if (direct) continue;
      for (size_t i = 0; i < count; ++i) {
        if (tile.shape.rotate_out) RotateRow(to[i], dim);
        NarrowRow(type, to[i], dim, out[row + r + i]);
      }
    }
  });
  if (lse == nullptr) return;
  for (size_t r = 0; r < rows; ++r) *lse[r] = state.l[r];
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_ATTEND_TILE_INL_H_
