// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Exact attention compiled once per target, and the table of each.
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernels.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/attend.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"
#include "lib/kernels/attend_finish-inl.h"
#include "lib/kernels/attend_pack-inl.h"
#include "lib/kernels/attend_step-inl.h"
#include "lib/kernels/attend_tile-inl.h"
#include "lib/kernels/coefficients.h"
#include "lib/kernels/scaled_rows-inl.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {

int Lanes() { return static_cast<int>(hn::Lanes(hn::ScalableTag<float>())); }

// Whether rows of f32 values are worth a copy: where they stand a multiple of
// 4 KiB apart, as those of strided tensors with many heads do, a first-level
// cache has room for few of them at a time. Micro-kernels of 4 rows then fetch
// each line four times for each lane group. (Keys are read row by row, and lose
// by it.) AVX2, 192 queries, 256 keys, GFLOP/s without and with: 16 heads of 64
// 89 and 95, 32 heads of 64 86 and 91, 32 of 128 87 and 94; AVX-512, whose
// micro-kernels have 8 rows, 16 heads of 64 101 and 97.
bool WorthCopying(const void* const* rows, size_t first, size_t last,
                  size_t groups) {
  if (!kCopiesValues || groups < 2 || last - first < 16) return false;
  const uintptr_t step = reinterpret_cast<uintptr_t>(rows[first + 1]) -
                         reinterpret_cast<uintptr_t>(rows[first]);
  return step % 4096 == 0 && step != 0;
}

// The rows of a block as f32: where they are stored so, or widened or copied
// once for all lane groups, as far as one of them sees the key.
class FloatRows {
 public:
  const float* const* Of(DType type, const void* const* rows,
                         const internal::RowScales& scales, size_t first,
                         size_t last, size_t dim, bool copy, float* wide) {
    if (type == DType::kF32 && !copy) {
      // Any pointer may be read as one to void.
      return reinterpret_cast<const float* const*>(rows);
    }
    for (size_t i = first; i < last; ++i) {
      WidenListedRow(type, rows, scales, i, dim, wide + i * dim);
      row_[i] = wide + i * dim;
    }
    return row_;
  }

 private:
  const float* row_[internal::kBlockKeys];
};

// Whether values are the first channels of keys (multi-head latent attention),
// so that what was widened for keys serves them too. Zen 3, bf16, 16 heads of
// 576 and 512 channels, GFLOP/s without and with: 67 and 79.
bool ValuesAreKeys(const internal::TileShape& shape,
                   const internal::KeyBlock& block, size_t first, size_t last) {
  bool same = shape.key == shape.value && !internal::IsQuantised(shape.key) &&
              shape.head_dim_v <= shape.head_dim;
  for (size_t i = first; same && i < last; ++i) {
    same = block.key[i] == block.value[i];
  }
  return same;
}

void Step(const internal::QueryTile& tile, const internal::KeyBlock& block) {
  const internal::TileShape& shape = tile.shape;
  const size_t groups = static_cast<size_t>(tile.num_groups);
  const auto [first, last] = SeenKeys(tile, block);
  FloatRows key_rows, value_rows;
  const float* const* key = key_rows.Of(
      shape.key, block.key, block.key_scales, first, last,
      static_cast<size_t>(shape.head_dim), /*copy=*/false, tile.key_f32);
  const bool copy = tile.value_f32 != nullptr &&
                    WorthCopying(block.value, first, last, groups);
  const float* const* value =
      !copy && ValuesAreKeys(shape, block, first, last)
          ? key
          : value_rows.Of(shape.value, block.value, block.value_scales, first,
                          last, static_cast<size_t>(shape.head_dim_v), copy,
                          tile.value_f32);
  ForEachGroup(tile, [&](const GroupRows& group) {
    GroupStep s = StepOf(tile, block, group, key, value);
    if (s.first >= s.last) return;
    const size_t vectors = group.lanes / hn::Lanes(hn::ScalableTag<float>());
    if (vectors == 1) {
      StepGroup<1>(s);
    } else if (vectors == 2) {
      StepGroup<2>(s);
    } else {
      StepGroup<3>(s);
    }
  });
}

// One finished row and its weight: exp(lse) relative to the larger of two.
void MergeRows(const internal::FinishedRow& a, const internal::FinishedRow& b,
               int64_t dim, float* out, float* lse) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const size_t size = static_cast<size_t>(dim);
  const bool no_a = a.lse == -INFINITY;
  const bool no_b = b.lse == -INFINITY;
  if (no_a || no_b) {
    // Copied: what a part without keys holds in `out` counts for nothing.
    const float* from = no_a ? b.out : a.out;
    for (size_t c = 0; c < size; ++c) out[c] = no_a && no_b ? 0.0f : from[c];
    *lse = no_a ? b.lse : a.lse;
    return;
  }
  const float max = a.lse > b.lse ? a.lse : b.lse;
  const auto log2e = hn::Set(d, internal::kLog2E);
  const auto wa = Exp2(d, hn::Mul(hn::Set(d, a.lse - max), log2e));
  const auto wb = Exp2(d, hn::Mul(hn::Set(d, b.lse - max), log2e));
  const auto l = hn::Add(wa, wb);
  // Before `out`, which may be the memory of a part.
  const float log = max + hn::GetLane(LogSum(d, hn::Zero(d), l));
  size_t c = 0;
  for (; c + N <= size; c += N) {
    const auto part = hn::Mul(wa, hn::LoadU(d, a.out + c));
    const auto sum = hn::MulAdd(wb, hn::LoadU(d, b.out + c), part);
    hn::StoreU(hn::Div(sum, l), d, out + c);
  }
  const hn::CappedTag<float, 1> d1;
  for (; c < size; ++c) {
    const auto part =
        hn::Mul(hn::Set(d1, hn::GetLane(wa)), hn::Set(d1, a.out[c]));
    const auto sum =
        hn::MulAdd(hn::Set(d1, hn::GetLane(wb)), hn::Set(d1, b.out[c]), part);
    out[c] = hn::GetLane(hn::Div(sum, hn::Set(d1, hn::GetLane(l))));
  }
  *lse = log;
}

constexpr internal::AttentionTable kTable = {
    /*attend=*/{
        /*name=*/HEED_TARGET_FACTS.kernel,
        /*same_bits=*/HEED_TARGET_FACTS.same_bits,
        /*lanes=*/&Lanes,
        /*max_group_vectors=*/kMaxVectors,
        /*tile_bytes=*/&TileBytes,
        /*state_bytes=*/&StateBytes,
        /*open=*/&Open,
        /*pack=*/&Pack,
        /*clear=*/&Clear,
        /*step=*/&Step,
        /*merge=*/&Merge,
        /*save=*/&Save,
        /*finish=*/&Finish,
        /*score=*/nullptr,
        /*weigh=*/nullptr,
    },
    /*attend_bf16=*/{},  // kernels.cc sets it
    /*decode=*/{},       // kernels.cc sets it
    /*decode_rows=*/0,
    /*merge_rows=*/&MergeRows,
};

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#if HWY_ONCE
namespace heed::internal {

const AttentionTable* HighwayAttention(Target target) {
  static constexpr const AttentionTable* kTables[] = {HEED_TABLES};
  return kTables[static_cast<int>(target)];
}

}  // namespace heed::internal
#endif  // HWY_ONCE
