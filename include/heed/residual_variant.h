// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Sparse variants that do not drop what they leave out: keys beyond the chosen
// ones are read through features, at a price that does not grow with the rows.
#ifndef HEED_RESIDUAL_VARIANT_H_
#define HEED_RESIDUAL_VARIANT_H_

#include <cstdint>

#include "heed/export.h"
#include "heed/linear.h"
#include "heed/status.h"
#include "heed/variant.h"

namespace heed::sparse {

// A map of rows to numbers that are not negative: that of row i of `rows` is
// exp(log_scale[i]) phi[i], so that a row may be as small or as large as it
// likes. The product of two phi is one in f32: where the numbers of query and
// key are large at different features it may round to 0 (see Sums).
// What it writes depends on the row, its head and side alone.
struct ResidualMap {
  int64_t features = 0;
  const void* self = nullptr;
  void (*map)(const void* self, const FeatureRows& rows,
              float* log_scale) = nullptr;
};

// The linear residual: sums over any set of key blocks, and single keys, of
//
//   phi(query) . phi(key) [value, 1]
//
// A block's part is a state of its own, [features][head_dim_v + 1], and rows
// that leave out the same blocks add up the states of the others. Nothing is
// subtracted unless RemoveKeys is asked to (Chen et al. 2021, arXiv:2110.15343,
// subtract the support from a sum over all keys): what is small beside the
// support keeps its digits.
//
// Holds a copy of the values and the features of all keys. Building costs one
// product of features and values a key, adding up as much a pair of blocks as
// one key does, reading as much a row.
class HEED_API LinearResidual {
 public:
  // Rows that are read at a time.
  static constexpr int64_t kRows = 64;

  // Refuses what cannot be allocated; key blocks are cut from key 0 on.
  Status Prepare(const VariantArgs& a, const ResidualMap& map,
                 int64_t key_block);

  // Adds up, for a worker, the states of a key head's blocks that are marked.
  void Gather(int64_t batch, int64_t kv_head, const uint8_t* marked,
              int64_t blocks, int worker) const;

  // Reads what was gathered by rows [first, first + count) of a head, at most
  // kRows.
  void Read(int64_t batch, int64_t head, int64_t first, int64_t count,
            int worker) const;

  // Adds keys [begin, end), one by one, to what row `i` of those has read.
  void AddKeys(int64_t i, int64_t batch, int64_t kv_head, int64_t begin,
               int64_t end, int worker) const;

  // Takes keys [begin, end) of gathered blocks out of what row `i` has read.
  // Where what is left is small beside them, its digits are lost with them:
  // then Forget, and add what is left key by key.
  void RemoveKeys(int64_t i, int64_t batch, int64_t kv_head, int64_t begin,
                  int64_t end, int worker) const;

  // Makes row `i` as if it had read nothing.
  void Forget(int64_t i, int worker) const;

  // What row `i` of those has read, but for exp(log_scale): head_dim_v numbers,
  // and behind them the sum of the weights. A sum below 1e-28 has lost digits,
  // and 0 may be one that was too small.
  struct Sums {
    const float* sum;
    float log_scale;
  };
  Sums Of(int64_t i, int worker) const;

 private:
  struct Room;
  Room RoomOf(int worker) const;
  void MakeState(int64_t index, int worker) const;
  void AddKeys(int64_t i, int64_t batch, int64_t kv_head, int64_t begin,
               int64_t end, float sign, int worker) const;

  const VariantArgs* a_ = nullptr;
  ResidualMap map_;
  int64_t key_block_ = 0, blocks_ = 0, keys_ = 0, width_ = 0;
  float* phi_ = nullptr;          // [batch * kv heads][keys][features]
  float* scale_ = nullptr;        // [batch * kv heads][keys]
  float* value_ = nullptr;        // [batch * kv heads][keys][width]
  float* state_ = nullptr;        // [batch * kv heads][blocks][features][width]
  float* state_scale_ = nullptr;  // [batch * kv heads][blocks]
  float* room_ = nullptr;         // [workers]
};

// Returns what that costs, where rows of `query_block` gather `block_pairs`
// blocks a head.
HEED_API Cost ResidualCost(const AttentionShape& shape, int64_t features,
                           int64_t key_block, double block_pairs);

}  // namespace heed::sparse

#endif  // HEED_RESIDUAL_VARIANT_H_
