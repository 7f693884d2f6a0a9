// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Spans cut further, where few query rows meet too few of them for the workers:
// one token, 8 key heads and 8,192 keys are 16 spans.
//
// A chain over the keys of a span can't be cut: it would round otherwise. But
// the scores of different keys don't meet before it, and the columns of values
// never do. So there are three phases: scores by (tile, span, part of its
// keys), kept in the slots; states by (tile, span, part of the columns), each a
// tile of its own with fewer columns of values; their merge by (tile, part of
// the columns). The weights are computed once a part of the columns: few
// against what they weigh. The bits are those of whole spans.
#ifndef HEED_LIB_CORE_PARTS_H_
#define HEED_LIB_CORE_PARTS_H_

#include <cstdint>

#include "heed/attention.h"
#include "lib/core/sequences.h"

namespace heed::internal {

inline constexpr int kPartPhases = 3;

inline bool InParts(const AttentionRun& run) {
  return run.parts.key_parts != 0;
}

// Sets run->parts, where run->all was laid out in units of one span and that
// pays. Returns whether it did.
bool LayOutParts(const Sequence& sequence, AttentionRun* run);

int64_t NumPartTasks(const AttentionRun& run, int phase);
void RunPartTask(const AttentionRun& run, int phase, int64_t i, int worker);

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_PARTS_H_
