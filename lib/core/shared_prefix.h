// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Tiles of rows of several sequences over the whole spans of keys that these
// share. The states that come of them are handed over row by row to each
// sequence, which goes on with its own keys: the order of merges is that of a
// sequence by itself, and so are the bits.
#ifndef HEED_LIB_CORE_SHARED_PREFIX_H_
#define HEED_LIB_CORE_SHARED_PREFIX_H_

#include <cstdint>

#include "heed/attention.h"
#include "lib/core/tile.h"
#include "lib/core/work.h"

namespace heed::internal {

inline bool IsShared(const SequenceWork& work) { return work.sharers > 0; }

// OpenTile for such a tile: the rows of the sequences in order, all of which
// see all the shared keys.
void OpenSharedTile(const AttentionRun& run, const SequenceWork& work,
                    int64_t tile, void* base, TileWork* tile_work);

// Sets row[i] to where row i of such a tile stands in a tensor of queries.
void SetSharedRows(const AttentionRun& run, const TileWork& work,
                   const ConstTensorView& view, const void** row);

// In place of FinishTile: from the states of all groups of spans before (null
// where there is none) and of the group at hand, attends to the own keys of
// each sequence and writes its out and lse. Spends the tile and its memory at
// `base`.
void FinishShared(const AttentionRun& run, const SequenceWork& work, void* base,
                  void* total, void* group, TileWork* tile_work);

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_SHARED_PREFIX_H_
