// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/core/choose_target.h"

#include "lib/kernels/kernels.h"

namespace heed::internal {

Status ChooseTarget(const char* name, Target* target) {
  if (name == nullptr) {
    *target = BestTarget();
    return Status();
  }
  const char* message = nullptr;
  if (!FindTarget(name, target)) {
    message = "is unknown";
  } else if (!Compiled(*target)) {
    message = "has no kernels in this library";
  } else if (!Usable(*target)) {
    message = kNotOffered;
  } else {
    return Status();
  }
  return Status(StatusCode::kUnsupported, "target", message);
}

}  // namespace heed::internal
