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
#include "lib/sparse/ask_row.h"
#include "lib/sparse/plan_memory.h"
#include "lib/sparse/variant_call.h"

namespace heed::sparse {

Status AttendMasked(const VariantArgs& a, const AttentionParams& params) {
  Status status = CheckCall(a);
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
  Status status = CheckCall(a);
  if (!status.ok()) return status;
  a.phases.Enter(Phase::kBuild);
  SparsePlan plan;
  status =
      heed::internal::MakeSparsePlan(a.params, ShapeOf(a.args), pattern,
                                     options, a.scratch, a.executor, &plan);
  return status.ok() ? AttendPlan(a, plan) : status;
}

double PatternPairs(const AttentionShape& shape, const AttentionParams& params,
                    const PatternView& pattern, bool per_head) {
  const int64_t capacity = heed::internal::RowKeys::CapacityFor(shape.seqlen_k);
  const std::unique_ptr<KeyInterval[]> memory(
      new (std::nothrow) KeyInterval[static_cast<size_t>(capacity)]);
  // The most that it can be.
  if (memory == nullptr) return ops::VisiblePairs(shape, params);
  const AttentionParams masks =
      heed::internal::MasksOf(params, shape.seqlen_q, shape.seqlen_k);
  heed::internal::RowAsker asker(masks, shape.seqlen_q, shape.seqlen_k, pattern,
                                 memory.get());
  const int64_t heads = per_head ? shape.num_heads : 1;
  double pairs = 0;
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t row = 0; row < shape.seqlen_q; ++row) {
      asker.ForEachKey(head, row, [&](int64_t begin, int64_t end) {
        pairs += static_cast<double>(end - begin);
      });
    }
  }
  return pairs / static_cast<double>(std::max<int64_t>(heads, 1));
}

}  // namespace internal
}  // namespace heed::sparse
