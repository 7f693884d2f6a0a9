// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to the latest keys and the first few, and from the last rows to
// everything: tri-shape (Li et al. 2024, SCBench, arXiv:2412.10319), a window
// with sinks whose last queries, which the answer hangs on, are dense.
//
// A query at position p sees key j where j < sink, p - j < window (its own
// position among them), or the row is one of the last `last` of the call.
#include <heed/sparse_variant.h>

#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "window",
     .summary = "Latest keys that a query sees, its own position among them.",
     .default_value = 3968,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "sink",
     .summary = "First keys that every query sees.",
     .default_value = 128,
     .min = 0,
     .max = sparse::kAll,
     .integer = true},
    {.name = "last",
     .summary = "Last query rows of a call, which see everything.",
     .default_value = 100,
     .min = 0,
     .max = sparse::kAll,
     .integer = true},
};

auto PatternOf(const AttentionParams& params, int64_t seqlen_q,
               int64_t seqlen_k, const double* knobs) {
  const int64_t end = sparse::OffsetOf(params, seqlen_q, seqlen_k) + seqlen_q;
  return patterns::Window(static_cast<int64_t>(knobs[0])) |
         patterns::Sinks(static_cast<int64_t>(knobs[1])) |
         patterns::Queries(end - static_cast<int64_t>(knobs[2]), end);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return sparse::PatternCost(
      shape, params, PatternOf(params, shape.seqlen_q, shape.seqlen_k, knobs));
}

Status RunVariant(const VariantArgs& a) {
  return sparse::AttendPattern(a, PatternOf(a.params, a.args.query.seqlen(),
                                            a.args.key.seqlen(), a.knobs));
}

}  // namespace

Variant tri_shape() {
  return {.summary = "The latest keys, the first few, and dense last rows.",
          .paper = "Li et al. 2024, arXiv:2412.10319",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 3,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
