// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What score inputs hold for the rows of a tile.
#ifndef HEED_LIB_CORE_SCORES_H_
#define HEED_LIB_CORE_SCORES_H_

#include "heed/attention.h"
#include "lib/core/tile.h"

namespace heed::internal {

// Sets the tile's score inputs, if the call has any that a kernel must know.
// After the kernel's `open`.
void SetScores(const AttentionRun& run, TileWork* work);

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_SCORES_H_
