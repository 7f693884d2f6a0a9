// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// How rows that cost the same are shared out.
#ifndef HEED_LIB_CORE_ROWS_PER_TASK_H_
#define HEED_LIB_CORE_ROWS_PER_TASK_H_

#include <algorithm>
#include <cstdint>

namespace heed::internal {

// A few tasks a worker, so that one that starts late takes fewer.
inline int64_t RowsPerTask(int64_t rows, int workers) {
  if (workers <= 1) return std::max<int64_t>(rows, 1);
  return std::max<int64_t>(rows / (int64_t{4} * workers), 1);
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_ROWS_PER_TASK_H_
