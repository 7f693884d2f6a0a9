// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Scores every tile of query rows and keys, and leaves out, with its
// exponentials and values, one whose scores lie far below what its rows have
// seen: skip-softmax, or BLASST (Yuan et al. 2025, arXiv:2512.12087). Keys come
// in blocks from key 0 on; a tile is skipped where, for every row of it,
//
//   largest score of the tile - running maximum, the tile's included
//       < log(threshold_scale_factor / seqlen_k),
//
// a row that sees nothing of the tile having no say. The threshold is at most
// 1, so that a row's largest score is never skipped, nor is a NaN. It falls
// with the length of the keys, as the paper's calibration has it.
//
// Nothing is estimated: scores are computed once, and what is saved is the
// other half. A threshold of 0 skips nothing; the exact kernel then serves.
#include <heed/estimators.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "threshold_scale_factor",
     .summary = "Of the weight below which a tile is skipped, times seqlen_k.",
     .default_value = 1000,
     .min = 0,
     .max = sparse::kAll,
     .integer = false,
     .has_exact = true,
     .exact_value = 0},
    {.name = "block",
     .summary = "Keys and query rows of a tile.",
     .default_value = 64,
     .min = 8,
     .max = 4096,
     .integer = true},
};

// A block of query rows on its way over the keys.
class RowBlock {
 public:
  // Floats that one takes.
  static int64_t Size(const AttentionArgs& t, int64_t block) {
    return block * (t.query.head_dim() + t.value.head_dim() + block + 3);
  }

  RowBlock(const VariantArgs& a, float* memory)
      : a_(a),
        block_(static_cast<int64_t>(a.knobs[1])),
        dim_(a.args.query.head_dim()),
        dim_v_(a.args.value.head_dim()),
        query_(memory),
        sum_(query_ + block_ * dim_),
        score_(sum_ + block_ * dim_v_),
        most_(score_ + block_ * block_),
        total_(most_ + block_),
        tile_most_(total_ + block_) {
    const double weight = a.knobs[0] / static_cast<double>(std::max<int64_t>(
                                           a.args.key.seqlen(), 1));
    least_ = static_cast<float>(std::log(std::min(weight, 1.0)));
  }

  void Run(int64_t batch, int64_t head, int64_t first, int64_t end) {
    const AttentionArgs& t = a_.args;
    b_ = batch;
    h_ = head;
    kv_ = head / (t.query.heads() / t.key.heads());
    first_ = first;
    rows_ = end - first;
    const float scale = ops::SoftmaxScale(a_.params, dim_);
    std::fill(sum_, sum_ + rows_ * dim_v_, 0.0f);
    std::fill(most_, most_ + rows_, -INFINITY);
    std::fill(total_, total_ + rows_, 0.0f);
    for (int64_t i = 0; i < rows_; ++i) {
      std::copy_n(RowAt(t.query, b_, first + i, h_), dim_, query_ + i * dim_);
    }
    ops::Scale(scale, query_, rows_ * dim_);
    // What a row sees only moves right from row to row.
    const ops::VisibleKeys low = SeenBy(0), high = SeenBy(rows_ - 1);
    const int64_t last = std::max(high.end, high.sink_end);
    for (int64_t key = 0; key < last; key += block_) {
      const int64_t stop = std::min(key + block_, last);
      if (key >= high.sink_end && stop <= low.begin) continue;
      Tile(key, stop);
    }
    Finish();
  }

 private:
  ops::VisibleKeys SeenBy(int64_t i) const {
    return ops::VisibleTo(a_.params, a_.args.query.seqlen(),
                          a_.args.key.seqlen(), first_ + i);
  }

  void Tile(int64_t begin, int64_t end) {
    const int64_t keys = end - begin;
    const ops::ConstMatrix key =
        ops::RowRange(ops::Head(a_.args.key, b_, kv_), begin, end);
    ops::MatMul(ops::Dense(query_, rows_, dim_), ops::Transposed(key),
                ops::Dense(score_, rows_, keys));
    if (a_.params.softcap > 0) {
      sparse::CapScores(a_.params.softcap, score_, rows_ * keys);
    }
    bool skip = true;
    for (int64_t i = 0; i < rows_; ++i) {
      float* const score = score_ + i * keys;
      const ops::VisibleKeys see = SeenBy(i);
      const auto place = [&](int64_t k) {
        return std::clamp<int64_t>(k - begin, 0, keys);
      };
      std::fill(score + place(see.sink_end), score + place(see.begin),
                -INFINITY);
      std::fill(score + place(see.end), score + keys, -INFINITY);
      float most = -INFINITY;
      bool numbers = true;
      for (int64_t k = 0; k < keys; ++k) {
        most = std::max(most, score[k]);
        numbers = numbers && !std::isnan(score[k]);
      }
      tile_most_[i] = most;
      const float distance = most - std::max(most, most_[i]);
      skip = skip && numbers && (most == -INFINITY || distance < least_);
    }
    if (!skip) Add(begin, end);
  }

  void Add(int64_t begin, int64_t end) {
    const int64_t keys = end - begin;
    for (int64_t i = 0; i < rows_; ++i) {
      a_.selection.Keep(b_, h_, first_ + i, begin, end);
      float* const weight = score_ + i * keys;
      const float most = std::max(tile_most_[i], most_[i]);
      if (most == -INFINITY) {  // NaN does not count as seen, but spreads
        for (int64_t k = 0; k < keys; ++k) weight[k] = std::exp(weight[k]);
      } else {
        for (int64_t k = 0; k < keys; ++k) weight[k] -= most;
        ops::Exp(weight, weight, keys);
      }
      if (most > most_[i] && total_[i] != 0) {
        float fade = most_[i] - most;
        ops::Exp(&fade, &fade, 1);
        ops::Scale(fade, sum_ + i * dim_v_, dim_v_);
        total_[i] *= fade;
      }
      most_[i] = most;
      for (int64_t k = 0; k < keys; ++k) total_[i] += weight[k];
    }
    const ops::ConstMatrix value =
        ops::RowRange(ops::Head(a_.args.value, b_, kv_), begin, end);
    bool finite = true;
    for (int64_t k = 0; k < keys; ++k) {
      finite = finite && ops::AllFinite(value.row(k), dim_v_);
    }
    if (finite) {
      ops::MatMulAdd(ops::Dense(score_, rows_, keys), value,
                     ops::Dense(sum_, rows_, dim_v_));
      return;
    }
    // Nothing of a value reaches rows that do not see it.
    for (int64_t i = 0; i < rows_; ++i) {
      for (int64_t k = 0; k < keys; ++k) {
        const float weight = score_[i * keys + k];
        if (weight != 0) {
          ops::Axpy(weight, value.row(k), sum_ + i * dim_v_, dim_v_);
        }
      }
    }
  }

  void Finish() const {
    for (int64_t i = 0; i < rows_; ++i) {
      float* const out = RowAt(a_.args.out, b_, first_ + i, h_);
      for (int64_t c = 0; c < dim_v_; ++c) {
        out[c] = total_[i] == 0 ? 0.0f : sum_[i * dim_v_ + c] / total_[i];
      }
      if (a_.args.lse.absent()) continue;
      *RowAt(a_.args.lse, b_, first_ + i, h_) = most_[i] + std::log(total_[i]);
    }
  }

  const VariantArgs& a_;
  const int64_t block_, dim_, dim_v_;
  float least_;
  float *query_, *sum_, *score_, *most_, *total_, *tile_most_;
  int64_t b_ = 0, h_ = 0, kv_ = 0, first_ = 0, rows_ = 0;
};

Status RunVariant(const VariantArgs& a) {
  if (a.knobs[0] == 0) return sparse::AttendMasked(a, a.params);
  const AttentionArgs& t = a.args;
  const Status status = sparse::CheckPlain(a);
  if (!status.ok()) return status;
  const int64_t block = static_cast<int64_t>(a.knobs[1]);
  const int64_t size = RowBlock::Size(t, block);
  float* const memory = a.scratch.Array<float>(a.executor.max_workers, size);
  if (memory == nullptr) return sparse::OutOfMemory();
  const int64_t rows = t.query.seqlen(), heads = t.query.heads();
  const int64_t blocks = (rows + block - 1) / block;
  a.phases.Enter(Phase::kAttend);
  ops::ParallelFor(a.executor, t.query.batch() * heads * blocks,
                   [&](int64_t i, int worker) {
                     const int64_t first = i % blocks * block;
                     RowBlock(a, memory + worker * size)
                         .Run(i / blocks / heads, i / blocks % heads, first,
                              std::min(first + block, rows));
                   });
  return Status();
}

// Scores of all pairs, and at most all the rest.
Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* /*knobs*/) {
  Cost cost = ops::SoftmaxCost(shape, ops::VisiblePairs(shape, params));
  cost.at_most = true;
  return cost;
}

}  // namespace

Variant skip_softmax() {
  return {.summary =
              "Tiles that lie far below the running maximum skip their "
              "exponentials and values.",
          .paper = "Yuan et al. 2025, arXiv:2512.12087",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .selects_ahead = true};
}

}  // namespace heed::variants
