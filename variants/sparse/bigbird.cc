// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends by blocks to the neighbours of the query's own, to the first and the
// last, and to a few drawn at random; queries of the first and the last block
// attend to everything (BigBird, Zaheer et al. 2020, arXiv:2007.14062).
//
// Positions are cut into blocks from 0 on. Block i sees block j where
// |i - j| <= 1, where i or j is 0 or the last, or where j is one of the
// `random` that are drawn for (head, i) among all the others: no block counts
// twice. With a causal mask only earlier blocks are drawn. Draws depend on the
// seed, the head and the blocks alone.
#include <heed/estimators.h>

#include <algorithm>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "random",
     .summary = "Blocks drawn at random for each block of queries.",
     .default_value = 3,
     .min = 0,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "block",
     .summary = "Positions of a block.",
     .default_value = 64,
     .min = 1,
     .max = 65536,
     .integer = true},
    sparse::kSeedKnob,
};

struct BigBird : patterns::Pattern {
  int64_t random, block, seed;
  int64_t last;  // block
  bool causal;

  BigBird(const double* knobs, int64_t keys, bool only_earlier)
      : random(static_cast<int64_t>(knobs[0])),
        block(static_cast<int64_t>(knobs[1])),
        seed(static_cast<int64_t>(knobs[2])),
        last(std::max<int64_t>(keys - 1, 0) / block),
        causal(only_earlier) {}

  int64_t SharedRows() const { return block; }
  bool Always(int64_t i, int64_t j) const {
    return (i - j <= 1 && j - i <= 1) || i == 0 || j == 0 || i == last ||
           j == last;
  }
  bool MayDraw(int64_t i, int64_t j) const {
    return !Always(i, j) && (!causal || j < i);
  }
  // A draw and its block: drawn are those with the highest draws, the first of
  // equal ones.
  struct Place {
    float draw;
    int64_t block;
    bool Before(const Place& other) const {
      return draw != other.draw ? draw > other.draw : block < other.block;
    }
  };
  // The last place that is drawn for block i of queries: a search for each of
  // the drawn, not for each block.
  Place LastDrawn(int64_t head, int64_t i) const {
    if (random >= last) return {-1, last};
    Place found = {2, -1};  // before all
    for (int64_t k = 0; k < random; ++k) {
      Place next = {-1, last};  // behind all
      for (int64_t j = 0; j < last; ++j) {
        if (!MayDraw(i, j)) continue;
        const Place place = {sparse::DrawOf(seed, head, i, j), j};
        if (found.Before(place) && place.Before(next)) next = place;
      }
      found = next;
    }
    return found;
  }
  bool KeepBlock(int64_t head, int64_t i, int64_t j,
                 const Place& last_drawn) const {
    return Always(i, j) ||
           (MayDraw(i, j) &&
            !last_drawn.Before({sparse::DrawOf(seed, head, i, j), j}));
  }
  // Rows beyond the keys count as the last block, those before as the first.
  int64_t QueryBlock(int64_t query) const {
    return std::clamp<int64_t>(query / block, 0, last);
  }
  bool Keep(int64_t head, int64_t query, int64_t key) const {
    const int64_t i = QueryBlock(query);
    return KeepBlock(head, i, key / block, LastDrawn(head, i));
  }
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    const int64_t i = QueryBlock(row.query);
    const Place last_drawn = LastDrawn(row.head, i);
    for (int64_t begin = 0; begin < row.end; begin += block) {
      if (KeepBlock(row.head, i, begin / block, last_drawn)) {
        f(begin, begin + block);
      }
    }
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const BigBird pattern(knobs, shape.seqlen_k, params.causal);
  return sparse::PatternCost(shape, params, pattern, /*per_head=*/true);
}

Status RunVariant(const VariantArgs& a) {
  SparseOptions options;
  options.per_head = true;
  return sparse::AttendPattern(
      a, BigBird(a.knobs, a.args.key.seqlen(), a.params.causal), options);
}

}  // namespace

Variant bigbird() {
  return {.summary = "Neighbouring, first, last and random blocks.",
          .paper = "Zaheer et al. 2020, arXiv:2007.14062",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 3,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
