// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// How many processors this process may run on.
#ifndef HEED_LIB_EVAL_PROCESSORS_H_
#define HEED_LIB_EVAL_PROCESSORS_H_

#include <sched.h>

#include <algorithm>
#include <thread>

namespace heed::eval {

// By its affinity, which std::thread::hardware_concurrency leaves out.
inline int UsableProcessors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_PROCESSORS_H_
