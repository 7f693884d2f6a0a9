// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What the opaque structs of the C door hold, and how memory of the caller
// becomes one.
#ifndef HEED_LIB_C_MEMORY_H_
#define HEED_LIB_C_MEMORY_H_

#include <cstdint>

#include "heed/attention.h"
#include "heed/heed_c.h"
#include "lib/c/convert.h"
#include "lib/c/structs.h"

// `made` tells them from memory that nothing was ever put into.
struct heed_plan {
  static constexpr uint64_t kMade = 0x6865656420706c6e;
  uint64_t made;
  heed::Plan plan;
};

struct heed_run {
  static constexpr uint64_t kMade = 0x686565642072756e;
  uint64_t made;
  heed::AttentionRun run;
  heed::internal::HookOfC hook;
};

namespace heed::internal {

// Checks that the memory may hold a T.
template <typename T>
Status CheckMemory(const T* memory, uint64_t bytes, const char* name) {
  static_assert(alignof(T) <= 16, "malloc's alignment is promised to do");
  if (memory == nullptr) return InvalidStruct(name, "is null");
  if (reinterpret_cast<uintptr_t>(memory) % alignof(T) != 0) {
    return InvalidStruct(name, "is not aligned to 16 bytes");
  }
  if (bytes < sizeof(T)) {
    return InvalidStruct(name, "has too little memory")
        .WithValue(static_cast<int64_t>(bytes))
        .WithBound(sizeof(T), BoundKind::kNeeds)
        .WithUnit("bytes");
  }
  return Status();
}

// Checks that the memory holds a T that was made.
template <typename T>
Status CheckMade(const T* memory, const char* name) {
  const Status status = CheckMemory(memory, sizeof(T), name);
  if (!status.ok()) return status;
  if (memory->made != T::kMade) return InvalidStruct(name, "was not made");
  return Status();
}

}  // namespace heed::internal

#endif  // HEED_LIB_C_MEMORY_H_
