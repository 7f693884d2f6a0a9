// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A cache from which, at each step, the row leaves that the step's query has
// attended to least (Oren et al. 2024, TOVA, arXiv:2401.06104).
//
// The token's own row may leave as any other. The paper takes the mean over all
// heads of a layer; here each key head has its cache, and the query heads of
// its group vote by the sum of their weights. When the prompt ends, its last
// query chooses what of it stays.
#include <heed/cache_policy.h>

#include <algorithm>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    sparse::kCacheKnob,
    sparse::kPromptKnob,
};

sparse::CacheRules RulesOf(const double* knobs) {
  sparse::CacheRules rules;
  rules.prompt = static_cast<int64_t>(knobs[1]);
  rules.budget = static_cast<int64_t>(knobs[0]);
  rules.observed = 1;
  rules.observes_decode = true;
  return rules;
}

Status RunVariant(const VariantArgs& a) {
  const auto policy = [](const sparse::CacheStep& step) {
    if (step.evict > 0) std::copy_n(step.weight, step.count, step.rank);
  };
  return sparse::AttendCache(a, RulesOf(a.knobs), policy);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return sparse::CacheCost(shape, params, RulesOf(knobs));
}

}  // namespace

Variant tova() {
  return {
      .summary = "A cache that drops what the latest query attends to least.",
      .paper = "Oren et al. 2024, arXiv:2401.06104",
      .semantics = Semantics::kExactOnSelection,
      .knobs = kKnobs,
      .num_knobs = 2,
      .cost = EstimateCost,
      .run = RunVariant};
}

}  // namespace heed::variants
