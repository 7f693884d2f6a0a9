// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Sparse variants as what their papers add: a pattern is a rule over positions,
// an estimator a score for blocks of keys. Lists, scratch, recording, execution
// and phases are the library's.
#ifndef HEED_SPARSE_VARIANT_H_
#define HEED_SPARSE_VARIANT_H_

#include <cstdint>
#include <type_traits>

#include "heed/ops.h"
#include "heed/sparse.h"
#include "heed/variant.h"

namespace heed::sparse {

// A knob at this value keeps everything.
inline constexpr double kAll = 2147483647;

// Returns the position of query row 0 among the keys, as near as 2^40: farther
// away no row is beside any key.
inline int64_t OffsetOf(const AttentionParams& params, int64_t seqlen_q,
                        int64_t seqlen_k) {
  constexpr int64_t kMost = int64_t{1} << 40;
  const int64_t offset = ops::CausalOffset(params, seqlen_q, seqlen_k);
  return offset > kMost ? kMost : offset < -kMost ? -kMost : offset;
}

// ---- Knobs that many have
// ----------------------------------------------------

inline constexpr Knob kBlockKnob = {
    "block",
    "Keys a block, and query rows that select together.",
    64,
    1,
    65536,
    /*integer=*/true};
inline constexpr Knob kTotalBlocksKnob = {
    "total_blocks",
    "Key blocks that a query block keeps, forced ones included.",
    16,
    1,
    kAll,
    /*integer=*/true,
    /*has_exact=*/true,
    /*exact_value=*/kAll};
inline constexpr Knob kSeedKnob = {"seed", "Which blocks are drawn.", 1, 0,
                                   kAll,   /*integer=*/true};

// ---- Patterns ---------------------------------------------------------------

// Attends to what the pattern keeps and the caller's masks allow, and records
// it. Costs what MakeSparsePlan and AttendSparse cost.
template <typename P>
Status AttendPattern(const VariantArgs& a, const P& pattern,
                     const SparseOptions& options = SparseOptions());

// Returns what softmax attention over the pairs costs that the pattern keeps
// and the masks leave (the mean over heads, where it looks at `head`): of keys
// and values only those that some row keeps are read.
template <typename P>
Cost PatternCost(const AttentionShape& shape, const AttentionParams& params,
                 const P& pattern, bool per_head = false);

// Attends to what masks alone leave, which may be more than the caller's, and
// records it.
HEED_API Status AttendMasked(const VariantArgs& a,
                             const AttentionParams& params);

// Attends to what masks leave of the keys that are a multiple of `step` away
// from the query, and records it. Costs what dense attention to so many keys
// costs: nothing is listed or copied. Takes no score inputs.
HEED_API Status AttendResidues(const VariantArgs& a,
                               const AttentionParams& params, int64_t step);

// Refuses what a variant cannot serve that reads keys itself and knows masks
// alone: pages, ragged calls, lists of keys and score inputs.
HEED_API Status CheckPlain(const VariantArgs& a);

// Runs a plan made for the call and records what it keeps.
HEED_API Status AttendPlan(const VariantArgs& a, const SparsePlan& plan);

// ---- Blocks by score --------------------------------------------------------

// Query rows select together in blocks from row 0 on, keys are selected in
// blocks from key 0 on; the last may be short.
struct BlockGrid {
  int64_t query_block;
  int64_t key_block;
};

// The query rows [first, end) of a head, which select together.
struct BlockRows {
  int64_t batch, head, kv_head;
  int64_t index;  // of the query block
  int64_t first, end;
  // The masks leave the rows keys of blocks [0, num_blocks) only.
  int64_t num_blocks;
  int worker;  // its own scratch may be used
};

// One choice: of `count` key blocks, rising, keep[i] is set where block i is
// kept. Those that are kept whatever they score are set already: the first, the
// blocks at the rows' own positions, and those that a mask cuts for some row. A
// score is then of keys that some of the rows may not see.
struct BlockChoice {
  int64_t count;
  const float* score;
  uint8_t* keep;
  // Of this many elements each, to be used freely.
  float* value;
  int32_t* order;
  int32_t* place;
};

// Keeps the blocks that score highest, `total_blocks` in all, those that are
// kept anyway included; of equal ones the first, NaN last.
struct TopK {
  int64_t total_blocks;
  HEED_API void operator()(const BlockChoice& choice) const;
};

// Keeps the fewest blocks whose scores, those of the blocks that are kept
// anyway included, sum to at least `share` of all scores: the block that
// crosses it is kept too. Scores are masses, not negative; others and NaN count
// as 0. A share of 1 keeps everything.
struct TopP {
  double share;
  HEED_API void operator()(const BlockChoice& choice) const;
};

// Scores key blocks, lets `select(choice)` choose (TopK, TopP or a lambda), and
// attends to what is kept, exactly and as far as the caller's masks allow.
// `score(rows, score)` sets score[j] for key blocks j in [0, rows.num_blocks);
// it is called from any worker. What it needs beforehand, such as KeyMeans, the
// variant makes first: heed/estimators.h has some.
template <typename Select, typename Score>
Status AttendBlocks(const VariantArgs& a, BlockGrid grid, const Select& select,
                    const Score& score);

// What a selection of blocks comes to, for one head.
struct BlockCounts {
  double pairs = 0;        // (query, key), at most
  double block_pairs = 0;  // (query block, key block) that masks leave
  // Key rows that are read, at most: lists often share blocks.
  double key_rows = 0;
};
HEED_API BlockCounts CountBlocks(const AttentionShape& shape,
                                 const AttentionParams& params, BlockGrid grid,
                                 double total_blocks);

// ---- How they are asked -----------------------------------------------------

namespace internal {

using heed::internal::PatternView;

HEED_API Status AttendPattern(const VariantArgs& a, const PatternView& pattern,
                              const SparseOptions& options);
HEED_API Cost PatternCost(const AttentionShape& shape,
                          const AttentionParams& params,
                          const PatternView& pattern, bool per_head);

struct BlockFunctions {
  const void* select;
  const void* score;
  void (*call_select)(const void* select, const BlockChoice& choice);
  void (*call_score)(const void* score, const BlockRows& rows, float* to);
};
HEED_API Status AttendBlocks(const VariantArgs& a, BlockGrid grid,
                             const BlockFunctions& functions);

}  // namespace internal

template <typename P>
Status AttendPattern(const VariantArgs& a, const P& pattern,
                     const SparseOptions& options) {
  return internal::AttendPattern(a, heed::internal::ViewOfPattern(pattern),
                                 options);
}

template <typename P>
Cost PatternCost(const AttentionShape& shape, const AttentionParams& params,
                 const P& pattern, bool per_head) {
  return internal::PatternCost(
      shape, params, heed::internal::ViewOfPattern(pattern), per_head);
}

template <typename Select, typename Score>
Status AttendBlocks(const VariantArgs& a, BlockGrid grid, const Select& select,
                    const Score& score) {
  internal::BlockFunctions functions;
  functions.select = &select;
  functions.score = &score;
  functions.call_select = [](const void* self, const BlockChoice& choice) {
    (*static_cast<const Select*>(self))(choice);
  };
  functions.call_score = [](const void* self, const BlockRows& rows,
                            float* to) {
    (*static_cast<const Score*>(self))(rows, to);
  };
  return internal::AttendBlocks(a, grid, functions);
}

}  // namespace heed::sparse

#endif  // HEED_SPARSE_VARIANT_H_
