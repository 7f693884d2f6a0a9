// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Scratch for run after run of one call, which is freed only after the last.
#ifndef HEED_LIB_SPARSE_SAME_MEMORY_H_
#define HEED_LIB_SPARSE_SAME_MEMORY_H_

#include <cstddef>

#include "heed/scratch.h"

namespace heed::internal {

// Memory of the host's that run after run takes again, in the same order.
class SameMemory {
 public:
  explicit SameMemory(const Scratch& host) : host_(host) {}

  Scratch Again() {
    next_ = 0;
    return {this, [](void* self, size_t bytes) {
              return static_cast<SameMemory*>(self)->Take(bytes);
            }};
  }

 private:
  struct Piece {
    void* memory = nullptr;
    size_t bytes = 0;
  };
  // A sparse run takes fewer; the rest is the host's each time.
  static constexpr int kPieces = 16;

  void* Take(size_t bytes) {
    if (next_ == kPieces) return host_.allocate(host_.self, bytes);
    Piece& piece = pieces_[next_++];
    if (piece.bytes < bytes || piece.memory == nullptr) {
      piece = {host_.allocate(host_.self, bytes), bytes};
    }
    return piece.memory;
  }

  const Scratch& host_;
  Piece pieces_[kPieces];
  int next_ = 0;
};

}  // namespace heed::internal

#endif  // HEED_LIB_SPARSE_SAME_MEMORY_H_
