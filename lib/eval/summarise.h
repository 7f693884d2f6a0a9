// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// From measurements of calls to rows of a table.
#ifndef HEED_LIB_EVAL_SUMMARISE_H_
#define HEED_LIB_EVAL_SUMMARISE_H_

#include "lib/eval/compare.h"

namespace heed::eval {

// Fills in `rows` and `by_layer` from `cells`.
void FillSummaries(CompareResult* result);

// Finds the frontier anew, of all layers and of each, where rows were added.
void FillFrontiers(CompareResult* result);

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_SUMMARISE_H_
