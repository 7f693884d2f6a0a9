// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to earlier keys and to all of a prefix: the prefix sees itself both
// ways (Raffel et al. 2020, T5, arXiv:1910.10683). For calls that are not
// causal: a causal mask of the caller's hides what the prefix adds, and leaves
// exact attention. (ScoreInputs' prefix_lengths open a causal mask.)
//
// A query at position p sees key j where j <= p or j < prefix.
#include <heed/sparse_variant.h>

#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "prefix",
     .summary = "First keys, which every query sees.",
     .default_value = 256,
     .min = 0,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
};

struct PrefixLm : patterns::Pattern {
  int64_t prefix;

  explicit PrefixLm(const double* knobs)
      : prefix(static_cast<int64_t>(knobs[0])) {}
  bool Keep(int64_t, int64_t query, int64_t key) const {
    return key <= query || key < prefix;
  }
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    f(0, row.query + 1);
    f(0, prefix);
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return sparse::PatternCost(shape, params, PrefixLm(knobs));
}

Status RunVariant(const VariantArgs& a) {
  return sparse::AttendPattern(a, PrefixLm(a.knobs));
}

}  // namespace

Variant prefix_lm() {
  return {.summary = "Earlier keys, and all of a prefix.",
          .paper = "Raffel et al. 2020, arXiv:1910.10683",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 1,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
