// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attention to listed keys, and to those of a plan where they are in pages: to
// the kernel each list is a sequence of its own, in pages of one row that stand
// anywhere. Its rows are those of the list that
// the masks leave, by position, and weights are a bias.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "heed/gather.h"
#include "heed/ops.h"
#include "lib/core/check.h"
#include "lib/core/check_host.h"
#include "lib/core/tuning.h"
#include "lib/sparse/check_lists.h"
#include "lib/sparse/listed_rows.h"
#include "lib/sparse/plan_memory.h"
#include "lib/sparse/run_plan.h"

namespace heed {
namespace {

using internal::BlocksOf;
using internal::Invalid;

// One row of a list, in the order of positions.
struct Entry {
  int32_t key;
  float weight;
};

class ListedRun {
 public:
  // Of lists, or of those of a plan, of which `lists` then has the extents.
  ListedRun(const KeyLists& lists, const SparsePlan* plan,
            const AttentionParams& params, const AttentionArgs& args,
            const Scratch& scratch, const Executor& executor,
            const char* target)
      : lists_(lists),
        listed_(plan),
        params_(params),
        args_(args),
        scratch_(scratch),
        executor_(executor),
        places_(args, args.query.seqlen() <= lists.query_block_size) {
    options_.target = target;
  }

  Status Run() {
    Plan outer;
    Status status = MakePlan(params_, ShapeOf(args_), options_, &outer);
    if (status.ok()) status = internal::CheckArgs(outer, args_);
    if (status.ok() && listed_ == nullptr) {
      status = internal::CheckLists(lists_, args_, scratch_);
    }
    if (!status.ok()) return status;
    CountLists();
    if (!status.ok() || units_ == 0 || args_.query.batch() == 0 || rows_ == 0) {
      return status;
    }
    status = Prepare();
    // The lists of a head, or of all heads where each has one.
    const int64_t outer_units = blocks_ > 1 ? units_ : 1;
    const int64_t all = blocks_ > 1 ? blocks_ : units_;
    for (int64_t b = 0; b < args_.query.batch(); ++b) {
      for (int64_t unit = 0; unit < outer_units; ++unit) {
        for (int64_t i = 0; status.ok() && i < all; i += at_once_) {
          status = RunLists(b, unit, i, std::min(i + at_once_, all));
        }
      }
    }
    return status;
  }

 private:
  // Once extents are known to be sound.
  void CountLists() {
    rows_ = args_.query.seqlen();
    blocks_ = BlocksOf(rows_, lists_.query_block_size);
    // Heads that have lists of their own, or keys.
    units_ = lists_.num_heads == args_.query.heads() ? args_.query.heads()
                                                     : args_.key.heads();
    heads_ = units_ == 0 ? 0 : args_.query.heads() / units_;
    masked_ = lists_.query_block_size > 1 && rows_ > 1 &&
              (params_.causal || params_.window_left >= 0 ||
               params_.window_right >= 0 ||
               (listed_ != nullptr && listed_->num_words > 0));
  }

  // Rows of a list.
  int64_t RowsOfList() const {
    return std::min(lists_.query_block_size, rows_);
  }

  Status Prepare() {
    const int64_t all = blocks_ > 1 ? blocks_ : units_;
    const double list_bytes =
        static_cast<double>(lists_.width) *
            (static_cast<double>(places_.entry_bytes()) + sizeof(Entry) +
             static_cast<double>(RowsOfList()) * (weighted() ? 4 : 0) +
             static_cast<double>(RowsOfList()) * (masked_ ? 1 : 0)) +
        1;
    at_once_ = std::clamp<int64_t>(
        static_cast<int64_t>(internal::kSparseRunBytes / list_bytes), 1, all);
    const int64_t entries = at_once_ * lists_.width;
    const bool placed = places_.Allocate(scratch_, at_once_, lists_.width);
    entries_ = scratch_.Array<Entry>(entries);
    counts_ = scratch_.Array<int32_t>(at_once_);
    first_rows_ = scratch_.Array<int32_t>(at_once_ + 1);
    cut_ = scratch_.Array<uint8_t>(at_once_);
    bias_ = scratch_.Array<float>(weighted() ? entries : 0, RowsOfList());
    mask_ = scratch_.Array<bool>(masked_ ? entries : 0, RowsOfList());
    inner_ = AttentionParams();
    inner_.softmax_scale = params_.softmax_scale;
    inner_.softcap = params_.softcap;
    AttentionShape shape = ShapeOf(args_);
    shape.batch = 0;
    shape.num_sequences = at_once_;
    shape.seqlen_q = RowsOfList();
    shape.seqlen_k = lists_.width;
    shape.num_heads = heads_;
    shape.num_kv_heads = 1;
    shape.scores = weighted() || masked_;
    const Status status = MakePlan(inner_, shape, options_, &plan_);
    if (!status.ok()) return status;
    workspace_.bytes = WorkspaceBytes(plan_, executor_.max_workers);
    workspace_.data =
        scratch_.Array<char>(static_cast<int64_t>(workspace_.bytes));
    const bool all_there = placed && entries_ && counts_ && first_rows_ &&
                           cut_ && bias_ && mask_ && workspace_.data;
    return all_there ? Status() : internal::PlanOutOfMemory();
  }

  // The key head of a unit.
  int64_t HeadOf(int64_t unit) const {
    return unit * heads_ / (args_.query.heads() / args_.key.heads());
  }

  bool weighted() const { return lists_.log_weights != nullptr; }

  // A list of the call: its place there, and whose it is.
  struct Place {
    int64_t slot, batch, unit, block;
  };

  // Runs lists [begin, end): query blocks of `unit`, or units.
  Status RunLists(int64_t batch, int64_t unit, int64_t begin, int64_t end) {
    const bool by_block = blocks_ > 1;
    const int64_t count = end - begin;
    ops::ParallelFor(executor_, count, [&](int64_t i, int /*worker*/) {
      FillList(by_block ? Place{i, batch, unit, begin + i}
                        : Place{i, batch, begin + i, 0});
    });
    const int64_t first_row = by_block ? begin * lists_.query_block_size : 0;
    const int64_t end_row =
        by_block ? std::min(end * lists_.query_block_size, rows_) : rows_;
    const int64_t rows = end_row - first_row;
    AttentionArgs args;
    const auto rows_of = [&](auto view) {
      if (view.absent()) return view;
      view = TokensOf(view, first_row, rows);
      const int64_t first_head = (by_block ? unit : begin) * heads_;
      using Data = decltype(view.data);
      view.data = static_cast<Data>(
          const_cast<char*>(internal::BytesAt(view, batch, 0, first_head)));
      view.extent[0] = by_block ? 1 : count;
      view.extent[2] = heads_;
      view.stride[0] = view.stride[2] * heads_;
      return view;
    };
    args.query = rows_of(args_.query);
    args.out = rows_of(args_.out);
    args.lse = rows_of(args_.lse);
    args.ragged.num_sequences = count;
    args.ragged.seqlens_k = counts_;
    places_.PutInto(&args, batch, HeadOf(unit), count);
    if (by_block) {
      for (int64_t i = 0; i <= count; ++i) {
        first_rows_[i] =
            static_cast<int32_t>(std::min(i * lists_.query_block_size, rows));
      }
      args.ragged.cu_seqlens_q = first_rows_;
    }
    const auto of_rows = [&](const auto* data) {
      return Strided(data, by_block ? 1 : count, rows, heads_, lists_.width,
                     RowsOfList() * lists_.width, lists_.width, 0);
    };
    if (weighted()) args.scores.bias = of_rows(bias_);
    if (std::any_of(cut_, cut_ + count, [](uint8_t cut) { return cut != 0; })) {
      args.scores.mask = of_rows(mask_);
    }
    return heed::Run(plan_, args, workspace_, executor_);
  }

  // Sets what the call is told of one list.
  void FillList(const Place& at) const {
    const int64_t first = at.block * lists_.query_block_size;
    const int64_t end = std::min(first + lists_.query_block_size, rows_);
    const int64_t keys = internal::KeysOf(args_, at.batch);
    AttentionParams masks = params_;
    if (args_.ragged.num_sequences != 0 &&
        args_.ragged.causal_offset != nullptr) {
      masks.causal_offset = args_.ragged.causal_offset[at.batch];
    }
    const auto sees = [&](const ops::VisibleKeys& see, int64_t key) {
      return key < see.sink_end || (key >= see.begin && key < see.end);
    };
    const ops::VisibleKeys low = ops::VisibleTo(masks, rows_, keys, first);
    const ops::VisibleKeys high = ops::VisibleTo(masks, rows_, keys, end - 1);
    Entry* const entries = entries_ + at.slot * lists_.width;
    int64_t count = 0;
    bool rises = true, cut = false;
    const int64_t b = lists_.batch == 1 ? 0 : at.batch;
    const int64_t unit = lists_.num_heads == 1 ? 0 : at.unit;
    const int64_t list = (b * lists_.num_heads + unit) * blocks_ + at.block;
    ForEachEntry(list, [&](int32_t key, float weight) {
      // What a row sees only moves right from row to row.
      const bool by_some =
          key < high.sink_end || (key < high.end && key >= low.begin);
      if (!by_some) return;
      cut |= !sees(low, key) || !sees(high, key);
      rises = rises && (count == 0 || entries[count - 1].key < key);
      entries[count++] = {key, weight};
    });
    if (listed_ != nullptr && listed_->bits != nullptr) {
      const int64_t* const bits = listed_->bits;
      cut |= std::any_of(bits + listed_->offsets[list],
                         bits + listed_->offsets[list + 1],
                         [](int64_t word) { return word >= 0; });
    }
    if (!rises) {
      std::sort(entries, entries + count,
                [](const Entry& x, const Entry& y) { return x.key < y.key; });
    }
    counts_[at.slot] = static_cast<int32_t>(count);
    cut_[at.slot] = cut;
    const int64_t head = HeadOf(at.unit);
    for (int64_t i = 0; i < count; ++i) {
      places_.Set(at.slot, i, at.batch, entries[i].key, head);
    }
    for (int64_t row = first; row < end; ++row) {
      const int64_t place =
          (at.slot * RowsOfList() + row - first) * lists_.width;
      for (int64_t i = 0; weighted() && i < count; ++i) {
        bias_[place + i] = entries[i].weight;
      }
      if (!masked_) continue;
      const ops::VisibleKeys see = ops::VisibleTo(masks, rows_, keys, row);
      for (int64_t i = 0; i < count; ++i) {
        mask_[place + i] = sees(see, entries[i].key);
      }
      if (listed_ == nullptr) continue;
      const Entry* entry = entries;
      for (int64_t i = listed_->offsets[list]; i < listed_->offsets[list + 1];
           ++i) {
        const KeyInterval& keys_at = listed_->intervals[i];
        const uint64_t* const bits = internal::BitsOf(*listed_, i, row - first);
        for (; entry != entries + count && entry->key < keys_at.end; ++entry) {
          const int32_t key = entry->key - keys_at.begin;
          const bool kept = bits == nullptr || bits[key / 64] >> key % 64 & 1;
          mask_[place + (entry - entries)] &= kept;
        }
      }
    }
  }

  // Calls f(key, weight) for the entries of a list.
  template <typename F>
  void ForEachEntry(int64_t list, F f) const {
    if (listed_ != nullptr) {
      for (int64_t i = listed_->offsets[list]; i < listed_->offsets[list + 1];
           ++i) {
        const KeyInterval& at = listed_->intervals[i];
        for (int32_t key = at.begin; key < at.end; ++key) f(key, 0.0f);
      }
      return;
    }
    for (int64_t i = list * lists_.width; i < (list + 1) * lists_.width; ++i) {
      const float weight = weighted() ? lists_.log_weights[i] : 0.0f;
      if (lists_.indices[i] >= 0 && !std::isinf(weight)) {
        f(lists_.indices[i], weight);
      }
    }
  }

  const KeyLists& lists_;
  const SparsePlan* listed_;
  const AttentionParams& params_;
  const AttentionArgs& args_;
  const Scratch& scratch_;
  const Executor& executor_;
  PlanOptions options_;
  internal::ListedRows places_;
  int64_t rows_ = 0, blocks_ = 0, units_ = 0, heads_ = 0;
  bool masked_ = false;  // rows of a list may see different keys of it
  int64_t at_once_ = 0;
  AttentionParams inner_;
  Plan plan_;
  Workspace workspace_;
  // Of the lists of one call: [lists][width], [lists][rows][width], [lists].
  Entry* entries_ = nullptr;
  float* bias_ = nullptr;
  bool* mask_ = nullptr;
  int32_t* counts_ = nullptr;
  int32_t* first_rows_ = nullptr;
  uint8_t* cut_ = nullptr;
};

}  // namespace

Status AttendListed(const KeyLists& lists, const AttentionParams& params,
                    const AttentionArgs& args, const Scratch& scratch,
                    const Executor& executor, const char* target) {
  Status status = internal::CheckHost(executor, scratch);
  if (!status.ok()) return status;
  status = internal::CheckListedCall(args);
  if (!status.ok()) return status;
  return ListedRun(lists, nullptr, params, args, scratch, executor, target)
      .Run();
}

Status internal::AttendPlanInPages(const SparsePlan& plan,
                                   const AttentionParams& params,
                                   const AttentionArgs& args,
                                   const Scratch& scratch,
                                   const Executor& executor,
                                   const char* target) {
  KeyLists lists;
  lists.batch = plan.batch;
  lists.num_heads = plan.num_heads;
  lists.query_block_size = plan.query_block_size;
  for (int64_t list = 0; list < NumLists(plan); ++list) {
    int64_t keys = 0;
    for (int64_t i = plan.offsets[list]; i < plan.offsets[list + 1]; ++i) {
      keys += plan.intervals[i].end - plan.intervals[i].begin;
    }
    lists.width = std::max(lists.width, keys);
  }
  return ListedRun(lists, &plan, params, args, scratch, executor, target).Run();
}

}  // namespace heed
