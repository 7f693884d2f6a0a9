// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The index arrays of ragged batches and pages: checked whole, on every call,
// before anything is read through them.
#include <algorithm>
#include <cstdint>

#include "lib/core/check.h"
#include "lib/core/check_pages.h"
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

// The entries that the keys of a sequence need.
auto EntriesOf(const AttentionArgs& args) {
  return [&args](int64_t s) {
    const int64_t length = args.ragged.seqlens_k[s];
    const int64_t page_size = args.key.seqlen();
    return PageEntries{s * args.pages.table_stride,
                       length / page_size + (length % page_size != 0)};
  };
}

Status CheckPagesFit(const AttentionArgs& args) {
  const Ragged& ragged = args.ragged;
  if (args.pages.any()) {
    if (ragged.num_sequences == 0) {
      return Invalid("num_sequences", "of a ragged call is needed with pages")
          .WithValue(0)
          .WithBound(args.pages.num_sequences, BoundKind::kNeeds);
    }
    if (ragged.seqlens_k == nullptr) {
      return Invalid("seqlens_k", "is null, but pages need it");
    }
    if (ragged.cu_seqlens_k != nullptr) {
      return Invalid("cu_seqlens_k", "can not be given with pages");
    }
    if (args.key.seqlen() < 1) {
      return Invalid("key", "must have pages of at least one row")
          .WithIndex(1)
          .WithValue(args.key.seqlen())
          .WithBound(1, BoundKind::kSaid);
    }
  }
  return CheckPagesFit(args.pages, ragged.num_sequences, PagedTensors(args));
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
  if (ragged.num_shared_prefixes != 0) {
    const char* const kName = "shared_prefixes";
    if (!plan.shape.shared_prefixes) {
      return Invalid(kName, "are given to a plan made without");
    }
    if (!InPages(args)) return Invalid(kName, "need keys in pages");
    if (ragged.num_shared_prefixes < 0 ||
        ragged.num_shared_prefixes > ragged.num_sequences) {
      return Invalid("num_shared_prefixes",
                     "must be 0 to the number of sequences")
          .WithValue(ragged.num_shared_prefixes)
          .WithBound(ragged.num_sequences);
    }
    if (ragged.shared_prefixes == nullptr) return Invalid(kName, "are null");
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
  const PagedTensors tensors(args);
  const Status entries =
      CheckPageEntries(args.pages, args.key.batch(), tensors, EntriesOf(args));
  return entries.ok() ? CheckSharedPrefixes(args, tensors) : entries;
}

Status CheckArrayOverlaps(const AttentionArgs& args,
                          const ConstTensorView& output,
                          const TensorName& output_name) {
  const bool is_ragged = args.ragged.num_sequences != 0;
  const Ragged ragged = is_ragged ? args.ragged : Ragged();
  const KeyIntervals lists = args.key_intervals.query_block_size != 0
                                 ? args.key_intervals
                                 : KeyIntervals();
  const int64_t sequences = ragged.num_sequences;
  const auto entries_of = EntriesOf(args);
  int64_t entries = 0;  // up to the last that a key needs
  for (int64_t s = 0; InPages(args) && s < sequences; ++s) {
    const PageEntries used = entries_of(s);
    if (used.count > 0) entries = std::max(entries, used.first + used.count);
  }
  const auto check = [&](const void* array, int64_t bytes,
                         const char* overlaps) {
    if (array == nullptr) return Status();
    const ConstTensorView view =
        Bshd(static_cast<const int8_t*>(array), 1, 1, 1, bytes);
    return CheckOverlap(output, output_name, view, {"", overlaps});
  };
  const struct {
    const void* array;
    int64_t bytes;
    const char* overlaps;
  } arrays[] = {
      {ragged.cu_seqlens_q, (sequences + 1) * 4, "overlaps cu_seqlens_q"},
      {ragged.seqlens_k, sequences * 4, "overlaps seqlens_k"},
      {ragged.cu_seqlens_k, (sequences + 1) * 4, "overlaps cu_seqlens_k"},
      {ragged.causal_offset, sequences * 8, "overlaps causal_offset"},
      {ragged.shared_prefixes,
       ragged.num_shared_prefixes * static_cast<int64_t>(sizeof(SharedPrefix)),
       "overlaps shared_prefixes"},
      {args.pages.page_table, entries * 4, "overlaps page_table"},
      {lists.offsets, lists.num_offsets * 8, "overlaps key_intervals.offsets"},
      {lists.intervals, lists.num_intervals * 8,
       "overlaps key_intervals.intervals"},
  };
  for (const auto& [array, bytes, overlaps] : arrays) {
    const Status status = check(array, bytes, overlaps);
    if (!status.ok()) return status;
  }
  if (!args.pages.by_pointers()) return Status();
  for (const PagedTensor& tensor : PagedTensors(args)) {
    Status status = check(tensor.pages, entries * 8, tensor.array.overlaps);
    if (!status.ok()) return status;
    status = CheckPagesApart(args.pages, tensor, output, output_name.overlaps,
                             entries_of);
    if (!status.ok()) return status;
  }
  return Status();
}

}  // namespace heed::internal
