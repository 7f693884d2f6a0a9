// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Memory between two pages that may not be touched: one element too far faults.
#ifndef HEED_TESTS_SUPPORT_GUARD_H_
#define HEED_TESTS_SUPPORT_GUARD_H_

#include <cstddef>
#include <string>

namespace heed::test {

// Which end of the memory lies against a guard page.
enum class Against { kFront, kBack };

// Room for up to `capacity` bytes between two guard pages.
class GuardedMemory {
 public:
  explicit GuardedMemory(size_t capacity);
  ~GuardedMemory();
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  // Returns `bytes` bytes that begin right behind the front guard, or end right
  // before the back one.
  char* Place(size_t bytes, Against end) const;

 private:
  char* pages_;
  size_t page_;
  size_t capacity_;  // whole pages
};

// What the test is doing: printed before the process dies of a fault, so that
// the shape and the table are known.
void SetGuardContext(const std::string& text);

}  // namespace heed::test

#endif  // HEED_TESTS_SUPPORT_GUARD_H_
