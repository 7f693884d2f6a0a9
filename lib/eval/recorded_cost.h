// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a run really cost, by the pairs that it recorded.
#ifndef HEED_LIB_EVAL_RECORDED_COST_H_
#define HEED_LIB_EVAL_RECORDED_COST_H_

#include "heed/attention.h"
#include "heed/variant.h"
#include "lib/eval/selection.h"

namespace heed::eval {

// Returns the cost of softmax attention over the pairs of a finished selection:
// both products over each pair; every query and output row once, and every key
// that some query head of its group kept, with its value, once. What choosing
// them cost is added as the variant's `formula` says.
Cost RecordedCost(const Cost& formula, const AttentionShape& shape,
                  const Selection& selection);

// Returns the bytes of `key_rows` keys, counted over batches and key heads, and
// of their values.
double KeyValueBytes(const AttentionShape& shape, double key_rows);

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_RECORDED_COST_H_
