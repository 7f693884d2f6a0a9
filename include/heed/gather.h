// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attention to listed keys: the token lists of indexers (DeepSeek sparse
// attention), of caches that forget and of samplers (MagicPIG), whose draws
// have weights. See docs/sparse.md.
#ifndef HEED_GATHER_H_
#define HEED_GATHER_H_

#include <algorithm>
#include <cstdint>

#include "heed/attention.h"
#include "heed/executor.h"
#include "heed/export.h"
#include "heed/patterns.h"
#include "heed/scratch.h"
#include "heed/status.h"

namespace heed {

// The keys of each (batch, head, block of query rows), in any order.
struct KeyLists {
  int64_t batch = 1;      // 1 serves any
  int64_t num_heads = 1;  // 1, num_kv_heads (a list a group) or num_heads
  int64_t query_block_size = 1;  // rows, from row 0 on, that share a list
  int64_t width = 0;             // entries of a list
  // [batch][num_heads][query blocks][width]: positions of keys, -1 where there
  // is none. A list has a key once.
  const int32_t* indices = nullptr;
  // Null, or of each entry a number that is added to the key's score: the log
  // of how often it counts, -log of the probability of a draw. -inf is as an
  // index of -1.
  const float* log_weights = nullptr;
};

// Computes softmax attention to the listed keys, as far as the masks of
// `params` allow: dense attention with a bias that is the log-weight of each
// listed key and -inf elsewhere. The bits are those of args.key_intervals that
// offer the keys of a list that some of its rows see, with that bias; spans
// (docs/numerics.md) are 4,096 of these keys. Rows are read where they stand,
// from pages too.
//
// Refuses what Run refuses; of ragged calls, packed queries or keys and shared
// prefixes; scales and rotated rows; score inputs; and indices and weights that
// the above does not allow. Nothing is then written. `scratch` gives what the
// exact kernel needs and, for pointers, about 16 MiB, or that of one list where
// it is more. Costs a sort of lists that do not rise.
HEED_API Status AttendListed(const KeyLists& lists,
                             const AttentionParams& params,
                             const AttentionArgs& args, const Scratch& scratch,
                             const Executor& executor,
                             const char* target = nullptr);

namespace patterns {

// Keeps the keys of a list, the same for all rows and heads: columns beside
// other patterns, in one softmax, as in Window(512) | Listed(columns, count).
struct Listed : Pattern {
  const int32_t* keys;
  int64_t count;

  // `rising` stays the caller's.
  Listed(const int32_t* rising, int64_t num_keys)
      : keys(rising), count(num_keys) {}
  int64_t SharedRows() const { return 0; }
  bool Keep(int64_t, int64_t, int64_t key) const {
    return std::binary_search(keys, keys + count, key);
  }
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    const int32_t* const end = keys + count;
    for (const int32_t* key = std::lower_bound(keys, end, row.begin);
         key != end && *key < row.end; ++key) {
      f(*key, int64_t{*key} + 1);
    }
  }
};

}  // namespace patterns
}  // namespace heed

#endif  // HEED_GATHER_H_
