// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to the key blocks that hold a share of a pooled softmax, and to those
// that a mean does not stand for: SpargeAttention (Zhang et al. 2025,
// arXiv:2502.18137), without its 8-bit products. A block is self-similar where
// the mean cosine of its rows, each with each, reaches simthreshd1. Per query
// head and block of queries
//
//   weight = softmax over self-similar key blocks of
//            scale * mean(query rows) . mean(keys of the block),
//
// and kept are the heaviest whose weights sum to no more than cdfthreshd (the
// block that crosses it is left out, as in paper and code), one at least; every
// key block that is not self-similar; and all blocks for queries that are not.
// The first block, those at the rows' own positions and those that a mask cuts
// are kept besides.
//
// The paper's second stage, which skips products with values by a warp's
// maximum (pvthreshd), is left out: the exact kernel attends to what is kept.
#include <heed/estimators.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "cdfthreshd",
     .summary = "Share of the pooled softmax that is kept at most.",
     .default_value = 0.98,
     .min = 0,
     .max = 1,
     .integer = false,
     .has_exact = true,
     .exact_value = 1},
    {.name = "simthreshd1",
     .summary = "Mean cosine below which a block is kept as a whole.",
     .default_value = 0.6,
     .min = -1,
     .max = 1,
     .integer = false},
    {.name = "query_block",
     .summary = "Query rows that select together.",
     .default_value = 128,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "key_block",
     .summary = "Keys of a block.",
     .default_value = 64,
     .min = 1,
     .max = 65536,
     .integer = true},
};

// The mean cosine of all pairs of rows [begin, end), which is the squared
// length of the mean of their directions. `sum` holds a row.
float Similarity(const ConstTensorView& view, int64_t batch, int64_t head,
                 int64_t begin, int64_t end, float* sum) {
  const int64_t dim = view.head_dim();
  std::fill(sum, sum + dim, 0.0f);
  for (int64_t row = begin; row < end; ++row) {
    const float* x = RowAt(view, batch, row, head);
    const float length = std::sqrt(ops::Dot(x, x, dim));
    if (length > 0) ops::Axpy(1.0f / length, x, sum, dim);
  }
  const float rows = static_cast<float>(end - begin);
  return ops::Dot(sum, sum, dim) / (rows * rows);
}

// Infinite scores are kept; the others are weighed.
void Select(double share, const sparse::BlockChoice& choice) {
  if (share >= 1) {
    std::fill(choice.keep, choice.keep + choice.count, 1);
    return;
  }
  int64_t count = 0;
  for (int64_t i = 0; i < choice.count; ++i) {
    if (choice.score[i] == INFINITY) {
      choice.keep[i] = 1;
    } else {
      choice.place[count] = static_cast<int32_t>(i);
      choice.value[count] = choice.score[i];
      choice.order[count] = static_cast<int32_t>(count);
      ++count;
    }
  }
  ops::Softmax(choice.value, count);
  // Written so that NaN ranks last.
  std::stable_sort(choice.order, choice.order + count, [&](int i, int j) {
    return choice.value[i] > choice.value[j] ||
           (std::isnan(choice.value[j]) && !std::isnan(choice.value[i]));
  });
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    sum += static_cast<double>(choice.value[choice.order[i]]);
    if (i > 0 && !(sum <= share)) break;
    choice.keep[choice.place[choice.order[i]]] = 1;
  }
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t query_block = static_cast<int64_t>(a.knobs[2]);
  const int64_t block = static_cast<int64_t>(a.knobs[3]);
  const int64_t dim = t.query.head_dim(), keys = t.key.seqlen();
  const int64_t blocks = (keys + block - 1) / block;
  const int64_t heads = t.key.batch() * t.key.heads();
  const int64_t workers = a.executor.max_workers;
  const float threshold = static_cast<float>(a.knobs[1]);
  const float* means = sparse::KeyMeans(a, block);
  float* similar = a.scratch.Array<float>(heads * blocks);
  float* floats = a.scratch.Array<float>(workers * dim);
  if (means == nullptr || similar == nullptr || floats == nullptr) {
    return sparse::OutOfMemory();
  }
  ops::ParallelFor(a.executor, heads * blocks, [&](int64_t i, int worker) {
    const int64_t head = i / blocks, begin = i % blocks * block;
    similar[i] =
        Similarity(t.key, head / t.key.heads(), head % t.key.heads(), begin,
                   std::min(begin + block, keys), floats + worker * dim);
  });
  const float scale = ops::SoftmaxScale(a.params, dim);
  const auto score = [&](const sparse::BlockRows& rows, float* to) {
    float* mean = floats + rows.worker * dim;
    const bool together = Similarity(t.query, rows.batch, rows.head, rows.first,
                                     rows.end, mean) >= threshold;
    ops::MeanPool(ops::RowRange(ops::Head(t.query, rows.batch, rows.head),
                                rows.first, rows.end),
                  query_block, ops::Dense(mean, 1, dim));
    const int64_t first = (rows.batch * t.key.heads() + rows.kv_head) * blocks;
    for (int64_t j = 0; j < rows.num_blocks; ++j) {
      to[j] = together && similar[first + j] >= threshold
                  ? scale * ops::Dot(mean, means + (first + j) * dim, dim)
                  : INFINITY;
    }
  };
  const double share = a.knobs[0];
  return sparse::AttendBlocks(
      a, {query_block, block},
      [=](const sparse::BlockChoice& choice) { Select(share, choice); }, score);
}

// The most that it can be: how many blocks hold the share, data say.
Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const double pairs = ops::VisiblePairs(shape, params);
  const double dim = static_cast<double>(shape.batch * shape.head_dim);
  const double heads = static_cast<double>(shape.num_heads);
  const double pooled =
      dim * (static_cast<double>(shape.seqlen_q) * heads +
             static_cast<double>(shape.seqlen_k * shape.num_kv_heads));
  Cost cost = ops::SoftmaxCost(shape, pairs);
  // Means and similarities.
  cost.AddSelecting(
      2 * dim * heads * pairs / (knobs[2] * knobs[3]) + 3 * pooled,
      4 * 2 * pooled);
  return cost;
}

}  // namespace

Variant sparge() {
  return {.summary =
              "The key blocks that hold most of a pooled softmax, and "
              "those that means do not stand for.",
          .paper = "Zhang et al. 2025, arXiv:2502.18137",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 4,
          .cost = EstimateCost,
          .run = RunVariant,
          .selects_ahead = true};
}

}  // namespace heed::variants
