// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "python/src/scores.h"

#include <cstdint>

namespace heed::python {

void Scores::Set(const AttentionArgs& args, int64_t sequences, int64_t keys,
                 ScoreInputs* scores) const {
  const int64_t batch = args.query.batch(), rows = args.query.seqlen(),
                heads = args.query.heads();
  if (!bias.absent()) {
    if (bias.kind() == '?') {
      RaiseType("bias: is bool; what hides keys is a mask");
    }
    scores->bias = bias.Broadcast({batch, heads, rows, keys}, {0, 2, 1, 3});
  }
  if (!mask.absent()) {
    if (mask.kind() != '?') {
      RaiseType("mask: needs bool (what is added to scores is a bias), got " +
                mask.DTypeName());
    }
    scores->mask = mask.Broadcast({batch, heads, rows, keys}, {0, 2, 1, 3});
  }
  if (!alibi_slopes.absent()) {
    scores->alibi_slopes = alibi_slopes.Broadcast({sequences, heads}, {0, 2});
  }
  if (!sink_logits.absent()) {
    scores->sink_logits = sink_logits.Broadcast({sequences, heads}, {0, 2});
  }
}

}  // namespace heed::python
