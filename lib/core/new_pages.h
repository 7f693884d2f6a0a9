// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The pages that the new rows of an append go to.
#ifndef HEED_LIB_CORE_NEW_PAGES_H_
#define HEED_LIB_CORE_NEW_PAGES_H_

#include <algorithm>
#include <cstdint>

#include "lib/core/append.h"
#include "lib/core/check.h"
#include "lib/core/check_pages.h"

namespace heed::internal {

inline const TensorView& CacheOf(const AppendArgs& args) {
  return args.key.absent() ? args.value_cache : args.key_cache;
}

// Calls f(sequence, first position, count) for each sequence with new rows,
// until a status is not ok.
template <typename F>
Status ForEachSequence(const AppendArgs& args, F f) {
  for (int64_t s = 0; s < args.num_sequences; ++s) {
    const int64_t count = NewRowsOf(args, s).count;
    if (count == 0) continue;
    const Status status = f(s, args.past_lengths[s], count);
    if (!status.ok()) return status;
  }
  return Status();
}

// Calls f(entry, first row, last row) for the pages of a sequence's new rows,
// rows counted in the page.
template <typename F>
Status ForEachPage(const AppendArgs& args, int64_t s, int64_t first,
                   int64_t count, F f) {
  const int64_t size = CacheOf(args).seqlen();
  for (int64_t at = first; at < first + count;) {
    const int64_t next = std::min((at / size + 1) * size, first + count);
    const int64_t entry = s * args.pages.table_stride + at / size;
    const Status status = f(entry, at % size, at % size + next - at);
    if (!status.ok()) return status;
    at = next;
  }
  return Status();
}

// The same for the pages of all.
template <typename F>
Status ForEachNewPage(const AppendArgs& args, F f) {
  return ForEachSequence(args, [&](int64_t s, int64_t first, int64_t count) {
    return ForEachPage(args, s, first, count, f);
  });
}

inline Status TwoInOnePlace(const char* argument, int64_t entry) {
  return Invalid(argument, "has two new rows in one place").WithIndex(entry);
}

// The entries that the new rows of a sequence need, whose lengths were checked.
inline auto NewEntriesOf(const AppendArgs& args) {
  return [&args](int64_t s) {
    const int64_t size = CacheOf(args).seqlen();
    const int64_t first = args.past_lengths[s];
    const int64_t count = NewRowsOf(args, s).count;
    if (count == 0) return PageEntries{0, 0};
    return PageEntries{s * args.pages.table_stride + first / size,
                       (first + count - 1) / size - first / size + 1};
  };
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_NEW_PAGES_H_
