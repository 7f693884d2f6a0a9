// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Key heads that are read together: where the rows of all heads of a token
// stand side by side, as in [batch, tokens, heads, head_dim], the rows of one
// head are a few lines in each of many pages of memory. Few query rows are
// done with them before the next page has come, so neighbouring heads' tiles
// go through the keys side by side, a block at a time. What each of them
// computes, and so its bits, are as ever.
#ifndef HEED_LIB_CORE_HEADS_TOGETHER_H_
#define HEED_LIB_CORE_HEADS_TOGETHER_H_

#include <cstdint>

#include "heed/attention.h"

namespace heed::internal {

inline constexpr int64_t kMostTogether = 8;

// Sets how many neighbouring tiles of a sequence that is not split a worker
// takes together, at most `most`, and makes tasks whole multiples of that. It
// divides the key heads, so that no two batches meet.
void KeepTogether(const AttentionRun& run, int64_t most, SequenceWork* work);

// Bytes from one tile's memory to the next.
int64_t TileTogetherBytes(const Plan& plan);

// What a plan leaves room for, for each worker; 0 where no tiles are taken
// together.
int64_t TogetherBytes(const Plan& plan);

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_HEADS_TOGETHER_H_
