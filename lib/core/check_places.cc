// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/core/check_places.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "lib/core/append.h"
#include "lib/core/check.h"
#include "lib/core/check_pages.h"
#include "lib/core/new_pages.h"

namespace heed::internal {
namespace {

// Places marked at a time, a bit each, on the stack. A pool that is larger is
// passed over in windows: 16 of them for a million rows.
constexpr int64_t kWindowRows = 65536;

Status CheckOffsets(const AppendArgs& args) {
  if (args.cu_seqlens == nullptr) return Status();
  const int64_t total = NewRowsOf(args).seqlen();
  if (args.cu_seqlens[0] != 0) {
    return Invalid("cu_seqlens", "must begin with 0")
        .WithIndex(0)
        .WithValue(args.cu_seqlens[0])
        .WithBound(0, BoundKind::kNeeds);
  }
  for (int64_t s = 0; s < args.num_sequences; ++s) {
    if (args.cu_seqlens[s + 1] >= args.cu_seqlens[s]) continue;
    return Invalid("cu_seqlens", "falls")
        .WithIndex(s + 1)
        .WithValue(args.cu_seqlens[s + 1])
        .WithBound(args.cu_seqlens[s], BoundKind::kAtLeast);
  }
  if (args.cu_seqlens[args.num_sequences] != total) {
    return Invalid("cu_seqlens", "must end with the new rows' seqlen")
        .WithIndex(args.num_sequences)
        .WithValue(args.cu_seqlens[args.num_sequences])
        .WithBound(total, BoundKind::kNeeds);
  }
  return Status();
}

Status CheckPageGroup(const AppendArgs& args) {
  const Status status =
      CheckPagesFit(args.pages, args.num_sequences, PagedTensors(args));
  if (!status.ok() || !args.pages.any()) return status;
  // Places are counted over the pool, which may be of no heads and any extent.
  const TensorView& pool = CacheOf(args);
  int64_t rows;
  if (__builtin_mul_overflow(std::max<int64_t>(pool.batch(), INT32_MAX),
                             pool.seqlen(), &rows) ||
      rows > (int64_t{1} << 62)) {
    const bool key = !args.key.absent();
    return Status(StatusCode::kOverflow, key ? "key_cache" : "value_cache",
                  "has pages that are too long")
        .WithIndex(1)
        .WithValue(pool.seqlen());
  }
  return Status();
}

Status CheckLengths(const AppendArgs& args) {
  const bool paged = args.pages.any();
  const TensorView& cache = CacheOf(args);
  int64_t capacity = cache.seqlen();
  if (paged && __builtin_mul_overflow(args.pages.pages_per_sequence,
                                      cache.seqlen(), &capacity)) {
    capacity = INT64_MAX;
  }
  for (int64_t s = 0; s < args.num_sequences; ++s) {
    if (args.past_lengths[s] < 0) {
      return Invalid("past_lengths", "is negative")
          .WithIndex(s)
          .WithValue(args.past_lengths[s])
          .WithBound(0, BoundKind::kSaid);
    }
    const int64_t count = NewRowsOf(args, s).count;
    if (args.past_lengths[s] <= capacity - count) continue;
    return Invalid("past_lengths",
                   paged ? "leaves too few pages for the new rows"
                         : "leaves no room for the new rows in the cache")
        .WithIndex(s)
        .WithValue(args.past_lengths[s])
        .WithBound(capacity - count);
  }
  if (!paged) return Status();
  return CheckPageEntries(args.pages, cache.batch(), PagedTensors(args),
                          NewEntriesOf(args));
}

// That no place of a pool is written twice. Marks places window by window.
Status CheckPoolPlaces(const AppendArgs& args) {
  int64_t lowest = INT64_MAX, end = 0;
  const int64_t size = CacheOf(args).seqlen();
  const int32_t* const table = args.pages.page_table;
  Status status =
      ForEachNewPage(args, [&](int64_t entry, int64_t first, int64_t last) {
        lowest = std::min(lowest, table[entry] * size + first);
        end = std::max(end, table[entry] * size + last);
        return Status();
      });
  uint64_t marks[kWindowRows / 64];
  for (int64_t window = lowest; window < end && status.ok();) {
    std::memset(marks, 0, sizeof(marks));
    int64_t next = end;  // the first place behind this window
    const int64_t stop = window + kWindowRows;
    status = ForEachNewPage(args, [&](int64_t entry, int64_t from, int64_t to) {
      const int64_t first = table[entry] * size + from;
      const int64_t last = table[entry] * size + to;
      if (last > stop) next = std::min(next, std::max(first, stop));
      for (int64_t row = std::max(first, window); row < std::min(last, stop);
           ++row) {
        uint64_t& word = marks[(row - window) / 64];
        const uint64_t bit = uint64_t{1} << (row - window) % 64;
        if ((word & bit) != 0) {
          return TwoInOnePlace("page_table", entry).WithValue(table[entry]);
        }
        word |= bit;
      }
      return Status();
    });
    window = next;
  }
  return status;
}

}  // namespace

Status CheckPlaces(const AppendArgs& args) {
  if (args.num_sequences == 0) {
    return NewRowsOf(args).batch() == 0 || NewRowsOf(args).seqlen() == 0
               ? Status()
               : Invalid("num_sequences", "is 0, but there are new rows");
  }
  if (args.past_lengths == nullptr) return Invalid("past_lengths", "is null");
  Status status = CheckOffsets(args);
  if (status.ok()) status = CheckPageGroup(args);
  if (status.ok()) status = CheckLengths(args);
  if (!status.ok() || !args.pages.any()) return status;
  return args.pages.by_pointers() ? CheckPointedPlaces(args)
                                  : CheckPoolPlaces(args);
}

Status CheckRopeReaches(const AppendArgs& args) {
  return ForEachSequence(args, [&](int64_t s, int64_t first, int64_t count) {
    if (first + count <= args.rope.num_positions) return Status();
    return Invalid("past_lengths", "leads beyond the tables' positions")
        .WithIndex(s)
        .WithValue(first)
        .WithBound(args.rope.num_positions - count);
  });
}

bool LieBetween(const ConstTensorView& a, const ConstTensorView& b) {
  const bool swap = a.data > b.data;
  const ConstTensorView low = UsedStrides(swap ? b : a);
  const ConstTensorView high = UsedStrides(swap ? a : b);
  const int64_t apart =
      static_cast<int64_t>(reinterpret_cast<uintptr_t>(high.data) -
                           reinterpret_cast<uintptr_t>(low.data));
  struct Step {
    int64_t stride, count;
  } steps[3];
  for (int i = 0; i < 3; ++i) {
    if (low.extent[i] != high.extent[i] || low.stride[i] != high.stride[i]) {
      return false;
    }
    steps[i] = {low.stride[i], low.extent[i]};
  }
  std::sort(steps, steps + 3,
            [](const Step& x, const Step& y) { return x.stride < y.stride; });
  // What lies inside the steps so far, of each alone and then of both.
  int64_t inside_low = BytesOf(low.dtype, low.head_dim());
  int64_t inside_high = BytesOf(high.dtype, high.head_dim());
  bool joined = false;
  for (const Step& step : steps) {
    if (step.count <= 1) continue;
    if (!joined && step.stride > apart) {
      if (apart < inside_low) return false;
      inside_low = inside_high = apart + inside_high;
      joined = true;
    }
    if (step.stride < std::max(inside_low, inside_high)) return false;
    const int64_t more = (step.count - 1) * step.stride;
    inside_low += more;
    inside_high += more;
  }
  return joined || apart >= inside_low;
}

}  // namespace heed::internal
