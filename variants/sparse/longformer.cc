// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to a band around the query, to a few global keys, and from global
// queries to everything (Longformer, Beltagy et al. 2020, arXiv:2004.05150).
// Global are the first positions; the paper's projections of their own for
// global attention are the business of whoever makes queries and keys.
//
// A query at position p sees key j where |p - j| <= window (window to each
// side: 2 window + 1 keys, half of the paper's attention_window), j < global or
// 0 <= p < global.
#include <heed/sparse_variant.h>

#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "window",
     .summary = "Keys to each side of the query's own.",
     .default_value = 256,
     .min = 0,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "global",
     .summary = "First positions, which see and are seen by all.",
     .default_value = 1,
     .min = 0,
     .max = sparse::kAll,
     .integer = true},
};

auto PatternOf(const double* knobs) {
  const int64_t global = static_cast<int64_t>(knobs[1]);
  return patterns::Band(static_cast<int64_t>(knobs[0])) |
         patterns::Sinks(global) | patterns::Queries(0, global);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return sparse::PatternCost(shape, params, PatternOf(knobs));
}

Status RunVariant(const VariantArgs& a) {
  return sparse::AttendPattern(a, PatternOf(a.knobs));
}

}  // namespace

Variant longformer() {
  return {.summary = "A band around the query, and global positions.",
          .paper = "Beltagy et al. 2020, arXiv:2004.05150",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 2,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
