// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Hashes under which rows of like direction fall together: the cross-polytope
// hash (Andoni et al. 2015, arXiv:1509.02897) as Reformer has it (Kitaev et al.
// 2020, arXiv:2001.04451). The bucket of x in a round is
//
//   argmax([x R, -x R]),
//
// of equal ones the first direction, R being drawn: its length counts for
// nothing; 0, and what has a NaN, falls into bucket 0.
#ifndef HEED_HASHES_H_
#define HEED_HASHES_H_

#include <cstdint>

#include "heed/export.h"
#include "heed/ops.h"
#include "heed/variant.h"

namespace heed::sparse {

// Draws R of every round, [rounds][dim][directions]: sums of four even draws,
// near enough to a sphere. Depends on the numbers alone.
HEED_API void DrawDirections(const Executor& executor, int64_t seed,
                             int64_t rounds, int64_t dim, int64_t directions,
                             float* to);

// Returns the bucket, below 2 * R.cols, of x[R.rows]. `product` has room for
// R.cols numbers.
HEED_API int32_t BucketOf(const float* x, const ops::ConstMatrix& directions,
                          float* product);

// The keys that fall into a query's bucket in one of several rounds. A pair is
// alike or not whatever other rows there are.
class HEED_API AlikeKeys {
 public:
  // False where memory is short. With no directions all keys are alike.
  bool Prepare(const VariantArgs& a, int64_t rounds, int64_t directions,
               int64_t seed);

  // Calls f(key) for the keys of a query row, once for each round that finds
  // it, in a round rising.
  template <typename F>
  void ForEach(int64_t batch, int64_t head, int64_t row, F f) const {
    const int64_t kv_heads = a_->args.key.heads();
    const int64_t heads = a_->args.query.heads();
    const int64_t of_key = batch * kv_heads + head / (heads / kv_heads);
    for (int64_t round = 0; round < rounds_; ++round) {
      const int32_t bucket =
          query_bucket_[((batch * heads + head) * rounds_ + round) * rows_ +
                        row];
      const int64_t at = of_key * rounds_ + round;
      const int32_t* const start = start_ + at * (buckets_ + 1);
      const int32_t* const keys = sorted_ + at * keys_;
      for (int32_t i = start[bucket]; i < start[bucket + 1]; ++i) f(keys[i]);
    }
  }

 private:
  void HashQueries(int64_t index, const float* directions, float* product);
  void SortKeys(int64_t index, const float* directions, float* product);

  const VariantArgs* a_ = nullptr;
  int64_t rounds_ = 0, buckets_ = 0, rows_ = 0, keys_ = 0;
  int32_t* query_bucket_ = nullptr;  // [batch * heads][rounds][rows]
  int32_t* key_bucket_ = nullptr;    // [batch * kv heads][rounds][keys]
  int32_t* sorted_ = nullptr;  // [batch * kv heads][rounds][keys], by bucket
  int32_t* start_ = nullptr;   // [batch * kv heads][rounds][buckets + 1]
};

}  // namespace heed::sparse

#endif  // HEED_HASHES_H_
