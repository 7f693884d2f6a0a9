// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The contract between the portable loops (core) and the code compiled once
// per target (kernels): plain structs and a table of whole steps.
#ifndef HEED_LIB_KERNELS_KERNEL_TABLE_H_
#define HEED_LIB_KERNELS_KERNEL_TABLE_H_

#include <cstddef>
#include <cstdint>

#include "heed/score_rule.h"

namespace heed::internal {

// Keys a block: a constant of the result (docs/numerics.md). A row's integer
// maximum moves once per block, and a dense block is the 64 absolute positions
// from a multiple of 64.
inline constexpr int kBlockKeys = 64;

// Keys a span: also a constant of the result. A row's state is the merge, in
// order of position, of the states of its spans, each starting from nothing.
inline constexpr int64_t kSpanKeys = 4096;

inline constexpr int64_t kMaxHeadDim = 1024;
inline constexpr int kMaxLaneGroups = 16;

// The smallest m: what a row has seen no key with. A finite integer, so that no
// step needs a special case for rows that are still empty.
inline constexpr float kEmptyMax = -3.40282346638528859812e+38f;

// A tile of query rows with their state, in the layout of the table's entries.
// Owned by core; all buffers 64-byte aligned, in the workspace.
//
// A row is a (position, head) pair; rows are position-major, so that the heads
// of a group share every key they read. Lanes beyond num_rows repeat the last
// row's limits and hold zeros as query; what they give is never stored.
struct QueryTile {
  float* query = nullptr;  // packed: lane group, then [head_dim][lanes]
  float* acc = nullptr;    // lane group, then [head_dim_v][lanes]
  float* m = nullptr;      // [padded rows], integers in log2 units
  float* l = nullptr;      // [padded rows]
  float* score = nullptr;  // scratch of a step: [kBlockKeys][lanes]
  int num_rows = 0;
  int head_dim = 0;
  int head_dim_v = 0;
  ScoreRule rule;
  // Per padded row: the keys it may see are [begin, end) and [0, sink_end).
  const int32_t* begin = nullptr;
  const int32_t* end = nullptr;
  const int32_t* sink_end = nullptr;
};

// Up to kBlockKeys key rows for a query tile.
struct KeyBlock {
  int num_keys = 0;
  // Keys [0, num_keys), in rising order of position.
  const float* const* key = nullptr;
  const float* const* value = nullptr;
  const int32_t* position = nullptr;
  // Floats from a row to the row of the next block that takes its place, where
  // rows are evenly spaced; 0 elsewhere. Only to fetch ahead, so it may lead
  // past the end.
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

// One kernel table. Entries touch the caller's memory only at elements that
// exist, allocate nothing and hold no state.
struct AttentionTable {
  // The micro-kernel's name: rows, vectors, lanes and target.
  const char* kernel;
  // Has FMA: gives the bits of docs/numerics.md.
  bool same_bits;
  // The f32 lanes of a vector on this CPU. Only on a CPU that has the target.
  int (*lanes)();
  // Vectors of a full lane group.
  int max_group_vectors;

  // Splits num_rows into lane groups of whole vectors. Returns their number and
  // writes rows_of[g], the padded rows of group g. num_rows is at most
  // max_group_vectors * lanes * kMaxLaneGroups.
  int (*split_rows)(int num_rows, int* rows_of);

  // query[row] points at head_dim floats; packs tile.num_rows of them, scaled.
  void (*pack)(const QueryTile& tile, const float* const* query);

  // Sets acc and l to 0 and m to kEmptyMax.
  void (*clear)(const QueryTile& tile);

  // Attends to one block: moves m, rescales, adds to l and acc.
  void (*step)(const QueryTile& tile, const KeyBlock& block);

  // Merges the state of a later span, laid out the same, into tile's.
  void (*merge)(const QueryTile& tile, const float* acc, const float* m,
                const float* l);

  // Writes out[row] (head_dim_v floats each) and, where lse is not null,
  // *lse[row].
  void (*finish)(const QueryTile& tile, float* const* out, float* const* lse);

  // Merges two finished rows of `dim` floats: see MergeStates. `out` and `lse`
  // may be the memory of a row.
  void (*merge_rows)(const FinishedRow& a, const FinishedRow& b, int64_t dim,
                     float* out, float* lse);
};

}  // namespace heed::internal

#endif  // HEED_LIB_KERNELS_KERNEL_TABLE_H_
