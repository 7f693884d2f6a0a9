// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What of a row belongs to the machine that timed it.
#ifndef HEED_TOOLS_HEED_ROW_TIMES_H_
#define HEED_TOOLS_HEED_ROW_TIMES_H_

#include "lib/io/json_value.h"

namespace heed::tool {

// Moves the times out of a row, of its layers and of its "sweep" too, and
// leaves what stands where nothing was timed.
io::JsonValue TakeTimes(io::JsonValue* row);

// Puts them back into such a row.
void PutTimes(const io::JsonValue& times, io::JsonValue* row);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_ROW_TIMES_H_
