// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a worker does for one task of a run.
#ifndef HEED_LIB_CORE_RUN_TASK_H_
#define HEED_LIB_CORE_RUN_TASK_H_

#include <cstdint>

#include "heed/attention.h"

namespace heed::internal {

// Makes the workspace of a run that was laid out fit to start from.
void PrepareWorkspace(const AttentionRun& run);

// Tiles through all their keys: a task of a sequence that is not split.
void RunWhole(const AttentionRun& run, int64_t task, int worker);

// One item of a round: the state of its unit goes to slot `slot`.
void RunUnit(const AttentionRun& run, int64_t item, int64_t slot, int worker);

// Merges what a round left of its `i`-th tile.
void RunMerge(const AttentionRun& run, int64_t round, int64_t i, int worker);

// Without barriers: one item; whoever finishes a tile's last merges them all.
void RunUnitAndMerge(const AttentionRun& run, int64_t item, int worker);

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_RUN_TASK_H_
