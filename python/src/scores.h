// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What all calls take beside q, k and v.
#ifndef HEED_PYTHON_SRC_SCORES_H_
#define HEED_PYTHON_SRC_SCORES_H_

#include <cstdint>

#include "heed/attention.h"
#include "python/src/tensors.h"

namespace heed::python {

// Each may be absent.
struct Scores {
  Tensor bias, mask, alibi_slopes, sink_logits;

  // Fills the call's, broadcast to its query, to `sequences`, their number, and
  // to `keys`, the positions of a row of a bias.
  void Set(const AttentionArgs& args, int64_t sequences, int64_t keys,
           ScoreInputs* scores) const;
};

}  // namespace heed::python

#endif  // HEED_PYTHON_SRC_SCORES_H_
