// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Inputs whose attention no arithmetic in f32 can compute.
#ifndef HEED_LIB_EVAL_OVERFLOW_H_
#define HEED_LIB_EVAL_OVERFLOW_H_

#include <string>
#include <vector>

#include "heed/attention.h"
#include "lib/eval/truth.h"

namespace heed::eval {

// Returns one sentence (without full stop) where, for some of these query rows,
// the terms of a product of query and key, of a scaled score or of a sum of
// values add up to more than f32 holds; "" where none do. Costs as much as the
// rows' scores in double.
std::string FindOverflow(const AttentionParams& params,
                         const AttentionArgs& args,
                         const std::vector<RowRun>& rows);

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_OVERFLOW_H_
