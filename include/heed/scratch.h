// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Memory that the caller lends: to a variant's run, or to a plan that is larger
// than a value.
#ifndef HEED_SCRATCH_H_
#define HEED_SCRATCH_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace heed {

// Memory for one run, or for as long as a plan made in it is used; the caller
// then frees all of it. The high-water mark of a variant's run is the
// "workspace" that the tool reports. Call from the thread that runs the
// variant, before the parallel part.
struct Scratch {
  void* self = nullptr;
  void* (*allocate)(void* self, size_t bytes) = nullptr;

  // Returns `count` uninitialised elements, 64-byte aligned; null only where
  // memory is short (count 0 gives a pointer too).
  template <typename T>
  T* Array(int64_t count, int64_t each = 1, int64_t of = 1) const {
    uint64_t elements = 1;
    const uint64_t most = static_cast<uint64_t>(PTRDIFF_MAX) / sizeof(T);
    for (const int64_t factor : {count, each, of}) {
      if (factor < 0) return nullptr;
      const uint64_t by = static_cast<uint64_t>(factor);
      if (by != 0 && elements > most / by) return nullptr;
      elements *= by;
    }
    if (elements == 0) elements = 1;
    return static_cast<T*>(
        allocate(self, static_cast<size_t>(elements) * sizeof(T)));
  }
};

}  // namespace heed

#endif  // HEED_SCRATCH_H_
