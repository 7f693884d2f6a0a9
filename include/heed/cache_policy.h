// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Caches that forget, as decoding has them: a policy ranks the rows that a
// cache holds, step by step, and the lowest leave. All steps of a call are run,
// and attended to by the exact kernel, so that a policy is scored over all of
// them as any variant is.
#ifndef HEED_CACHE_POLICY_H_
#define HEED_CACHE_POLICY_H_

#include <cstdint>

#include "heed/sparse_variant.h"

namespace heed::sparse {

// When rows leave a cache, and what of the attention its policy is shown.
//
// Each key head of each sequence has a cache. Step p = 0, 1, ... is the token
// at position p: its key and value enter; the query row that stands there, if
// the call has one, attends to what the cache holds; then rows leave until
// `budget` are left. So a row of the prompt attends to everything before it,
// and a later one to `budget` rows and its own. Keys before the first query row
// enter as all others do, unseen. What never entered, as keys behind a row
// without a causal mask, is not the policy's to hide.
struct CacheRules {
  // Nothing leaves before the last of so many tokens has attended. Where the
  // policy is shown attention, the first query row of the call is part of the
  // prompt too: nobody has seen what came before.
  int64_t prompt = 0;
  int64_t budget = 0;  // rows that a step leaves
  // Rows of the prompt, the last ones, that the policy is shown the attention
  // of; and whether it is shown that of all rows after the prompt.
  int64_t observed = 0;
  bool observes_decode = false;
  // Rows leave once, when the prompt ends; later ones are kept beside it.
  bool once = false;
};

// The cache of one key head after a step's attention.
struct CacheStep {
  int64_t batch, kv_head;
  int64_t position;  // of the token
  int64_t count;     // rows in the cache, the token's included
  // Their positions, rising.
  const int32_t* rows;
  // head_dim numbers: the key that entered, whose row is the last. Null where
  // the query row stands behind the last key.
  const float* key;
  // The softmax weight that each row got from the query row, summed over the
  // query heads of the group; 0 where masks hide it. Null where the rules do
  // not ask for it, or no query row stands here. Never null where rows leave
  // and the rules ask for the attention of all steps.
  const float* weight;
  // A number that stays beside each row from step to step, 0 as it enters.
  float* state;
  // Rows that leave now: those that rank lowest, of equal ones the later, NaN
  // before all. The policy writes the ranks of all rows where this is not 0.
  int64_t evict;
  float* rank;
};

// Attends as the policy's cache does, and records it. `policy(step)` is called
// for the steps of a key head in order, on any worker; steps of different heads
// at once, so it holds no state but `step.state`. Costs the products of the
// rows that are shown, and what MakeSparsePlan and AttendSparse cost. Takes no
// score inputs.
template <typename Policy>
Status AttendCache(const VariantArgs& a, const CacheRules& rules,
                   const Policy& policy);

// Returns what attention by these rules costs, the weights that the policy is
// shown included.
HEED_API Cost CacheCost(const AttentionShape& shape,
                        const AttentionParams& params, const CacheRules& rules);

// The budget of policies that have no other.
inline constexpr Knob kCacheKnob = {"cache",
                                    "Rows that a step leaves in the cache.",
                                    128,
                                    1,
                                    kAll,
                                    /*integer=*/true,
                                    /*has_exact=*/true,
                                    /*exact_value=*/kAll};

// The knob of all policies.
inline constexpr Knob kPromptKnob = {
    "prompt",
    "Leading tokens that attend to everything before rows leave.",
    256,
    0,
    kAll,
    /*integer=*/true};

// ---- How they are asked -----------------------------------------------------

namespace internal {

struct PolicyView {
  const void* self;
  void (*see)(const void* self, const CacheStep& step);
};
HEED_API Status AttendCache(const VariantArgs& a, const CacheRules& rules,
                            const PolicyView& policy);

}  // namespace internal

template <typename Policy>
Status AttendCache(const VariantArgs& a, const CacheRules& rules,
                   const Policy& policy) {
  internal::PolicyView view;
  view.self = &policy;
  view.see = [](const void* self, const CacheStep& step) {
    (*static_cast<const Policy*>(self))(step);
  };
  return internal::AttendCache(a, rules, view);
}

}  // namespace heed::sparse

#endif  // HEED_CACHE_POLICY_H_
