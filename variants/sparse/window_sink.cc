// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to the latest keys and to the first few (Xiao et al. 2024,
// StreamingLLM, arXiv:2309.17453). The mask only, at original positions: what
// others call A-shape. The paper's cache also renumbers positions, which is the
// business of whoever rotates queries and keys.
//
// A query at position p sees key j where j < sink or p - j < window: the window
// counts the query's own position. The caller's masks hold as well.
#include <heed/ops.h>
#include <heed/variant.h>

#include <algorithm>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr double kAll = 2147483647;

constexpr Knob kKnobs[] = {
    {.name = "window",
     .summary = "Latest keys that a query sees, its own position among them.",
     .default_value = 256,
     .min = 1,
     .max = kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = kAll},
    {.name = "sink",
     .summary = "First keys that every query sees.",
     .default_value = 4,
     .min = 0,
     .max = kAll,
     .integer = true},
};

// The caller's masks and this one, as one. Two windows with different sinks
// have no common form: false.
bool Combine(const AttentionParams& caller, const double* knobs,
             AttentionParams* both) {
  const int64_t left = static_cast<int64_t>(knobs[0]) - 1;
  const int64_t sink = static_cast<int64_t>(knobs[1]);
  // A causal mask leaves nothing for a right window to hide.
  const bool windowed =
      caller.window_left >= 0 || (caller.window_right >= 0 && !caller.causal);
  if (windowed && caller.sink_size != sink) return false;
  *both = caller;
  both->window_left =
      caller.window_left < 0 ? left : std::min(left, caller.window_left);
  both->sink_size = sink;
  return true;
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  AttentionParams both = params;
  Combine(params, knobs, &both);
  return ops::SoftmaxCost(shape, ops::VisiblePairs(shape, both),
                          ops::VisibleKeyRows(shape, both));
}

void RecordSelection(const VariantArgs& a, const AttentionParams& both) {
  if (a.selection.keep == nullptr) return;
  const ConstTensorView& query = a.args.query;
  for (int64_t b = 0; b < query.batch(); ++b) {
    for (int64_t h = 0; h < query.heads(); ++h) {
      for (int64_t row = 0; row < query.seqlen(); ++row) {
        ops::ForEachVisible(both, a.args, b, h, row,
                            [&](int64_t begin, int64_t end) {
                              a.selection.Keep(b, h, row, begin, end);
                            });
      }
    }
  }
}

Status RunVariant(const VariantArgs& a) {
  AttentionParams both;
  if (!Combine(a.params, a.knobs, &both)) {
    return Status(StatusCode::kUnsupported, "window_left",
                  "a window of the caller's own needs sink_size to equal the "
                  "knob sink");
  }
  const Status status = ops::Attend(both, a.args, a);
  if (status.ok()) RecordSelection(a, both);
  return status;
}

}  // namespace

Variant window_sink() {
  return {.summary = "The latest keys and the first few (attention sinks).",
          .paper = "Xiao et al. 2024, arXiv:2309.17453",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 2,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
