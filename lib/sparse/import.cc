// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Plans from other libraries' arrays, and back.
#include <algorithm>
#include <cstdint>

#include "heed/sparse.h"
#include "lib/core/check.h"
#include "lib/sparse/key_set.h"
#include "lib/sparse/plan_memory.h"

namespace heed {
namespace {

using internal::BlocksOf;
using internal::Invalid;

Status CheckGrid(const BlockGridShape& shape) {
  const struct {
    const char* name;
    int64_t value;
    int64_t least;
  } extents[] = {{"batch", shape.batch, 1},
                 {"num_heads", shape.num_heads, 1},
                 {"seqlen_q", shape.seqlen_q, 0},
                 {"seqlen_k", shape.seqlen_k, 0},
                 {"query_block_size", shape.query_block_size, 1},
                 {"key_block_size", shape.key_block_size, 1}};
  int64_t entries = 1;
  for (const auto& extent : extents) {
    if (extent.value < extent.least) {
      return Invalid(extent.name, "is too small for a grid of blocks")
          .WithValue(extent.value)
          .WithBound(extent.least, BoundKind::kAtLeast);
    }
  }
  for (const int64_t factor :
       {shape.batch, shape.num_heads,
        BlocksOf(shape.seqlen_q, shape.query_block_size),
        BlocksOf(shape.seqlen_k, shape.key_block_size)}) {
    if (__builtin_mul_overflow(entries, factor, &entries)) {
      return Status(StatusCode::kOverflow, "num_heads",
                    "a grid has more blocks than 63 bits count");
    }
  }
  return Status();
}

// The lists of a grid, in numbers.
struct Grid {
  explicit Grid(const BlockGridShape& shape)
      : lists(shape.batch * shape.num_heads *
              BlocksOf(shape.seqlen_q, shape.query_block_size)),
        key_blocks(BlocksOf(shape.seqlen_k, shape.key_block_size)) {}
  int64_t lists;
  int64_t key_blocks;
};

// Makes a plan of the runs of key blocks [begin, end) for which
// for_each_run(list, f) calls f(begin, end), rising.
template <typename ForEachRun>
Status MakePlanOfRuns(const AttentionParams& params,
                      const BlockGridShape& shape, const Scratch& memory,
                      ForEachRun for_each_run, SparsePlan* plan) {
  SparsePlan made;
  made.params = internal::MasksOf(params, shape.seqlen_q, shape.seqlen_k);
  made.batch = shape.batch;
  made.num_heads = shape.num_heads;
  made.seqlen_q = shape.seqlen_q;
  made.seqlen_k = shape.seqlen_k;
  made.query_block_size = shape.query_block_size;
  const int64_t lists = Grid(shape).lists;
  int64_t* const offsets = memory.Array<int64_t>(lists + 1);
  if (offsets == nullptr) return internal::PlanOutOfMemory();
  offsets[0] = 0;
  for (int64_t list = 0; list < lists; ++list) {
    int64_t count = 0;
    for_each_run(list, [&](int64_t, int64_t) { ++count; });
    offsets[list + 1] = offsets[list] + count;
  }
  KeyInterval* const intervals = memory.Array<KeyInterval>(offsets[lists]);
  if (intervals == nullptr) return internal::PlanOutOfMemory();
  KeyInterval* next = intervals;
  for (int64_t list = 0; list < lists; ++list) {
    for_each_run(list, [&](int64_t begin, int64_t end) {
      *next++ = {static_cast<int32_t>(begin * shape.key_block_size),
                 static_cast<int32_t>(
                     std::min(end * shape.key_block_size, shape.seqlen_k))};
    });
  }
  made.offsets = offsets;
  made.intervals = intervals;
  made.num_intervals = offsets[lists];
  *plan = made;
  return Status();
}

Status CheckRequest(const AttentionParams& params, const BlockGridShape& shape,
                    const Scratch& memory) {
  const Status status = CheckGrid(shape);
  if (!status.ok()) return status;
  AttentionShape extents;
  extents.batch = shape.batch;
  extents.num_heads = shape.num_heads;
  extents.seqlen_q = shape.seqlen_q;
  extents.seqlen_k = shape.seqlen_k;
  return internal::CheckPlanRequest(params, extents, shape.query_block_size,
                                    memory);
}

}  // namespace

Status PlanFromBlockMap(const AttentionParams& params,
                        const BlockGridShape& shape, const uint8_t* map,
                        const Scratch& memory, SparsePlan* plan) {
  const Status status = CheckRequest(params, shape, memory);
  if (!status.ok()) return status;
  const Grid grid(shape);
  if (map == nullptr && grid.lists * grid.key_blocks > 0) {
    return Invalid("map", "is null");
  }
  const auto for_each_run = [&](int64_t list, auto f) {
    const uint8_t* kept = map + list * grid.key_blocks;
    for (int64_t j = 0; j < grid.key_blocks; ++j) {
      if (!kept[j]) continue;
      const int64_t begin = j;
      while (j < grid.key_blocks && kept[j]) ++j;
      f(begin, j);
    }
  };
  return MakePlanOfRuns(params, shape, memory, for_each_run, plan);
}

Status PlanFromBlockRows(const AttentionParams& params,
                         const BlockGridShape& shape, const int32_t* indptr,
                         const int32_t* indices, const Scratch& memory,
                         SparsePlan* plan) {
  const Status status = CheckRequest(params, shape, memory);
  if (!status.ok()) return status;
  const Grid grid(shape);
  if (indptr == nullptr) return Invalid("indptr", "is null");
  if (indptr[0] != 0) return Invalid("indptr", "must start at 0").WithIndex(0);
  for (int64_t list = 0; list < grid.lists; ++list) {
    if (indptr[list + 1] < indptr[list]) {
      return Invalid("indptr", "must not fall").WithIndex(list + 1);
    }
  }
  if (indices == nullptr && indptr[grid.lists] > 0) {
    return Invalid("indices", "is null");
  }
  for (int64_t list = 0; list < grid.lists; ++list) {
    int64_t last = -1;
    for (int64_t i = indptr[list]; i < indptr[list + 1]; ++i) {
      if (indices[i] <= last || indices[i] >= grid.key_blocks) {
        return Invalid("indices",
                       "must rise within a row and stay below the key blocks")
            .WithIndex(i)
            .WithValue(indices[i]);
      }
      last = indices[i];
    }
  }
  const auto for_each_run = [&](int64_t list, auto f) {
    for (int64_t i = indptr[list]; i < indptr[list + 1];) {
      const int64_t begin = indices[i];
      int64_t end = begin;
      while (i < indptr[list + 1] && indices[i] == end) {
        ++i;
        ++end;
      }
      f(begin, end);
    }
  };
  return MakePlanOfRuns(params, shape, memory, for_each_run, plan);
}

Status BlockMapFromCounts(const BlockGridShape& shape,
                          const int32_t* kv_num_blocks,
                          const int32_t* kv_indices, int64_t row_stride,
                          uint8_t* map) {
  const Status status = CheckGrid(shape);
  if (!status.ok()) return status;
  const Grid grid(shape);
  if (grid.lists == 0) return Status();
  if (kv_num_blocks == nullptr) return Invalid("kv_num_blocks", "is null");
  // Rows of no entries and maps of no blocks need no memory.
  if (kv_indices == nullptr && row_stride != 0) {
    return Invalid("kv_indices", "is null");
  }
  if (map == nullptr && grid.key_blocks != 0) return Invalid("map", "is null");
  if (row_stride < 0) {
    return Invalid("row_stride", "must not be negative")
        .WithValue(row_stride)
        .WithBound(0, BoundKind::kAtLeast);
  }
  for (int64_t list = 0; list < grid.lists; ++list) {
    const int64_t count = kv_num_blocks[list];
    if (count < 0 || count > row_stride) {
      return Invalid("kv_num_blocks", "must be in [0, row_stride]")
          .WithIndex(list)
          .WithValue(count)
          .WithBound(row_stride);
    }
    for (int64_t i = list * row_stride; i < list * row_stride + count; ++i) {
      if (kv_indices[i] < 0 || kv_indices[i] >= grid.key_blocks) {
        return Invalid("kv_indices", "must stay below the key blocks")
            .WithIndex(i)
            .WithValue(kv_indices[i])
            .WithBound(grid.key_blocks - 1);
      }
    }
  }
  std::fill(map, map + grid.lists * grid.key_blocks, 0);
  for (int64_t list = 0; list < grid.lists; ++list) {
    const int32_t* row = kv_indices + list * row_stride;
    for (int64_t i = 0; i < kv_num_blocks[list]; ++i) {
      map[list * grid.key_blocks + row[i]] = 1;
    }
  }
  return Status();
}

Status BlockMapOf(const SparsePlan& plan, const BlockGridShape& shape,
                  uint8_t* map) {
  Status status = CheckGrid(shape);
  if (!status.ok()) return status;
  if (plan.offsets == nullptr) return Invalid("plan", "was never made");
  const struct {
    const char* name;
    int64_t got, want;
  } extents[] = {
      {"batch", shape.batch, plan.batch},
      {"num_heads", shape.num_heads, plan.num_heads},
      {"seqlen_q", shape.seqlen_q, plan.seqlen_q},
      {"seqlen_k", shape.seqlen_k, plan.seqlen_k},
      {"query_block_size", shape.query_block_size, plan.query_block_size}};
  for (const auto& extent : extents) {
    if (extent.got == extent.want) continue;
    return Invalid(extent.name, "is another than the sparse plan's")
        .WithValue(extent.got)
        .WithBound(extent.want, BoundKind::kNeeds);
  }
  const Grid grid(shape);
  if (map == nullptr && grid.lists * grid.key_blocks > 0) {
    return Invalid("map", "is null");
  }
  std::fill(map, map + grid.lists * grid.key_blocks, 0);
  for (int64_t list = 0; list < grid.lists; ++list) {
    uint8_t* const kept = map + list * grid.key_blocks;
    for (int64_t i = plan.offsets[list]; i < plan.offsets[list + 1]; ++i) {
      const KeyInterval& at = plan.intervals[i];
      std::fill(kept + at.begin / shape.key_block_size,
                kept + BlocksOf(at.end, shape.key_block_size), 1);
    }
  }
  return Status();
}

}  // namespace heed
