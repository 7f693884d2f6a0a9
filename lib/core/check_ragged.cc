// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The index arrays of ragged batches and pages: checked whole, on every call,
// before anything is read through them.
#include <algorithm>
#include <cstdint>

#include "lib/core/check.h"
#include "lib/core/sequences.h"

namespace heed::internal {
namespace {

// Lengths of sequences that have room for `room` keys.
Status CheckLengths(const Plan& plan, const Ragged& ragged, int64_t room) {
  const char* const kName = "seqlens_k";
  for (int64_t s = 0; s < ragged.num_sequences; ++s) {
    const int64_t length = ragged.seqlens_k[s];
    const char* message = nullptr;
    int64_t bound = 0;
    BoundKind kind = BoundKind::kAtMost;
    if (length < 0) {
      message = "must not be negative";
      kind = BoundKind::kSaid;
    } else if (length > room) {
      message = "is more than there are keys";
      bound = room;
    } else if (length > plan.shape.seqlen_k) {
      message = "is larger than the plan's seqlen_k";
      bound = plan.shape.seqlen_k;
    } else {
      continue;
    }
    return Invalid(kName, message)
        .WithIndex(s)
        .WithValue(length)
        .WithBound(bound, kind);
  }
  return Status();
}

// Every entry of the page table that a key needs.
Status CheckTable(const AttentionArgs& args) {
  const Pages& pages = args.pages;
  const int64_t page_size = args.key.seqlen();
  const int64_t num_pages = args.key.batch();
  for (int64_t s = 0; s < pages.num_sequences; ++s) {
    const int64_t length = args.ragged.seqlens_k[s];
    const int64_t used = length / page_size + (length % page_size != 0);
    const int32_t* row = pages.page_table + s * pages.table_stride;
    // Without a way out of the loop, so that it takes several at a time.
    uint32_t largest = 0;  // negative ones become large
    for (int64_t i = 0; i < used; ++i) {
      largest = std::max(largest, static_cast<uint32_t>(row[i]));
    }
    if (used == 0 || int64_t{largest} < num_pages) continue;
    int64_t i = 0;
    while (static_cast<uint32_t>(row[i]) != largest) ++i;
    return Invalid("page_table", "has a page that the pool does not")
        .WithIndex(s * pages.table_stride + i)
        .WithValue(row[i])
        .WithBound(num_pages - 1);
  }
  return Status();
}

Status CheckPagesFit(const AttentionArgs& args) {
  const Pages& pages = args.pages;
  const Ragged& ragged = args.ragged;
  if (pages.page_table == nullptr) {
    if (pages.num_sequences == 0 && pages.pages_per_sequence == 0) {
      return Status();
    }
    return Invalid("page_table", "is null");
  }
  if (ragged.num_sequences == 0) {
    return Invalid("num_sequences", "of a ragged call is needed with pages")
        .WithValue(0)
        .WithBound(pages.num_sequences, BoundKind::kNeeds);
  }
  if (ragged.seqlens_k == nullptr) {
    return Invalid("seqlens_k", "is null, but pages need it");
  }
  if (ragged.cu_seqlens_k != nullptr) {
    return Invalid("cu_seqlens_k", "can not be given with pages");
  }
  if (pages.num_sequences != ragged.num_sequences) {
    return Invalid("page_table", "must have a row for each sequence")
        .WithValue(pages.num_sequences)
        .WithBound(ragged.num_sequences, BoundKind::kNeeds);
  }
  if (pages.pages_per_sequence < 0) {
    return Invalid("pages_per_sequence", "must not be negative")
        .WithValue(pages.pages_per_sequence)
        .WithBound(0, BoundKind::kSaid);
  }
  int64_t entries;
  if (pages.table_stride < 0 ||
      __builtin_mul_overflow(pages.table_stride, pages.num_sequences,
                             &entries) ||
      entries > INT64_MAX / 8 - pages.pages_per_sequence) {
    return Status(pages.table_stride < 0 ? StatusCode::kInvalidArgument
                                         : StatusCode::kOverflow,
                  "table_stride",
                  pages.table_stride < 0 ? "must not be negative"
                                         : "leaves the address space")
        .WithValue(pages.table_stride)
        .WithBound(0, BoundKind::kSaid);
  }
  if (args.key.seqlen() < 1) {
    return Invalid("key", "must have pages of at least one row")
        .WithIndex(1)
        .WithValue(args.key.seqlen())
        .WithBound(1, BoundKind::kSaid);
  }
  return Status();
}

// Whether the groups fit each other and the plan; reads no array.
Status CheckRaggedFits(const Plan& plan, const AttentionArgs& args) {
  const Ragged& ragged = args.ragged;
  if (args.key_intervals.query_block_size != 0) {
    return Status(StatusCode::kUnsupported, "key_intervals",
                  "are not offered for ragged calls");
  }
  if (ragged.num_sequences > plan.shape.num_sequences) {
    return Invalid("num_sequences", "is larger than the plan's")
        .WithValue(ragged.num_sequences)
        .WithBound(plan.shape.num_sequences);
  }
  if (ragged.cu_seqlens_k != nullptr && ragged.seqlens_k != nullptr) {
    return Invalid("cu_seqlens_k", "can not be given with seqlens_k");
  }
  return Status();
}

}  // namespace

Status CheckSums(const Sums& sums, int64_t num_sequences) {
  if (sums.at[0] != 0) {
    return Invalid(sums.argument, "must start at 0")
        .WithIndex(0)
        .WithValue(sums.at[0])
        .WithBound(0, BoundKind::kSaid);
  }
  for (int64_t s = 0; s < num_sequences; ++s) {
    if (sums.at[s + 1] < sums.at[s]) {
      return Invalid(sums.argument, "must not fall")
          .WithIndex(s + 1)
          .WithValue(sums.at[s + 1])
          .WithBound(sums.at[s], BoundKind::kAtLeast);
    }
    const int64_t length = int64_t{sums.at[s + 1]} - sums.at[s];
    if (length > sums.most) {
      return Invalid(sums.argument, sums.beyond_most)
          .WithIndex(s + 1)
          .WithValue(length)
          .WithBound(sums.most);
    }
  }
  if (sums.at[num_sequences] != sums.end) {
    return Invalid(sums.argument, "must end at the seqlen of its tensor")
        .WithIndex(num_sequences)
        .WithValue(sums.at[num_sequences])
        .WithBound(sums.end, BoundKind::kNeeds);
  }
  return Status();
}

Status CheckRaggedShape(const Plan& plan, const AttentionArgs& args) {
  const int64_t sequences = args.ragged.num_sequences;
  if (sequences < 0) {
    return Invalid("num_sequences", "must not be negative")
        .WithValue(sequences)
        .WithBound(0, BoundKind::kSaid);
  }
  const Status status = CheckPagesFit(args);
  if (!status.ok() || sequences == 0) return status;
  return CheckRaggedFits(plan, args);
}

Status CheckRagged(const Plan& plan, const AttentionArgs& args) {
  const Ragged& ragged = args.ragged;
  if (ragged.num_sequences == 0) return Status();
  if (ragged.cu_seqlens_q != nullptr) {
    const Status status =
        CheckSums({"cu_seqlens_q", ragged.cu_seqlens_q, args.query.seqlen(),
                   plan.shape.seqlen_q,
                   "has a sequence that is longer than the plan's seqlen_q"},
                  ragged.num_sequences);
    if (!status.ok()) return status;
  }
  if (ragged.cu_seqlens_k != nullptr) {
    return CheckSums({"cu_seqlens_k", ragged.cu_seqlens_k, args.key.seqlen(),
                      plan.shape.seqlen_k,
                      "has a sequence that is longer than the plan's seqlen_k"},
                     ragged.num_sequences);
  }
  if (ragged.seqlens_k == nullptr) return Status();
  int64_t room = args.key.seqlen();
  if (InPages(args)) {
    const int64_t pages = args.pages.pages_per_sequence;
    if (__builtin_mul_overflow(pages, room, &room)) room = INT64_MAX;
  }
  const Status status = CheckLengths(plan, ragged, room);
  if (!status.ok() || !InPages(args)) return status;
  return CheckTable(args);
}

Status CheckArrayOverlaps(const AttentionArgs& args,
                          const ConstTensorView& output,
                          const TensorName& output_name) {
  const Ragged& ragged = args.ragged;
  const int64_t sequences = ragged.num_sequences;
  if (sequences == 0) return Status();
  int64_t entries = 0;  // up to the last that a key needs
  for (int64_t s = 0; InPages(args) && s < sequences; ++s) {
    if (ragged.seqlens_k[s] == 0) continue;
    const int64_t last = (ragged.seqlens_k[s] - 1) / args.key.seqlen();
    entries = std::max(entries, s * args.pages.table_stride + last + 1);
  }
  const struct {
    const void* array;
    int64_t bytes;
    const char* overlaps;
  } arrays[] = {
      {ragged.cu_seqlens_q, (sequences + 1) * 4, "overlaps cu_seqlens_q"},
      {ragged.seqlens_k, sequences * 4, "overlaps seqlens_k"},
      {ragged.cu_seqlens_k, (sequences + 1) * 4, "overlaps cu_seqlens_k"},
      {ragged.causal_offset, sequences * 8, "overlaps causal_offset"},
      {args.pages.page_table, entries * 4, "overlaps page_table"},
  };
  for (const auto& [array, bytes, overlaps] : arrays) {
    if (array == nullptr) continue;
    const ConstTensorView view =
        Bshd(static_cast<const int8_t*>(array), 1, 1, 1, bytes);
    const Status status =
        CheckOverlap(output, output_name, view, {"", overlaps});
    if (!status.ok()) return status;
  }
  return Status();
}

}  // namespace heed::internal
