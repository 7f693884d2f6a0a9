// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What happens to a query tile around its steps: split into lane groups, clear,
// merge, save. What begins it is in attend_pack-inl.h, what ends it in
// attend_finish-inl.h.
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

// Floats of the longest vector. SVE goes up to 64 lanes.
#if HWY_HAVE_SCALABLE
inline constexpr size_t kMostLanes = 64;
#else
inline constexpr size_t kMostLanes = HWY_MAX_BYTES / sizeof(float);
#endif

// Floats of the widest lane group.
inline constexpr size_t kMaxGroupRows = kMaxVectors * kMostLanes;

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

// Whether values of f32 may be copied (attend.cc), and up to which width: a
// block of copies is what a first-level cache holds.
inline constexpr bool kCopiesValues = kMaxRows < 8;
inline constexpr int kMostCopied = 128;

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
  if (shape.value != DType::kF32 ||
      (kCopiesValues && shape.head_dim_v <= kMostCopied)) {
    tile->value_f32 =
        carver.Take<float>(internal::kBlockKeys * shape.head_dim_v);
  }
  if (shape.rotate_query || shape.rotate_out) {
    tile->row_f32 = carver.Take<float>(
        PadRows(1) * HWY_MAX(shape.head_dim, shape.head_dim_v));
  }
  if (shape.scores) {
    tile->addend = carver.Take<float>(internal::kBlockKeys * group_rows);
    tile->addend_row = carver.Take<float>(internal::kBlockKeys * PadRows(1));
  }
  return carver.used();
}

inline int64_t TileBytes(const internal::TileShape& shape) {
  internal::QueryTile tile;
  return CarveTile(shape, nullptr, &tile);
}

// Vectors of a lane group, but for what is left over. Where rows see different
// keys, a group passes over all that any of its rows sees: with few keys,
// narrow groups pass over so much less that 8 rows of accumulators make up for
// what wide vectors of queries save in loads. Zen 4, AVX-512, causal, GFLOP/s
// with groups of 1, 2 and 3: 32 tokens 44, 37, 37; 64 59, 53, 53; 128 75, 70,
// 65; 256 86, 84, 81; 1,024 96, 96, 94. AVX2, whose groups have 24 rows at most
// and 4 rows of accumulators, loses by it.
inline int GroupVectors(const internal::TileShape& shape) {
  constexpr bool kNarrows = !HWY_HAVE_SCALABLE && kMostLanes >= 16;
  if (!kNarrows || shape.uneven_keys == 0) return kMaxVectors;
  return shape.uneven_keys <= 160   ? 1
         : shape.uneven_keys <= 640 ? 2
                                    : kMaxVectors;
}

// Vectors from `vector` to the next cut, of `vectors` in all.
inline int VectorsToCut(uint64_t cuts, int vector, int vectors) {
  int next = vector + 1;
  while (next < vectors && (cuts >> next & 1) == 0) ++next;
  return next - vector;
}

// Lane groups that vectors become.
inline int CountGroups(uint64_t cuts, int vectors, int most) {
  int groups = 0;
  for (int v = 0; v < vectors;) {
    const int run = VectorsToCut(cuts, v, vectors);
    groups += (run + most - 1) / most;
    v += run;
  }
  return groups;
}

// Rows become whole vectors, and vectors become full groups, anew after each
// cut; what is left over is evened out, as two groups of 2 vectors run faster
// than one of 3 and one of 1 (which has too few accumulators to hide the
// latency of an FMA).
inline void Open(const internal::TileShape& shape, void* memory,
                 internal::QueryTile* tile) {
  const int lanes = static_cast<int>(PadRows(1));
  tile->shape = shape;
  tile->padded_rows = static_cast<int>(PadRows(shape.rows));
  tile->num_groups = 0;
  const int vectors = tile->padded_rows / lanes;
  int most = GroupVectors(shape);
  while (vectors > most * internal::kMaxLaneGroups) ++most;
  uint64_t cuts = shape.cuts;
  if (CountGroups(cuts, vectors, most) > internal::kMaxLaneGroups) cuts = 0;
  for (int v = 0; v < vectors;) {
    const int left = VectorsToCut(cuts, v, vectors);
    int take = left < most ? left : most;
    if (left == kMaxVectors + 1 && most == kMaxVectors) take = 2;
    tile->groups[tile->num_groups++] = {v * lanes, take * lanes};
    v += take;
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

// A state starts with maxima that are no integers, which none is later, and
// with sums that are not written: the first step of a lane group starts from
// zero.
inline constexpr float kFreshMax = 0.5f;

inline void Clear(const internal::QueryTile& tile) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const size_t rows = static_cast<size_t>(tile.padded_rows);
  const State state = StateOf(tile);
  for (size_t i = 0; i < rows; i += N) {
    hn::Store(hn::Set(d, kFreshMax), d, state.m + i);
    hn::Store(hn::Zero(d), d, state.l + i);
  }
}

// Whether the lane group whose first row is given has seen no step.
HWY_INLINE bool IsFresh(const State& state, size_t row) {
  return state.m[row] == kFreshMax;
}

// Makes a fresh lane group one that has seen a step without visible keys.
inline void Begin(const State& state, const GroupRows& group, size_t dim) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  for (size_t i = 0; i < group.lanes; i += N) {
    hn::Store(hn::Set(d, internal::kEmptyMax), d, state.m + group.row + i);
  }
  for (size_t i = 0; i < group.lanes * dim; i += N) {
    hn::Store(hn::Zero(d), d, state.acc + group.row * dim + i);
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
    if (IsFresh(later, row)) return;
    if (IsFresh(state, row)) Begin(state, group, dim);
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

// One number of each row at a time, as columns are far apart and rows are not.
inline void Save(const internal::QueryTile& tile, void* const* row) {
  const size_t dim = static_cast<size_t>(tile.shape.head_dim_v);
  const size_t rows = static_cast<size_t>(tile.shape.rows);
  const State state = StateOf(tile);
  ForEachGroup(tile, [&](const GroupRows& group) {
    if (IsFresh(state, group.row)) Begin(state, group, dim);
    for (size_t i = 0; i < group.lanes && group.row + i < rows; ++i) {
      float* to = static_cast<float*>(row[group.row + i]);
      const float* acc = state.acc + group.row * dim + i;
      to[0] = state.m[group.row + i];
      to[1] = state.l[group.row + i];
      for (size_t c = 0; c < dim; ++c) to[2 + c] = acc[c * group.lanes];
    }
  });
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_ATTEND_TILE_INL_H_
