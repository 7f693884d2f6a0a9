// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A variant's run by a pattern, by masks or by a plan: what it refuses, what is
// recorded, which phase is which.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>

#include "heed/ops.h"
#include "heed/sparse_variant.h"
#include "lib/core/variant_call.h"
#include "lib/sparse/ask_row.h"
#include "lib/sparse/key_set.h"
#include "lib/sparse/plan_memory.h"

namespace heed::sparse {

Status AttendMasked(const VariantArgs& a, const AttentionParams& params) {
  Status status = heed::internal::CheckSelects(a.args);
  if (!status.ok()) return status;
  a.phases.Enter(Phase::kAttend);
  status = ops::Attend(params, a.args, a);
  if (!status.ok() || a.selection.keep == nullptr) return status;
  const ConstTensorView& query = a.args.query;
  for (int64_t row = 0; row < query.seqlen(); ++row) {
    for (int64_t b = 0; b < query.batch(); ++b) {
      for (int64_t h = 0; h < query.heads(); ++h) {
        ops::ForEachVisible(params, a.args, b, h, row,
                            [&](int64_t begin, int64_t end) {
                              a.selection.Keep(b, h, row, begin, end);
                            });
      }
    }
  }
  return status;
}

Status CheckPlain(const VariantArgs& a) {
  const Status status = heed::internal::CheckSelects(a.args);
  if (!status.ok() || !a.args.scores.any()) return status;
  return Status(StatusCode::kUnsupported, "scores",
                "must be absent: this variant computes scores itself");
}

Status AttendPlan(const VariantArgs& a, const SparsePlan& plan) {
  a.phases.Enter(Phase::kAttend);
  const Status status =
      AttendSparse(plan, a.params, a.args, a.scratch, a.executor, a.target);
  if (!status.ok() || a.selection.keep == nullptr) return status;
  const ConstTensorView& query = a.args.query;
  for (int64_t b = 0; b < query.batch(); ++b) {
    for (int64_t h = 0; h < query.heads(); ++h) {
      for (int64_t row = 0; row < query.seqlen(); ++row) {
        heed::internal::ForEachListed(plan,
                                      heed::internal::ListAt(plan, b, h, row),
                                      row, [&](int64_t begin, int64_t end) {
                                        a.selection.Keep(b, h, row, begin, end);
                                      });
      }
    }
  }
  return status;
}

namespace internal {

Status AttendPattern(const VariantArgs& a, const PatternView& pattern,
                     const SparseOptions& options) {
  Status status = heed::internal::CheckSelects(a.args);
  if (!status.ok()) return status;
  a.phases.Enter(Phase::kBuild);
  SparsePlan plan;
  status =
      heed::internal::MakeSparsePlan(a.params, ShapeOf(a.args), pattern,
                                     options, a.scratch, a.executor, &plan);
  return status.ok() ? AttendPlan(a, plan) : status;
}

Cost PatternCost(const AttentionShape& shape, const AttentionParams& params,
                 const PatternView& pattern, bool per_head) {
  constexpr int64_t kSets = 3;
  const int64_t listed = heed::internal::RowAsker::CapacityFor(shape.seqlen_k);
  const int64_t capacity = heed::internal::RowKeys::CapacityFor(shape.seqlen_k);
  const std::unique_ptr<KeyInterval[]> memory(
      new (std::nothrow)
          KeyInterval[static_cast<size_t>(listed + kSets * capacity)]);
  if (memory == nullptr) {  // the most that it can be
    return ops::SoftmaxCost(shape, ops::VisiblePairs(shape, params));
  }
  const AttentionParams masks =
      heed::internal::MasksOf(params, shape.seqlen_q, shape.seqlen_k);
  heed::internal::RowAsker asker(masks, shape.seqlen_q, shape.seqlen_k, pattern,
                                 memory.get());
  using heed::internal::KeySet;
  KeySet kept = {memory.get() + listed, 0};
  KeySet touched = {memory.get() + listed + capacity, 0};
  KeySet spare = {memory.get() + listed + 2 * capacity, 0};
  const int64_t heads = per_head ? shape.num_heads : 1;
  double pairs = 0;
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t row = 0; row < shape.seqlen_q; ++row) {
      kept.Clear();
      asker.ForEachKey(head, row, [&](int64_t begin, int64_t end) {
        kept.Append(begin, end);
      });
      pairs += static_cast<double>(kept.Keys());
      heed::internal::Unite(kept, &touched, &spare);
    }
  }
  return ops::SoftmaxCost(
      shape, pairs / static_cast<double>(std::max<int64_t>(heads, 1)),
      static_cast<double>(touched.Keys()));
}

}  // namespace internal
}  // namespace heed::sparse
