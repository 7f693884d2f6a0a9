// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// How a call of the C door says what came of it.
#ifndef HEED_LIB_C_REPORT_H_
#define HEED_LIB_C_REPORT_H_

#include <cstdint>

#include "heed/heed_c.h"
#include "heed/status.h"
#include "lib/c/structs.h"

namespace heed::internal {

// Runs `call`, which returns a Status, and reports that. Without a place for
// the particulars, or with one of a wrong size, in which case nothing is run.
template <typename Call>
int32_t Reported(heed_status* status, const Call& call) {
  if (status != nullptr && !CheckOutStruct(status, "status").ok()) {
    return HEED_INVALID_ARGUMENT;
  }
  const Status result = call();
  if (status != nullptr) {
    heed_status to = {};
    to.code = static_cast<int32_t>(result.code());
    to.bound_kind = static_cast<int32_t>(result.bound_kind());
    to.argument = result.argument();
    to.message = result.message();
    to.unit = result.unit();
    to.index = result.index();
    to.value = result.value();
    to.bound = result.bound();
    to.has_index = result.has_index();
    to.has_value = result.has_value();
    to.has_bound = result.has_bound();
    WriteStruct(to, status);
  }
  return static_cast<int32_t>(result.code());
}

}  // namespace heed::internal

#endif  // HEED_LIB_C_REPORT_H_
