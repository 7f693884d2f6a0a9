// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The oneTBB executor. Link heed::tbb; this header includes no TBB.
#ifndef HEED_TBB_H_
#define HEED_TBB_H_

#include "heed/executor.h"
#include "heed/export.h"

namespace heed {

// Owns a oneTBB task arena of `num_threads` workers, the caller's thread among
// them. The threads themselves come from oneTBB's process-wide pool. Calls from
// several threads at once, and from inside a caller's own arena or parallel
// loop, are fine: work is isolated, so that a waiting thread never picks up the
// caller's other tasks.
//
// A child of fork() must not use it: oneTBB does not support fork.
class HEED_API TbbExecutor {
 public:
  // 0 takes as many workers as oneTBB sees processors. Note that oneTBB before
  // 2022.3 ignores a container's CPU quota: pass the number there. A larger
  // number than oneTBB starts threads is cut to that: its processors, or what a
  // tbb::global_control of the caller allows.
  explicit TbbExecutor(int num_threads = 0);
  // The same on the processors of one NUMA node, 0 to NumNumaNodes() - 1; 0
  // threads are as many as it has. A caller's thread is bound to the node while
  // it is in a call. A node that does not exist makes an executor without
  // workers, which calls refuse. What a node should read from its own memory it
  // should be the first to write: docs/scale.md.
  TbbExecutor(int num_threads, int numa_node);
  ~TbbExecutor();
  TbbExecutor(const TbbExecutor&) = delete;
  TbbExecutor& operator=(const TbbExecutor&) = delete;

  int num_threads() const { return num_threads_; }
  // Valid as long as this object.
  operator Executor() const;

 private:
  void* arena_;
  int num_threads_;
  bool bound_ = false;  // to a node
};

// Returns the number of NUMA nodes; 1 where oneTBB can't tell, as without its
// library tbbbind.
HEED_API int NumNumaNodes();

}  // namespace heed

#endif  // HEED_TBB_H_
