// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Sorted, disjoint sets of keys, in memory that is given. Intervals may touch.
#ifndef HEED_LIB_SPARSE_KEY_SET_H_
#define HEED_LIB_SPARSE_KEY_SET_H_

#include <algorithm>
#include <cstdint>

#include "heed/kv.h"

namespace heed::internal {

struct KeySet {
  KeyInterval* data = nullptr;
  int64_t count = 0;

  void Clear() { count = 0; }
  // Adds keys behind all that are there, joining what touches.
  void Append(int64_t begin, int64_t end) {
    if (begin >= end) return;
    if (count > 0 && data[count - 1].end >= begin) {
      data[count - 1].end =
          std::max(data[count - 1].end, static_cast<int32_t>(end));
      return;
    }
    data[count++] = {static_cast<int32_t>(begin), static_cast<int32_t>(end)};
  }
  int64_t Keys() const {
    int64_t keys = 0;
    for (int64_t i = 0; i < count; ++i) keys += data[i].end - data[i].begin;
    return keys;
  }
};

// *a becomes the union; *spare takes the memory that it had. Each holds
// RowKeys::CapacityFor.
inline void Unite(const KeySet& b, KeySet* a, KeySet* spare) {
  if (b.count == 0) return;
  spare->Clear();
  int64_t i = 0;
  int64_t j = 0;
  while (i < a->count || j < b.count) {
    const bool from_a =
        j == b.count || (i < a->count && a->data[i].begin <= b.data[j].begin);
    const KeyInterval& next = from_a ? a->data[i++] : b.data[j++];
    spare->Append(next.begin, next.end);
  }
  std::swap(*a, *spare);
}

// Calls f(begin, end, shared) for the pieces of a, rising: `shared` are those
// that b has too.
template <typename F>
void ForEachPiece(const KeySet& a, const KeySet& b, F f) {
  int64_t j = 0;
  for (int64_t i = 0; i < a.count; ++i) {
    int32_t at = a.data[i].begin;
    const int32_t end = a.data[i].end;
    while (j < b.count && b.data[j].end <= at) ++j;
    for (int64_t k = j; at < end; ++k) {
      const bool any = k < b.count && b.data[k].begin < end;
      const int32_t from = any ? std::max(b.data[k].begin, at) : end;
      if (at < from) f(at, from, false);
      if (!any) break;
      at = std::min(b.data[k].end, end);
      f(from, at, true);
    }
  }
}

}  // namespace heed::internal

#endif  // HEED_LIB_SPARSE_KEY_SET_H_
