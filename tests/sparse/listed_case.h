// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Lists of keys to test, with their memory.
#ifndef HEED_TESTS_SPARSE_LISTED_CASE_H_
#define HEED_TESTS_SPARSE_LISTED_CASE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "heed/gather.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/workload.h"

namespace heed::test {

// Owns random lists: a third of the entries are empty, none rises.
struct Lists {
  Lists(const AttentionShape& shape, int64_t batch, int64_t heads,
        int64_t block, int64_t width, bool weighted)
      : rows(shape.seqlen_q), keys(shape.seqlen_k) {
    eval::Random random(static_cast<uint64_t>(width + 7 * block));
    view.batch = batch;
    view.num_heads = heads;
    view.query_block_size = block;
    view.width = width;
    for (int64_t i = 0; i < batch * heads * ((rows + block - 1) / block); ++i) {
      std::vector<int32_t> order(static_cast<size_t>(keys));
      for (size_t k = 0; k < order.size(); ++k) {
        order[k] = static_cast<int32_t>(k);
        std::swap(order[k], order[static_cast<size_t>(
                                random.Below(static_cast<int64_t>(k) + 1))]);
      }
      order.resize(static_cast<size_t>(width), -1);
      for (const int32_t key : order) {
        indices.push_back(random.Below(3) == 0 ? -1 : key);
        const float weight = static_cast<float>(random.Below(9) - 4) / 3;
        weights.push_back(random.Below(8) == 0 ? -INFINITY : weight);
      }
    }
    view.indices = indices.data();
    if (weighted) view.log_weights = weights.data();
  }
  Lists(const Lists&) = delete;
  Lists& operator=(const Lists&) = delete;

  // The first entry of the list of a row.
  size_t ListOf(int64_t b, int64_t h, int64_t heads, int64_t row) const {
    const int64_t blocks =
        (rows + view.query_block_size - 1) / view.query_block_size;
    const int64_t of_batch = view.batch == 1 ? 0 : b;
    const int64_t of_head = h * view.num_heads / heads;
    return static_cast<size_t>(((of_batch * view.num_heads + of_head) * blocks +
                                row / view.query_block_size) *
                               view.width);
  }

  int64_t rows, keys;
  std::vector<int32_t> indices;
  std::vector<float> weights;
  KeyLists view;
};

inline Status RunLists(const KeyLists& lists, const AttentionParams& params,
                       const AttentionArgs& args,
                       const Executor& executor = SerialExecutor()) {
  eval::ScratchPool pool;
  return AttendListed(lists, params, args, pool.Begin(), executor);
}

}  // namespace heed::test

#endif  // HEED_TESTS_SPARSE_LISTED_CASE_H_
