// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a sparse plan is: its checks and what it comes to.
#include <algorithm>
#include <cstdint>

#include "heed/ops.h"
#include "heed/sparse.h"
#include "lib/core/check.h"
#include "lib/sparse/plan_memory.h"

namespace heed {
namespace internal {

AttentionParams MasksOf(const AttentionParams& params, int64_t seqlen_q,
                        int64_t seqlen_k) {
  AttentionParams masks;
  masks.causal = params.causal;
  masks.causal_offset = ops::CausalOffset(params, seqlen_q, seqlen_k);
  masks.window_left = params.window_left;
  masks.window_right = params.window_right;
  masks.sink_size = params.sink_size;
  return masks;
}

Status PlanOutOfMemory() {
  return Status(StatusCode::kOutOfMemory, "scratch",
                "the lists of keys could not be allocated");
}

Status CheckPlanRequest(const AttentionParams& params,
                        const AttentionShape& shape, int64_t query_block_size,
                        const Scratch& memory) {
  AttentionShape any = shape;
  // Dtypes and head dimensions do not matter.
  any.query_dtype = any.key_dtype = any.value_dtype = any.out_dtype =
      DType::kF32;
  any.head_dim = any.head_dim_v = 1;
  if (any.batch == 0) any.batch = 1;
  if (any.num_heads == 0) any.num_heads = 1;
  any.num_kv_heads = any.num_heads;
  Plan plan;
  const Status status = MakePlan(params, any, PlanOptions(), &plan);
  if (!status.ok()) return status;
  if (query_block_size < 0) {
    return Invalid("query_block_size", "must not be negative")
        .WithValue(query_block_size)
        .WithBound(0, BoundKind::kAtLeast);
  }
  if (memory.allocate == nullptr) return Invalid("scratch", "has no allocate");
  return Status();
}

}  // namespace internal

using internal::Invalid;

namespace {

Status CheckCounts(const SparsePlan& plan) {
  const struct {
    const char* name;
    int64_t value;
    int64_t least;
  } counts[] = {{"batch", plan.batch, 1},
                {"num_heads", plan.num_heads, 1},
                {"seqlen_q", plan.seqlen_q, 0},
                {"seqlen_k", plan.seqlen_k, 0},
                {"query_block_size", plan.query_block_size, 1},
                {"num_intervals", plan.num_intervals, 0},
                {"num_words", plan.num_words, 0}};
  for (const auto& count : counts) {
    if (count.value >= count.least) continue;
    return Invalid(count.name, "is too small for a plan")
        .WithValue(count.value)
        .WithBound(count.least, BoundKind::kAtLeast);
  }
  if (plan.seqlen_k > INT32_MAX) {
    return Invalid("seqlen_k", "is more keys than intervals count")
        .WithValue(plan.seqlen_k)
        .WithBound(INT32_MAX);
  }
  int64_t lists;
  if (__builtin_mul_overflow(plan.batch, plan.num_heads, &lists) ||
      __builtin_mul_overflow(lists, internal::QueryBlocks(plan), &lists)) {
    return Status(StatusCode::kOverflow, "num_heads",
                  "a plan has more lists than 63 bits count");
  }
  if (plan.offsets == nullptr) return Invalid("offsets", "are null");
  if (plan.num_intervals > 0 && plan.intervals == nullptr) {
    return Invalid("intervals", "are null");
  }
  if (plan.bits != nullptr && plan.num_words > 0 && plan.words == nullptr) {
    return Invalid("words", "are null");
  }
  return Status();
}

Status CheckOffsets(const SparsePlan& plan) {
  const int64_t lists = internal::NumLists(plan);
  if (plan.offsets[0] != 0) {
    return Invalid("offsets", "must start at 0").WithIndex(0);
  }
  for (int64_t list = 0; list < lists; ++list) {
    if (plan.offsets[list + 1] < plan.offsets[list]) {
      return Invalid("offsets", "must not fall").WithIndex(list + 1);
    }
  }
  if (plan.offsets[lists] != plan.num_intervals) {
    return Invalid("offsets", "the last must equal num_intervals")
        .WithIndex(lists)
        .WithValue(plan.offsets[lists])
        .WithBound(plan.num_intervals, BoundKind::kNeeds);
  }
  return Status();
}

}  // namespace

Status CheckSparsePlan(const SparsePlan& plan) {
  Status status = CheckCounts(plan);
  if (status.ok()) status = CheckOffsets(plan);
  if (!status.ok()) return status;
  for (int64_t list = 0; list < internal::NumLists(plan); ++list) {
    const internal::BlockOfRows rows = internal::RowsOf(plan, list);
    int64_t after = 0;
    for (int64_t i = plan.offsets[list]; i < plan.offsets[list + 1]; ++i) {
      const KeyInterval& at = plan.intervals[i];
      if (at.begin < after || at.end <= at.begin || at.end > plan.seqlen_k) {
        return Invalid("intervals",
                       "must be non-empty, sorted, disjoint and inside [0, "
                       "seqlen_k)")
            .WithIndex(i);
      }
      after = at.end;
      if (plan.bits == nullptr || plan.bits[i] == -1) continue;
      int64_t words;
      if (plan.bits[i] < 0 ||
          __builtin_mul_overflow(rows.end - rows.first,
                                 internal::WordsOf(at.end - at.begin),
                                 &words) ||
          words > plan.num_words || plan.bits[i] > plan.num_words - words) {
        return Invalid("bits", "must be -1, or leave room in the words")
            .WithIndex(i)
            .WithValue(plan.bits[i]);
      }
    }
  }
  return Status();
}

SparseStats StatsOf(const SparsePlan& plan) {
  SparseStats stats;
  for (int64_t list = 0; list < internal::NumLists(plan); ++list) {
    const internal::BlockOfRows rows = internal::RowsOf(plan, list);
    int64_t keys = 0;
    for (int64_t i = plan.offsets[list]; i < plan.offsets[list + 1]; ++i) {
      keys += plan.intervals[i].end - plan.intervals[i].begin;
      stats.partial_intervals += plan.bits != nullptr && plan.bits[i] >= 0;
    }
    stats.longest_list = std::max(stats.longest_list, keys);
    stats.computed_pairs +=
        static_cast<double>(keys) * static_cast<double>(rows.end - rows.first);
    for (int64_t row = rows.first; row < rows.end; ++row) {
      const ops::VisibleKeys see =
          ops::VisibleTo(plan.params, plan.seqlen_q, plan.seqlen_k, row);
      int64_t kept = 0;
      internal::ForEachListed(plan, list, row, [&](int64_t begin, int64_t end) {
        kept += std::max<int64_t>(std::min(end, see.sink_end) - begin, 0);
        kept += std::max<int64_t>(
            std::min(end, see.end) - std::max(begin, see.begin), 0);
      });
      stats.kept_pairs += static_cast<double>(kept);
      stats.visible_pairs +=
          static_cast<double>(see.sink_end + see.end - see.begin);
    }
  }
  const int64_t lists = internal::NumLists(plan);
  const int64_t per_interval = plan.bits == nullptr ? 8 : 16;
  stats.bytes =
      8 * (lists + 1) + per_interval * plan.num_intervals + 8 * plan.num_words;
  return stats;
}

}  // namespace heed
