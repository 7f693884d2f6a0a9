// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A variant's run by rows that draw weighted keys: lists of some rows at a
// time, attended to as listed keys.
#include <algorithm>
#include <cstdint>

#include "heed/estimators.h"
#include "heed/gather.h"
#include "heed/ops.h"
#include "heed/row_variant.h"
#include "lib/core/tuning.h"
#include "lib/sparse/plan_memory.h"
#include "lib/sparse/same_memory.h"

namespace heed::sparse {
class DrawRun {
 public:
  DrawRun(const VariantArgs& a, ListOf lists,
          const internal::DrawFunction& choose)
      : a_(a),
        choose_(choose),
        memory_(a.scratch),
        rows_(a.args.query.seqlen()),
        keys_(a.args.key.seqlen()),
        batch_(a.args.query.batch()),
        heads_(a.args.query.heads()),
        share_(lists == ListOf::kEveryHead ? heads_
               : lists == ListOf::kHead    ? 1
                                           : heads_ / a.args.key.heads()),
        lists_of_row_(batch_ * (heads_ / share_)) {}

  Status Run() {
    const double row_bytes =
        8.0 * static_cast<double>(lists_of_row_) * static_cast<double>(keys_);
    at_once_ = std::clamp<int64_t>(
        static_cast<int64_t>(heed::internal::kSparseRunBytes /
                             std::max(row_bytes, 1.0)),
        1, rows_);
    index_ = a_.scratch.Array<int32_t>(lists_of_row_, at_once_, keys_);
    log_weight_ = a_.scratch.Array<float>(lists_of_row_, at_once_, keys_);
    if (index_ == nullptr || log_weight_ == nullptr) return OutOfMemory();
    masks_ = heed::internal::MasksOf(a_.params, rows_, keys_);
    Status status;
    for (int64_t first = 0; status.ok() && first < rows_; first += at_once_) {
      status = RunRows(first, std::min(first + at_once_, rows_));
    }
    return status;
  }

 private:
  Status RunRows(int64_t first, int64_t end) {
    const int64_t rows = end - first;
    a_.phases.Enter(Phase::kSelect);
    ops::ParallelFor(a_.executor, lists_of_row_ * rows,
                     [&](int64_t i, int worker) {
                       Choose(i / rows, first + i % rows, i, worker);
                     });
    a_.phases.Enter(Phase::kAttend);
    KeyLists lists;
    lists.batch = batch_;
    lists.num_heads = heads_ / share_;
    lists.query_block_size = 1;
    lists.width = keys_;
    lists.indices = index_;
    lists.log_weights = log_weight_;
    AttentionArgs args = a_.args;
    args.query = TokensOf(args.query, first, rows);
    args.out = TokensOf(args.out, first, rows);
    args.lse = TokensOf(args.lse, first, rows);
    AttentionParams params = a_.params;
    params.causal_offset = heed::internal::PositionOf(masks_, first);
    return AttendListed(lists, params, args, memory_.Again(), a_.executor,
                        a_.target);
  }

  void Choose(int64_t list, int64_t row, int64_t place, int worker) const {
    const int64_t lists_of_batch = heads_ / share_;
    QueryRow at;
    at.batch = list / lists_of_batch;
    at.head = list % lists_of_batch * share_;
    at.num_heads = share_;
    at.kv_head = at.head / (heads_ / a_.args.key.heads());
    at.index = row;
    at.position = heed::internal::PositionOf(masks_, row);
    at.see = ops::VisibleTo(a_.params, rows_, keys_, row);
    at.worker = worker;
    RowDraw draw;
    draw.index_ = index_ + place * keys_;
    draw.log_weight_ = log_weight_ + place * keys_;
    choose_.call(choose_.self, at, &draw);
    std::fill(draw.index_ + draw.count_, draw.index_ + keys_, -1);
    std::fill(draw.log_weight_ + draw.count_, draw.log_weight_ + keys_, 0.0f);
  }

  const VariantArgs& a_;
  const internal::DrawFunction& choose_;
  heed::internal::SameMemory memory_;
  int64_t rows_, keys_, batch_, heads_;
  int64_t share_;  // heads of a list
  int64_t lists_of_row_;
  int64_t at_once_ = 0;  // rows
  int32_t* index_ = nullptr;
  float* log_weight_ = nullptr;
  AttentionParams masks_;
};

namespace internal {

Status AttendDraws(const VariantArgs& a, ListOf lists,
                   const DrawFunction& choose) {
  const Status status = CheckPlain(a);
  if (!status.ok()) return status;
  const ConstTensorView& query = a.args.query;
  if (query.batch() * query.heads() * query.seqlen() == 0 ||
      a.args.key.seqlen() == 0) {
    return ops::Attend(a.params, a.args, a);
  }
  return DrawRun(a, lists, choose).Run();
}

}  // namespace internal
}  // namespace heed::sparse
