// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Decoding that reads what it attends to: bounds of a cache's pages of keys are
// kept from step to step, and each token attends to the pages that could score
// highest (Quest, Tang et al. 2024, arXiv:2406.10774).
#ifndef HEED_PAGE_BOUNDS_H_
#define HEED_PAGE_BOUNDS_H_

#include <cstdint>

#include "heed/attention.h"
#include "heed/executor.h"
#include "heed/export.h"
#include "heed/scratch.h"
#include "heed/status.h"
#include "heed/tensor.h"

namespace heed {

// The largest and the least of each channel over the keys of a page, pages
// being cut from key 0 on. A plain value that points into memory of the
// caller's.
struct PageBounds {
  int64_t batch = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t page_size = 0;  // keys; the last page may have fewer
  int64_t capacity = 0;   // pages that there is room for
  int64_t num_keys = 0;   // that are in
  // [batch][num_kv_heads][2 head_dim][capacity]: first the largest of each
  // channel, then the least, those of neighbouring pages side by side.
  float* data = nullptr;
};

// Makes bounds of no keys yet, with room for max_keys. Errors: kInvalidArgument
// for sizes below 1 (batch and num_kv_heads: below 0), kOutOfMemory.
HEED_API Status MakePageBounds(int64_t batch, int64_t num_kv_heads,
                               int64_t head_dim, int64_t page_size,
                               int64_t max_keys, const Scratch& memory,
                               PageBounds* bounds);

// Takes in the keys of a cache that are not in yet: rows [bounds->num_keys,
// key.seqlen()) of an f32 tensor [batch, seqlen_k, num_kv_heads, head_dim].
// Reads these alone, and gives the same numbers however they come. A NaN in a
// channel counts where it is the first of its page. Errors, with *bounds
// untouched: another dtype or extents, keys that are fewer than before or have
// no room.
HEED_API Status AppendPageBounds(const ConstTensorView& key,
                                 const Executor& executor, PageBounds* bounds);

// Attends, for each query row, to the token_budget / page_size pages (at least
// one) of the highest bound that the masks leave it, exactly. Of a page and a
// query head that is
//
//   scale * sum over c of max(q[c] most[c], q[c] least[c]) >= any key's score
//
// (for a scale that is positive). The heads of a group share their pages, so
// that each is read once: a page ranks by the largest, over the heads, of its
// bound less the head's largest bound. The first page, the row's own and those
// that a mask cuts are kept anyway, within the budget.
//
// Costs a product with the bounds, 2 / page_size of the keys, and attention to
// what is kept. Refuses what AttendListed (heed/gather.h) refuses, tensors that
// are not f32, ragged calls, pages, keys that are not in the bounds, and a
// budget below 1.
HEED_API Status AttendPages(const PageBounds& bounds, int64_t token_budget,
                            const AttentionParams& params,
                            const AttentionArgs& args, const Scratch& scratch,
                            const Executor& executor,
                            const char* target = nullptr);

}  // namespace heed

#endif  // HEED_PAGE_BOUNDS_H_
