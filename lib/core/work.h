// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The work of a run, as a list that is computed rather than stored: which query
// rows are a tile, which keys are worth visiting, and in which order.
//
// A list's rows become tiles of whole vectors. What is left over, where it is
// little, is a tile of its own for the decode kernel (the list's rest): it
// costs less there than a vector of mostly padding.
//
// Usually a task is a few whole tiles. Where there are too few tiles for the
// workers and more than one span of keys, an item is a (tile, unit), numbered
// tile by tile: its state goes to a slot, and the tile's units are merged in
// order afterwards. There are only so many slots, so this may take rounds; a
// tile that a round leaves unfinished is carried into the next. Both ways give
// the same bits: the state of a unit never depends on who computes it.
//
// A call that is not ragged has one SequenceWork for the lists of all batches.
// A ragged one has one for each sequence, in the workspace, as sequences differ
// in kernel, tiles and units: those that are split stand first and number their
// tiles and items on, the others their tasks.
#ifndef HEED_LIB_CORE_WORK_H_
#define HEED_LIB_CORE_WORK_H_

#include <cstdint>

#include "heed/attention.h"
#include "lib/core/sequences.h"

namespace heed::internal {

// One tile of a run: rows [first_row, first_row + num_rows) of a list. A list
// is a (sequence, kv head), whose rows are (position, head in group) pairs; or,
// with key intervals, a (batch, head, query block), whose rows are positions.
struct WorkItem {
  const AttendKernel* kernel;
  Sequence sequence;
  int64_t batch;  // the index of the sequence
  int64_t kv_head;
  int64_t list;
  int64_t first_position;  // of the list's row 0
  int64_t head;            // of the list's row 0
  int64_t group_size;      // rows a position
  int64_t first_row;
  int32_t num_rows;  // 0 where a short last query block leaves the tile empty

  int64_t PositionOf(int64_t row) const {
    return first_position + (first_row + row) / group_size;
  }
  int64_t HeadOf(int64_t row) const {
    return head + (first_row + row) % group_size;
  }
};

// Chooses the kernel, the tiles, the units, and whether to split. Needs
// arguments that were checked, and something to write.
void LayOutWork(AttentionRun* run);

// Tile number `tile` of a sequence, late rows first; a list's rest, if any, is
// its last tile.
WorkItem TileAt(const AttentionRun& run, const SequenceWork& sequence,
                int64_t tile);

inline int64_t NumTiles(const SequenceWork& sequence) {
  return sequence.num_lists * sequence.tiles_per_list;
}

inline int64_t NumItems(const SequenceWork& sequence) {
  return NumTiles(sequence) * sequence.num_units;
}

inline int64_t NumTasks(const SequenceWork& sequence) {
  return (NumTiles(sequence) - 1) / sequence.tiles_per_task + 1;
}

// The unit that a tile visits as its `index`-th: spans from
// UnitAt() * unit_spans on. Units rise: sinks that lie before the window, then
// everything from the window on.
inline int64_t UnitAt(const SequenceWork& sequence, int64_t index) {
  return index < sequence.sink_units
             ? index
             : sequence.first_unit + index - sequence.sink_units;
}

// Numbers [first, last).
struct ItemRange {
  int64_t first, last;
  int64_t count() const { return last - first; }
};

// What round r of a split run computes, and the tiles that these items are of.
ItemRange RoundItems(const AttentionRun& run, int64_t round);
ItemRange RoundTiles(const AttentionRun& run, ItemRange items);

// The sequence that a task of whole tiles, or a tile of the split ones, belongs
// to.
const SequenceWork& SequenceOfTask(const AttentionRun& run, int64_t task);
const SequenceWork& SequenceOfTile(const AttentionRun& run, int64_t tile);

// An item: the `index`-th unit of a tile of its sequence.
struct UnitItem {
  const SequenceWork& sequence;
  int64_t tile;
  int64_t index;
};
UnitItem ItemAt(const AttentionRun& run, int64_t item);

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_WORK_H_
