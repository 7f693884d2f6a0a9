// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a step hands each lane group: its part of the block, and its share of
// what to fetch ahead.
#if defined(HEED_LIB_KERNELS_GROUP_STEP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_GROUP_STEP_INL_H_
#undef HEED_LIB_KERNELS_GROUP_STEP_INL_H_
#else
#define HEED_LIB_KERNELS_GROUP_STEP_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/attend_tile-inl.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
using internal::KeyBlock;
using internal::QueryTile;

// One lane group of a tile against the keys [first, last) of a block.
struct GroupStep {
  const QueryTile* tile;
  const KeyBlock* block;
  const float* const* key;  // the block's rows as f32
  const float* const* value;
  // Of a row where it is stored, and the rows to fetch: see KeyBlock.
  size_t key_bytes, value_bytes;
  const void* const* fetch_key;
  const void* const* fetch_value;
  State state;
  size_t row;  // the group's first padded row
  size_t first, last;
  bool full;
  bool fresh;  // the group's first step: acc holds nothing yet
  size_t fetch_first, fetch_last;  // the group's share of what to fetch ahead
  // With score inputs: what is added to these scores, or null, and whether
  // anything is done to them.
  const float* addend = nullptr;
  bool modified = false;
  // Of kernels that leave queries as they are: times this, before anything is
  // added.
  float scale = 1.0f;
};

// The keys of a block that any lane group sees; first beyond last where none.
struct KeyRange {
  size_t first, last;
};
HWY_INLINE KeyRange SeenKeys(const QueryTile& tile, const KeyBlock& block) {
  KeyRange seen = {static_cast<size_t>(block.num_keys), 0};
  for (int g = 0; g < tile.num_groups; ++g) {
    if (block.first[g] >= block.last[g]) continue;
    seen.first = HWY_MIN(seen.first, size_t{block.first[g]});
    seen.last = HWY_MAX(seen.last, size_t{block.last[g]});
  }
  return seen;
}

// `key` and `value` are the block's rows as f32, or null where a kernel reads
// others.
HWY_INLINE GroupStep StepOf(const QueryTile& tile, const KeyBlock& block,
                            const GroupRows& group, const float* const* key,
                            const float* const* value) {
  const internal::TileShape& shape = tile.shape;
  const size_t keys = static_cast<size_t>(block.num_keys);
  const size_t groups = static_cast<size_t>(tile.num_groups);
  const size_t g = group.index;
  const size_t key_bytes =
      static_cast<size_t>(BytesOf(shape.key, shape.head_dim));
  const size_t value_bytes =
      static_cast<size_t>(BytesOf(shape.value, shape.head_dim_v));
  // Where values are parts of keys (multi-head latent attention), whole keys
  // are fetched beside the values, whose micro-kernels are shorter and more.
  // Zen 3, 16 heads of 576 and 512 channels: 0.80 of the FMA peak instead of
  // 0.75.
  const bool one = block.num_keys > 0 && block.key[0] == block.value[0];
  return {&tile,
          &block,
          key,
          value,
          key_bytes,
          one ? HWY_MAX(key_bytes, value_bytes) : value_bytes,
          one ? nullptr : block.fetch_key,
          block.fetch_value,
          StateOf(tile),
          group.row,
          block.first[g],
          block.last[g],
          block.full[g],
          IsFresh(StateOf(tile), group.row),
          keys * g / groups,
          keys * (g + 1) / groups};
}

// Brings the rows into the second-level cache that will stand in this block's
// places in the next: not into the first, which the block at hand fills. Each
// lane group fetches its share, a few rows after every micro-kernel: in bursts
// they would take all fill buffers, and what the block at hand misses in the
// first level would wait behind them for memory (docs/performance.md).
class FetchAhead {
 public:
  // `ahead` bytes behind `rows`, of `bytes` each; null: nothing. Next will be
  // called `calls` times.
  FetchAhead(const GroupStep& s, const void* const* rows, int64_t ahead,
             size_t bytes, size_t calls)
      : rows_(rows),
        ahead_(static_cast<uintptr_t>(ahead)),
        bytes_(bytes),
        at_(s.fetch_first),
        last_(rows != nullptr && calls != 0 ? s.fetch_last : s.fetch_first) {
    const size_t lines = (last_ - at_) * ((bytes + kLine - 1) / kLine);
    step_ = calls != 0 ? (lines + calls - 1) / calls : 0;
  }

  HWY_INLINE void Next() {
    for (size_t i = 0; i < step_ && at_ < last_; ++i) {
      // As an integer: the address may lie past the end, and is never read.
      const uintptr_t row = reinterpret_cast<uintptr_t>(rows_[at_]) + ahead_;
      __builtin_prefetch(reinterpret_cast<const void*>(row + byte_), /*rw=*/0,
                         /*locality=*/2);
      byte_ += kLine;
      if (byte_ >= bytes_) {
        byte_ = 0;
        ++at_;
      }
    }
  }

 private:
  static constexpr uintptr_t kLine = 64;

  const void* const* rows_;
  uintptr_t ahead_;
  size_t bytes_;
  size_t at_, last_;
  size_t byte_ = 0;  // of row at_
  size_t step_ = 0;  // lines a call
};

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_GROUP_STEP_INL_H_
