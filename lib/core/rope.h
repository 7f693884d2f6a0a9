// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// One row turned, and the checks of a Rope.
#ifndef HEED_LIB_CORE_ROPE_H_
#define HEED_LIB_CORE_ROPE_H_

#include <cstdint>

#include "heed/rope.h"

namespace heed::internal {

// Tables, rotary_dim against head_dim, and the `count` positions, where given.
Status CheckRope(const Rope& rope, int64_t head_dim, const int32_t* positions,
                 int64_t count, const char* positions_name);

// Views of what a Rope reads, for overlap checks.
ConstTensorView TableView(const Rope& rope, const float* table);

// Turns a row that stands at `position`.
void TurnRow(const Rope& rope, int64_t position, float* row);

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_ROPE_H_
