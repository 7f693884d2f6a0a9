// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include <cstdint>

#include "lib/core/check_pages.h"

namespace heed::internal {
namespace {

constexpr const char* kName = "shared_prefixes";

// The sequences of prefix `i`, which begin at `least` or later.
Status CheckSequences(const Ragged& ragged, int64_t i, int64_t least) {
  const SharedPrefix& prefix = ragged.shared_prefixes[i];
  const int64_t end =
      int64_t{prefix.first_sequence} + int64_t{prefix.num_sequences};
  const char* message = nullptr;
  int64_t value = prefix.num_sequences;
  int64_t bound = 1;
  BoundKind kind = BoundKind::kAtLeast;
  if (prefix.num_sequences < 1) {
    message = "must be of at least one sequence";
  } else if (prefix.first_sequence < least) {
    message = "must begin behind the one before it";
    value = prefix.first_sequence;
    bound = least;
  } else if (end > ragged.num_sequences) {
    message = "has a sequence that the call does not";
    value = end - 1;
    bound = ragged.num_sequences - 1;
    kind = BoundKind::kAtMost;
  } else if (prefix.num_keys < 0) {
    message = "must not have a negative length";
    value = prefix.num_keys;
    bound = 0;
    kind = BoundKind::kSaid;
  }
  if (message != nullptr) {
    return Invalid(kName, message)
        .WithIndex(i)
        .WithValue(value)
        .WithBound(bound, kind);
  }
  for (int64_t s = prefix.first_sequence; s < end; ++s) {
    if (prefix.num_keys <= ragged.seqlens_k[s]) continue;
    return Invalid(kName, "is longer than the keys of a sequence of it")
        .WithIndex(i)
        .WithValue(prefix.num_keys)
        .WithBound(ragged.seqlens_k[s]);
  }
  return Status();
}

// Returns the first of `count` entries of a row that differs from that of the
// row at `like`, or -1.
template <typename Page>
int64_t FirstOther(const Page* pages, int64_t like, int64_t row,
                   int64_t count) {
  bool same = true;
  for (int64_t i = 0; i < count; ++i) same &= pages[like + i] == pages[row + i];
  if (same) return -1;
  int64_t i = 0;
  while (pages[like + i] == pages[row + i]) ++i;
  return row + i;
}

// That sequence s has the pages of the first one of its prefix.
Status CheckSamePages(const AttentionArgs& args, const PagedTensors& tensors,
                      const SharedPrefix& prefix, int64_t s) {
  const char* const kOther = "is not that of the first of its shared prefix";
  const Pages& pages = args.pages;
  const int64_t page_size = args.key.seqlen();
  const int64_t count =
      prefix.num_keys / page_size + (prefix.num_keys % page_size != 0);
  const int64_t like = prefix.first_sequence * pages.table_stride;
  const int64_t row = s * pages.table_stride;
  if (pages.page_table != nullptr) {
    const int64_t entry = FirstOther(pages.page_table, like, row, count);
    if (entry < 0) return Status();
    return Invalid("page_table", kOther)
        .WithIndex(entry)
        .WithValue(pages.page_table[entry])
        .WithBound(pages.page_table[entry - row + like], BoundKind::kNeeds);
  }
  for (const PagedTensor& tensor : tensors) {
    if (tensor.pages == nullptr) continue;
    const int64_t entry = FirstOther(tensor.pages, like, row, count);
    if (entry >= 0) {
      return Invalid(tensor.array.argument, kOther).WithIndex(entry);
    }
  }
  return Status();
}

}  // namespace

Status CheckSharedPrefixes(const AttentionArgs& args,
                           const PagedTensors& tensors) {
  const Ragged& ragged = args.ragged;
  int64_t least = 0;
  for (int64_t i = 0; i < ragged.num_shared_prefixes; ++i) {
    const SharedPrefix& prefix = ragged.shared_prefixes[i];
    Status status = CheckSequences(ragged, i, least);
    if (!status.ok()) return status;
    least = int64_t{prefix.first_sequence} + prefix.num_sequences;
    for (int64_t s = int64_t{prefix.first_sequence} + 1; s < least; ++s) {
      status = CheckSamePages(args, tensors, prefix, s);
      if (!status.ok()) return status;
    }
  }
  return Status();
}

}  // namespace heed::internal
