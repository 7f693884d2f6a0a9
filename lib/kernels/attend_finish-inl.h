// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The end of a query tile: sums become rows of out.
#if defined(HEED_LIB_KERNELS_ATTEND_FINISH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_ATTEND_FINISH_INL_H_
#undef HEED_LIB_KERNELS_ATTEND_FINISH_INL_H_
#else
#define HEED_LIB_KERNELS_ATTEND_FINISH_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/attend_tile-inl.h"
#include "lib/kernels/convert-inl.h"
#include "lib/kernels/hadamard-inl.h"
#include "lib/kernels/hwy_math-inl.h"
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

// The sums of one vector of rows: column c of row i is acc[c * stride + i].
struct Sums {
  float* acc;
  size_t stride;
  const float* l;
};

// Squares of SVE are narrower than vectors, and a division costs the same for
// both: there it comes first, in place.
inline constexpr bool kDivideFirst = HWY_HAVE_SCALABLE;

// acc / l + 0, and 0 where l is 0.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Quotient(D d, V acc, V l) {
  const auto none = hn::Eq(l, hn::Zero(d));
  // Rows without keys are divided by 1: 0 / 0 would raise a flag.
  const V x = hn::Div(acc, hn::IfThenElse(none, hn::Set(d, 1.0f), l));
  // + 0 turns -0 into 0, as a masked key may or may not have done before.
  return hn::IfThenZeroElse(none, hn::Add(x, hn::Zero(d)));
}

// The same of sums that are divided already, where kDivideFirst.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Result(D d, V acc, V l) {
  if constexpr (kDivideFirst) return acc;
  return Quotient(d, acc, l);
}

inline void DivideSums(const Sums& sums, size_t dim) {
  const hn::ScalableTag<float> d;
  const auto l = hn::Load(d, sums.l);
  for (size_t c = 0; c < dim; ++c) {
    float* at = sums.acc + c * sums.stride;
    hn::Store(Quotient(d, hn::Load(d, at), l), d, at);
  }
}

// Writes columns [c, dim) of rows 0 .. count - 1, as far as whole squares of
// `d` go. Returns the first column that is left. The quotients overlap with
// turning them, and full lines are written at once.
template <class D, class T>
HWY_INLINE size_t FinishSquares(D d, const Sums& sums, size_t c, size_t dim,
                                size_t count, void* const* out) {
  const size_t side = hn::Lanes(d);
  if (c + side > dim) return c;
  for (size_t r = 0; r < count; r += side) {
    const size_t rows = HWY_MIN(count - r, side);
    const auto l = hn::LoadU(d, sums.l + r);
    for (size_t at = c; at + side <= dim; at += side) {
      const auto load = [&](size_t i) {
        const float* acc = sums.acc + (at + i) * sums.stride + r;
        return Result(d, hn::LoadU(d, acc), l);
      };
      const auto store = [&](const hn::Vec<D>& v, size_t i) {
        if (i < rows) StoreNarrow(v, d, static_cast<T*>(out[r + i]) + at);
      };
      TransposeSquare(d, load, store);
    }
  }
  return dim - (dim - c) % side;
}

// One vector of rows, of which `count` exist.
template <class T>
HWY_NOINLINE void FinishRows(const Sums& sums, size_t dim, size_t count,
                             void* const* out) {
  if constexpr (kDivideFirst) DivideSums(sums, dim);
  size_t c = FinishSquares<SquareTag, T>(SquareTag(), sums, 0, dim, count, out);
  c = FinishSquares<SmallSquareTag, T>(SmallSquareTag(), sums, c, dim, count,
                                       out);
  const hn::CappedTag<float, 1> d1;
  for (; c < dim; ++c) {
    for (size_t i = 0; i < count; ++i) {
      const auto acc = hn::Set(d1, sums.acc[c * sums.stride + i]);
      const auto x = Result(d1, acc, hn::Set(d1, sums.l[i]));
      internal::scalar::Narrow(hn::GetLane(x), static_cast<T*>(out[i]) + c);
    }
  }
}

// The same, rotated on the way.
inline void FinishRotated(const internal::QueryTile& tile, const Sums& sums,
                          size_t count, void* const* out) {
  const size_t dim = static_cast<size_t>(tile.shape.head_dim_v);
  void* wide[kMostLanes];
  for (size_t i = 0; i < count; ++i) wide[i] = tile.row_f32 + i * dim;
  FinishRows<float>(sums, dim, count, wide);
  for (size_t i = 0; i < count; ++i) {
    float* row = static_cast<float*>(wide[i]);
    RotateRow(row, dim);
    NarrowRow(tile.shape.out, row, dim, out[i]);
  }
}

// Merges the state of one more key with value 0 into each row: its weight goes
// to l (heed/score_inputs.h, sink_logits).
inline void AddSinks(const internal::QueryTile& tile) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const size_t dim = static_cast<size_t>(tile.shape.head_dim_v);
  const State state = StateOf(tile);
  ForEachGroup(tile, [&](const GroupRows& group) {
    if (IsFresh(state, group.row)) Begin(state, group, dim);
    for (size_t i = 0; i < group.lanes; i += N) {
      const size_t row = group.row + i;
      auto m = hn::Load(d, state.m + row);
      auto l = hn::Load(d, state.l + row);
      auto alpha = l;
      AddSink(d, hn::Load(d, tile.scores->sink + row), m, l, alpha);
      hn::Store(m, d, state.m + row);
      hn::Store(l, d, state.l + row);
      for (size_t c = 0; c < dim; ++c) {
        float* at = state.acc + group.row * dim + c * group.lanes + i;
        hn::Store(hn::Mul(hn::Load(d, at), alpha), d, at);
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
  const State state = StateOf(tile);
  if (tile.scores != nullptr && tile.scores->sink != nullptr) AddSinks(tile);
  ForEachGroup(tile, [&](const GroupRows& group) {
    const size_t row = group.row, lanes = group.lanes;
    if (IsFresh(state, row)) Begin(state, group, dim);
    for (size_t i = 0; i < lanes && row + i < rows; i += N) {
      const Sums sums = {state.acc + row * dim + i, lanes, state.l + row + i};
      const size_t count = HWY_MIN(N, rows - row - i);
      if (tile.shape.rotate_out) {
        FinishRotated(tile, sums, count, out + row + i);
      } else if (tile.shape.out == DType::kBF16) {
        FinishRows<bf16>(sums, dim, count, out + row + i);
      } else if (tile.shape.out == DType::kF16) {
        FinishRows<f16>(sums, dim, count, out + row + i);
      } else {
        FinishRows<float>(sums, dim, count, out + row + i);
      }
      if (lse == nullptr) continue;
      // l is not needed any more: it becomes the row's lse.
      const auto m = hn::Load(d, state.m + row + i);
      const auto l = hn::Load(d, state.l + row + i);
      hn::Store(LogSum(d, m, l), d, state.l + row + i);
      for (size_t r = 0; r < count; ++r) {
        *lse[row + i + r] = state.l[row + i + r];
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

#endif  // HEED_LIB_KERNELS_ATTEND_FINISH_INL_H_
