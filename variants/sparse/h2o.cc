// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A cache of heavy hitters: of the rows that are not the latest, those stay
// that have had most attention so far (Zhang et al. 2023, H2O,
// arXiv:2306.14048).
//
// A step's softmax weights are added to each row's sum; when the cache holds
// more than heavy + recent rows, the row with the least sum leaves that is not
// one of the `recent` latest. Rows that came early have had more steps to
// gather in: the paper's sums are not divided by their number, and neither are
// these. Query heads of a group share a cache and add up. The paper counts
// sizes as shares of the prompt, 0.1 each; here they are tokens, as in its
// code.
#include <heed/cache_policy.h>

#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "heavy",
     .summary = "Rows that stay for the attention that they have had.",
     .default_value = 64,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "recent",
     .summary = "Latest rows, which stay.",
     .default_value = 64,
     .min = 0,
     .max = sparse::kAll,
     .integer = true},
    sparse::kPromptKnob,
};

sparse::CacheRules RulesOf(const double* knobs) {
  sparse::CacheRules rules;
  rules.prompt = static_cast<int64_t>(knobs[2]);
  rules.budget = static_cast<int64_t>(knobs[0] + knobs[1]);
  rules.observed = static_cast<int64_t>(sparse::kAll);
  rules.observes_decode = true;
  return rules;
}

Status RunVariant(const VariantArgs& a) {
  const int64_t recent = static_cast<int64_t>(a.knobs[1]);
  const auto policy = [recent](const sparse::CacheStep& step) {
    for (int64_t i = 0; step.weight != nullptr && i < step.count; ++i) {
      step.state[i] += step.weight[i];
    }
    for (int64_t i = 0; step.evict > 0 && i < step.count; ++i) {
      step.rank[i] = i < step.count - recent ? step.state[i] : INFINITY;
    }
  };
  return sparse::AttendCache(a, RulesOf(a.knobs), policy);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return sparse::CacheCost(shape, params, RulesOf(knobs));
}

}  // namespace

Variant h2o() {
  return {
      .summary = "A cache of the latest rows and of those with most attention.",
      .paper = "Zhang et al. 2023, arXiv:2306.14048",
      .semantics = Semantics::kExactOnSelection,
      .knobs = kKnobs,
      .num_knobs = 3,
      .cost = EstimateCost,
      .run = RunVariant};
}

}  // namespace heed::variants
