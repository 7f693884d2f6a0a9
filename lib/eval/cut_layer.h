// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Parts of a layer's call: some of its heads, or its last tokens one by one.
// The parts share the layer's inputs.
#ifndef HEED_LIB_EVAL_CUT_LAYER_H_
#define HEED_LIB_EVAL_CUT_LAYER_H_

#include <cstdint>
#include <vector>

#include "lib/eval/tensor_source.h"
#include "lib/io/number_list.h"

namespace heed::eval {

// Keeps these query heads, counted from 0, and the key heads that they read, in
// memory of this layout.
// Throws InputError where a head does not exist, or key heads would be left
// with different numbers of query heads, which no call can say.
void KeepHeads(const std::vector<io::NumberRange>& heads, Layout layout,
               Layer* layer);

// Makes the last `queries` rows of every layer calls of their own, in order:
// each row over the keys that were there when its token was decoded, which are
// those up to its position where the call is causal, and else all. Throws
// InputError where a layer has fewer rows, or rows that stand before all keys.
void DecodeLast(int64_t queries, TensorSource* source);

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_CUT_LAYER_H_
