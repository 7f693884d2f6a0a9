// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Where things stand in the workspace:
//
//   sequences | counters | slots (states of units) | carries | tile of worker
//   0 | 1 | ..
//
// All parts are multiples of 64 bytes. A single worker has nothing to split,
// and so sequences and tiles only. What stands inside a tile or a state is the
// kernel's.
#ifndef HEED_LIB_CORE_LAYOUT_H_
#define HEED_LIB_CORE_LAYOUT_H_

#include <algorithm>
#include <cstdint>

#include "heed/attention.h"
#include "lib/core/tuning.h"
#include "lib/kernels/carver.h"
#include "lib/kernels/kernel_table.h"

namespace heed::internal {

// The most states that a tile holds while it passes through all keys: of all
// groups of spans before, of the group, and of the span at hand.
inline constexpr int kTileStates = 3;

// What score inputs give to the padded rows of a tile: ScoreRows.
struct ScoreMemory {
  ScoreRow* row = nullptr;
  float* alibi_slope = nullptr;
  float* position = nullptr;
  float* sink = nullptr;
  int32_t* first = nullptr;
  int32_t* row_index = nullptr;
  int32_t* row_head = nullptr;
};

// The parts of a tile's memory.
struct TileMemory {
  void* kernel;               // for the kernel's `open`
  void* states[kTileStates];  // null where the keys are too few to need it
  const void** query_row;
  void** out_row;
  float** lse_row;
  ScoreMemory scores;  // where the plan has score inputs
};

inline TileShape TileShapeOf(const Plan& plan, int64_t rows) {
  TileShape shape;
  shape.rows = static_cast<int>(rows);
  shape.head_dim = static_cast<int>(plan.shape.head_dim);
  shape.head_dim_v = static_cast<int>(plan.shape.head_dim_v);
  shape.query = plan.shape.query_dtype;
  shape.key = plan.shape.key_dtype;
  shape.value = plan.shape.value_dtype;
  shape.out = plan.shape.out_dtype;
  shape.rotate_query = plan.shape.key_rotated;
  shape.rotate_out = plan.shape.value_rotated;
  shape.scores = plan.shape.scores;
  shape.rule = plan.score_rule;
  return shape;
}

inline TileMemory CarveTile(Carver& carver, const AttendKernel& kernel,
                            const TileShape& shape, int64_t seqlen_k) {
  TileMemory tile;
  tile.kernel = carver.Take<char>(kernel.tile_bytes(shape));
  const int states = seqlen_k <= kSpanKeys                 ? 1
                     : seqlen_k <= kSpanKeys * kGroupSpans ? 2
                                                           : 3;
  for (int i = 0; i < kTileStates; ++i) {
    tile.states[i] =
        i < states ? carver.Take<char>(kernel.state_bytes(shape)) : nullptr;
  }
  tile.query_row = carver.Take<const void*>(shape.rows);
  tile.out_row = carver.Take<void*>(shape.rows);
  tile.lse_row = carver.Take<float*>(shape.rows);
  if (shape.scores) {
    const int64_t rows = RoundUp(shape.rows, int64_t{kernel.lanes()});
    tile.scores.row = carver.Take<ScoreRow>(rows);
    tile.scores.alibi_slope = carver.Take<float>(rows);
    tile.scores.position = carver.Take<float>(rows);
    tile.scores.sink = carver.Take<float>(rows);
    tile.scores.first = carver.Take<int32_t>(rows);
    tile.scores.row_index = carver.Take<int32_t>(rows);
    tile.scores.row_head = carver.Take<int32_t>(rows);
  }
  return tile;
}

// What stands behind a worker's tile where prefixes are shared: three states a
// row of the tile, as rows of floats.
inline int64_t HandOverBytes(const Plan& plan) {
  if (!plan.shares) return 0;
  return Padded(int64_t{3} * plan.tile_rows * (2 + plan.shape.head_dim_v) *
                static_cast<int64_t>(sizeof(float)));
}

// Rows of a full lane group of the tile kernel.
inline int64_t GroupRows(const Plan& plan) {
  const AttendKernel& kernel = *plan.attend;
  return int64_t{kernel.lanes()} * kernel.max_group_vectors;
}

// Rows of a tile whose units are split: no more than a lane group, as tiles
// become that small before they are split.
inline int64_t SlotRows(const Plan& plan) {
  return std::min<int64_t>(plan.tile_rows, GroupRows(plan));
}

// States that a round of a split run leaves to the next: the total and the
// group at hand. Twice, as the tile that continues from one round may be merged
// while another is left to the next.
inline constexpr int64_t kCarries = 4;

inline int64_t CountersBytes(int64_t workers) {
  return Padded(workers * kMaxSlotsPerWorker *
                static_cast<int64_t>(sizeof(int32_t)));
}

// The work of each sequence of a ragged call.
inline int64_t SequencesBytes(const Plan& plan) {
  static_assert(sizeof(SequenceWork) <= 128, "as WorkspaceBytes says");
  return Padded(plan.shape.num_sequences *
                static_cast<int64_t>(sizeof(SequenceWork)));
}

// Bytes between sequences and the first worker's tile.
inline int64_t SharedBytes(const Plan& plan, int64_t workers) {
  if (workers <= 1) return 0;
  return CountersBytes(workers) + workers * plan.slots_bytes +
         plan.carries_bytes;
}

// Where the parts of a run's workspace begin.
struct WorkspaceAreas {
  int32_t* counters;  // units done of the tile whose number it has
  char* slots;
  char* carries;
  char* tiles;
};

inline WorkspaceAreas AreasOf(const AttentionRun& run) {
  WorkspaceAreas areas;
  char* base =
      static_cast<char*>(run.workspace.data) + SequencesBytes(run.plan);
  areas.counters = reinterpret_cast<int32_t*>(base);
  areas.slots = base + CountersBytes(run.workers);
  areas.carries = areas.slots + run.workers * run.plan.slots_bytes;
  areas.tiles = base + SharedBytes(run.plan, run.workers);
  return areas;
}

inline void* TileBase(const AttentionRun& run, int worker) {
  return AreasOf(run).tiles + worker * run.plan.tile_bytes;
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_LAYOUT_H_
