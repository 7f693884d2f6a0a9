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

// Rows become whole vectors, and vectors become full groups; what is left over
// is evened out, as two groups of 2 vectors run faster than one of 3 and one of
// 1 (which has too few accumulators to hide the latency of an FMA).
inline int SplitRows(int num_rows, int* rows_of) {
  const int lanes = static_cast<int>(hn::Lanes(hn::ScalableTag<float>()));
  int vectors = (num_rows + lanes - 1) / lanes;
  int groups = 0;
  while (vectors > 0) {
    int take = vectors < kMaxVectors ? vectors : kMaxVectors;
    if (vectors == kMaxVectors + 1) take = 2;
    rows_of[groups++] = take * lanes;
    vectors -= take;
  }
  return groups;
}

// A lane group of a tile: `index` of `count`, its padded rows from `row` on.
struct LaneGroup {
  size_t index, count;
  size_t row, lanes;
};

// Calls visit(group) for each lane group of a tile.
template <class Function>
HWY_INLINE void ForEachGroup(int num_rows, const Function& visit) {
  int rows_of[internal::kMaxLaneGroups];
  const size_t count = static_cast<size_t>(SplitRows(num_rows, rows_of));
  size_t row = 0;
  for (size_t g = 0; g < count; ++g) {
    const size_t lanes = static_cast<size_t>(rows_of[g]);
    visit(LaneGroup{g, count, row, lanes});
    row += lanes;
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

inline void Pack(const internal::QueryTile& tile, const float* const* query) {
  const size_t dim = static_cast<size_t>(tile.head_dim);
  const size_t rows = static_cast<size_t>(tile.num_rows);
  const float scale = tile.rule.query_scale;
  ForEachGroup(tile.num_rows, [&](const LaneGroup& group) {
    const size_t row = group.row, lanes = group.lanes;
    float* HWY_RESTRICT packed = tile.query + row * dim;
    for (size_t r = 0; r < lanes; r += 4) {
      size_t c = 0;
      if (row + r + 4 <= rows) {
        for (; c + 4 <= dim; c += 4) {
          const float* from[4];
          float* to[4];
          for (size_t i = 0; i < 4; ++i) {
            from[i] = query[row + r + i] + c;
            to[i] = packed + (c + i) * lanes + r;
          }
          Transpose4(from, to, scale);
        }
      }
      for (; c < dim; ++c) {
        for (size_t i = 0; i < 4; ++i) {
          packed[c * lanes + r + i] =
              row + r + i < rows ? query[row + r + i][c] * scale : 0.0f;
        }
      }
    }
  });
}

inline void Clear(const internal::QueryTile& tile) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const size_t dim = static_cast<size_t>(tile.head_dim_v);
  ForEachGroup(tile.num_rows, [&](const LaneGroup& group) {
    const size_t row = group.row, lanes = group.lanes;
    for (size_t i = 0; i < lanes; i += N) {
      hn::Store(hn::Set(d, internal::kEmptyMax), d, tile.m + row + i);
      hn::Store(hn::Zero(d), d, tile.l + row + i);
    }
    for (size_t i = 0; i < lanes * dim; i += N) {
      hn::Store(hn::Zero(d), d, tile.acc + row * dim + i);
    }
  });
}

inline void Merge(const internal::QueryTile& tile, const float* acc,
                  const float* m, const float* l) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const size_t dim = static_cast<size_t>(tile.head_dim_v);
  ForEachGroup(tile.num_rows, [&](const LaneGroup& group) {
    const size_t row = group.row, lanes = group.lanes;
    for (size_t i = 0; i < lanes; i += N) {
      const auto ma = hn::Load(d, tile.m + row + i);
      const auto mb = hn::Load(d, m + row + i);
      const auto max = hn::Max(ma, mb);
      const auto a = Rescale(d, hn::Sub(ma, max));
      const auto b = Rescale(d, hn::Sub(mb, max));
      hn::Store(max, d, tile.m + row + i);
      const auto la = hn::Mul(hn::Load(d, tile.l + row + i), a);
      hn::Store(hn::MulAdd(b, hn::Load(d, l + row + i), la), d,
                tile.l + row + i);
      for (size_t c = 0; c < dim; ++c) {
        float* at = tile.acc + row * dim + c * lanes + i;
        const float* from = acc + row * dim + c * lanes + i;
        const auto old = hn::Mul(hn::Load(d, at), a);
        hn::Store(hn::MulAdd(b, hn::Load(d, from), old), d, at);
      }
    }
  });
}

inline void Finish(const internal::QueryTile& tile, float* const* out,
                   float* const* lse) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const size_t dim = static_cast<size_t>(tile.head_dim_v);
  const size_t rows = static_cast<size_t>(tile.num_rows);
  ForEachGroup(tile.num_rows, [&](const LaneGroup& group) {
    const size_t row = group.row, lanes = group.lanes;
    float* HWY_RESTRICT acc = tile.acc + row * dim;
    for (size_t i = 0; i < lanes; i += N) {
      const auto l = hn::Load(d, tile.l + row + i);
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
      const auto m = hn::Load(d, tile.m + row + i);
      hn::Store(LogSum(d, m, l), d, tile.l + row + i);
    }
    for (size_t r = 0; r < lanes && row + r < rows; r += 4) {
      size_t c = 0;
      if (row + r + 4 <= rows) {
        for (; c + 4 <= dim; c += 4) {
          const float* from[4];
          float* to[4];
          for (size_t i = 0; i < 4; ++i) {
            from[i] = acc + (c + i) * lanes + r;
            to[i] = out[row + r + i] + c;
          }
          Transpose4(from, to, 1.0f);
        }
      }
      for (; c < dim; ++c) {
        for (size_t i = 0; i < 4 && row + r + i < rows; ++i) {
          out[row + r + i][c] = acc[c * lanes + r + i];
        }
      }
    }
  });
  if (lse == nullptr) return;
  for (size_t r = 0; r < rows; ++r) *lse[r] = tile.l[r];
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_ATTEND_TILE_INL_H_
