// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A variant's run by rows that choose for themselves: each marks its keys as
// bits, and a plan is made of them as of a pattern.
#include "heed/row_variant.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "heed/estimators.h"
#include "heed/ops.h"
#include "lib/core/tuning.h"
#include "lib/core/variant_call.h"
#include "lib/sparse/plan_memory.h"

namespace heed::sparse {

using heed::internal::BlocksOf;
using heed::internal::WordsOf;

namespace {

// Rows that one task chooses for.
constexpr int64_t kTaskRows = 16;

// The marks of all rows as a pattern, of which a head stands for a (batch,
// head) or, where all heads share, for a batch.
struct Marked : patterns::Pattern {
  const uint64_t* words;  // [batch * lists][rows][words of a row]
  int64_t words_of_row, rows, keys;
  int64_t first_position;
  int64_t heads_of_list;

  const uint64_t* Row(int64_t head, int64_t query) const {
    return words + (head / heads_of_list * rows + query - first_position) *
                       words_of_row;
  }
  bool Keep(int64_t head, int64_t query, int64_t key) const {
    return Row(head, query)[key / 64] >> (key % 64) & 1;
  }
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    const uint64_t* const word = Row(row.head, row.query);
    const int64_t last = WordsOf(std::min(row.end, keys));
    for (int64_t i = 0; i < last; ++i) {
      uint64_t left = word[i];
      while (left != 0) {
        const int begin = std::countr_zero(left);
        const int count = std::countr_one(left >> begin);
        f(i * 64 + begin, i * 64 + begin + count);
        if (begin + count == 64) break;
        left &= ~uint64_t{0} << (begin + count);
      }
    }
  }
};

}  // namespace

class RowRun {
 public:
  RowRun(const VariantArgs& a, ListOf lists,
         const internal::RowFunction& choose)
      : a_(a),
        choose_(choose),
        rows_(a.args.query.seqlen()),
        keys_(a.args.key.seqlen()),
        heads_(a.args.query.heads()),
        share_(lists == ListOf::kEveryHead ? heads_
               : lists == ListOf::kHead    ? 1
                                           : heads_ / a.args.key.heads()),
        words_of_row_(WordsOf(keys_)) {}

  Status Run() {
    const int64_t batch = a_.args.query.batch();
    const int64_t lists = batch * (heads_ / share_);
    words_ = a_.scratch.Array<uint64_t>(lists, rows_, words_of_row_);
    const int64_t all = a_.executor.max_workers * keys_;
    float* const value = a_.scratch.Array<float>(all);
    int32_t* const index = a_.scratch.Array<int32_t>(2 * all);
    if (words_ == nullptr || value == nullptr || index == nullptr) {
      return OutOfMemory();
    }
    masks_ = heed::internal::MasksOf(a_.params, rows_, keys_);
    a_.phases.Enter(Phase::kSelect);
    const int64_t tasks = BlocksOf(rows_, kTaskRows);
    ops::ParallelFor(a_.executor, lists * tasks, [&](int64_t i, int worker) {
      RowChoice choice;
      choice.keys_ = keys_;
      choice.value_ = value + worker * keys_;
      choice.order_ = index + 2 * worker * keys_;
      choice.place_ = choice.order_ + keys_;
      const int64_t first = i % tasks * kTaskRows;
      for (int64_t row = first; row < std::min(first + kTaskRows, rows_);
           ++row) {
        Choose(i / tasks, row, worker, &choice);
      }
    });
    a_.phases.Enter(Phase::kBuild);
    SparsePlan plan;
    const Status status = MakePlan(batch, &plan);
    return status.ok() ? AttendPlan(a_, plan) : status;
  }

 private:
  void Choose(int64_t list, int64_t row, int worker, RowChoice* choice) const {
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
    choice->words_ = words_ + (list * rows_ + row) * words_of_row_;
    std::fill(choice->words_, choice->words_ + words_of_row_, 0);
    choose_.call(choose_.self, at, choice);
  }

  // A plan of one batch, whose heads are those of all batches.
  Status MakePlan(int64_t batch, SparsePlan* plan) const {
    const bool one_list = share_ == heads_;
    Marked marked;
    marked.words = words_;
    marked.words_of_row = words_of_row_;
    marked.rows = rows_;
    marked.keys = keys_;
    marked.first_position = heed::internal::PositionOf(masks_, 0);
    marked.heads_of_list = one_list ? 1 : share_;
    AttentionShape shape = ShapeOf(a_.args);
    shape.batch = 1;
    shape.num_heads = one_list ? batch : batch * heads_;
    shape.num_kv_heads = 1;
    SparseOptions options;
    options.per_head = true;
    options.query_block_size = heed::internal::kChosenRows;
    const Status status = MakeSparsePlan(a_.params, shape, marked, options,
                                         a_.scratch, a_.executor, plan);
    plan->batch = batch;
    plan->num_heads = one_list ? 1 : heads_;
    return status;
  }

  const VariantArgs& a_;
  const internal::RowFunction& choose_;
  int64_t rows_, keys_, heads_;
  int64_t share_;  // heads of a list
  int64_t words_of_row_;
  uint64_t* words_ = nullptr;
  AttentionParams masks_;
};

namespace internal {

Status AttendRows(const VariantArgs& a, ListOf lists,
                  const RowFunction& choose) {
  const Status status = heed::internal::CheckSelects(a.args);
  if (!status.ok()) return status;
  const ConstTensorView& query = a.args.query;
  if (query.batch() * query.heads() * query.seqlen() == 0) {
    return ops::Attend(a.params, a.args, a);
  }
  return RowRun(a, lists, choose).Run();
}

}  // namespace internal

void RowChoice::Keep(int64_t begin, int64_t end) {
  begin = std::max<int64_t>(begin, 0);
  end = std::min(end, keys_);
  heed::internal::SetBitRange(begin, end, words_);
}

void RowChoice::KeepTop(const QueryRow& row, int64_t block, const float* score,
                        int64_t total) {
  int64_t count = 0;
  int64_t forced = 0;
  for (int64_t begin = 0; begin < row.end(); begin += block) {
    if (!row.Touches(begin, std::min(begin + block, keys_))) continue;
    value_[count] = score[begin / block];
    forced += value_[count] == INFINITY;
    place_[count++] = static_cast<int32_t>(begin / block);
  }
  if (count <= total) return Keep(0, keys_);
  const int64_t kept =
      ops::TopK(value_, count, std::max(total, forced), order_);
  for (int64_t i = 0; i < kept; ++i) {
    const int64_t begin = place_[order_[i]] * block;
    Keep(begin, begin + block);
  }
}

double CountRowPairs(const AttentionShape& shape, const AttentionParams& params,
                     double keys, int64_t block) {
  const AttentionParams masks =
      heed::internal::MasksOf(params, shape.seqlen_q, shape.seqlen_k);
  double pairs = 0;
  for (int64_t row = 0; row < shape.seqlen_q; ++row) {
    const ops::VisibleKeys see =
        ops::VisibleTo(params, shape.seqlen_q, shape.seqlen_k, row);
    const int64_t position = heed::internal::PositionOf(masks, row);
    double kept = keys;
    if (position >= 0 && position < shape.seqlen_k) {
      const int64_t own_end = (position / block + 1) * block;
      kept -= static_cast<double>(own_end - std::min(own_end, see.end));
    }
    pairs +=
        std::min(static_cast<double>(see.sink_end + see.end - see.begin), kept);
  }
  return pairs;
}

}  // namespace heed::sparse
