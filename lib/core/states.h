// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What the calls of heed/states.h have in common.
#ifndef HEED_LIB_CORE_STATES_H_
#define HEED_LIB_CORE_STATES_H_

#include "heed/states.h"
#include "lib/core/tensors.h"
#include "lib/kernels/kernel_table.h"

namespace heed::internal {

static_assert(kStateKeys == kSpanKeys);
static_assert(kGroupStateKeys == kSpanKeys * kGroupSpans);

inline constexpr TensorName kStatesName = {"states", "overlaps states"};

Status CheckShard(const Shard& shard);

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_STATES_H_
