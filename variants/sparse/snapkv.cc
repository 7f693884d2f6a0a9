// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Of the prompt, keeps what its last queries vote for (Li et al. 2024, SnapKV,
// arXiv:2404.14469); every later row is kept.
//
// When the prompt ends, each key before the last `window` has the sum of the
// softmax weights that the window's queries gave it, and its votes are the sum
// of these over the `kernel` keys around it (kernel / 2 before it): the mean
// pooling of the authors' code, which picks neighbours of what is picked. The
// keys with most votes stay, so that with the window `capacity` are left. Query
// heads of a group share a cache and vote together, where the authors' code
// gives each a cache of its own. A call whose first row stands behind the
// prompt takes that row as the window. The paper's sizes are for long prompts:
// window 32, kernel 5 or 7, capacity 1024 to 4096.
#include <heed/cache_policy.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "capacity",
     .summary = "Rows of the prompt that stay, the window among them.",
     .default_value = 128,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "window",
     .summary = "Last queries of the prompt, which vote; their keys stay.",
     .default_value = 32,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "kernel",
     .summary = "Neighbouring keys that votes are pooled over.",
     .default_value = 7,
     .min = 1,
     .max = 65536,
     .integer = true},
    sparse::kPromptKnob,
};

sparse::CacheRules RulesOf(const double* knobs) {
  sparse::CacheRules rules;
  rules.prompt = static_cast<int64_t>(knobs[3]);
  rules.budget = static_cast<int64_t>(std::max(knobs[0], knobs[1]));
  rules.observed = static_cast<int64_t>(knobs[1]);
  rules.once = true;
  return rules;
}

Status RunVariant(const VariantArgs& a) {
  const int64_t window = static_cast<int64_t>(a.knobs[1]);
  const int64_t kernel = static_cast<int64_t>(a.knobs[2]);
  const auto policy = [=](const sparse::CacheStep& step) {
    for (int64_t i = 0; step.weight != nullptr && i < step.count; ++i) {
      step.state[i] += step.weight[i];
    }
    if (step.evict == 0) return;
    const int64_t voted = std::max<int64_t>(step.count - window, 0);
    for (int64_t i = 0; i < voted; ++i) {
      const int64_t begin = std::max<int64_t>(i - kernel / 2, 0);
      const int64_t end = std::min(i - kernel / 2 + kernel, voted);
      step.rank[i] = 0;
      for (int64_t j = begin; j < end; ++j) step.rank[i] += step.state[j];
    }
    std::fill(step.rank + voted, step.rank + step.count, INFINITY);
  };
  return sparse::AttendCache(a, RulesOf(a.knobs), policy);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return sparse::CacheCost(shape, params, RulesOf(knobs));
}

}  // namespace

Variant snapkv() {
  return {
      .summary =
          "What the last queries of a prompt attend to, and every later row.",
      .paper = "Li et al. 2024, arXiv:2404.14469",
      .semantics = Semantics::kExactOnSelection,
      .knobs = kKnobs,
      .num_knobs = 4,
      .cost = EstimateCost,
      .run = RunVariant};
}

}  // namespace heed::variants
