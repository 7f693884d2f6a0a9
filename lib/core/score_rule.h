// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Makes the factors of a score: docs/numerics.md, step 1.
#ifndef HEED_LIB_CORE_SCORE_RULE_H_
#define HEED_LIB_CORE_SCORE_RULE_H_

#include <cmath>
#include <cstdint>

#include "heed/attention.h"
#include "heed/score_rule.h"

namespace heed::internal {

// Scores in log2 units are so many times those in natural ones.
inline constexpr double kLog2UnitsPerNat = 1.44269504088896340736;

// A factor is infinite where it leaves f32: CheckParams refuses those.
inline ScoreRule MakeScoreRule(const AttentionParams& params,
                               int64_t head_dim) {
  const double scale = params.softmax_scale != 0.0f
                           ? static_cast<double>(params.softmax_scale)
                           : 1.0 / std::sqrt(static_cast<double>(head_dim));
  const double cap = params.softcap;
  ScoreRule rule;
  if (cap == 0.0) {
    rule.query_scale = static_cast<float>(scale * kLog2UnitsPerNat);
    return rule;
  }
  rule.softcap = true;
  rule.in_scale = static_cast<float>(scale / cap);
  rule.out_scale = static_cast<float>(cap * kLog2UnitsPerNat);
  return rule;
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_SCORE_RULE_H_
