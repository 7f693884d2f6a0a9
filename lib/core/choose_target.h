// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The target of a plan, by name.
#ifndef HEED_LIB_CORE_CHOOSE_TARGET_H_
#define HEED_LIB_CORE_CHOOSE_TARGET_H_

#include "heed/status.h"
#include "lib/kernels/targets.h"

namespace heed::internal {

// Sets *target to the one of this name, or to the best here where it is null.
Status ChooseTarget(const char* name, Target* target);

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_CHOOSE_TARGET_H_
