// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Runs plans over the sequences of a ragged call, or in pages: one after the
// other, each as if it were alone.
#include <cstdint>

#include "heed/sparse.h"
#include "lib/core/check.h"
#include "lib/core/check_host.h"
#include "lib/sparse/check_lists.h"
#include "lib/sparse/plan_memory.h"
#include "lib/sparse/run_plan.h"
#include "lib/sparse/same_memory.h"

namespace heed {
namespace {

// One sequence of a call that was checked.
struct OneSequence {
  AttentionParams params;
  AttentionArgs args;
};

template <typename View>
View BatchOf(View view, int64_t batch) {
  if (view.absent()) return view;
  view.data = internal::BytesAt(view, batch, 0, 0);
  view.extent[0] = 1;
  return view;
}

OneSequence SequenceOf(const AttentionParams& params, const AttentionArgs& all,
                       int64_t s) {
  const Ragged& ragged = all.ragged;
  OneSequence one = {params, all};
  AttentionArgs& args = one.args;
  if (ragged.causal_offset != nullptr) {
    one.params.causal_offset = ragged.causal_offset[s];
  }
  args.ragged = Ragged();
  const auto rows_of = [&](auto view) {
    if (ragged.cu_seqlens_q == nullptr) return BatchOf(view, s);
    return TokensOf(view, ragged.cu_seqlens_q[s],
                    ragged.cu_seqlens_q[s + 1] - ragged.cu_seqlens_q[s]);
  };
  args.query = rows_of(args.query);
  args.out = rows_of(args.out);
  args.lse = rows_of(args.lse);
  Pages& pages = args.pages;
  if (pages.any()) {
    args.ragged.num_sequences = pages.num_sequences = 1;
    args.ragged.seqlens_k = ragged.seqlens_k + s;
    const int64_t first = s * pages.table_stride;
    if (pages.page_table != nullptr) pages.page_table += first;
    if (pages.key_pages != nullptr) pages.key_pages += first;
    if (pages.value_pages != nullptr) pages.value_pages += first;
    return one;
  }
  for (ConstTensorView* view : {&args.key, &args.value}) {
    if (ragged.cu_seqlens_k != nullptr) {
      *view = TokensOf(*view, ragged.cu_seqlens_k[s],
                       ragged.cu_seqlens_k[s + 1] - ragged.cu_seqlens_k[s]);
    } else {
      *view = TokensOf(
          BatchOf(*view, s), 0,
          ragged.seqlens_k != nullptr ? ragged.seqlens_k[s] : view->seqlen());
    }
  }
  return one;
}

// What is by sequence or row beside what SequenceOf cuts.
Status CheckRaggedCall(const AttentionArgs& args) {
  AttentionArgs rest = args;
  rest.ragged.cu_seqlens_q = rest.ragged.cu_seqlens_k = nullptr;
  return internal::CheckListedCall(rest);
}

}  // namespace

Status AttendSparse(const SparsePlan* plans, int64_t num_plans,
                    const AttentionParams& params, const AttentionArgs& args,
                    const Scratch& scratch, const Executor& executor,
                    const char* target) {
  Status status = internal::CheckHost(executor, scratch);
  if (status.ok()) status = CheckRaggedCall(args);
  if (!status.ok()) return status;
  const int64_t sequences = args.ragged.num_sequences;
  const Ragged& ragged = args.ragged;
  if (sequences == 0 && ragged.cu_seqlens_q == nullptr &&
      ragged.seqlens_k == nullptr && !args.pages.any()) {
    return internal::Invalid("num_sequences", "must be those of a ragged call")
        .WithValue(sequences)
        .WithBound(1, BoundKind::kAtLeast);
  }
  if (plans == nullptr || (num_plans != 1 && num_plans != sequences)) {
    return internal::Invalid("num_plans", "must be 1 or the sequences")
        .WithValue(num_plans)
        .WithBound(sequences, BoundKind::kNeeds);
  }
  PlanOptions options;
  options.target = target;
  Plan outer;
  status = MakePlan(params, ShapeOf(args), options, &outer);
  if (status.ok()) status = internal::CheckArgs(outer, args);
  const auto plan_of = [&](int64_t s) -> const SparsePlan& {
    return plans[num_plans == 1 ? 0 : s];
  };
  for (int64_t s = 0; status.ok() && s < sequences; ++s) {
    const OneSequence one = SequenceOf(params, args, s);
    status = internal::CheckServes(plan_of(s), one.params, one.args);
    if (!status.ok()) status = status.WithIndex(s);
  }
  internal::SameMemory memory(scratch);
  for (int64_t s = 0; status.ok() && s < sequences; ++s) {
    const OneSequence one = SequenceOf(params, args, s);
    status = args.pages.any()
                 ? internal::AttendPlanInPages(plan_of(s), one.params, one.args,
                                               memory.Again(), executor, target)
                 : AttendSparse(plan_of(s), one.params, one.args,
                                memory.Again(), executor, target);
  }
  return status;
}

}  // namespace heed
