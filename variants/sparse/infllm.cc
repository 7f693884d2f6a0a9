// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to the first tokens, the latest, and the blocks between whose
// representative tokens a row finds nearest: InfLLM (Xiao et al. 2024,
// arXiv:2402.04617). Of each block and key head the repr_topk keys stand for it
// that the rows after them found most relevant,
//
//   relevance(key) = mean of key . query over the n_local positions after it
//                    and the heads of its group,
//
// of equal ones the first, and where no row follows, as keys before a call's
// first row may have it, the block's first. A row scores a block by the sum of
// its products with them, over all heads, which keep the same. Blocks are cut
// from key 0 on; one that the first tokens or the window touch is kept whole
// and does not count in topk. All rows whose products tell what stands for a
// block that a row may choose are at or before that row. Rows with a query that
// is not finite have no say in it, so that they spoil no choice but their own.
//
// Rows choose one by one: exc_block_size is 1. Positions stay what they are,
// where the paper gives all far tokens the same; relevance is the paper's,
// where the authors' code sums attention weights.
#include <heed/estimators.h>
#include <heed/row_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "topk",
     .summary = "Blocks between first tokens and window that a row keeps.",
     .default_value = 16,
     .min = 0,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "block_size",
     .summary = "Keys of a block.",
     .default_value = 128,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "n_init",
     .summary = "First tokens that every row keeps.",
     .default_value = 128,
     .min = 0,
     .max = sparse::kAll,
     .integer = true},
    {.name = "n_local",
     .summary = "Latest tokens that a row keeps, its own among them.",
     .default_value = 4096,
     .min = 1,
     .max = sparse::kAll,
     .integer = true},
    {.name = "repr_topk",
     .summary = "Keys that stand for a block.",
     .default_value = 4,
     .min = 1,
     .max = 1024,
     .integer = true},
};

// Of each block the sum of the keys that stand for it: [batch * kv heads]
// [blocks][head_dim].
class Representatives {
 public:
  bool Prepare(const VariantArgs& a) {
    const ConstTensorView &query = a.args.query, &key = a.args.key;
    const int64_t rows = query.seqlen(), dim = key.head_dim();
    const int64_t heads = key.batch() * key.heads();
    const int64_t keys = key.seqlen();
    block_ = static_cast<int64_t>(a.knobs[1]);
    blocks_ = (keys + block_ - 1) / block_;
    sum_ = a.scratch.Array<float>(heads, blocks_, dim);
    // Queries of a group summed from row 0 on, and how many rows they are of.
    double* const sums = a.scratch.Array<double>(heads, rows + 1, dim + 1);
    float* const relevances = a.scratch.Array<float>(heads, block_ + dim);
    int32_t* const indices = a.scratch.Array<int32_t>(heads, block_);
    if (!sum_ || !sums || !relevances || !indices) return false;
    const int64_t offset = sparse::OffsetOf(a.params, rows, keys);
    const int64_t local = static_cast<int64_t>(a.knobs[3]);
    a.phases.Enter(Phase::kEstimate);
    ops::ParallelFor(a.executor, heads, [&](int64_t i, int) {
      const int64_t b = i / key.heads(), kv = i % key.heads();
      double* const sum = sums + i * (rows + 1) * (dim + 1);
      float* const relevance = relevances + i * (block_ + dim);
      float* const mean = relevance + block_;
      int32_t* const index = indices + i * block_;
      SumQueries(query, b, kv, query.heads() / key.heads(), sum);
      for (int64_t j = 0; j < blocks_; ++j) {
        const int64_t begin = j * block_, end = std::min(begin + block_, keys);
        for (int64_t t = begin; t < end; ++t) {
          const int64_t first = std::clamp<int64_t>(t + 1 - offset, 0, rows);
          const int64_t last =
              std::clamp<int64_t>(t + 1 + local - offset, first, rows);
          const double* const from = sum + first * (dim + 1);
          const double* const upto = sum + last * (dim + 1);
          const double count = std::max(upto[dim] - from[dim], 1.0);
          for (int64_t c = 0; c < dim; ++c) {
            mean[c] = static_cast<float>((upto[c] - from[c]) / count);
          }
          relevance[t - begin] = ops::Dot(mean, RowAt(key, b, t, kv), dim);
        }
        const int64_t kept = ops::TopK(relevance, end - begin,
                                       static_cast<int64_t>(a.knobs[4]), index);
        float* const to = sum_ + (i * blocks_ + j) * dim;
        std::fill(to, to + dim, 0.0f);
        for (int64_t t = 0; t < kept; ++t) {
          ops::Axpy(1.0f, RowAt(key, b, begin + index[t], kv), to, dim);
        }
      }
    });
    return true;
  }

  const float* Of(int64_t head, int64_t block, int64_t dim) const {
    return sum_ + (head * blocks_ + block) * dim;
  }
  int64_t blocks() const { return blocks_; }

 private:
  static void SumQueries(const ConstTensorView& query, int64_t b, int64_t kv,
                         int64_t group, double* sum) {
    const int64_t dim = query.head_dim();
    std::fill(sum, sum + dim + 1, 0.0);
    for (int64_t row = 0; row < query.seqlen(); ++row, sum += dim + 1) {
      double* const next = sum + dim + 1;
      bool finite = true;
      for (int64_t c = 0; c < dim; ++c) {
        next[c] = sum[c];
        for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
          const float x = RowAt(query, b, row, h)[c];
          finite = finite && std::isfinite(x);
          next[c] += static_cast<double>(x);
        }
      }
      if (!finite) std::copy(sum, sum + dim, next);
      next[dim] = sum[dim] + (finite ? 1 : 0);
    }
  }

  int64_t block_ = 0, blocks_ = 0;
  float* sum_ = nullptr;
};

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t dim = t.key.head_dim(), keys = t.key.seqlen();
  const int64_t block = static_cast<int64_t>(a.knobs[1]);
  const int64_t init = static_cast<int64_t>(a.knobs[2]);
  const int64_t local = static_cast<int64_t>(a.knobs[3]);
  Representatives standing;
  if (!standing.Prepare(a)) return sparse::OutOfMemory();
  float* const scores =
      a.scratch.Array<float>(a.executor.max_workers, standing.blocks());
  if (scores == nullptr) return sparse::OutOfMemory();
  const auto choose = [&](const sparse::QueryRow& row,
                          sparse::RowChoice* choice) {
    float* const score = scores + row.worker * standing.blocks();
    int64_t near = 0;
    for (int64_t j = 0; j * block < row.end(); ++j) {
      const int64_t begin = j * block, end = std::min(begin + block, keys);
      if (!row.Touches(begin, end)) continue;
      score[j] = 0;
      if (begin < init ||
          (end > row.position + 1 - local && begin < row.position + local)) {
        score[j] = INFINITY;
        ++near;
        continue;
      }
      for (int64_t h = 0; h < t.query.heads(); ++h) {
        const int64_t kv = h / (t.query.heads() / t.key.heads());
        score[j] +=
            ops::Dot(RowAt(t.query, row.batch, row.index, h),
                     standing.Of(row.batch * t.key.heads() + kv, j, dim), dim);
      }
    }
    choice->KeepTop(row, block, score, near + static_cast<int64_t>(a.knobs[0]));
  };
  return sparse::AttendRows(a, sparse::ListOf::kEveryHead, choose);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const double block = knobs[1];
  // Window and first tokens touch up to a block more each; where the call is
  // not causal, the window is on both sides.
  const double near = knobs[2] + knobs[3] * (params.causal ? 1 : 2) + 3 * block;
  Cost cost = ops::SoftmaxCost(
      shape, sparse::CountRowPairs(shape, params, near + knobs[0] * block));
  cost.at_most = true;
  const double dim = static_cast<double>(shape.batch * shape.head_dim);
  const double keys =
      dim * static_cast<double>(shape.seqlen_k * shape.num_kv_heads);
  const double queries = dim * static_cast<double>(shape.num_heads) *
                         ops::VisiblePairs(shape, params) / block;
  cost.AddSelecting(2 * queries + 5 * keys, 4 * keys);
  return cost;
}

}  // namespace

Variant infllm() {
  return {.summary =
              "First tokens, a window, and the blocks whose most relevant "
              "keys are nearest.",
          .paper = "Xiao et al. 2024, arXiv:2402.04617",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 5,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
