// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The parts of running a plan that sequence after sequence needs.
#ifndef HEED_LIB_SPARSE_RUN_PLAN_H_
#define HEED_LIB_SPARSE_RUN_PLAN_H_

#include "heed/sparse.h"

namespace heed::internal {

// Whether a plan is for a call, or one paged sequence: extents and masks.
Status CheckServes(const SparsePlan& plan, const AttentionParams& params,
                   const AttentionArgs& args);

// Runs a plan over one sequence in pages, whose call was checked.
Status AttendPlanInPages(const SparsePlan& plan, const AttentionParams& params,
                         const AttentionArgs& args, const Scratch& scratch,
                         const Executor& executor, const char* target);

}  // namespace heed::internal

#endif  // HEED_LIB_SPARSE_RUN_PLAN_H_
