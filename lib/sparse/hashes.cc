// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Buckets of queries and keys, and the keys of each.
#include "heed/hashes.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "heed/estimators.h"

namespace heed::sparse {

void DrawDirections(const Executor& executor, int64_t seed, int64_t rounds,
                    int64_t dim, int64_t directions, float* to) {
  ops::ParallelFor(executor, rounds * dim, [&](int64_t i, int /*worker*/) {
    for (int64_t j = 0; j < directions; ++j) {
      float sum = -2;
      for (int64_t k = 0; k < 4; ++k) sum += DrawOf(seed, i, j, k);
      to[i * directions + j] = sum;
    }
  });
}

int32_t BucketOf(const float* x, const ops::ConstMatrix& directions,
                 float* product) {
  ops::MatMul(ops::Dense(x, 1, directions.rows), directions,
              ops::Dense(product, 1, directions.cols));
  int64_t best = 0;
  for (int64_t i = 1; i < directions.cols; ++i) {
    if (std::fabs(product[i]) > std::fabs(product[best])) best = i;
  }
  return static_cast<int32_t>(product[best] < 0 ? best + directions.cols
                                                : best);
}

bool AlikeKeys::Prepare(const VariantArgs& a, int64_t rounds,
                        int64_t directions, int64_t seed) {
  const ConstTensorView &query = a.args.query, &key = a.args.key;
  const int64_t heads = query.batch() * query.heads();
  const int64_t kv_heads = key.batch() * key.heads();
  const int64_t dim = key.head_dim();
  a_ = &a;
  rounds_ = directions == 0 ? 1 : rounds;
  buckets_ = std::max<int64_t>(2 * directions, 1);
  rows_ = query.seqlen();
  keys_ = key.seqlen();
  query_bucket_ = a.scratch.Array<int32_t>(heads, rounds_, rows_);
  key_bucket_ = a.scratch.Array<int32_t>(kv_heads, rounds_, keys_);
  sorted_ = a.scratch.Array<int32_t>(kv_heads, rounds_, keys_);
  start_ = a.scratch.Array<int32_t>(kv_heads, rounds_, buckets_ + 1);
  float* const drawn = a.scratch.Array<float>(rounds_, dim, directions);
  float* const products =
      a.scratch.Array<float>(a.executor.max_workers, directions);
  if (!query_bucket_ || !key_bucket_ || !sorted_ || !start_ || !drawn ||
      !products) {
    return false;
  }
  a.phases.Enter(Phase::kEstimate);
  DrawDirections(a.executor, seed, rounds_, dim, directions, drawn);
  ops::ParallelFor(a.executor, (heads + kv_heads) * rounds_,
                   [&](int64_t i, int worker) {
                     float* const product = products + worker * directions;
                     const int64_t keys = kv_heads * rounds_;
                     if (i < keys) return SortKeys(i, drawn, product);
                     HashQueries(i - keys, drawn, product);
                   });
  return true;
}

namespace {

// Sets bucket[row] to that of x's row in a round.
void Hash(const ConstTensorView& x, int64_t head, int64_t directions,
          const float* drawn, float* product, int32_t* bucket) {
  if (directions == 0) return std::fill(bucket, bucket + x.seqlen(), 0);
  const ops::ConstMatrix of_round = ops::Dense(drawn, x.head_dim(), directions);
  for (int64_t row = 0; row < x.seqlen(); ++row) {
    bucket[row] = BucketOf(RowAt(x, head / x.heads(), row, head % x.heads()),
                           of_round, product);
  }
}

}  // namespace

// `index` is of a head and a round.
void AlikeKeys::HashQueries(int64_t index, const float* directions,
                            float* product) {
  const ConstTensorView& query = a_->args.query;
  const int64_t size = buckets_ / 2 * query.head_dim();
  Hash(query, index / rounds_, buckets_ / 2,
       directions + index % rounds_ * size, product,
       query_bucket_ + index * rows_);
}

void AlikeKeys::SortKeys(int64_t index, const float* directions,
                         float* product) {
  const ConstTensorView& key = a_->args.key;
  const int64_t size = buckets_ / 2 * key.head_dim();
  int32_t* const bucket = key_bucket_ + index * keys_;
  int32_t* const start = start_ + index * (buckets_ + 1);
  int32_t* const sorted = sorted_ + index * keys_;
  Hash(key, index / rounds_, buckets_ / 2, directions + index % rounds_ * size,
       product, bucket);
  std::fill(start, start + buckets_ + 1, 0);
  for (int64_t i = 0; i < keys_; ++i) ++start[bucket[i] + 1];
  for (int64_t i = 0; i < buckets_; ++i) start[i + 1] += start[i];
  for (int64_t i = 0; i < keys_; ++i) {
    sorted[start[bucket[i]]++] = static_cast<int32_t>(i);
  }
  // Each now stands where the next bucket begins.
  for (int64_t i = buckets_; i > 0; --i) start[i] = start[i - 1];
  start[0] = 0;
}

}  // namespace heed::sparse
