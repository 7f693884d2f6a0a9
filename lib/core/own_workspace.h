// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The workspace of a one-shot call.
#ifndef HEED_LIB_CORE_OWN_WORKSPACE_H_
#define HEED_LIB_CORE_OWN_WORKSPACE_H_

#include <cstdint>
#include <cstdlib>

#include "heed/attention.h"
#include "lib/kernels/carver.h"

namespace heed::internal {

// Returns run(workspace) with a workspace of `bytes` bytes, freed afterwards.
template <class Run>
Status WithWorkspace(size_t bytes, const Run& run) {
  Workspace workspace;
  workspace.bytes = bytes;
  workspace.data = std::aligned_alloc(
      kWorkspaceAlignment,
      static_cast<size_t>(Padded(static_cast<int64_t>(bytes))));
  if (workspace.data == nullptr) {
    return Status(StatusCode::kOutOfMemory, "workspace",
                  "the system gave no memory for it")
        .WithBound(static_cast<int64_t>(bytes), BoundKind::kNeeds)
        .WithUnit("bytes");
  }
  const Status result = run(workspace);
  std::free(workspace.data);
  return result;
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_OWN_WORKSPACE_H_
