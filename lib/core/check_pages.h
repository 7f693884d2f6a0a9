// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What reading from pages and writing to them check alike: the table, or the
// arrays of pointers, and every entry that is needed.
#ifndef HEED_LIB_CORE_CHECK_PAGES_H_
#define HEED_LIB_CORE_CHECK_PAGES_H_

#include <algorithm>
#include <cstdint>

#include "heed/append.h"
#include "heed/attention.h"
#include "lib/core/check.h"
#include "lib/core/tensors.h"

namespace heed::internal {

// A tensor that may be in pages of its own pointers.
struct PagedTensor {
  ConstTensorView page;
  void* const* pages;  // null where it is not
  TensorName array;    // of the pointers
  bool may_repeat;     // it may do without them: the same in every page
};

inline constexpr int kMostPagedTensors = 6;

// Those of a call, absent ones too.
struct PagedTensors {
  explicit PagedTensors(const AttentionArgs& args);
  explicit PagedTensors(const AppendArgs& args);

  const PagedTensor* begin() const { return all; }
  const PagedTensor* end() const { return all + kMostPagedTensors; }
  PagedTensor all[kMostPagedTensors];
};

// Whether a tensor of a call is in pages of its own pointers.
bool InOwnPages(const Pages& pages, const TensorName& name);

// Rows for all sequences, and arrays that fit the tensors. Reads no entry.
Status CheckPagesFit(const Pages& pages, int64_t num_sequences,
                     const PagedTensors& tensors);

// Entries [first, first + count) of the table or the arrays.
struct PageEntries {
  int64_t first, count;
};

// Returns the first entry whose page is bad(page), or -1. `entries(s)` are
// those that sequence s needs.
template <typename Page, typename Entries, typename Bad>
int64_t FirstBadPage(const Page* pages, int64_t num_sequences, Entries entries,
                     Bad bad) {
  for (int64_t s = 0; s < num_sequences; ++s) {
    const PageEntries of_one = entries(s);
    const Page* const row = pages + of_one.first;
    // Without a way out of the loop, so that it takes several at a time.
    bool any = false;
    for (int64_t i = 0; i < of_one.count; ++i) any |= bad(row[i]);
    if (!any) continue;
    int64_t i = 0;
    while (!bad(row[i])) ++i;
    return of_one.first + i;
  }
  return -1;
}

// Every entry that is needed of a pool of num_pages, or of each array.
template <typename Entries>
Status CheckPageEntries(const Pages& pages, int64_t num_pages,
                        const PagedTensors& tensors, Entries entries) {
  if (pages.page_table != nullptr) {
    // Negative ones become large.
    const uint64_t most = static_cast<uint64_t>(num_pages);
    const int64_t entry = FirstBadPage(
        pages.page_table, pages.num_sequences, entries,
        [most](int32_t page) { return static_cast<uint32_t>(page) >= most; });
    if (entry < 0) return Status();
    return Invalid("page_table", "has a page that the pool does not")
        .WithIndex(entry)
        .WithValue(pages.page_table[entry])
        .WithBound(num_pages - 1);
  }
  if (!pages.by_pointers()) return Status();
  for (const PagedTensor& tensor : tensors) {
    const MemoryRange page = MemoryOf(tensor.page);
    if (tensor.pages == nullptr || page.begin == page.end) continue;
    const auto element = static_cast<uintptr_t>(SizeOf(tensor.page.dtype));
    const uintptr_t most = UINTPTR_MAX - (page.end - page.begin);
    const int64_t entry = FirstBadPage(
        tensor.pages, pages.num_sequences, entries, [&](const void* pointer) {
          const uintptr_t at = reinterpret_cast<uintptr_t>(pointer);
          return (at == 0) | (at % element != 0) | (at > most);
        });
    if (entry < 0) continue;
    const uintptr_t at = reinterpret_cast<uintptr_t>(tensor.pages[entry]);
    return Invalid(tensor.array.argument, at == 0 ? "is null"
                                          : at % element != 0
                                              ? "is not aligned to its element"
                                              : "leaves the address space")
        .WithIndex(entry);
  }
  return Status();
}

// The prefixes that a call, whose lengths and entries were checked, says are
// shared (check_shared_prefixes.cc): which sequences, and that their first
// entries are equal.
Status CheckSharedPrefixes(const AttentionArgs& args,
                           const PagedTensors& tensors);

// Refuses pages, of entries that were checked, that meet the memory of an
// output, or of what is given beside pages that are written.
template <typename Entries>
Status CheckPagesApart(const Pages& pages, const PagedTensor& tensor,
                       const ConstTensorView& other, const char* overlaps,
                       Entries entries) {
  const MemoryRange page = MemoryOf(tensor.page);
  const MemoryRange memory = MemoryOf(other);
  if (tensor.pages == nullptr || page.begin == page.end ||
      memory.begin == memory.end) {
    return Status();
  }
  const uintptr_t bytes = page.end - page.begin;
  const int64_t entry = FirstBadPage(
      tensor.pages, pages.num_sequences, entries, [&](const void* pointer) {
        const uintptr_t at = reinterpret_cast<uintptr_t>(pointer);
        return (at < memory.end) & (memory.begin < at + bytes);
      });
  if (entry < 0) return Status();
  return Invalid(tensor.array.argument, overlaps).WithIndex(entry);
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_CHECK_PAGES_H_
