// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Every check of what a caller of a scan hands in, before any write.
#ifndef HEED_LIB_LINEAR_CHECK_SCAN_H_
#define HEED_LIB_LINEAR_CHECK_SCAN_H_

#include "heed/linear.h"
#include "lib/core/tensors.h"

namespace heed::internal {

Status CheckScanShape(const ScanParams& params, const ScanShape& shape);

Status CheckScanArgs(const ScanPlan& plan, const ScanArgs& args);

// Refuses elements outside [low, high], NaN among them. A row repeated by a
// stride of 0 is looked at once.
Status CheckRange(const ConstTensorView& checked, const TensorName& name,
                  float low, float high, const char* message);

// Size, alignment, and that no tensor lies in it.
Status CheckScanWorkspace(const ScanPlan& plan, const ScanArgs& args,
                          Workspace workspace, int workers);

}  // namespace heed::internal

#endif  // HEED_LIB_LINEAR_CHECK_SCAN_H_
