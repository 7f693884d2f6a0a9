// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a call is given beside its tensors.
#ifndef HEED_LIB_CORE_CHECK_HOST_H_
#define HEED_LIB_CORE_CHECK_HOST_H_

#include "heed/scratch.h"
#include "lib/core/check.h"

namespace heed::internal {

inline Status CheckHost(const Executor& executor, const Scratch& scratch) {
  const Status status = CheckExecutor(executor);
  if (!status.ok()) return status;
  if (scratch.allocate == nullptr) {
    return Invalid("scratch", "has no allocate");
  }
  return Status();
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_CHECK_HOST_H_
