// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// How a worker's workspace is divided, and which heads belong together.
#ifndef HEED_LIB_LINEAR_SCAN_LAYOUT_H_
#define HEED_LIB_LINEAR_SCAN_LAYOUT_H_

#include <algorithm>
#include <cstdint>

#include "heed/linear.h"
#include "lib/kernels/carver.h"
#include "lib/kernels/scan_table.h"

namespace heed::internal {

// Columns of queries and keys, as the recurrence sees them.
inline int64_t KeyDim(const ScanShape& shape) {
  return shape.features > 0 ? shape.features : shape.head_dim;
}

// Whether there is a delta rule.
inline bool Erases(const ScanShape& shape) {
  return shape.beta || shape.erase_key || shape.remove_key;
}

// The head of a tensor with `fewer` heads that belongs to head h of `heads`.
inline int64_t HeadOf(HeadMap map, int64_t h, int64_t heads, int64_t fewer) {
  return map == HeadMap::kTiled ? h % fewer : h / (heads / fewer);
}

// Query heads of a state's head.
inline int64_t GroupOf(const ScanPlan& plan) {
  return plan.num_heads / plan.num_state_heads;
}

// Tile `t` of the state's columns.
struct Columns {
  int64_t first, count, width;
  int64_t state;  // floats of tiles before it
};
inline Columns ColumnsOf(const ScanPlan& plan, int64_t t) {
  const int64_t first = t * plan.tile_width;
  const int64_t count =
      std::min<int64_t>(plan.tile_width, plan.shape.head_dim_v - first);
  return {first, count, RoundUp(count, kRowFloats), first * KeyDim(plan.shape)};
}
inline int64_t NumTiles(const ScanPlan& plan) {
  return (plan.shape.head_dim_v + plan.tile_width - 1) / plan.tile_width;
}

// The most chunks of a segment.
inline constexpr int kMaxSegment = 64;

// A chunk with its matrices, and what its rows are divided by.
struct ChunkMemory {
  ScanChunk chunk;
  float* beta;
  float* total;  // [rows]
};

// Extents of a chunk of `tokens` tokens of the plan; pointers are null.
inline ScanChunk ExtentsOf(const ScanPlan& plan, int64_t tokens) {
  ScanChunk c = {};
  c.tokens = tokens;
  c.writes = plan.shape.remove_key ? 2 : 1;
  c.group = GroupOf(plan);
  c.rows = tokens * c.group;
  c.head_dim = KeyDim(plan.shape);
  c.row_floats = RoundUp(c.head_dim, kRowFloats);
  c.stride = RoundUp(plan.chunk * c.writes, kRowFloats);
  return c;
}

inline ChunkMemory CarveChunk(Carver& carver, const ScanPlan& plan) {
  ChunkMemory m = {ExtentsOf(plan, plan.chunk), nullptr, nullptr};
  ScanChunk& c = m.chunk;
  c.read = carver.Take<float>(c.rows * c.row_floats);
  c.weight = carver.Take<float>(c.rows * c.stride);
  c.write = carver.Take<float>(c.written() * c.row_floats);
  c.keep = carver.Take<float>(c.row_floats);
  if (Erases(plan.shape)) {
    c.erase = carver.Take<float>(c.tokens * c.row_floats);
    c.solve = carver.Take<float>(c.tokens * c.stride);
    c.erase_unfaded = plan.params.erase_unfaded;
    m.beta = carver.Take<float>(c.tokens);
    c.beta = m.beta;
  }
  if (plan.params.normalise) m.total = carver.Take<float>(c.rows);
  return m;
}

// What one worker needs beside the chunks of a segment.
struct ScanMemory {
  float* state;    // tiles, [head_dim][width] each
  float* sum;      // of keys
  float* query;    // [group][chunk] rows that could not be read in place
  float* key;      // [written rows of a chunk]
  float* erase;    // [chunk], of keys that only erase
  float* raw;      // [chunk] rows before the map
  float* decay;    // [written rows of a chunk], or rows
  float* value;    // [written rows][tile_width], or of a token head_dim_v
  float* out;      // [chunk * group][tile_width], or [group] such rows
  float* prepare;  // scratch of the kernel
};

inline ScanMemory CarveMemory(Carver& carver, const ScanPlan& plan) {
  const ScanChunk c = ExtentsOf(plan, plan.chunk);
  const int64_t columns = RoundUp(plan.shape.head_dim_v, kRowFloats);
  ScanMemory m = {};
  m.state = carver.Take<float>(c.head_dim * columns);
  m.sum = carver.Take<float>(c.row_floats);
  m.query = carver.Take<float>(c.rows * c.row_floats);
  m.key = carver.Take<float>(c.written() * c.row_floats);
  m.erase =
      carver.Take<float>(plan.shape.erase_key ? c.tokens * c.row_floats : 0);
  m.raw = carver.Take<float>(c.tokens * plan.shape.head_dim);
  m.decay = carver.Take<float>(plan.shape.decay_dim == 0 ? 0
                               : plan.shape.decay_dim == 1
                                   ? c.written()
                                   : c.written() * c.row_floats);
  const int64_t floats = std::max(c.tokens * plan.tile_width, columns);
  m.value = carver.Take<float>(c.writes * floats);
  m.out = carver.Take<float>(c.group * floats);
  m.prepare = carver.Take<float>(plan.table->scratch_floats(c));
  return m;
}

}  // namespace heed::internal

#endif  // HEED_LIB_LINEAR_SCAN_LAYOUT_H_
