// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Runs a plan on the exact kernel. Where lists serve all heads they are
// repeated, and where intervals are partial their bits become a mask; both so
// many query rows at a time that they take a bounded memory.
#include "lib/sparse/run_plan.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "heed/ops.h"
#include "heed/sparse.h"
#include "lib/core/check.h"
#include "lib/core/check_host.h"
#include "lib/core/tuning.h"
#include "lib/sparse/check_lists.h"
#include "lib/sparse/plan_memory.h"

namespace heed {
namespace {

using internal::Invalid;

Status CheckExtent(const char* name, int64_t got, int64_t want) {
  if (got == want) return Status();
  return Invalid(name, "is another than the sparse plan's")
      .WithValue(got)
      .WithBound(want, BoundKind::kNeeds);
}

Status Unserved(const char* argument) {
  return Status(StatusCode::kUnsupported, argument,
                "must be absent where a sparse plan runs");
}

}  // namespace

Status internal::CheckServes(const SparsePlan& plan,
                             const AttentionParams& params,
                             const AttentionArgs& args) {
  if (plan.offsets == nullptr) return Invalid("plan", "was never made");
  if (args.key_intervals.query_block_size != 0) {
    return Unserved("key_intervals");
  }
  Status status = CheckExtent("seqlen_q", args.query.seqlen(), plan.seqlen_q);
  if (status.ok()) {
    status = CheckExtent("seqlen_k", internal::KeysOf(args, 0), plan.seqlen_k);
  }
  if (status.ok() && plan.batch != 1) {
    status = CheckExtent("batch", args.query.batch(), plan.batch);
  }
  if (status.ok() && plan.num_heads != 1) {
    status = CheckExtent("num_heads", args.query.heads(), plan.num_heads);
  }
  if (!status.ok()) return status;
  const AttentionParams masks =
      internal::MasksOf(params, plan.seqlen_q, plan.seqlen_k);
  const AttentionParams& own = plan.params;
  if (masks.causal != own.causal || masks.causal_offset != own.causal_offset ||
      masks.window_left != own.window_left ||
      masks.window_right != own.window_right ||
      masks.sink_size != own.sink_size) {
    return Invalid("params", "has other masks than the sparse plan");
  }
  return Status();
}

namespace {

// The byte of each bit of `bits`, the lowest first.
uint64_t Spread(uint8_t bits) {
  const uint64_t picked =
      bits * uint64_t{0x0101010101010101} & uint64_t{0x8040201008040201};
  return (picked + 0x7f7f7f7f7f7f7f7f) >> 7 & 0x0101010101010101;
}

void ExpandBits(const uint64_t* bits, int64_t count, bool* to) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const uint64_t bytes = Spread(static_cast<uint8_t>(bits[i / 64] >> i % 64));
    std::memcpy(to + i, &bytes, sizeof(bytes));
  }
  for (; i < count; ++i) to[i] = bits[i / 64] >> i % 64 & 1;
}

class PlanRun {
 public:
  PlanRun(const SparsePlan& plan, const AttentionParams& params,
          const AttentionArgs& args, const Scratch& scratch,
          const Executor& executor, const char* target)
      : plan_(plan),
        params_(params),
        args_(args),
        scratch_(scratch),
        executor_(executor) {
    options_.target = target;
    masked_ = plan.num_words > 0;
    batch_ = args.query.batch();
    heads_ = args.query.heads();
    const ConstTensorView& mask = args.scores.mask;
    const bool of_all = mask.absent() || mask.stride[0] == 0;
    const bool of_heads = mask.absent() || mask.stride[2] == 0;
    mask_batch_ = plan.batch == 1 && of_all ? 1 : batch_;
    mask_heads_ = plan.num_heads == 1 && of_heads ? 1 : heads_;
  }

  Status Run() {
    Status status = MakeKernelPlan();
    if (!status.ok()) return status;
    if (!Allocate()) return internal::PlanOutOfMemory();
    if (whole_) {
      AttentionArgs args = args_;
      args.key_intervals = {plan_.query_block_size,
                            internal::NumLists(plan_) + 1, plan_.num_intervals,
                            plan_.offsets, plan_.intervals};
      return heed::Run(kernel_plan_, args, workspace_, executor_);
    }
    // Everything is checked before the first rows are written.
    AttentionRun checked;
    status = BeginRun(kernel_plan_, args_, workspace_, executor_.max_workers,
                      RunOptions(), &checked);
    for (int64_t first = 0; status.ok() && first < plan_.seqlen_q;
         first += rows_) {
      status = RunRows(first, std::min(first + rows_, plan_.seqlen_q));
    }
    return status;
  }

 private:
  Status MakeKernelPlan() {
    AttentionShape shape = ShapeOf(args_);
    shape.scores |= masked_;
    const Status status = MakePlan(params_, shape, options_, &kernel_plan_);
    if (!status.ok()) return status;
    workspace_.bytes = WorkspaceBytes(kernel_plan_, executor_.max_workers);
    return Status();
  }

  // Lists of one chunk of rows: all batches and heads of the call.
  int64_t ListsOf(int64_t rows) const {
    return batch_ * heads_ * internal::BlocksOf(rows, plan_.query_block_size);
  }

  // Intervals that the lists of query blocks [first, end) come to when they are
  // repeated.
  int64_t IntervalsOf(int64_t first, int64_t end) const {
    const int64_t blocks = internal::QueryBlocks(plan_);
    int64_t intervals = 0;
    for (int64_t i = 0; i < plan_.batch * plan_.num_heads; ++i) {
      intervals +=
          plan_.offsets[i * blocks + end] - plan_.offsets[i * blocks + first];
    }
    return intervals * (plan_.batch == 1 ? batch_ : 1) *
           (plan_.num_heads == 1 ? heads_ : 1);
  }

  bool Allocate() {
    const bool own_lists =
        plan_.batch == batch_ && plan_.num_heads == heads_ && !masked_;
    whole_ = own_lists;
    const int64_t block = plan_.query_block_size;
    const int64_t blocks = internal::QueryBlocks(plan_);
    int64_t blocks_at_once = std::max<int64_t>(blocks, 1);
    // A hook counts rows from the call's first on, and a tree from its last.
    const bool in_parts =
        args_.scores.hook == nullptr && args_.scores.tree_mask.absent();
    if (!whole_ && in_parts && blocks > 0) {
      const double mask =
          masked_ ? static_cast<double>(mask_batch_ * mask_heads_) *
                        static_cast<double>(std::min(block, plan_.seqlen_q)) *
                        static_cast<double>(plan_.seqlen_k)
                  : 0;
      const double lists = 8 * static_cast<double>(IntervalsOf(0, blocks)) /
                           static_cast<double>(blocks);
      blocks_at_once =
          std::clamp<int64_t>(static_cast<int64_t>(internal::kSparseRunBytes /
                                                   std::max(mask + lists, 1.0)),
                              1, blocks);
    }
    rows_ = blocks_at_once * block;
    workspace_.data =
        scratch_.Array<char>(static_cast<int64_t>(workspace_.bytes));
    if (workspace_.data == nullptr) return false;
    if (whole_) return true;
    int64_t intervals = 0;
    for (int64_t i = 0; i < blocks; i += blocks_at_once) {
      intervals = std::max(
          intervals, IntervalsOf(i, std::min(i + blocks_at_once, blocks)));
    }
    const int64_t rows = std::min(rows_, plan_.seqlen_q);
    offsets_ = scratch_.Array<int64_t>(ListsOf(rows) + 1);
    intervals_ = scratch_.Array<KeyInterval>(intervals);
    if (masked_) {
      mask_ =
          scratch_.Array<bool>(mask_batch_ * mask_heads_, rows, plan_.seqlen_k);
    }
    return offsets_ != nullptr && intervals_ != nullptr &&
           (!masked_ || mask_ != nullptr);
  }

  Status RunRows(int64_t first, int64_t end) {
    AttentionArgs args = args_;
    args.query = TokensOf(args.query, first, end - first);
    args.out = TokensOf(args.out, first, end - first);
    args.lse = TokensOf(args.lse, first, end - first);
    args.key_intervals = RepeatLists(first, end);
    ScoreInputs& scores = args.scores;
    for (ConstTensorView* of_rows :
         {&scores.bias, &scores.mask, &scores.query_decay, &scores.row_lengths,
          &scores.query_documents, &scores.tree_mask}) {
      *of_rows = TokensOf(*of_rows, first, end - first);
    }
    if (masked_) scores.mask = FillMask(first, end);
    AttentionParams params = params_;
    params.causal_offset =
        std::min(plan_.params.causal_offset, INT64_MAX - first) + first;
    Plan plan;
    const Status status = MakePlan(params, kernel_plan_.shape, options_, &plan);
    if (!status.ok()) return status;
    return heed::Run(plan, args, workspace_, executor_);
  }

  KeyIntervals RepeatLists(int64_t first, int64_t end) {
    int64_t list = 0;
    int64_t count = 0;
    offsets_[0] = 0;
    for (int64_t b = 0; b < batch_; ++b) {
      for (int64_t h = 0; h < heads_; ++h) {
        for (int64_t row = first; row < end; row += plan_.query_block_size) {
          const int64_t from = internal::ListAt(plan_, b, h, row);
          const int64_t size = plan_.offsets[from + 1] - plan_.offsets[from];
          std::copy_n(plan_.intervals + plan_.offsets[from], size,
                      intervals_ + count);
          count += size;
          offsets_[++list] = count;
        }
      }
    }
    return {plan_.query_block_size, list + 1, count, offsets_, intervals_};
  }

  // Only what the lists have is written: nothing else is read.
  ConstTensorView FillMask(int64_t first, int64_t end) {
    const int64_t rows = end - first;
    const int64_t blocks = internal::BlocksOf(rows, plan_.query_block_size);
    const int64_t keys = plan_.seqlen_k;
    const auto fill_block = [&](int64_t i, int) {
      const int64_t set = i / blocks;
      const int64_t b = set / mask_heads_, h = set % mask_heads_;
      const int64_t begin = first + i % blocks * plan_.query_block_size;
      const int64_t stop = std::min(begin + plan_.query_block_size, end);
      const int64_t list = internal::ListAt(plan_, b, h, begin);
      for (int64_t row = begin; row < stop; ++row) {
        bool* of_row = mask_ + (set * rows + row - first) * keys;
        FillRow(list, row - begin, of_row);
        if (!args_.scores.mask.absent()) HideByCaller(list, b, h, row, of_row);
      }
    };
    ops::ParallelFor(executor_, mask_batch_ * mask_heads_ * blocks, fill_block);
    return Strided(static_cast<const bool*>(mask_), batch_, rows, heads_, keys,
                   mask_batch_ == 1 ? 0 : mask_heads_ * rows * keys, keys,
                   mask_heads_ == 1 ? 0 : rows * keys);
  }

  // What the caller's own mask hides, of what the list has.
  void HideByCaller(int64_t list, int64_t batch, int64_t head, int64_t row,
                    bool* of_row) const {
    const ConstTensorView& mask = args_.scores.mask;
    const char* const seen = internal::BytesAt(mask, batch, row, head);
    for (int64_t i = plan_.offsets[list]; i < plan_.offsets[list + 1]; ++i) {
      const KeyInterval& at = plan_.intervals[i];
      for (int64_t key = at.begin; key < at.end; ++key) {
        of_row[key] = of_row[key] && seen[key * mask.stride[3]] != 0;
      }
    }
  }

  void FillRow(int64_t list, int64_t row_of_block, bool* of_row) const {
    for (int64_t i = plan_.offsets[list]; i < plan_.offsets[list + 1]; ++i) {
      const KeyInterval& at = plan_.intervals[i];
      const uint64_t* bits = internal::BitsOf(plan_, i, row_of_block);
      if (bits == nullptr) {
        std::fill(of_row + at.begin, of_row + at.end, true);
      } else {
        ExpandBits(bits, at.end - at.begin, of_row + at.begin);
      }
    }
  }

  const SparsePlan& plan_;
  const AttentionParams& params_;
  const AttentionArgs& args_;
  const Scratch& scratch_;
  const Executor& executor_;
  PlanOptions options_;
  bool masked_;         // some interval is partial
  bool whole_ = false;  // the plan's own lists are those of the call
  int64_t batch_, heads_;
  int64_t mask_batch_, mask_heads_;  // 1 where the mask is the same for all
  int64_t rows_ = 0;                 // at a time
  Plan kernel_plan_;
  Workspace workspace_;
  int64_t* offsets_ = nullptr;
  KeyInterval* intervals_ = nullptr;
  bool* mask_ = nullptr;
};

}  // namespace

Status AttendSparse(const SparsePlan& plan, const AttentionParams& params,
                    const AttentionArgs& args, const Scratch& scratch,
                    const Executor& executor, const char* target) {
  if (args.ragged.num_sequences != 0 || args.pages.any()) {
    return AttendSparse(&plan, 1, params, args, scratch, executor, target);
  }
  Status status = internal::CheckHost(executor, scratch);
  if (!status.ok()) return status;
  status = internal::CheckServes(plan, params, args);
  if (!status.ok()) return status;
  return PlanRun(plan, params, args, scratch, executor, target).Run();
}

}  // namespace heed
