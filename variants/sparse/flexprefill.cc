// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends, head by head, in one of two patterns, each as large as it takes to
// hold a share gamma of an estimate: FlexPrefill (Lai et al. 2025,
// arXiv:2502.20766), for prompts. The weights of the last block of rows are
// computed, and compared, summed by blocks of keys, with
//
//   softmax(scale * mean(these rows) . mean(keys of a block)).
//
// Where the root of their Jensen-Shannon divergence is below tau, the head is
// query-aware: such a softmax for every block of rows, and of all of them
// together the heaviest pairs of blocks that sum to gamma. Else it is
// vertical-slash: the fewest columns, and the fewest diagonals, that hold gamma
// of the last rows' weights, as blocks. Either way a block of rows keeps
// min_budget keys at least, the blocks with the largest products of means
// filling up, and the first block, its own, and those that a mask cuts.
//
// Whatever crosses gamma is kept. (The paper's code leaves out the crossing
// pair of blocks in query-aware heads, keeps it in others, counts in blocks of
// 128 whatever the block, and takes one length for the mask of all calls.)
#include <heed/estimators.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "gamma",
     .summary = "Share of the estimate that is kept.",
     .default_value = 0.9,
     .min = 0,
     .max = 1,
     .integer = false,
     .has_exact = true,
     .exact_value = 1},
    {.name = "tau",
     .summary = "Divergence below which a head is query-aware.",
     .default_value = 0.1,
     .min = 0,
     .max = 1,
     .integer = false},
    {.name = "min_budget",
     .summary = "Keys that a block of rows keeps at least, in whole blocks.",
     .default_value = 1024,
     .min = 0,
     .max = sparse::kAll,
     .integer = true},
    {.name = "block",
     .summary = "Keys a block, and query rows that select together.",
     .default_value = 128,
     .min = 1,
     .max = 65536,
     .integer = true},
};

// Sizes of a call, and the arrays of a worker.
struct Sizes {
  int64_t rows, keys, dim, block;
  int64_t query_blocks, key_blocks;
  int64_t last;  // rows that are weighed
  int64_t offset;
  int64_t pairs() const { return query_blocks * key_blocks; }
  int64_t diagonals() const { return keys + last; }
  int64_t floats() const {
    return last * keys + 2 * keys + last + 2 * key_blocks + pairs() +
           query_blocks * dim;
  }
  int64_t indices() const { return std::max(diagonals(), pairs()); }
};

// Calls f(i) for the fewest of the largest that sum to at least `share` of all.
template <typename F>
void ForFewest(const float* mass, int64_t count, double share, int32_t* order,
               F f) {
  double total = 0;
  for (int64_t i = 0; i < count; ++i) {
    order[i] = static_cast<int32_t>(i);
    total += mass[i] > 0 ? static_cast<double>(mass[i]) : 0;
  }
  std::sort(order, order + count, [=](int32_t x, int32_t y) {
    const float a = mass[x] > 0 ? mass[x] : 0, b = mass[y] > 0 ? mass[y] : 0;
    return a != b ? a > b : x < y;
  });
  double sum = 0;
  for (int64_t i = 0; i < count && (share >= 1 || sum < share * total); ++i) {
    f(order[i]);
    sum += mass[order[i]] > 0 ? static_cast<double>(mass[order[i]]) : 0;
  }
}

// The root of the divergence of p and q, each as a share of its sum.
double Divergence(const float* p, const float* q, int64_t count) {
  double of_p = 0, of_q = 0, sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    of_p += static_cast<double>(p[i]);
    of_q += static_cast<double>(q[i]);
  }
  for (int64_t i = 0; i < count; ++i) {
    const double x = static_cast<double>(p[i]) / of_p;
    const double y = static_cast<double>(q[i]) / of_q;
    if (x > 0) sum += x / 2 * std::log(2 * x / (x + y));
    if (y > 0) sum += y / 2 * std::log(2 * y / (x + y));
  }
  return std::sqrt(std::max(sum, 0.0));
}

class Head {
 public:
  Head(const VariantArgs& a, const Sizes& s, const float* key_means, int64_t i,
       float* floats, int32_t* order, uint8_t* marks)
      : a_(a),
        s_(s),
        batch_(i / a.args.query.heads()),
        head_(i % a.args.query.heads()),
        order_(order),
        marks_(marks) {
    const int64_t group = a.args.query.heads() / a.args.key.heads();
    means_ = key_means + (batch_ * a.args.key.heads() + head_ / group) *
                             s.key_blocks * s.dim;
    weight_ = floats;
    column_ = weight_ + s.last * s.keys;
    diagonal_ = column_ + s.keys;
    truth_ = diagonal_ + s.diagonals();
    guess_ = truth_ + s.key_blocks;
    map_ = guess_ + s.key_blocks;
    query_means_ = map_ + s.pairs();
  }

  // Sets marks[query block][key block].
  void Choose() {
    std::fill(marks_, marks_ + s_.pairs(), 0);
    sparse::WeightsOf(a_, batch_, head_, s_.rows - s_.last, s_.rows, s_.keys,
                      weight_);
    std::fill(column_, column_ + s_.keys + s_.diagonals(), 0.0f);
    std::fill(truth_, truth_ + s_.key_blocks, 0.0f);
    for (int64_t row = 0; row < s_.last; ++row) {
      // Of the last row, key 0 stands on the last diagonal.
      float* of_row = diagonal_ + s_.diagonals() - s_.last + row;
      for (int64_t key = 0; key < s_.keys; ++key) {
        const float weight = weight_[row * s_.keys + key];
        column_[key] += weight;
        of_row[-key] += weight;
        truth_[key / s_.block] += weight;
      }
    }
    Guess(s_.rows - s_.last, s_.rows, query_means_, guess_);
    const double distance = Divergence(truth_, guess_, s_.key_blocks);
    if (distance < a_.knobs[1]) {
      MarkHeaviestPairs();
    } else {
      MarkColumnsAndDiagonals();
    }
  }

 private:
  // The softmax of a block of rows over the blocks of keys that it may see.
  void Guess(int64_t first, int64_t end, float* mean, float* to) const {
    ops::MeanPool(
        ops::RowRange(ops::Head(a_.args.query, batch_, head_), first, end),
        end - first, ops::Dense(mean, 1, s_.dim));
    const ops::VisibleKeys low =
        ops::VisibleTo(a_.params, s_.rows, s_.keys, first);
    const ops::VisibleKeys high =
        ops::VisibleTo(a_.params, s_.rows, s_.keys, end - 1);
    const float scale = ops::SoftmaxScale(a_.params, s_.dim);
    for (int64_t j = 0; j < s_.key_blocks; ++j) {
      const int64_t begin = j * s_.block;
      const bool seen = begin < high.sink_end ||
                        (begin < high.end && begin + s_.block > low.begin);
      to[j] = seen ? scale * ops::Dot(mean, means_ + j * s_.dim, s_.dim)
                   : -INFINITY;
    }
    ops::Softmax(to, s_.key_blocks);
  }

  void MarkHeaviestPairs() {
    for (int64_t i = 0; i < s_.query_blocks; ++i) {
      Guess(i * s_.block, std::min((i + 1) * s_.block, s_.rows),
            query_means_ + i * s_.dim, map_ + i * s_.key_blocks);
    }
    ForFewest(map_, s_.pairs(), a_.knobs[0], order_,
              [&](int64_t pair) { marks_[pair] = 1; });
  }

  void MarkColumnsAndDiagonals() {
    ForFewest(column_, s_.keys, a_.knobs[0], order_, [&](int64_t key) {
      for (int64_t i = 0; i < s_.query_blocks; ++i) {
        marks_[i * s_.key_blocks + key / s_.block] = 1;
      }
    });
    ForFewest(diagonal_, s_.diagonals(), a_.knobs[0], order_, [&](int64_t d) {
      // Key less row: what the first and the last row of a block meet.
      const int64_t delta = s_.diagonals() - d - s_.rows;
      for (int64_t i = 0; i < s_.query_blocks; ++i) {
        const int64_t first = i * s_.block + delta;
        const int64_t last = std::min((i + 1) * s_.block, s_.rows) - 1 + delta;
        for (const int64_t key : {first, last}) {
          if (key < 0 || key >= s_.keys) continue;
          marks_[i * s_.key_blocks + key / s_.block] = 1;
        }
      }
    });
  }

  const VariantArgs& a_;
  const Sizes& s_;
  int64_t batch_, head_;
  const float* means_;
  float *weight_, *column_, *diagonal_, *truth_, *guess_, *map_, *query_means_;
  int32_t* order_;
  uint8_t* marks_;
};

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  Sizes s;
  s.rows = t.query.seqlen();
  s.keys = t.key.seqlen();
  s.dim = t.query.head_dim();
  s.block = static_cast<int64_t>(a.knobs[3]);
  s.query_blocks = (s.rows + s.block - 1) / s.block;
  s.key_blocks = (s.keys + s.block - 1) / s.block;
  s.last = std::min(s.block, s.rows);
  const int64_t heads = t.query.batch() * t.query.heads();
  const int64_t workers = a.executor.max_workers;
  const float* key_means = sparse::KeyMeans(a, s.block);
  uint8_t* marks = a.scratch.Array<uint8_t>(heads * s.pairs());
  float* floats = a.scratch.Array<float>(workers * s.floats());
  int32_t* order = a.scratch.Array<int32_t>(workers * s.indices());
  if (key_means == nullptr || marks == nullptr || floats == nullptr ||
      order == nullptr) {
    return sparse::OutOfMemory();
  }
  ops::ParallelFor(a.executor, s.rows == 0 ? 0 : heads,
                   [&](int64_t i, int worker) {
                     Head(a, s, key_means, i, floats + worker * s.floats(),
                          order + worker * s.indices(), marks + i * s.pairs())
                         .Choose();
                   });
  const auto score = [&](const sparse::BlockRows& rows, float* to) {
    const uint8_t* mark =
        marks + (rows.batch * t.query.heads() + rows.head) * s.pairs() +
        rows.index * s.key_blocks;
    float* mean = floats + rows.worker * s.floats();
    ops::MeanPool(ops::RowRange(ops::Head(t.query, rows.batch, rows.head),
                                rows.first, rows.end),
                  s.block, ops::Dense(mean, 1, s.dim));
    const float* of_keys =
        key_means +
        (rows.batch * t.key.heads() + rows.kv_head) * s.key_blocks * s.dim;
    const float scale = ops::SoftmaxScale(a.params, s.dim);
    for (int64_t j = 0; j < rows.num_blocks; ++j) {
      to[j] = mark[j] != 0 ? INFINITY
                           : scale * ops::Dot(mean, of_keys + j * s.dim, s.dim);
    }
  };
  const sparse::TopK fill = {(static_cast<int64_t>(a.knobs[2]) + s.block - 1) /
                             s.block};
  const auto select = [&](const sparse::BlockChoice& choice) {
    for (int64_t i = 0; i < choice.count; ++i) {
      choice.keep[i] |= choice.score[i] == INFINITY;
    }
    fill(choice);
  };
  return sparse::AttendBlocks(a, {s.block, s.block}, select, score);
}

// The most that it can be: how much holds the share, data say.
Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const double pairs = ops::VisiblePairs(shape, params);
  const double dim = static_cast<double>(shape.batch * shape.head_dim);
  const double heads = static_cast<double>(shape.num_heads);
  const double keys = static_cast<double>(shape.seqlen_k);
  const double last = std::min(knobs[3], static_cast<double>(shape.seqlen_q));
  Cost cost = ops::SoftmaxCost(shape, pairs);
  cost.AddSelecting(2 * dim * heads * (last * keys + pairs / knobs[3]),
                    4 * dim * keys * static_cast<double>(shape.num_kv_heads));
  return cost;
}

}  // namespace

Variant flexprefill() {
  return {.summary =
              "Head by head, blocks of a pooled map, or columns and "
              "diagonals, that hold a share.",
          .paper = "Lai et al. 2025, arXiv:2502.20766",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 4,
          .cost = EstimateCost,
          .run = RunVariant,
          .selects_ahead = true};
}

}  // namespace heed::variants
