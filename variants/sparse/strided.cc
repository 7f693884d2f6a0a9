// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to the latest keys and to every `stride`-th before them: the strided
// pattern of Sparse Transformer (Child et al. 2019, arXiv:1904.10509), its two
// heads merged, as the paper defines it. (The mode of that name in its code has
// the second part only.) The paper takes a stride near the square root of the
// length.
//
// A query at position p sees key j where p - j < stride or p - j is a multiple
// of stride; the key at a distance of just stride is in either way.
#include <heed/sparse_variant.h>

#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "stride",
     .summary = "Latest keys, and the distance of those before, in positions.",
     .default_value = 128,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = 1},
};

auto PatternOf(const double* knobs) {
  const int64_t stride = static_cast<int64_t>(knobs[0]);
  return patterns::Window(stride) | patterns::EveryNth(stride);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return sparse::PatternCost(shape, params, PatternOf(knobs));
}

Status RunVariant(const VariantArgs& a) {
  return sparse::AttendPattern(a, PatternOf(a.knobs));
}

}  // namespace

Variant strided() {
  return {.summary = "The latest keys, and every stride-th of all.",
          .paper = "Child et al. 2019, arXiv:1904.10509",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 1,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
