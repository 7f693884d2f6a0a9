// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Where things stand in the workspace:
//
//   counters | slots (states of spans) | two carries | tile of worker 0 | 1 |
//   ..
//
// All parts are multiples of 64 bytes. A single worker has nothing to split,
// and so tiles only.
#ifndef HEED_LIB_CORE_LAYOUT_H_
#define HEED_LIB_CORE_LAYOUT_H_

#include <cstdint>

#include "heed/attention.h"
#include "lib/core/tuning.h"
#include "lib/kernels/kernel_table.h"

namespace heed::internal {

constexpr int64_t RoundUp(int64_t value, int64_t step) {
  return (value + step - 1) / step * step;
}

constexpr int64_t Padded(int64_t bytes) { return RoundUp(bytes, 64); }

// Hands out consecutive parts; with a null base it only counts.
class Carver {
 public:
  explicit Carver(void* base) : base_(static_cast<char*>(base)) {}

  template <typename T>
  T* Take(int64_t count) {
    char* at = base_ == nullptr ? nullptr : base_ + used_;
    used_ += Padded(count * static_cast<int64_t>(sizeof(T)));
    return reinterpret_cast<T*>(at);
  }
  int64_t used() const { return used_; }

 private:
  char* base_;
  int64_t used_ = 0;
};

// The state of a tile's rows, as QueryTile holds it.
struct State {
  float* acc;
  float* m;
  float* l;
};

inline State CarveState(Carver& carver, int64_t rows, int64_t head_dim_v) {
  State state;
  state.acc = carver.Take<float>(rows * head_dim_v);
  state.m = carver.Take<float>(rows);
  state.l = carver.Take<float>(rows);
  return state;
}

// Everything a worker needs for a tile of up to `rows` rows.
struct TileMemory {
  float* query;
  float* score;
  State states[2];  // of the span at hand, and of all before it
  int32_t* begin;
  int32_t* end;
  int32_t* sink_end;
  const float** query_row;
  float** out_row;
  float** lse_row;
};

inline TileMemory CarveTile(Carver& carver, int64_t rows, int64_t group_rows,
                            int64_t head_dim, int64_t head_dim_v) {
  TileMemory tile;
  tile.query = carver.Take<float>(rows * head_dim);
  tile.score = carver.Take<float>(kBlockKeys * group_rows);
  tile.states[0] = CarveState(carver, rows, head_dim_v);
  tile.states[1] = CarveState(carver, rows, head_dim_v);
  tile.begin = carver.Take<int32_t>(rows);
  tile.end = carver.Take<int32_t>(rows);
  tile.sink_end = carver.Take<int32_t>(rows);
  tile.query_row = carver.Take<const float*>(rows);
  tile.out_row = carver.Take<float*>(rows);
  tile.lse_row = carver.Take<float*>(rows);
  return tile;
}

inline int64_t NumSlots(int64_t workers) {
  return workers > 1 ? workers * kSlotsPerWorker : 0;
}

// States that a round of a split run leaves to the next. Two, as the tile that
// continues from one may be merged while another is left in the other.
inline int64_t NumCarries(int64_t workers) { return workers > 1 ? 2 : 0; }

// Rows of a full lane group.
inline int64_t GroupRows(const Plan& plan) {
  return int64_t{plan.table->lanes()} * plan.table->max_group_vectors;
}

// Rows of a tile whose spans are split: no more than a lane group, as tiles
// become that small before they are split.
inline int64_t SlotRows(const Plan& plan) {
  return plan.tile_rows < GroupRows(plan) ? plan.tile_rows : GroupRows(plan);
}

// Bytes before the first worker's tile.
inline int64_t SharedBytes(const Plan& plan, int64_t workers) {
  return Padded(NumSlots(workers) * 4) +
         (NumSlots(workers) + NumCarries(workers)) * plan.slot_bytes;
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_LAYOUT_H_
