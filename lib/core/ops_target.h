// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// For tests: which table the tile primitives (heed/ops.h) run on.
#ifndef HEED_LIB_CORE_OPS_TARGET_H_
#define HEED_LIB_CORE_OPS_TARGET_H_

#include "heed/export.h"

namespace heed::internal {

// Takes the named table from now on, or this CPU's best where the name is null.
// Not while anything runs. Returns false for tables that are not usable.
HEED_API bool SetOpsTarget(const char* target);

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_OPS_TARGET_H_
