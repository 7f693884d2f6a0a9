// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The contract between the portable loops (core) and the code compiled once
// per target (kernels): plain structs and a table of whole steps.
#ifndef HEED_LIB_KERNELS_KERNEL_TABLE_H_
#define HEED_LIB_KERNELS_KERNEL_TABLE_H_

#include <cstddef>
#include <cstdint>

#include "heed/score_rule.h"
#include "heed/types.h"
#include "lib/kernels/score_rows.h"

namespace heed::internal {

// Keys a block: a constant of the result (docs/numerics.md). A row's integer
// maximum moves once per block, and a dense block is the 64 absolute positions
// from a multiple of 64.
inline constexpr int kBlockKeys = 64;

// Keys a span: also a constant of the result. A row's state is the merge, in
// order of position and in two levels, of the states of its spans, each
// starting from nothing.
inline constexpr int64_t kSpanKeys = 4096;

// Spans of a group: the states of a group's spans merge in a chain, and those
// of groups again. A constant of the result too.
inline constexpr int64_t kGroupSpans = 16;

inline constexpr int64_t kMaxHeadDim = 1024;

// The smaller of the two sizes of a group of 4-bit elements.
inline constexpr int64_t kMinScaleGroup = 32;
inline constexpr int kMaxLaneGroups = 16;

// The smallest m: what a row has seen no key with. A finite integer, so that no
// step needs a special case for rows that are still empty.
inline constexpr float kEmptyMax = -3.40282346638528859812e+38f;

// What the tiles of a run have in common.
struct TileShape {
  int rows = 0;  // query rows: the most of any tile, or those of one
  int head_dim = 0;
  int head_dim_v = 0;
  // Roughly the keys that a row sees, where rows see different ones; else 0.
  // Only for how to split rows into lane groups, so no bytes depend on it.
  int uneven_keys = 0;
  // Bit v: keys change with vector v of the rows, so that a lane group should
  // start there. No bytes depend on it either.
  uint64_t cuts = 0;
  DType query = DType::kF32;
  DType key = DType::kF32;
  DType value = DType::kF32;
  DType out = DType::kF32;
  bool rotate_query = false;  // before it is scaled
  bool rotate_out = false;    // before it is rounded to its type
  bool scores = false;        // there may be score inputs
  ScoreRule rule;
};

// Padded rows [row, row + rows) of a tile, which a step takes together.
struct LaneGroup {
  int row;
  int rows;
};

// A tile of query rows. A row is a (position, head) pair; rows are
// position-major, so that the heads of a group share every key they read. Rows
// beyond shape.rows pad the last lane group: they repeat the last row's limits;
// what they give is never stored.
//
// Made by a kernel's `open` in memory that core gives; only the kernel knows
// what stands where in it.
struct QueryTile {
  TileShape shape;  // rows: of this tile
  int padded_rows = 0;
  int num_groups = 0;
  LaneGroup groups[kMaxLaneGroups];

  // Written by core after `open`, per padded row: the keys that it may see are
  // [begin, end) and [0, sink_end).
  int32_t* begin = nullptr;
  int32_t* end = nullptr;
  int32_t* sink_end = nullptr;

  // Score inputs, set by core after `open`; null where there are none.
  const ScoreRows* scores = nullptr;

  // The state that clear, step, merge and finish work on: state_bytes of core's
  // memory, 64-byte aligned. Core changes it between steps.
  void* state = nullptr;

  // The kernel's own: packed queries, the weights of a block, keys and values
  // as f32 where it does not read them in place, and rows on their way there or
  // to be rotated.
  float* query = nullptr;
  float* score = nullptr;
  float* key_f32 = nullptr;
  float* value_f32 = nullptr;
  float* row_f32 = nullptr;
  // With score inputs: what is added to the scores of a block, as `score` lies,
  // and the same by row.
  float* addend = nullptr;
  float* addend_row = nullptr;
  // Of units: weights and values of two keys in 32 bits.
  uint32_t* weight_pair = nullptr;
  uint32_t* value_pair = nullptr;
};

// Whether elements of this type are multiplied by a scale.
constexpr bool IsQuantised(DType dtype) {
  return dtype == DType::kI8 || dtype == DType::kF8E4M3 ||
         dtype == DType::kF8E5M2 || dtype == DType::kU4;
}

// What the elements of quantised rows are multiplied by and what is added, row
// by row: numbers for one group of `group` elements after the other. `scale` is
// null where rows are floats, `minimum` also where they are not u4.
struct RowScales {
  const float* const* scale = nullptr;
  const float* const* minimum = nullptr;
  int group = 1;
};

// Up to kBlockKeys key rows for a query tile.
struct KeyBlock {
  int num_keys = 0;
  // Keys [0, num_keys), in rising order of position: rows of head_dim and
  // head_dim_v elements.
  const void* const* key = nullptr;
  const void* const* value = nullptr;
  RowScales key_scales;
  RowScales value_scales;
  const int32_t* position = nullptr;
  // What to fetch ahead, for each key of this block a row of what is read next:
  // that many bytes behind these rows. Never read, so it may lead past the end.
  // Null: nothing.
  const void* const* fetch_key = nullptr;
  const void* const* fetch_value = nullptr;
  int64_t next_key = 0;
  int64_t next_value = 0;
  // Per lane group, the keys of the block that any of its rows may see:
  // [first, last). Equal where there is none.
  uint8_t first[kMaxLaneGroups] = {};
  uint8_t last[kMaxLaneGroups] = {};
  // Per lane group: every row sees every key of [first, last).
  bool full[kMaxLaneGroups] = {};
};

struct FinishedRow {
  const float* out;
  float lse;
};

// One way to attend to key blocks, as whole steps of a tile. Entries touch the
// caller's memory only at elements that exist, allocate nothing and hold no
// state of their own. All kernels of a target with FMA give the same bits, but
// states are the kernel's: only `merge` of the same kernel reads them.
struct AttendKernel {
  // <op>_<rows>x<vectors>[x<lanes>]_<target> of the micro-kernel.
  const char* name;
  // Has FMA: gives the bits of docs/numerics.md.
  bool same_bits;
  // Rows are padded to whole vectors: f32 lanes of one on this CPU. Only on a
  // CPU that has the target.
  int (*lanes)();
  // Vectors of a full lane group.
  int max_group_vectors;

  // The bytes that `open` lays out for a tile of this shape, and those of one
  // state of it: multiples of 64, which never fall as rows grow.
  int64_t (*tile_bytes)(const TileShape& shape);
  int64_t (*state_bytes)(const TileShape& shape);

  // Lays a tile of shape.rows rows out in `memory` and splits it into lane
  // groups. shape.rows is at most lanes * max_group_vectors * kMaxLaneGroups.
  void (*open)(const TileShape& shape, void* memory, QueryTile* tile);

  // query[row] points at head_dim elements; packs shape.rows of them, scaled.
  void (*pack)(const QueryTile& tile, const void* const* query);

  // Makes tile.state the state of rows that have seen no key.
  void (*clear)(const QueryTile& tile);

  // Attends to one block: moves the maximum, rescales, adds.
  void (*step)(const QueryTile& tile, const KeyBlock& block);

  // Merges the state of later keys, of a tile opened the same, into tile.state.
  void (*merge)(const QueryTile& tile, const void* later_state);

  // Writes the states as they are, m, l and head_dim_v of acc, to row[i], 2 +
  // head_dim_v floats each.
  void (*save)(const QueryTile& tile, void* const* row);

  // Writes out[row] (head_dim_v elements each) and, where lse is not null,
  // *lse[row]. The state is spent.
  void (*finish)(const QueryTile& tile, void* const* out, float* const* lse);

  // The two halves of `step`, where a kernel offers them, for tiles without
  // score inputs: the scores of a block's keys, masked, to
  // scores[row][kBlockKeys]; and what is left, from there. The second needs no
  // packed queries, and its tile may have other columns of values.
  void (*score)(const QueryTile& tile, const KeyBlock& block, float* scores);
  void (*weigh)(const QueryTile& tile, const KeyBlock& block,
                const float* scores);
};

// The kernels of one target.
struct AttentionTable {
  // For tiles of many query rows, which stand in lanes.
  AttendKernel attend;
  // The same for query, key and value of bf16 that are not rotated, by a unit:
  // no name where none has it. Its tiles split as those of `attend`, its states
  // are as large.
  AttendKernel attend_bf16;
  // For up to decode_rows query rows, which share what they read of each key:
  // lanes are keys, and then columns of values.
  AttendKernel decode;
  int decode_rows;

  // Merges two finished rows of `dim` floats: see MergeStates. `out` and `lse`
  // may be the memory of a row.
  void (*merge_rows)(const FinishedRow& a, const FinishedRow& b, int64_t dim,
                     float* out, float* lse);
};

}  // namespace heed::internal

#endif  // HEED_LIB_KERNELS_KERNEL_TABLE_H_
