// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The memory behind a variant's Scratch: counted, and kept from run to run, so
// that a timed run does not pay for the operating system's pages.
#ifndef HEED_LIB_EVAL_SCRATCH_POOL_H_
#define HEED_LIB_EVAL_SCRATCH_POOL_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "heed/variant.h"

namespace heed::eval {

// One run at a time. Memory is 64-byte aligned.
class ScratchPool {
 public:
  // Takes back everything that was handed out and returns the pool as a
  // Scratch, for one run. After a first run the next like it allocates nothing.
  Scratch Begin();

  // The most bytes that a run has asked for so far.
  size_t HighWater() const { return high_water_; }

 private:
  struct Free {
    void operator()(void* data) const;
  };
  struct Block {
    std::unique_ptr<void, Free> data;
    size_t bytes = 0;
  };
  static void* Allocate(void* self, size_t bytes);
  bool AddBlock(size_t bytes);

  std::vector<Block> blocks_;  // the last one is being handed out
  size_t used_ = 0;            // of the last block
  size_t asked_ = 0;           // by this run
  size_t high_water_ = 0;
};

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_SCRATCH_POOL_H_
