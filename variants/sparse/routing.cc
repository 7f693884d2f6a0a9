// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends, row by row, to the keys of the query's cluster: Routing Transformer
// (Roy et al. 2020, arXiv:2003.05997). Directions of keys are clustered by
// spherical k-means, into keys / window_size clusters, and each cluster has the
// window_size keys that lie nearest to its centre. A query attends to those of
// the nearest centre, and to its own position.
//
// The paper trains its centres with the model, and lets clusters choose queries
// too: what no cluster chooses gets zeros, and what several choose is averaged.
// Here centres are found in the call, by `steps` rounds from keys at equal
// distances, and every query has one cluster, so that a row is one softmax.
#include <heed/estimators.h>
#include <heed/row_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "window_size",
     .summary = "Keys of a cluster.",
     .default_value = 128,
     .min = 64,  // finding more clusters costs what attention does
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "steps",
     .summary = "Rounds of k-means.",
     .default_value = 4,
     .min = 0,
     .max = 100,
     .integer = true},
};

int64_t ClustersOf(const double* knobs, int64_t keys) {
  return std::max<int64_t>(keys / static_cast<int64_t>(knobs[0]), 1);
}

// Makes x a direction; zeros stay.
void Normalise(float* x, int64_t dim) {
  const float length = std::sqrt(ops::Dot(x, x, dim));
  if (length > 0) ops::Scale(1.0f / length, x, dim);
}

int64_t Nearest(const float* x, const float* centres, int64_t count,
                int64_t dim) {
  int64_t best = 0;
  float most = -INFINITY;
  for (int64_t i = 0; i < count; ++i) {
    const float product = ops::Dot(x, centres + i * dim, dim);
    if (product > most) {
      most = product;
      best = i;
    }
  }
  return best;
}

// The keys of one head as directions, and their clusters.
struct HeadClusters {
  float* key;        // [keys][dim]
  float* centre;     // [clusters][dim]
  float* sum;        // as centre
  float* score;      // [keys]
  int32_t* members;  // [clusters][room], those of a cluster
  int32_t* spare;    // [keys]
};

void Cluster(int64_t keys, int64_t clusters, int64_t dim, int64_t window,
             int64_t steps, int64_t room, const HeadClusters& c) {
  for (int64_t i = 0; i < clusters; ++i) {
    std::copy_n(c.key + i * keys / clusters * dim, dim, c.centre + i * dim);
  }
  for (int64_t step = 0; step < steps; ++step) {
    std::fill(c.sum, c.sum + clusters * dim, 0.0f);
    for (int64_t key = 0; key < keys; ++key) {
      const float* x = c.key + key * dim;
      const int64_t own = Nearest(x, c.centre, clusters, dim);
      ops::Axpy(1.0f, x, c.sum + own * dim, dim);
    }
    for (int64_t i = 0; i < clusters; ++i) {
      float* sum = c.sum + i * dim;
      // A cluster that lost all its keys stays where it was.
      if (!(ops::Dot(sum, sum, dim) > 0)) continue;
      Normalise(sum, dim);
      std::copy_n(sum, dim, c.centre + i * dim);
    }
  }
  for (int64_t i = 0; i < clusters; ++i) {
    for (int64_t key = 0; key < keys; ++key) {
      c.score[key] = ops::Dot(c.key + key * dim, c.centre + i * dim, dim);
    }
    ops::TopK(c.score, keys, window, c.spare);
    std::copy_n(c.spare, room, c.members + i * room);
  }
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t keys = t.key.seqlen(), dim = t.query.head_dim();
  const int64_t window = static_cast<int64_t>(a.knobs[0]);
  const int64_t steps = static_cast<int64_t>(a.knobs[1]);
  const int64_t room = std::min(window, keys);  // members of a cluster
  const int64_t clusters = ClustersOf(a.knobs, keys);
  const int64_t heads = t.key.batch() * t.key.heads();
  const int64_t own = keys * dim + clusters * dim + keys;  // of a worker
  float* centres = a.scratch.Array<float>(heads * clusters * dim);
  int32_t* members = a.scratch.Array<int32_t>(heads * clusters * room);
  float* floats = a.scratch.Array<float>(a.executor.max_workers * own);
  int32_t* spare = a.scratch.Array<int32_t>(a.executor.max_workers * keys);
  if (centres == nullptr || members == nullptr || floats == nullptr ||
      spare == nullptr) {
    return sparse::OutOfMemory();
  }
  a.phases.Enter(Phase::kEstimate);
  ops::ParallelFor(
      a.executor, keys == 0 ? 0 : heads, [&](int64_t i, int worker) {
        float* key = floats + worker * own;
        for (int64_t k = 0; k < keys; ++k) {
          std::copy_n(RowAt(t.key, i / t.key.heads(), k, i % t.key.heads()),
                      dim, key + k * dim);
          Normalise(key + k * dim, dim);
        }
        float* sum = key + keys * dim;
        Cluster(keys, clusters, dim, window, steps, room,
                {key, centres + i * clusters * dim, sum, sum + clusters * dim,
                 members + i * clusters * room, spare + worker * keys});
      });
  const auto choose = [&](const sparse::QueryRow& row,
                          sparse::RowChoice* choice) {
    const int64_t i = row.batch * t.key.heads() + row.kv_head;
    const float* query = RowAt(t.query, row.batch, row.index, row.head);
    choice->Keep(row.position, row.position + 1);
    if (keys == 0) return;
    const int64_t at =
        Nearest(query, centres + i * clusters * dim, clusters, dim);
    const int32_t* member = members + (i * clusters + at) * room;
    for (int64_t k = 0; k < room; ++k) choice->Keep(member[k], member[k] + 1);
  };
  return sparse::AttendRows(a, sparse::ListOf::kHead, choose);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const double dim = static_cast<double>(shape.batch * shape.head_dim);
  const double clusters =
      static_cast<double>(ClustersOf(knobs, shape.seqlen_k));
  const double keys = static_cast<double>(shape.seqlen_k * shape.num_kv_heads);
  const double queries = static_cast<double>(shape.seqlen_q * shape.num_heads);
  Cost cost = ops::SoftmaxCost(
      shape, sparse::CountRowPairs(shape, params, knobs[0] + 1));
  // Each step asks all keys; then clusters ask them, and queries ask clusters.
  cost.at_most = true;
  cost.AddSelecting(2 * dim * clusters * (keys * (knobs[1] + 1) + queries),
                    4 * dim * (keys * (knobs[1] + 2) + queries));
  return cost;
}

}  // namespace

Variant routing() {
  return {.summary = "For each row, the keys of the cluster that it lies in.",
          .paper = "Roy et al. 2020, arXiv:2003.05997",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .selects_ahead = true};
}

}  // namespace heed::variants
