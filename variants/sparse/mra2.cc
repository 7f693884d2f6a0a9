// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends exactly where blocks of rows and keys fit best, and to means of
// blocks elsewhere, in one softmax: MRA-2 (Zeng et al. 2022, arXiv:2207.10284).
// Of each pair of blocks whose keys all rows see, the score is scale * mean
// query . mean key; the pairs of a head that score highest are refined, of
// equal ones the first, blocks_per_row for each block of rows on average. In
// the place of the others stand the mean key and the mean value of the block,
// scored by the mean query and counted as all its keys. Blocks that a mask or
// the end of the keys cuts are exact and count in the budget.
//
// The authors' code keeps a number of blocks a head too, and needs whole blocks
// and calls that are not causal.
#include <heed/estimators.h>
#include <heed/parts_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "blocks_per_row",
     .summary = "Key blocks that a block of rows refines, on average.",
     .default_value = 4,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "block",
     .summary = "Query rows and keys of a block.",
     .default_value = 32,
     .min = 1,
     .max = 65536,
     .integer = true},
};

// The grid of blocks of a call.
struct Grid {
  int64_t block, rows, keys;
  int64_t query_blocks, key_blocks;
  int64_t offset;
  bool causal;

  explicit Grid(const AttentionParams& params, int64_t seqlen_q,
                int64_t seqlen_k, const double* knobs)
      : block(static_cast<int64_t>(knobs[1])),
        rows(seqlen_q),
        keys(seqlen_k),
        query_blocks((seqlen_q + block - 1) / block),
        key_blocks((seqlen_k + block - 1) / block),
        offset(sparse::OffsetOf(params, seqlen_q, seqlen_k)),
        causal(params.causal) {}

  // Blocks all of whose keys every row of block i sees.
  int64_t Whole(int64_t i) const {
    return std::clamp<int64_t>(causal ? i * block + offset + 1 : keys, 0,
                               keys) /
           block;
  }
  // Blocks of which some row sees a key.
  int64_t Touched(int64_t i) const {
    const int64_t last = std::min((i + 1) * block, rows) - 1;
    const int64_t end =
        std::clamp<int64_t>(causal ? last + offset + 1 : keys, 0, keys);
    return (end + block - 1) / block;
  }
  // Whole blocks that may be refined in all.
  int64_t Budget(const double* knobs) const {
    double left = knobs[0] * static_cast<double>(query_blocks);
    for (int64_t i = 0; i < query_blocks; ++i) {
      left -= static_cast<double>(Touched(i) - Whole(i));
    }
    return static_cast<int64_t>(std::clamp(left, 0.0, 1e15));
  }
};

// Means of the rows of a block, and which blocks are refined.
struct Coarse {
  float* query;  // [batch * heads][query blocks][head_dim]
  uint8_t* map;  // [batch * heads][query blocks][key blocks], refined
  bool* means;   // the same, in the place of which means stand

  Status Prepare(const VariantArgs& a, const Grid& grid,
                 const sparse::PooledTokens& pooled) {
    const ConstTensorView& q = a.args.query;
    const int64_t dim = q.head_dim(), heads = q.batch() * q.heads();
    const int64_t pairs = grid.query_blocks * grid.key_blocks;
    query = a.scratch.Array<float>(heads, grid.query_blocks, dim);
    map = a.scratch.Array<uint8_t>(heads, pairs);
    means = a.scratch.Array<bool>(heads, pairs);
    float* const scores = a.scratch.Array<float>(heads, pairs);
    int32_t* const indices = a.scratch.Array<int32_t>(heads, 2, pairs);
    if (!query || !map || !means || !scores || !indices) {
      return sparse::OutOfMemory();
    }
    a.phases.Enter(Phase::kSelect);
    ops::ParallelFor(a.executor, heads, [&](int64_t i, int) {
      const int64_t b = i / q.heads(), h = i % q.heads();
      float* const mean = query + i * grid.query_blocks * dim;
      ops::MeanPool(ops::Head(q, b, h), grid.block,
                    ops::Dense(mean, grid.query_blocks, dim));
      float* const score = scores + i * pairs;
      int32_t* const place = indices + 2 * i * pairs;
      int64_t count = 0;
      std::fill(map + i * pairs, map + (i + 1) * pairs, uint8_t{0});
      std::fill(means + i * pairs, means + (i + 1) * pairs, false);
      const float scale = ops::SoftmaxScale(a.params, dim);
      const int64_t kv = h / (q.heads() / a.args.key.heads());
      for (int64_t r = 0; r < grid.query_blocks; ++r) {
        const int64_t whole = grid.Whole(r);
        for (int64_t j = 0; j < whole; ++j) {
          place[count] = static_cast<int32_t>(r * grid.key_blocks + j);
          means[i * pairs + place[count]] = true;
          score[count++] = scale * ops::Dot(mean + r * dim,
                                            RowAt(pooled.key(), b, j, kv), dim);
        }
        std::fill(map + i * pairs + r * grid.key_blocks + whole,
                  map + i * pairs + r * grid.key_blocks + grid.Touched(r),
                  uint8_t{1});
      }
      int32_t* const order = place + pairs;
      const int64_t kept = ops::TopK(score, count, grid.Budget(a.knobs), order);
      for (int64_t k = 0; k < kept; ++k) {
        map[i * pairs + place[order[k]]] = 1;
        means[i * pairs + place[order[k]]] = false;
      }
    });
    return Status();
  }
};

// Attends by the means and gives every row what its block has.
Status AttendMeans(const VariantArgs& call, const Grid& grid,
                   const Coarse& coarse, const sparse::PooledTokens& pooled) {
  const ConstTensorView& q = call.args.query;
  const int64_t batch = q.batch(), heads = q.heads();
  const int64_t blocks = grid.query_blocks, dim_v = pooled.value().head_dim();
  float* const out = call.scratch.Array<float>(batch * heads, blocks, dim_v);
  float* const lse = call.scratch.Array<float>(batch, heads, blocks);
  if (out == nullptr || lse == nullptr) return sparse::OutOfMemory();
  VariantArgs means = call;
  means.params.causal = false;
  means.args.query = Bhsd(static_cast<const float*>(coarse.query), batch, heads,
                          blocks, q.head_dim());
  means.args.key = pooled.key();
  means.args.value = pooled.value();
  means.args.out = Bhsd(out, batch, heads, blocks, dim_v);
  means.args.lse = Bhs(lse, batch, heads, blocks);
  const int64_t pairs = blocks * grid.key_blocks;
  means.args.scores.mask =
      Strided(static_cast<const bool*>(coarse.means), batch, blocks, heads,
              pooled.entries(), heads * pairs, grid.key_blocks, pairs);
  const Status status = ops::Attend(means.params, means.args, means);
  if (!status.ok()) return status;
  const float count = std::log(static_cast<float>(grid.block));
  ops::ParallelFor(call.executor, batch * grid.rows, [&](int64_t i, int) {
    const int64_t b = i / grid.rows, row = i % grid.rows;
    for (int64_t h = 0; h < heads; ++h) {
      std::copy_n(RowAt(means.args.out, b, row / grid.block, h), dim_v,
                  RowAt(call.args.out, b, row, h));
      *RowAt(call.args.lse, b, row, h) =
          *RowAt(means.args.lse, b, row / grid.block, h) + count;
    }
  });
  return status;
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const Grid grid(a.params, t.query.seqlen(), t.key.seqlen(), a.knobs);
  sparse::Parts parts;
  sparse::PooledTokens pooled;
  Coarse coarse;
  Status status = parts.Prepare(a, 2, /*sinks=*/false);
  if (!status.ok()) return status;
  if (t.query.batch() * t.query.heads() * grid.rows * grid.keys == 0) {
    return ops::Attend(a.params, t, a);
  }
  status = pooled.Prepare(a, {grid.block, grid.block, true});
  if (status.ok()) status = coarse.Prepare(a, grid, pooled);
  if (!status.ok()) return status;
  const VariantArgs exact = parts.Call(0);
  a.phases.Enter(Phase::kBuild);
  SparsePlan plan;
  status = PlanFromBlockMap(exact.params,
                            {t.query.batch(), t.query.heads(), grid.rows,
                             grid.keys, grid.block, grid.block},
                            coarse.map, a.scratch, &plan);
  if (status.ok()) status = sparse::AttendPlan(exact, plan);
  if (status.ok()) status = AttendMeans(parts.Call(1), grid, coarse, pooled);
  return status.ok() ? parts.Merge() : status;
}

void Reference(const VariantArgs& a, double* out) {
  const AttentionArgs& t = a.args;
  const Grid grid(a.params, t.query.seqlen(), t.key.seqlen(), a.knobs);
  const int64_t dim = t.key.head_dim(), heads = t.query.heads();
  AttentionParams products;  // what chooses knows no cap
  products.softmax_scale = a.params.softmax_scale;
  struct Pair {
    double score;
    bool exact;
  };
  std::vector<std::vector<Pair>> of_heads;  // [batch * heads][pairs]
  const auto begin = [&](int64_t i) { return i * grid.block; };
  const sparse::PlainMeans queries(
      t.query, grid.query_blocks, begin,
      [&](int64_t i) { return std::min((i + 1) * grid.block, grid.rows); });
  const auto end = [&](int64_t i) {
    return std::min((i + 1) * grid.block, grid.keys);
  };
  const sparse::PlainMeans mean_keys(t.key, grid.key_blocks, begin, end);
  const sparse::PlainMeans mean_values(t.value, grid.key_blocks, begin, end);
  // A mean of queries as the numbers that scores are made of.
  std::vector<double> product(static_cast<size_t>(dim));
  const std::vector<float> one(product.size(), 1.0f);
  const auto score_of = [&](const double* query, const double* key,
                            const AttentionParams& params) {
    for (size_t c = 0; c < product.size(); ++c) product[c] = query[c] * key[c];
    return sparse::PlainScore(params, one.data(), product.data(), dim);
  };
  for (int64_t i = 0; i < t.query.batch() * heads && grid.keys > 0; ++i) {
    const int64_t b = i / heads, h = i % heads;
    const int64_t kv = h / (heads / t.key.heads());
    std::vector<Pair> pairs;
    std::vector<size_t> order;
    for (int64_t r = 0; r < grid.query_blocks; ++r) {
      for (int64_t j = 0; j < grid.key_blocks; ++j) {
        pairs.push_back({-INFINITY, true});
        if (j >= grid.Whole(r)) continue;
        pairs.back() = {
            score_of(queries.Of(b, h, r), mean_keys.Of(b, kv, j), products),
            false};
        order.push_back(pairs.size() - 1);
      }
    }
    std::stable_sort(order.begin(), order.end(), [&](size_t x, size_t y) {
      return pairs[x].score > pairs[y].score;
    });
    order.resize(
        std::min(order.size(), static_cast<size_t>(grid.Budget(a.knobs))));
    for (const size_t k : order) pairs[k].exact = true;
    of_heads.push_back(pairs);
  }
  sparse::ForEachPlainRow(
      a, out, [&](int64_t b, int64_t h, int64_t kv, int64_t row, double* to) {
        sparse::PlainSoftmax softmax(t.value.head_dim());
        const int64_t r = row / grid.block;
        for (int64_t j = 0; j < grid.key_blocks; ++j) {
          const Pair& pair =
              of_heads[static_cast<size_t>(b * heads + h)]
                      [static_cast<size_t>(r * grid.key_blocks + j)];
          if (!pair.exact) {
            softmax.Add(std::log(static_cast<double>(grid.block)) +
                            score_of(queries.Of(b, h, r),
                                     mean_keys.Of(b, kv, j), a.params),
                        mean_values.Of(b, kv, j));
            continue;
          }
          for (int64_t key = j * grid.block;
               key < std::min((j + 1) * grid.block, grid.keys) &&
               (!grid.causal || key <= row + grid.offset);
               ++key) {
            softmax.Add(sparse::PlainScore(a.params, RowAt(t.query, b, row, h),
                                           RowAt(t.key, b, key, kv), dim),
                        RowAt(t.value, b, key, kv));
          }
        }
        softmax.AddTo(1, to);
      });
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const Grid grid(params, shape.seqlen_q, shape.seqlen_k, knobs);
  double coarse = 0, cut = 0;
  for (int64_t i = 0; i < grid.query_blocks; ++i) {
    coarse += static_cast<double>(grid.Whole(i));
    cut += static_cast<double>(grid.Touched(i) - grid.Whole(i));
  }
  const double refined =
      std::min(coarse, static_cast<double>(grid.Budget(knobs))) + cut;
  const double pairs =
      std::min(ops::VisiblePairs(shape, params), refined * knobs[1] * knobs[1]);
  Cost cost = ops::SoftmaxCost(shape, pairs + coarse);
  cost.at_most = true;
  const double heads = static_cast<double>(shape.batch * shape.num_heads);
  const double dim = static_cast<double>(shape.head_dim);
  const double both = dim + static_cast<double>(shape.head_dim_v);
  const double pooled =
      heads * dim * static_cast<double>(shape.seqlen_q) +
      both * static_cast<double>(shape.batch * shape.num_kv_heads *
                                 shape.seqlen_k);
  cost.AddSelecting(2 * heads * dim * coarse + pooled, 4 * pooled);
  return cost;
}

}  // namespace

Variant mra2() {
  return {.summary =
              "The best pairs of blocks exactly, means of blocks in the place "
              "of the others.",
          .paper = "Zeng et al. 2022, arXiv:2207.10284",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .selects_ahead = true,
          .reference = Reference};
}

}  // namespace heed::variants
