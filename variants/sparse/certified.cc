// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends, row by row, to as many key blocks as prove that what is left out is
// small: no row loses more than `epsilon` of its attention, whatever the data.
// A deterministic guarantee, in exact arithmetic; rounding in the proof is
// accounted for, against the skipped blocks.
//
// No key of a block can score higher than
//
//   bound(block) = min(scale * sum over channels c of max(q[c] min[c], q[c]
//                      max[c]),  |scale q| * largest norm of its keys),
//
// the box of Quest (Tang et al. 2024, arXiv:2406.10774) and Cauchy and Schwarz.
// Blocks that a mask cuts for the row are taken first, then the others by
// falling bound. What was taken is scored; as soon as
//
//   sum over the rest of keys * exp(bound)
//       <= epsilon / (1 - epsilon) * sum over the taken of exp(score),
//
// the rest is left out. So what a row keeps of its attention, exp(lse - lse of
// exact attention), is 1 - epsilon at least. Numbers that are not finite prove
// nothing: such rows keep everything. What score inputs add to scores the bound
// does not know: they are refused.
//
// Scores of what is kept are computed twice, here and by the kernel.
#include <heed/estimators.h>
#include <heed/row_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "epsilon",
     .summary = "Share of a row's attention that may be lost.",
     .default_value = 0.01,
     .min = 0,
     .max = 1,
     .integer = false,
     .has_exact = true,
     .exact_value = 0},
    {.name = "block",
     .summary = "Keys of a block.",
     .default_value = 4,
     .min = 4,
     .max = 65536,
     .integer = true},
};

// More than what Exp and sums of floats round.
constexpr double kSlack = 1e-5;

class Certifier {
 public:
  Certifier(const VariantArgs& a)
      : a_(a),
        block_(static_cast<int64_t>(a.knobs[1])),
        keys_(a.args.key.seqlen()),
        blocks_((keys_ + block_ - 1) / block_),
        dim_(a.args.query.head_dim()),
        share_(a.knobs[0] / (1 - a.knobs[0])) {}

  bool Prepare() {
    bounds_ = sparse::KeyBoundsOf(a_, block_);
    norms_ = sparse::KeyNorms(a_, block_);
    floats_ = a_.scratch.Array<float>(a_.executor.max_workers * FloatsOf());
    order_ = a_.scratch.Array<int32_t>(a_.executor.max_workers * blocks_);
    rest_ = a_.scratch.Array<double>(a_.executor.max_workers * (blocks_ + 1));
    return bounds_.least != nullptr && norms_ != nullptr &&
           floats_ != nullptr && order_ != nullptr && rest_ != nullptr;
  }

  void Choose(const sparse::QueryRow& row, sparse::RowChoice* choice) const {
    Row r = Begin(row);
    if (!std::isfinite(r.norm)) return choice->Keep(0, keys_);
    for (int64_t j = 0; j * block_ < row.end(); ++j) {
      const int64_t begin = j * block_;
      const int64_t end = std::min(begin + block_, keys_);
      if (row.Whole(begin, end)) {
        if (!std::isfinite(NormOfBlock(row, j))) return choice->Keep(0, keys_);
        r.bound[j] = BoundOf(r, row, j);
        r.order[r.count++] = static_cast<int32_t>(j);
      } else if (row.Touches(begin, end)) {
        choice->Keep(begin, end);
        Take(&r, row, begin, end, -1);
      }
    }
    std::sort(r.order, r.order + r.count, [&](int32_t i, int32_t j) {
      return r.bound[i] != r.bound[j] ? r.bound[i] > r.bound[j] : i < j;
    });
    float base = -INFINITY;  // what `rest` is relative to
    for (int64_t i = 0; i < r.count; ++i) {
      if (i == 0 || base != r.most) {
        base = r.most;
        SumRest(&r, i, base);
      }
      if (r.rest[i] * (1 + kSlack) <= share_ * r.mass * (1 - kSlack)) return;
      const int64_t begin = r.order[i] * block_;
      const int64_t end = std::min(begin + block_, keys_);
      choice->Keep(begin, end);
      Take(&r, row, begin, end, NormOfBlock(row, r.order[i]));
    }
  }

 private:
  // A row at work, in a worker's memory.
  struct Row {
    float* query;     // times the scale
    float* positive;  // its channels above 0
    float* negative;
    float* bound;  // [blocks]
    float* score;  // [keys of a block, or blocks]
    int32_t* order;
    double* rest;  // [blocks + 1]
    float norm;
    int64_t count = 0;
    float most = -INFINITY;  // score of what was taken, of which it is sure
    double mass = 0;         // sum of exp(score - most), at least
  };

  int64_t FloatsOf() const {
    return 3 * dim_ + blocks_ + std::max(block_, blocks_);
  }
  float NormOfBlock(const sparse::QueryRow& row, int64_t j) const {
    return norms_[(row.batch * a_.args.key.heads() + row.kv_head) * blocks_ +
                  j];
  }
  // What rounding may do to a product with a key of this norm.
  float ErrorOf(const Row& r, float norm) const {
    const float cap = a_.params.softcap;
    return static_cast<float>(dim_ + 16) * 0x1p-22f * r.norm * norm +
           1e-6f * cap + 0x1p-100f;
  }

  Row Begin(const sparse::QueryRow& row) const {
    Row r;
    r.query = floats_ + row.worker * FloatsOf();
    r.positive = r.query + dim_;
    r.negative = r.positive + dim_;
    r.bound = r.negative + dim_;
    r.score = r.bound + blocks_;
    r.order = order_ + row.worker * blocks_;
    r.rest = rest_ + row.worker * (blocks_ + 1);
    const float* query = RowAt(a_.args.query, row.batch, row.index, row.head);
    const float scale = ops::SoftmaxScale(a_.params, dim_);
    for (int64_t c = 0; c < dim_; ++c) {
      r.query[c] = scale * query[c];
      r.positive[c] = std::max(r.query[c], 0.0f);
      r.negative[c] = std::min(r.query[c], 0.0f);
    }
    r.norm = sparse::NormOf(r.query, dim_);
    return r;
  }

  float BoundOf(const Row& r, const sparse::QueryRow& row, int64_t j) const {
    const int64_t at =
        ((row.batch * a_.args.key.heads() + row.kv_head) * blocks_ + j) * dim_;
    const float box = ops::Dot(r.positive, bounds_.most + at, dim_) +
                      ops::Dot(r.negative, bounds_.least + at, dim_);
    const float norm = NormOfBlock(row, j);
    // A product with the box rounds as one with a key whose channels are as
    // large as the block's largest, at most sqrt(head_dim) times as long.
    const float length = std::sqrt(static_cast<float>(dim_)) * norm;
    float bound =
        std::min(box + ErrorOf(r, length), r.norm * norm + ErrorOf(r, norm));
    if (a_.params.softcap != 0) {
      sparse::CapScores(a_.params.softcap, &bound, 1);
      bound += 1e-6f * a_.params.softcap;
    }
    return bound <= INFINITY ? bound : INFINITY;  // nor NaN, which has no order
  }

  // Adds what the row sees of keys [begin, end) to what was taken. No key is
  // longer than `norm`, or each is asked where that is below 0: the norm of a
  // block that a mask cuts knows keys that the row may not see.
  void Take(Row* r, const sparse::QueryRow& row, int64_t begin, int64_t end,
            float norm) const {
    int64_t count = 0;
    float most = r->most;
    for (int64_t key = begin; key < end; ++key) {
      if (!row.Touches(key, key + 1)) continue;
      const float* x = RowAt(a_.args.key, row.batch, key, row.kv_head);
      float score = ops::Dot(r->query, x, dim_);
      if (a_.params.softcap != 0) {
        sparse::CapScores(a_.params.softcap, &score, 1);
      }
      score -= ErrorOf(*r, norm < 0 ? sparse::NormOf(x, dim_) : norm);
      r->score[count++] = score;
      most = std::max(most, score);
    }
    if (most > r->most) {
      float smaller = r->most - most;
      ops::Exp(&smaller, &smaller, 1);
      // Once a block, and rounded down: the mass is what there is at least.
      r->mass *= static_cast<double>(smaller) * (1 - 0x1p-21);
      r->most = most;
    }
    for (int64_t i = 0; i < count; ++i) r->score[i] -= r->most;
    ops::Exp(r->score, r->score, count);
    for (int64_t i = 0; i < count; ++i) {
      r->mass += static_cast<double>(r->score[i]);
    }
  }

  // rest[k], from `first` on: the most that blocks order[k], order[k + 1], ...
  // can add, over exp(base).
  void SumRest(Row* r, int64_t first, float base) const {
    float* const most = r->score;
    for (int64_t k = first; k < r->count; ++k) {
      most[k] = r->bound[r->order[k]] - base;
    }
    ops::Exp(most + first, most + first, r->count - first);
    r->rest[r->count] = 0;
    for (int64_t k = r->count - 1; k >= first; --k) {
      const int64_t begin = r->order[k] * block_;
      const int64_t keys = std::min(block_, keys_ - begin);
      // Exp makes 0 of what is smaller still.
      r->rest[k] = r->rest[k + 1] +
                   static_cast<double>(keys) *
                       static_cast<double>(std::max(most[k], 0x1p-125f));
    }
  }

  const VariantArgs& a_;
  int64_t block_, keys_, blocks_, dim_;
  double share_;
  sparse::KeyBounds bounds_;
  const float* norms_ = nullptr;
  float* floats_ = nullptr;
  int32_t* order_ = nullptr;
  double* rest_ = nullptr;
};

Status RunVariant(const VariantArgs& a) {
  if (a.args.scores.any()) {
    return Status(StatusCode::kUnsupported, "scores",
                  "must be absent: bounds are of products alone");
  }
  Certifier certifier(a);
  if (!certifier.Prepare()) return sparse::OutOfMemory();
  return sparse::AttendRows(
      a, sparse::ListOf::kHead,
      [&](const sparse::QueryRow& row, sparse::RowChoice* choice) {
        certifier.Choose(row, choice);
      });
}

// The most that it can be: how many blocks it takes, data say.
Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const double pairs = ops::VisiblePairs(shape, params);
  const double dim = static_cast<double>(shape.batch * shape.head_dim);
  const double keys =
      dim * static_cast<double>(shape.seqlen_k * shape.num_kv_heads);
  Cost cost = ops::SoftmaxCost(shape, pairs);
  // Bounds, and scores; keys are read twice more.
  cost.AddSelecting(
      dim * static_cast<double>(shape.num_heads) * pairs * (2 + 4 / knobs[1]) +
          2 * keys,
      4 * 2 * keys);
  return cost;
}

}  // namespace

Variant certified() {
  return {.summary = "The key blocks that prove the rest to be small.",
          .paper = "none; bounds of Tang et al. 2024, arXiv:2406.10774",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 2,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
