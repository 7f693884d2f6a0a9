// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A cache that drops the key with the largest norm: keys with small norms get
// much attention (Devoto et al. 2024, arXiv:2406.11430).
//
// Needs no attention weights, so it knows before a row attends what it will
// see. The paper leaves the first two layers alone, which is the caller's to
// do, and protects no recent rows: the token's own row may leave after its
// step.
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
  return rules;
}

Status RunVariant(const VariantArgs& a) {
  const int64_t dim = a.args.key.head_dim();
  const auto policy = [dim](const sparse::CacheStep& step) {
    // Squares rank as norms do.
    if (step.key != nullptr) {
      step.state[step.count - 1] = -ops::Dot(step.key, step.key, dim);
    }
    if (step.evict > 0) std::copy_n(step.state, step.count, step.rank);
  };
  return sparse::AttendCache(a, RulesOf(a.knobs), policy);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  Cost cost = sparse::CacheCost(shape, params, RulesOf(knobs));
  const double keys = static_cast<double>(shape.batch * shape.num_kv_heads) *
                      static_cast<double>(shape.seqlen_k) *
                      static_cast<double>(shape.head_dim);
  cost.AddSelecting(2 * keys, 4 * keys);
  return cost;
}

}  // namespace

Variant key_norm() {
  return {.summary = "A cache that drops the key with the largest norm.",
          .paper = "Devoto et al. 2024, arXiv:2406.11430",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 2,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
