// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The cache of StreamingLLM: the first rows and the latest stay (Xiao et al.
// 2024, arXiv:2309.17453).
//
// Once it is full, a row attends to start_size + recent_size rows, its own
// among them, which is what window_sink attends to by masks: the first tokens,
// and those nearer than recent_size. The paper also numbers the rows of the
// cache anew and rotates keys by these numbers. That takes keys that are not
// rotated yet: it is the business of whoever rotates them (heed/rope.h), and
// not done here, where keys come as they are.
#include <heed/cache_policy.h>

#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "recent_size",
     .summary = "Latest rows that a query sees, its own among them.",
     .default_value = 252,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "start_size",
     .summary = "First rows, which stay.",
     .default_value = 4,
     .min = 0,
     .max = sparse::kAll,
     .integer = true},
    {.name = "prompt",
     .summary = "Leading tokens that attend to everything.",
     .default_value = 0,
     .min = 0,
     .max = sparse::kAll,
     .integer = true},
};

sparse::CacheRules RulesOf(const double* knobs) {
  sparse::CacheRules rules;
  rules.prompt = static_cast<int64_t>(knobs[2]);
  // The next row comes beside it.
  rules.budget = static_cast<int64_t>(knobs[0] + knobs[1]) - 1;
  return rules;
}

Status RunVariant(const VariantArgs& a) {
  const int64_t start = static_cast<int64_t>(a.knobs[1]);
  const auto policy = [start](const sparse::CacheStep& step) {
    for (int64_t i = 0; step.evict > 0 && i < step.count; ++i) {
      const bool leaves = i >= start && i < start + step.evict;
      step.rank[i] = leaves ? 0.0f : 1.0f;
    }
  };
  return sparse::AttendCache(a, RulesOf(a.knobs), policy);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return sparse::CacheCost(shape, params, RulesOf(knobs));
}

}  // namespace

Variant streaming_llm() {
  return {.summary = "A cache of the first rows and the latest.",
          .paper = "Xiao et al. 2024, arXiv:2309.17453",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 3,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
