// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Two resolutions in one softmax (MRA-2, Zeng et al. 2022, arXiv:2207.10284):
// the pairs of blocks that their means find heaviest are attended to token by
// token; for any other pair every row of the query block has, for each key of
// the key block, the weight
//
//   exp(scale * mean(query block) . mean(key block))
//
// and the mean of its values. Of each head, as many pairs as block_per_row
// times the query blocks are exact: those whose means score highest, each
// relative to the best of its query block, of equal ones the first. Where
// approx_mode is 1, MRA-2-s, the others count for nothing. Kept anyway, within
// that number or beyond it, are the pairs of the first
// initial_prior_first_n_blocks query and key blocks, and those no farther from
// the diagonal than half of initial_prior_diagonal_n_blocks. Blocks are cut
// from row 0 and key 0 on, and a short one counts as the tokens that it has.
// Pairs compete over the whole call, so there is no causal form.
//
// reference_quirks: the paper's code drops pairs that score as the last exact
// one does but did not win, from both resolutions; adds 1e-6 to the sum of
// weights; raises the scores of pairs that are kept anyway by 5,000, which
// rounds them; and asks that blocks divide the length.
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
    {.name = "block_per_row",
     .summary = "Exact pairs of blocks, for each query block.",
     .default_value = 8,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "block_size",
     .summary = "Rows and keys of a block.",
     .default_value = 32,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "approx_mode",
     .summary = "0: full; 1: sparse, only exact pairs count.",
     .default_value = 0,
     .min = 0,
     .max = 1,
     .integer = true},
    {.name = "initial_prior_first_n_blocks",
     .summary = "Query and key blocks whose pairs are all exact.",
     .default_value = 0,
     .min = 0,
     .max = 65536,
     .integer = true},
    {.name = "initial_prior_diagonal_n_blocks",
     .summary = "Twice the distance from the diagonal of exact pairs; 0: none.",
     .default_value = 0,
     .min = 0,
     .max = 65536,
     .integer = true},
};

// The blocks of a call.
struct Grid {
  int64_t block, query_blocks, key_blocks, rows, keys;

  Grid(const double* knobs, int64_t seqlen_q, int64_t seqlen_k)
      : block(static_cast<int64_t>(knobs[1])),
        query_blocks((seqlen_q + block - 1) / block),
        key_blocks((seqlen_k + block - 1) / block),
        rows(seqlen_q),
        keys(seqlen_k) {}
  int64_t pairs() const { return query_blocks * key_blocks; }
  int64_t KeysOf(int64_t j) const { return std::min(block, keys - j * block); }
  int64_t Budget(const double* knobs) const {
    return std::min(static_cast<int64_t>(knobs[0]), key_blocks) * query_blocks;
  }
};

bool IsKeptAnyway(const double* knobs, int64_t i, int64_t j) {
  const int64_t first = static_cast<int64_t>(knobs[3]);
  const int64_t diagonal = static_cast<int64_t>(knobs[4]);
  return i < first || j < first ||
         (diagonal > 0 && std::abs(i - j) <= diagonal / 2);
}

// The coarse half of a head: what is exact, and what stands for the rest.
struct Coarse {
  const VariantArgs* a;
  Grid grid;
  const float* key_means;  // [batch * kv heads][key blocks][head_dim]
  float* query_means;      // [batch * heads][query blocks][head_dim]
  float* value_means;      // [batch * kv heads][key blocks][head_dim_v]
  float* score;            // [batch * heads][query blocks][key blocks]
  float* rank;             // [workers][pairs]
  int32_t* order;          // the same
  uint8_t* exact;          // as score
  float* out;              // [batch * heads][query blocks][head_dim_v]
  float* lse;              // [batch * heads][query blocks]

  void ChooseOf(int64_t head, int worker) const;
  void AttendOf(int64_t head) const;

 private:
  int64_t KvHead(int64_t head) const {
    const int64_t heads = a->args.query.heads(), kv = a->args.key.heads();
    return head / heads * kv + head % heads / (heads / kv);
  }
};

// Scores all pairs of a head's blocks, and marks those that are exact.
void Coarse::ChooseOf(int64_t head, int worker) const {
  const AttentionArgs& t = a->args;
  const int64_t dim = t.query.head_dim(), pairs = grid.pairs();
  const int64_t columns = grid.key_blocks;
  float* const means = query_means + head * grid.query_blocks * dim;
  float* const scores = score + head * pairs;
  ops::MeanPool(
      ops::Head(t.query, head / t.query.heads(), head % t.query.heads()),
      grid.block, ops::Dense(means, grid.query_blocks, dim));
  ops::MatMul(ops::Dense(means, grid.query_blocks, dim),
              ops::Transposed(ops::Dense(
                  key_means + KvHead(head) * columns * dim, columns, dim)),
              ops::Dense(scores, grid.query_blocks, columns));
  ops::Scale(ops::SoftmaxScale(a->params, dim), scores, pairs);
  if (a->params.softcap != 0) {
    sparse::CapScores(a->params.softcap, scores, pairs);
  }
  float* const ranks = rank + worker * pairs;
  uint8_t* const kept = exact + head * pairs;
  int64_t anyways = 0;
  for (int64_t i = 0; i < grid.query_blocks; ++i) {
    const float* const row = scores + i * columns;
    float most = -INFINITY;
    for (int64_t j = 0; j < columns; ++j) {
      if (row[j] > most) most = row[j];  // NaN is none
    }
    for (int64_t j = 0; j < columns; ++j) {
      const bool anyway = IsKeptAnyway(a->knobs, i, j);
      kept[i * columns + j] = anyway;
      ranks[i * columns + j] = anyway ? INFINITY : row[j] - most;
      anyways += anyway;
    }
  }
  // Those that are kept anyway rank first.
  const int64_t chosen =
      ops::TopK(ranks, pairs, std::max(grid.Budget(a->knobs), anyways),
                order + worker * pairs);
  for (int64_t i = 0; i < chosen; ++i) kept[order[worker * pairs + i]] = 1;
}

// Attends to the means of the other pairs.
void Coarse::AttendOf(int64_t head) const {
  const int64_t dim_v = a->args.value.head_dim(), columns = grid.key_blocks;
  float* const weights = score + head * grid.pairs();
  for (int64_t i = 0; i < grid.query_blocks; ++i) {
    float* const row = weights + i * columns;
    const uint8_t* const kept = exact + head * grid.pairs() + i * columns;
    // A block with a NaN among its queries loses to all others: it may be left
    // without an exact pair, and is NaN all the same.
    const bool nan =
        std::all_of(row, row + columns, [](float x) { return std::isnan(x); });
    for (int64_t j = 0; j < columns; ++j) {
      const bool counts = !kept[j] && (a->knobs[2] == 0 || nan);
      row[j] = counts ? row[j] + static_cast<float>(std::log(
                                     static_cast<double>(grid.KeysOf(j))))
                      : -INFINITY;
    }
    lse[head * grid.query_blocks + i] = ops::Softmax(row, columns);
  }
  ops::MatMul(
      ops::Dense(weights, grid.query_blocks, columns),
      ops::Dense(value_means + KvHead(head) * columns * dim_v, columns, dim_v),
      ops::Dense(out + head * grid.query_blocks * dim_v, grid.query_blocks,
                 dim_v));
}

// Every row of a block has what its block has.
void PutRows(const Coarse& coarse, const VariantArgs& part) {
  const TensorView& out = part.args.out;
  ops::ParallelFor(
      part.executor, out.batch() * out.heads(), [&](int64_t head, int) {
        const int64_t b = head / out.heads(), h = head % out.heads();
        for (int64_t row = 0; row < out.seqlen(); ++row) {
          const int64_t at =
              head * coarse.grid.query_blocks + row / coarse.grid.block;
          const float* const from = coarse.out + at * out.head_dim();
          std::copy(from, from + out.head_dim(), RowAt(out, b, row, h));
          *RowAt(part.args.lse, b, row, h) = coarse.lse[at];
        }
      });
}

Status Prepare(const VariantArgs& a, Coarse* coarse) {
  const AttentionArgs& t = a.args;
  const Grid& grid = coarse->grid;
  const int64_t heads = t.query.batch() * t.query.heads();
  const int64_t kv_heads = t.key.batch() * t.key.heads();
  const int64_t dim_v = t.value.head_dim(), workers = a.executor.max_workers;
  coarse->a = &a;
  coarse->key_means = sparse::KeyMeans(a, grid.block);
  coarse->query_means =
      a.scratch.Array<float>(heads, grid.query_blocks, t.query.head_dim());
  coarse->value_means =
      a.scratch.Array<float>(kv_heads, grid.key_blocks, dim_v);
  coarse->score = a.scratch.Array<float>(heads, grid.pairs());
  coarse->rank = a.scratch.Array<float>(workers, grid.pairs());
  coarse->order = a.scratch.Array<int32_t>(workers, grid.pairs());
  coarse->exact = a.scratch.Array<uint8_t>(heads, grid.pairs());
  coarse->out = a.scratch.Array<float>(heads, grid.query_blocks, dim_v);
  coarse->lse = a.scratch.Array<float>(heads, grid.query_blocks);
  if (!coarse->key_means || !coarse->query_means || !coarse->value_means ||
      !coarse->score || !coarse->rank || !coarse->order || !coarse->exact ||
      !coarse->out || !coarse->lse) {
    return sparse::OutOfMemory();
  }
  a.phases.Enter(Phase::kEstimate);
  ops::ParallelFor(a.executor, kv_heads, [&](int64_t i, int /*worker*/) {
    ops::MeanPool(ops::Head(t.value, i / t.key.heads(), i % t.key.heads()),
                  grid.block,
                  ops::Dense(coarse->value_means + i * grid.key_blocks * dim_v,
                             grid.key_blocks, dim_v));
  });
  return Status();
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t heads = t.query.batch() * t.query.heads();
  sparse::Parts parts;
  Coarse coarse = {nullptr, Grid(a.knobs, t.query.seqlen(), t.key.seqlen()),
                   nullptr, nullptr,
                   nullptr, nullptr,
                   nullptr, nullptr,
                   nullptr, nullptr,
                   nullptr};
  Status status = parts.Prepare(a, 2, /*sinks=*/false);
  if (status.ok() && heads * coarse.grid.pairs() == 0) {
    return ops::Attend(a.params, t, a);
  }
  if (status.ok()) status = Prepare(a, &coarse);
  if (!status.ok()) return status;
  a.phases.Enter(Phase::kSelect);
  ops::ParallelFor(a.executor, heads,
                   [&](int64_t i, int worker) { coarse.ChooseOf(i, worker); });
  a.phases.Enter(Phase::kBuild);
  const VariantArgs exact = parts.Call(0), other = parts.Call(1);
  SparsePlan plan;
  status =
      PlanFromBlockMap(exact.params,
                       {t.query.batch(), t.query.heads(), t.query.seqlen(),
                        t.key.seqlen(), coarse.grid.block, coarse.grid.block},
                       coarse.exact, a.scratch, &plan);
  if (status.ok()) status = sparse::AttendPlan(exact, plan);
  if (!status.ok()) return status;
  ops::ParallelFor(a.executor, heads,
                   [&](int64_t i, int /*worker*/) { coarse.AttendOf(i); });
  PutRows(coarse, other);
  return parts.Merge();
}

// Which pairs of a head's blocks are exact, by their scores.
std::vector<bool> PlainExact(const double* knobs, const Grid& grid,
                             const std::vector<double>& score) {
  std::vector<double> rank(score.size());
  std::vector<bool> exact(score.size());
  int64_t budget = grid.Budget(knobs);
  for (int64_t i = 0; i < grid.query_blocks; ++i) {
    const auto row = score.begin() + i * grid.key_blocks;
    double most = -INFINITY;  // NaN is none
    std::for_each(row, row + grid.key_blocks,
                  [&](double x) { most = x > most ? x : most; });
    for (int64_t j = 0; j < grid.key_blocks; ++j) {
      const size_t at = static_cast<size_t>(i * grid.key_blocks + j);
      rank[at] = score[at] - most;
      exact[at] = IsKeptAnyway(knobs, i, j);
      budget -= exact[at];
    }
  }
  std::vector<size_t> order;
  for (size_t at = 0; at < score.size(); ++at) {
    if (!exact[at]) order.push_back(at);
  }
  // NaN ranks last.
  std::stable_sort(order.begin(), order.end(), [&](size_t x, size_t y) {
    const bool none = std::isnan(rank[x]), other = std::isnan(rank[y]);
    return none || other ? !none && other : rank[x] > rank[y];
  });
  for (const size_t at : order) {
    if (budget-- <= 0) break;
    exact[at] = true;
  }
  return exact;
}

void PlainHead(const VariantArgs& a, const Grid& grid, int64_t b, int64_t h,
               int64_t kv, double* out) {
  const AttentionArgs& t = a.args;
  const int64_t dim = t.query.head_dim(), dim_v = t.value.head_dim();
  std::vector<std::vector<double>> keys, values;
  std::vector<double> score;
  const auto mean = [&](const ConstTensorView& x, int64_t i, int64_t head) {
    return sparse::PlainMean(x, b, i * grid.block,
                             std::min((i + 1) * grid.block, x.seqlen()), head);
  };
  for (int64_t j = 0; j < grid.key_blocks; ++j) {
    keys.push_back(mean(t.key, j, kv));
    values.push_back(mean(t.value, j, kv));
  }
  for (int64_t i = 0; i < grid.query_blocks; ++i) {
    const std::vector<double> wide = mean(t.query, i, h);
    for (const std::vector<double>& key : keys) {
      double sum = 0;
      for (size_t c = 0; c < key.size(); ++c) sum += wide[c] * key[c];
      sum *= static_cast<double>(ops::SoftmaxScale(a.params, dim));
      const double cap = static_cast<double>(a.params.softcap);
      score.push_back(cap == 0 ? sum : cap * std::tanh(sum / cap));
    }
  }
  const std::vector<bool> exact = PlainExact(a.knobs, grid, score);
  for (int64_t row = 0; row < grid.rows; ++row) {
    sparse::PlainSoftmax softmax(dim_v);
    for (int64_t j = 0; j < grid.key_blocks; ++j) {
      const size_t at =
          static_cast<size_t>(row / grid.block * grid.key_blocks + j);
      for (int64_t k = 0; k < grid.KeysOf(j); ++k) {
        const int64_t key = j * grid.block + k;
        if (exact[at]) {
          softmax.Add(sparse::PlainScore(a.params, RowAt(t.query, b, row, h),
                                         RowAt(t.key, b, key, kv), dim),
                      RowAt(t.value, b, key, kv));
        } else if (a.knobs[2] == 0) {
          softmax.Add(score[at], values[static_cast<size_t>(j)].data());
        }
      }
    }
    softmax.AddTo(1, out + row * t.query.heads() * dim_v);
  }
}

void Reference(const VariantArgs& a, double* out) {
  const AttentionArgs& t = a.args;
  const Grid grid(a.knobs, t.query.seqlen(), t.key.seqlen());
  sparse::ForEachPlainHead(a, out,
                           [&](int64_t b, int64_t h, int64_t kv, double* to) {
                             if (grid.pairs() > 0)
                               PlainHead(a, grid, b, h, kv, to);
                           });
}

// With the most exact pairs that there can be: some are short.
Cost EstimateCost(const AttentionShape& shape, const AttentionParams&,
                  const double* knobs) {
  const Grid grid(knobs, shape.seqlen_q, shape.seqlen_k);
  const double block = knobs[1];
  const double rows = static_cast<double>(shape.seqlen_q);
  const double keys = static_cast<double>(shape.seqlen_k);
  const double coarse = static_cast<double>(grid.pairs());
  const double heads = static_cast<double>(shape.batch * shape.num_heads);
  const double kv_heads = static_cast<double>(shape.batch * shape.num_kv_heads);
  const double dim = static_cast<double>(shape.head_dim);
  const double dim_v = static_cast<double>(shape.head_dim_v);
  Cost cost = ops::SoftmaxCost(
      shape, std::min(static_cast<double>(grid.Budget(knobs)) * block * block,
                      rows * keys));
  cost.at_most = true;
  cost.flops += 2 * heads * coarse * dim_v;
  cost.AddSelecting(2 * heads * coarse * dim + heads * rows * dim +
                        kv_heads * keys * (dim + dim_v),
                    4 * (heads * rows * dim + kv_heads * keys * (dim + dim_v)));
  return cost;
}

}  // namespace

Variant mra2() {
  return {
      .summary = "Heavy pairs of blocks exactly, the others by their means.",
      .paper = "Zeng et al. 2022, arXiv:2207.10284",
      .semantics = Semantics::kOwnReference,
      .knobs = kKnobs,
      .num_knobs = 5,
      .cost = EstimateCost,
      .run = RunVariant,
      .reference = Reference,
      .non_causal = true,
      .reference_of_all_rows = true};
}

}  // namespace heed::variants
