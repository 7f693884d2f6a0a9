// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends, row by row, to keys that hash as the query does: the LSH attention
// of Reformer (Kitaev et al. 2020, arXiv:2001.04451). In each of n_hashes
// rounds x falls into bucket argmax([x R, -x R]) of about keys / bucket_size,
// R being drawn; keys are sorted by bucket, then position, and cut into chunks
// of bucket_size. A query attends to the chunk where it would stand, and to the
// one before it.
//
// Rounds are united: a key that several find counts once, which is what the
// paper asks for (its merge by lse equals that only with a correction that one
// port leaves out). The first chunk of a round has none before it (the port's
// looks back into another round). The paper shares queries and keys and hides a
// token from itself; here they differ, and a row's own key is always kept.
#include <heed/estimators.h>
#include <heed/hashes.h>
#include <heed/row_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "bucket_size",
     .summary = "Keys of a chunk.",
     .default_value = 64,
     .min = 32,  // hashing to more buckets costs what attention does
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "n_hashes",
     .summary = "Rounds of hashing.",
     .default_value = 8,
     .min = 1,
     .max = 64,
     .integer = true},
    sparse::kSeedKnob,
};

// Half of the buckets: directions and their opposites.
int64_t DirectionsOf(const double* knobs, int64_t keys) {
  return std::max<int64_t>(keys / static_cast<int64_t>(knobs[0]) / 2, 1);
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t keys = t.key.seqlen(), dim = t.query.head_dim();
  const int64_t chunk = static_cast<int64_t>(a.knobs[0]);
  const int64_t rounds = static_cast<int64_t>(a.knobs[1]);
  const int64_t seed = static_cast<int64_t>(a.knobs[2]);
  const int64_t directions = DirectionsOf(a.knobs, keys);
  const int64_t heads = t.key.batch() * t.key.heads();
  float* turns = a.scratch.Array<float>(rounds * dim * directions);
  float* products = a.scratch.Array<float>(a.executor.max_workers * directions);
  // Of each (head, round): buckets by key, and keys as they are sorted.
  int32_t* buckets = a.scratch.Array<int32_t>(heads * rounds * keys);
  int32_t* orders = a.scratch.Array<int32_t>(heads * rounds * keys);
  if (turns == nullptr || products == nullptr || buckets == nullptr ||
      orders == nullptr) {
    return sparse::OutOfMemory();
  }
  a.phases.Enter(Phase::kEstimate);
  sparse::DrawDirections(a.executor, seed, rounds, dim, directions, turns);
  const auto turn_of = [&](int64_t round) {
    return ops::ConstMatrix(
        ops::Dense(turns + round * dim * directions, dim, directions));
  };
  ops::ParallelFor(a.executor, heads * rounds, [&](int64_t i, int worker) {
    const int64_t head = i / rounds;
    int32_t* bucket = buckets + i * keys;
    int32_t* order = orders + i * keys;
    for (int64_t key = 0; key < keys; ++key) {
      bucket[key] = sparse::BucketOf(
          RowAt(t.key, head / t.key.heads(), key, head % t.key.heads()),
          turn_of(i % rounds), products + worker * directions);
      order[key] = static_cast<int32_t>(key);
    }
    std::sort(order, order + keys, [=](int32_t x, int32_t y) {
      return bucket[x] != bucket[y] ? bucket[x] < bucket[y] : x < y;
    });
  });
  const auto choose = [&](const sparse::QueryRow& row,
                          sparse::RowChoice* choice) {
    const float* query = RowAt(t.query, row.batch, row.index, row.head);
    choice->Keep(row.position, row.position + 1);
    for (int64_t round = 0; round < rounds && keys > 0; ++round) {
      const int64_t i =
          (row.batch * t.key.heads() + row.kv_head) * rounds + round;
      const int32_t* bucket = buckets + i * keys;
      const int32_t* order = orders + i * keys;
      const int32_t own = sparse::BucketOf(query, turn_of(round),
                                           products + row.worker * directions);
      // After its bucket's keys up to its position.
      const int64_t place =
          std::partition_point(order, order + keys,
                               [&](int32_t key) {
                                 return bucket[key] != own
                                            ? bucket[key] < own
                                            : key <= row.position;
                               }) -
          order;
      const int64_t at = std::max<int64_t>(place - 1, 0) / chunk;
      const int64_t begin = std::max<int64_t>(at - 1, 0) * chunk;
      for (int64_t k = begin; k < std::min((at + 1) * chunk, keys); ++k) {
        choice->Keep(order[k], order[k] + 1);
      }
    }
  };
  return sparse::AttendRows(a, sparse::ListOf::kHead, choose);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const double dim = static_cast<double>(shape.batch * shape.head_dim);
  const double hashed =
      dim * static_cast<double>(shape.seqlen_q * shape.num_heads +
                                shape.seqlen_k * shape.num_kv_heads);
  Cost cost = ops::SoftmaxCost(
      shape, sparse::CountRowPairs(shape, params, 2 * knobs[0] * knobs[1] + 1));
  cost.at_most = true;
  cost.AddSelecting(
      2 * knobs[1] * hashed *
          static_cast<double>(DirectionsOf(knobs, shape.seqlen_k)),
      4 * knobs[1] * hashed);
  return cost;
}

}  // namespace

Variant reformer() {
  return {.summary = "For each row, the keys that hash as the query does.",
          .paper = "Kitaev et al. 2020, arXiv:2001.04451",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 3,
          .cost = EstimateCost,
          .run = RunVariant,
          .selects_ahead = true};
}

}  // namespace heed::variants
