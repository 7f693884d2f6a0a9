// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Lays arrays out in memory that somebody else owns.
#ifndef HEED_LIB_KERNELS_CARVER_H_
#define HEED_LIB_KERNELS_CARVER_H_

#include <cstdint>

namespace heed::internal {

constexpr int64_t RoundUp(int64_t value, int64_t step) {
  return (value + step - 1) / step * step;
}

constexpr int64_t Padded(int64_t bytes) { return RoundUp(bytes, 64); }

// Hands out consecutive parts of whole 64 bytes; with a null base it only
// counts.
class Carver {
 public:
  explicit Carver(void* base) : base_(static_cast<char*>(base)) {}

  template <typename T>
  T* Take(int64_t count) {
    char* at = base_ == nullptr ? nullptr : base_ + used_;
    used_ += Padded(count * static_cast<int64_t>(sizeof(T)));
    return reinterpret_cast<T*>(at);
  }
  int64_t used() const { return used_; }

 private:
  char* base_;
  int64_t used_ = 0;
};

}  // namespace heed::internal

#endif  // HEED_LIB_KERNELS_CARVER_H_
