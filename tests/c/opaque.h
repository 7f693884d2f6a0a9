// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Plans and runs of the C door, whose size only the library knows.
#ifndef HEED_TESTS_C_OPAQUE_H_
#define HEED_TESTS_C_OPAQUE_H_

#include <cstdint>
#include <cstdlib>

namespace heed::test {

// The memory that a plan or a run lives in.
template <typename T>
class Opaque {
 public:
  explicit Opaque(uint64_t bytes)
      : bytes_(bytes), memory_(static_cast<T*>(std::calloc(1, bytes))) {}
  ~Opaque() { std::free(memory_); }
  Opaque(const Opaque&) = delete;
  Opaque& operator=(const Opaque&) = delete;
  operator T*() const { return memory_; }
  uint64_t bytes() const { return bytes_; }

 private:
  uint64_t bytes_;
  T* memory_;
};

}  // namespace heed::test

#endif  // HEED_TESTS_C_OPAQUE_H_
