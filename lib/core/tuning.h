// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The constants of the schedule that were chosen by measurement; those of the
// kernels stand with them. None changes a result's bits.
#ifndef HEED_LIB_CORE_TUNING_H_
#define HEED_LIB_CORE_TUNING_H_

#include <cstdint>

namespace heed::internal {

// Lane groups a query tile. Each key block is brought near once a tile and
// then read once a lane group. Zen 4, AVX-512, shares of the FMA peak with 2
// and with 4: keys and values beyond the third-level cache 0.83 and 0.86
// (head_dim 64), 0.85 and 0.87 (128); 4,096 keys within noise.
inline constexpr int kLaneGroups = 4;

// What a worker brings to the workspace (its tile, and its part of the slots)
// stays below this, whatever the head dimensions: lane groups, and then vectors
// of a single one, are dropped until it does.
inline constexpr int64_t kMaxWorkerBytes = 1020 * 1024;

// Tiles that each worker should get at least, or lane groups are dropped. List
// scheduling on 64 workers by simulation (1 microsecond a tile, 10 a run,
// causal, head_dim 128), efficiency with 2 and with 4: 1 head of 16,384 tokens
// 0.89 and 0.97, 8 heads of 2,048 0.92 and 0.97, 32 heads over 8 of 2,048 0.97
// both.
inline constexpr int64_t kTilesPerWorker = 4;

// Below this many tiles a worker, spans of one tile are spread over workers.
inline constexpr int64_t kSplitTilesPerWorker = 2;

// States of spans that a worker contributes to a split run: at least the first
// number, and as many as fit the bytes, but not more than the second, where
// they are small. Rounds that are short leave workers waiting for one another.
inline constexpr int64_t kMinSlotsPerWorker = 2;
inline constexpr int64_t kMaxSlotsPerWorker = 32;
inline constexpr int64_t kSlotsBytesPerWorker = 48 * 1024;

// Where a call of few rows has fewer spans than workers by this factor, and
// this many keys, spans are cut into parts (lib/core/parts.h). Zen 4, one key
// head of 128, two workers over one: 1,024 keys 1.33 (4 rows 1.40), 4,096 1.50
// (1.55). A part has at least so many keys, or a step of columns: two lines of
// floats, as single ones are fetched in pairs (64 workers, 8 key heads, 4,096
// keys, by the times of the tasks: 0.19 with 16 columns, 0.18 to 0.24 with 32).
// Keys are cut finer than columns, as parts of them differ where masks do and
// share nothing.
inline constexpr int64_t kWorkersPerItem = 2;
inline constexpr int64_t kLeastKeysInParts = 1024;
inline constexpr int64_t kLeastPartKeys = 256;
inline constexpr int64_t kPartColumns = 32;
inline constexpr int64_t kKeyPartsPerWorker = 2;

// Where a list is a single tile, as in short sequences, tasks are runs of
// consecutive tiles, this many a worker: neighbouring heads' rows of out may
// share cache lines, which two workers would pass to and fro. Batch 8, 12
// heads, 16 tokens, strided: 1.4 times one thread by single tiles, 1.9 by runs.
// One sequence of 64 tokens, 12 heads, strided, out not at the start of a line:
// 1.05 with 8 tasks for 2 workers, 1.64 with 4 (128 tokens 1.28, 1.78); batch 8
// does not care. One worker saves what laying out a tile like the one before
// costs.
inline constexpr int64_t kTasksPerWorker = 2;

// Below this many tiles a worker, tiles go heaviest first over all lists, so
// that the last ones are light: by the same simulation 0.97 instead of 0.87 for
// 32 heads over 8, 0.92 instead of 0.72 for 8 heads (2 tiles a worker). Above,
// the last tiles weigh little, and going list by list leaves keys in caches.
inline constexpr int64_t kBalancedTilesPerWorker = 32;

// Rows of a token that are read together, of neighbouring heads that stand side
// by side (lib/core/heads_together.h). Zen 3, one thread, one query, [batch,
// tokens, 8 heads, 128], GB/s by 512 bytes, 1, 2 and 4 KiB: f32 3.2, 4.2, 4.6,
// 5.8, with 4 query heads a key head 2.8, 4.2, 4.7, 5.8; bf16 (half as many
// bytes) 2.2, 5.5, 6.1, 6.1. The next head's rows fetched instead of the same
// head's of the next block: 7.2 to 7.8. Heads that are apart 8.5, the stream
// 12.
inline constexpr int64_t kTogetherBytes = 4096;
inline constexpr int64_t kMostTogetherBytes = 128 * 1024;  // of their tiles

// Of ragged calls, tiles of unlike weights, both of the above are in shares of
// a worker's part of all (row, key) pairs; and so is what a task of several
// single tiles stays below. 64 prompts, chunks and tokens on 64 workers by
// simulation (tests/core/ragged_balance_test.cc), 8 key heads and 1: 0.997 and
// 0.985. Splitting tiles of a fourth of a share instead of half changes nothing
// there. A tile counts as this many rows at least, as reading the keys of fewer
// takes as long.
inline constexpr double kRaggedTasksPerWorker = 8;
inline constexpr double kLeastTileRows = 4;

// Rows beyond whole vectors that the decode kernel takes, where vectors have so
// many lanes. Zen 4, head_dim 64, GFLOP/s with and without: AVX-512 33 tokens
// 68 and 58, 69 (5 rows) 83 and 81, 71 (7 rows) 84 and 83, 40 (8 rows) 71 and
// 73; AVX2 257 tokens 95 and 92, 33 65 and 65, 34 (2 rows) 66 and 69.
constexpr int64_t MostRestRows(int64_t lanes) {
  return lanes >= 16 ? 5 : lanes >= 8 ? 1 : 0;
}

// The rows of a pattern that share a list of keys, and what a (row, key) pair
// of its list then costs, with no interval partial and with some, whose bits
// become a mask. Zen 4 with AVX-512, head_dim 64, over the dense kernel's 2.5
// ns: 64 rows 1.01 to 1.05, with a mask 1.7 (a band of 513 of 8,192 keys)
// to 2.0 (strides of 128); 16 rows 1.02 to 1.19, 1.7 to 2.0; single rows 6.3
// to 8.6.
struct SparseBlockCost {
  int64_t rows;
  double cost, partial_cost;
};
inline constexpr SparseBlockCost kSparseBlocks[] = {
    {64, 1.05, 1.8}, {16, 1.15, 1.8}, {1, 8.0, 8.0}};
// Blocks of 64 rows that this is asked of.
inline constexpr int64_t kSparseSamples = 8;

// Rows that share a list where each has chosen for itself. Not asked of what
// they chose, as kSparseBlocks are: a row's bits depend on its own choice
// alone.
inline constexpr int64_t kChosenRows = 16;

// What a sparse run may take for lists and masks at a time; more rows are left
// to the next. 8,192 keys: 2,048 rows.
inline constexpr int64_t kSparseRunBytes = 16 * 1024 * 1024;

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_TUNING_H_
