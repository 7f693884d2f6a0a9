// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to the query's own stretch of keys and to the last few of every
// stretch, which sum it up: the fixed pattern of Sparse Transformer (Child et
// al. 2019, arXiv:1904.10509), its two heads merged, all heads with the same
// summary keys. The paper takes strides of 128 and 256 and 8 to 32 such keys.
//
// A query at position p sees key j where floor(j / stride) = floor(p / stride)
// or j mod stride >= stride - summary.
#include <heed/sparse_variant.h>

#include <algorithm>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "summary",
     .summary = "Keys at the end of each stretch that every query sees.",
     .default_value = 8,
     .min = 0,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "stride",
     .summary = "Keys of a stretch, from key 0 on.",
     .default_value = 128,
     .min = 1,
     .max = sparse::kAll,
     .integer = true},
};

struct SummaryKeys : patterns::Pattern {
  int64_t count, stride;

  SummaryKeys(int64_t keys, int64_t stretch)
      : count(std::min(keys, stretch)), stride(stretch) {}
  int64_t SharedRows() const { return 0; }
  bool Keep(int64_t, int64_t, int64_t key) const {
    return key % stride >= stride - count;
  }
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    if (count == 0) return;
    if (count == stride) return f(0, row.end);
    for (int64_t end = stride; end - count < row.end; end += stride) {
      f(end - count, end);
    }
  }
};

auto PatternOf(const double* knobs) {
  const int64_t stride = static_cast<int64_t>(knobs[1]);
  return patterns::Segments(stride) |
         SummaryKeys(static_cast<int64_t>(knobs[0]), stride);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return sparse::PatternCost(shape, params, PatternOf(knobs));
}

Status RunVariant(const VariantArgs& a) {
  return sparse::AttendPattern(a, PatternOf(a.knobs));
}

}  // namespace

Variant fixed() {
  return {.summary = "The own stretch of keys, and the last few of each.",
          .paper = "Child et al. 2019, arXiv:1904.10509",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 2,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
