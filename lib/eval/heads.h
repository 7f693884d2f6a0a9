// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Which heads a setting fails on.
#ifndef HEED_LIB_EVAL_HEADS_H_
#define HEED_LIB_EVAL_HEADS_H_

#include <cstddef>
#include <vector>

#include "lib/eval/compare.h"

namespace heed::eval {

// A query head of a layer and what a setting lost there.
struct HeadRow {
  size_t layer = 0;
  size_t head = 0;
  HeadMeasurement lost = {};
};

// Returns the heads of all layers, the largest error first: those without a
// number before all, and equal ones by layer and head.
std::vector<HeadRow> WorstHeads(const CompareResult& result, size_t setting);

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_HEADS_H_
