// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to every `dilation`-th of the keys before a query: the dilated window
// of Longformer (Beltagy et al. 2020, arXiv:2004.05150), without global tokens.
//
// A query at position p sees key j where p - j is a multiple of dilation and
// p - j < window * dilation: `window` keys, its own position among them. Of
// what comes later, where no causal mask hides it, every dilation-th key too.
#include <heed/sparse_variant.h>

#include <algorithm>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "window",
     .summary = "Keys that a query sees, its own position among them.",
     .default_value = 256,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "dilation",
     .summary = "Distance from one of them to the next, in positions.",
     .default_value = 2,
     .min = 1,
     .max = 65536,
     .integer = true,
     .has_exact = true,
     .exact_value = 1},
};

auto PatternOf(const double* knobs) {
  const int64_t dilation = static_cast<int64_t>(knobs[1]);
  const int64_t window = static_cast<int64_t>(knobs[0]) * dilation;
  return patterns::Window(window) & patterns::EveryNth(dilation);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return sparse::PatternCost(shape, params, PatternOf(knobs));
}

Status RunVariant(const VariantArgs& a) {
  const int64_t dilation = static_cast<int64_t>(a.knobs[1]);
  const int64_t left = (static_cast<int64_t>(a.knobs[0]) - 1) * dilation;
  const AttentionParams& caller = a.params;
  // A causal mask leaves nothing for a right window to hide.
  const bool windowed =
      caller.window_left >= 0 || (caller.window_right >= 0 && !caller.causal);
  // Sinks of the caller's own window are not sinks of this one.
  if ((windowed && caller.sink_size != 0) || a.args.scores.any()) {
    return sparse::AttendPattern(a, PatternOf(a.knobs));
  }
  AttentionParams both = caller;
  both.window_left =
      caller.window_left < 0 ? left : std::min(left, caller.window_left);
  both.sink_size = 0;
  return sparse::AttendResidues(a, both, dilation);
}

}  // namespace

Variant dilated() {
  return {.summary = "Every dilation-th of the latest keys.",
          .paper = "Beltagy et al. 2020, arXiv:2004.05150",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 2,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
