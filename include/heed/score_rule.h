// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The factors of a score. Public only because a Plan holds them.
#ifndef HEED_SCORE_RULE_H_
#define HEED_SCORE_RULE_H_

namespace heed::internal {

// What happens to a raw score (the FMA chain over head_dim) before the masks.
struct ScoreRule {
  // Multiplies the query when it is packed. Without softcap: scale * log2(e)
  // rounded to f32. With softcap: 1.
  float query_scale = 1.0f;
  // With softcap: score' = out_scale * tanh(in_scale * score), in_scale =
  // scale / softcap and out_scale = softcap * log2(e), each rounded to f32.
  bool softcap = false;
  float in_scale = 1.0f;
  float out_scale = 1.0f;
};

}  // namespace heed::internal

#endif  // HEED_SCORE_RULE_H_
