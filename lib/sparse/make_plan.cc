// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// From a pattern to a plan: lists are counted in parallel, laid end to end, and
// filled in parallel.
#include <algorithm>
#include <cstdint>

#include "heed/ops.h"
#include "heed/sparse.h"
#include "lib/core/check.h"
#include "lib/core/tuning.h"
#include "lib/kernels/kernel_table.h"
#include "lib/sparse/ask_row.h"
#include "lib/sparse/key_set.h"
#include "lib/sparse/moving_keys.h"
#include "lib/sparse/plan_memory.h"

namespace heed::internal {

void RowKeys::Sort() {
  if (sorted_) return;
  // Few, as most patterns have: a call of std::sort takes longer than they do.
  constexpr int64_t kFew = 8;
  if (count_ <= kFew) {
    for (int64_t i = 1; i < count_; ++i) {
      const KeyInterval moved = interval_[i];
      int64_t at = i;
      for (; at > 0 && interval_[at - 1].begin > moved.begin; --at) {
        interval_[at] = interval_[at - 1];
      }
      interval_[at] = moved;
    }
  } else {
    std::sort(interval_, interval_ + count_,
              [](const KeyInterval& a, const KeyInterval& b) {
                return a.begin < b.begin;
              });
  }
  KeySet joined = {interval_, 0};
  for (int64_t i = 0; i < count_; ++i) {
    const KeyInterval next = interval_[i];
    joined.Append(next.begin, next.end);
  }
  count_ = joined.count;
  sorted_ = true;
}

namespace {

// What a worker needs to look at one block of rows.
struct BlockMemory {
  RowAsker row;
  KeySet kept;     // by the row at hand
  KeySet hidden;   // visible to it, and not kept
  KeySet some;     // kept by some row of the block
  KeySet missing;  // visible to some row that does not keep it
  KeySet spare;
  MovingKeys moving;         // `kept`, by the rows of the block
  MovingKeys moving_hidden;  // `hidden`
  bool moves = false;        // they do move
};

// Rows are looked at once where there is room to remember their list: up to so
// many intervals each, of as many lists as take so many bytes.
constexpr int64_t kRememberedPieces = 16;
constexpr int64_t kRememberedBytes = 1 << 20;
struct RememberedList {
  KeyInterval interval[kRememberedPieces];
  MovingKeys moving;  // of the rows, where they move
  uint16_t partial;   // a bit for each interval
  bool moves;
};

// What the lists of one block hold.
struct BlockCounts {
  int64_t intervals = 0;
  int64_t words = 0;
  int64_t keys = 0;
};

class PlanMaker {
 public:
  PlanMaker(const AttentionParams& params, const AttentionShape& shape,
            const PatternView& pattern, const SparseOptions& options,
            const Scratch& memory, const Executor& executor)
      : pattern_(pattern), memory_(memory), executor_(executor) {
    plan_.params = MasksOf(params, shape.seqlen_q, shape.seqlen_k);
    plan_.batch = 1;
    plan_.num_heads = options.per_head ? shape.num_heads : 1;
    plan_.seqlen_q = shape.seqlen_q;
    plan_.seqlen_k = shape.seqlen_k;
    plan_.query_block_size = options.query_block_size;
  }

  Status Make(SparsePlan* plan) {
    if (!AllocateWorkers()) return PlanOutOfMemory();
    if (plan_.query_block_size == 0) ChooseBlock();
    const int64_t lists = NumLists(plan_);
    int64_t* offsets = memory_.Array<int64_t>(lists + 1);
    int64_t* first_word = memory_.Array<int64_t>(lists + 1);
    if (offsets == nullptr || first_word == nullptr) return PlanOutOfMemory();
    RememberedList* remembered = nullptr;
    if (lists <= kRememberedBytes / int64_t{sizeof(RememberedList)}) {
      remembered = memory_.Array<RememberedList>(lists);
      if (remembered == nullptr) return PlanOutOfMemory();
    }
    ops::ParallelFor(executor_, lists, [&](int64_t list, int worker) {
      const BlockCounts counts = Look(RowsOf(plan_, list), &workers_[worker]);
      offsets[list + 1] = counts.intervals;
      first_word[list + 1] = counts.words;
      if (remembered != nullptr && counts.intervals <= kRememberedPieces) {
        Remember(workers_[worker], &remembered[list]);
      }
    });
    offsets[0] = first_word[0] = 0;
    for (int64_t list = 0; list < lists; ++list) {
      offsets[list + 1] += offsets[list];
      first_word[list + 1] += first_word[list];
    }
    plan_.offsets = offsets;
    plan_.num_intervals = offsets[lists];
    plan_.num_words = first_word[lists];
    KeyInterval* intervals = memory_.Array<KeyInterval>(plan_.num_intervals);
    const bool partial = plan_.num_words > 0;
    int64_t* bits =
        partial ? memory_.Array<int64_t>(plan_.num_intervals) : nullptr;
    uint64_t* words =
        partial ? memory_.Array<uint64_t>(plan_.num_words) : nullptr;
    if (intervals == nullptr ||
        (partial && (bits == nullptr || words == nullptr))) {
      return PlanOutOfMemory();
    }
    plan_.intervals = intervals;
    plan_.bits = bits;
    plan_.words = words;
    ops::ParallelFor(executor_, lists, [&](int64_t list, int worker) {
      BlockMemory* const at = &workers_[worker];
      const int64_t count = offsets[list + 1] - offsets[list];
      if (remembered != nullptr && count <= kRememberedPieces) {
        Recall(remembered[list], count, at);
      } else {
        Look(RowsOf(plan_, list), at);
      }
      Fill(RowsOf(plan_, list), at, intervals + offsets[list],
           partial ? bits + offsets[list] : nullptr, first_word[list], words);
    });
    *plan = plan_;
    return Status();
  }

 private:
  bool AllocateWorkers() {
    const int64_t workers = executor_.max_workers;
    // Of few keys a list has more pieces, which may touch, than a set can have
    // intervals: Recall puts them into sets.
    const int64_t keys =
        std::max(RowKeys::CapacityFor(plan_.seqlen_k), kRememberedPieces);
    const int64_t listed = RowAsker::CapacityFor(plan_.seqlen_k);
    constexpr int kSets = 5;
    workers_ = memory_.Array<BlockMemory>(workers);
    KeyInterval* at =
        memory_.Array<KeyInterval>(workers * (listed + kSets * keys));
    if (workers_ == nullptr || at == nullptr) return false;
    const auto next = [&](int64_t count) {
      at += count;
      return at - count;
    };
    for (int64_t i = 0; i < workers; ++i) {
      BlockMemory& worker = *new (&workers_[i]) BlockMemory;
      worker.row = RowAsker(plan_.params, plan_.seqlen_q, plan_.seqlen_k,
                            pattern_, next(listed));
      for (KeySet* set : {&worker.kept, &worker.hidden, &worker.some,
                          &worker.missing, &worker.spare}) {
        set->data = next(keys);
      }
    }
    return true;
  }

  // Sets worker->kept, and `hidden` where it is asked for.
  void LookAtRow(int64_t head, int64_t row, bool hidden,
                 BlockMemory* worker) const {
    worker->kept.Clear();
    const ops::VisibleKeys see = worker->row.ForEachKey(
        head, row,
        [&](int64_t begin, int64_t end) { worker->kept.Append(begin, end); });
    if (!hidden) return;
    KeyInterval visible[2];
    KeySet sees = {visible, 0};
    sees.Append(0, see.sink_end);
    sees.Append(see.begin, see.end);
    worker->hidden.Clear();
    ForEachPiece(sees, worker->kept, [&](int64_t begin, int64_t end, bool k) {
      if (!k) worker->hidden.Append(begin, end);
    });
  }

  // Finds what a block's list holds: `some`, and what of it is partial.
  BlockCounts Look(const BlockOfRows& rows, BlockMemory* worker) const {
    worker->some.Clear();
    worker->missing.Clear();
    worker->moves = false;
    const int64_t count = rows.end - rows.first;
    const bool single = count == 1;
    if (!single && worker->row.Share(rows.first, rows.end - 1)) {
      LookAtAll(rows, worker);
      return Count(rows, worker);
    }
    worker->moves = !single && worker->row.steps() && LookAtEnds(rows, worker);
    if (worker->moves) {
      worker->moving.UniteInto(count, &worker->some, &worker->spare);
      worker->moving_hidden.UniteInto(count, &worker->missing, &worker->spare);
      return Count(rows, worker);
    }
    for (int64_t row = rows.first; row < rows.end; ++row) {
      LookAtRow(rows.head, row, !single, worker);
      Unite(worker->kept, &worker->some, &worker->spare);
      if (!single) Unite(worker->hidden, &worker->missing, &worker->spare);
    }
    return Count(rows, worker);
  }

  // Finds, from the first and the last row, how keys move. Ends of a pattern
  // that steps, and of masks, move by at most one a row: one that moves by none
  // or by as many as there are rows does so evenly. Where all do, and stand in
  // the same order in the first row as in the last, they do in all between, and
  // so what a row keeps and what it does not begins and ends with the same
  // ones.
  bool LookAtEnds(const BlockOfRows& rows, BlockMemory* worker) const {
    constexpr int64_t kMasks = 3;
    struct Ends {
      int64_t at[2 * RowEnds::kMost + kMasks];
      int64_t count;
    };
    const auto list = [&](int64_t row, Ends* to) {
      const ops::VisibleKeys see =
          ops::VisibleTo(plan_.params, plan_.seqlen_q, plan_.seqlen_k, row);
      RowEnds ends;
      if (!worker->row.ListEnds(see, rows.head, row, &ends)) return false;
      to->at[0] = see.sink_end;
      to->at[1] = see.begin;
      to->at[2] = see.end;
      to->count = kMasks;
      for (int64_t i = 0; i < ends.count; ++i) {
        to->at[to->count++] = ends.begin[i];
        to->at[to->count++] = ends.end[i];
      }
      return true;
    };
    const int64_t last = rows.end - 1, moves = last - rows.first;
    Ends a, b;
    if (!list(rows.first, &a) || !list(last, &b) || a.count != b.count) {
      return false;
    }
    for (int64_t i = 0; i < a.count; ++i) {
      const int64_t moved = b.at[i] - a.at[i];
      if (moved != 0 && moved != moves) return false;
      for (int64_t j = 0; j < i; ++j) {
        if ((a.at[i] < a.at[j]) != (b.at[i] < b.at[j]) ||
            (a.at[i] > a.at[j]) != (b.at[i] > b.at[j])) {
          return false;
        }
      }
    }
    LookAtRow(rows.head, rows.first, true, worker);
    if (!worker->moving.Start(worker->kept) ||
        !worker->moving_hidden.Start(worker->hidden)) {
      return false;
    }
    LookAtRow(rows.head, last, true, worker);
    return worker->moving.MoveTo(moves, worker->kept) &&
           worker->moving_hidden.MoveTo(moves, worker->hidden);
  }

  // The same where rows share keys: what masks leave only moves right from row
  // to row, so all rows together see what the first and the last do.
  void LookAtAll(const BlockOfRows& rows, BlockMemory* worker) const {
    const auto see = [&](int64_t row) {
      return ops::VisibleTo(plan_.params, plan_.seqlen_q, plan_.seqlen_k, row);
    };
    ops::VisibleKeys all = see(rows.end - 1);
    all.begin = std::max(see(rows.first).begin, all.sink_end);
    worker->row.ForEachKeyIn(
        all, rows.head, rows.first,
        [&](int64_t begin, int64_t end) { worker->some.Append(begin, end); });
  }

  BlockCounts Count(const BlockOfRows& rows, BlockMemory* worker) const {
    SnapToBlocks(rows, &worker->some);
    BlockCounts counts;
    counts.keys = worker->some.Keys();
    ForEachPiece(worker->some, worker->missing,
                 [&](int64_t begin, int64_t end, bool partial) {
                   ++counts.intervals;
                   if (partial) {
                     counts.words +=
                         (rows.end - rows.first) * WordsOf(end - begin);
                   }
                 });
    return counts;
  }

  // Between sinks and window, where no row of the block sees anything, lists
  // begin and end with the kernel's blocks. So a pattern that keeps everything
  // has the bits of the masks alone (docs/numerics.md).
  void SnapToBlocks(const BlockOfRows& rows, KeySet* some) const {
    const auto see = [&](int64_t row) {
      return ops::VisibleTo(plan_.params, plan_.seqlen_q, plan_.seqlen_k, row);
    };
    const int64_t sink_end = see(rows.end - 1).sink_end;
    const int64_t begin = see(rows.first).begin;
    const int64_t snapped = std::max(begin / kBlockKeys * kBlockKeys, sink_end);
    const int64_t next = (sink_end + kBlockKeys - 1) / kBlockKeys * kBlockKeys;
    for (int64_t i = 0; i < some->count && sink_end < begin; ++i) {
      KeyInterval& at = some->data[i];
      if (at.end == sink_end) {
        at.end = static_cast<int32_t>(std::min(next, snapped));
      }
      if (at.begin == begin) at.begin = static_cast<int32_t>(snapped);
    }
  }

  static void Remember(const BlockMemory& worker, RememberedList* list) {
    int count = 0;
    list->partial = 0;
    list->moves = worker.moves;
    if (worker.moves) list->moving = worker.moving;
    ForEachPiece(worker.some, worker.missing,
                 [&](int32_t begin, int32_t end, bool partial) {
                   list->partial = static_cast<uint16_t>(
                       list->partial | (partial ? 1u << count : 0u));
                   list->interval[count++] = {begin, end};
                 });
  }

  // Sets `some` and `missing` to what makes the same pieces, and `moving`.
  static void Recall(const RememberedList& list, int64_t count,
                     BlockMemory* worker) {
    worker->some.count = worker->missing.count = 0;
    worker->moves = list.moves;
    if (list.moves) worker->moving = list.moving;
    for (int64_t i = 0; i < count; ++i) {
      const KeyInterval at = list.interval[i];
      worker->some.data[worker->some.count++] = at;
      if (list.partial >> i & 1) {
        worker->missing.data[worker->missing.count++] = at;
      }
    }
  }

  // Of a block that was looked at, or recalled.
  void Fill(const BlockOfRows& rows, BlockMemory* worker,
            KeyInterval* intervals, int64_t* bits, int64_t word,
            uint64_t* words) const {
    const int64_t first_word = word;
    int64_t count = 0;
    ForEachPiece(worker->some, worker->missing,
                 [&](int32_t begin, int32_t end, bool partial) {
                   if (bits != nullptr) bits[count] = partial ? word : -1;
                   if (partial) {
                     word += (rows.end - rows.first) * WordsOf(end - begin);
                   }
                   intervals[count++] = {begin, end};
                 });
    if (word == first_word) return;
    std::fill(words + first_word, words + word, 0);
    for (int64_t row = rows.first; row < rows.end; ++row) {
      if (worker->moves) {
        worker->moving.Of(row - rows.first, &worker->kept);
      } else {
        LookAtRow(rows.head, row, false, worker);
      }
      SetBits(worker->kept, row - rows.first, intervals, bits, count, words);
    }
  }

  // Sets the bits of the keys of `kept` in the partial intervals of a list.
  static void SetBits(const KeySet& kept, int64_t row,
                      const KeyInterval* intervals, const int64_t* bits,
                      int64_t count, uint64_t* words) {
    int64_t k = 0;
    for (int64_t i = 0; i < count; ++i) {
      if (bits[i] < 0) continue;
      const KeyInterval& at = intervals[i];
      uint64_t* of_row = words + bits[i] + row * WordsOf(at.end - at.begin);
      while (k < kept.count && kept.data[k].end <= at.begin) ++k;
      for (int64_t j = k; j < kept.count && kept.data[j].begin < at.end; ++j) {
        SetBitRange(std::max(kept.data[j].begin, at.begin) - at.begin,
                    std::min(kept.data[j].end, at.end) - at.begin, of_row);
      }
    }
  }

  // The size of block that costs least on a sample of rows.
  void ChooseBlock() {
    constexpr int64_t kLargest = kSparseBlocks[0].rows;
    const int64_t blocks =
        std::max<int64_t>((plan_.seqlen_q + kLargest - 1) / kLargest, 1);
    const int64_t samples = std::min<int64_t>(blocks, kSparseSamples);
    double least = 0;
    for (const SparseBlockCost& size : kSparseBlocks) {
      double pairs = 0;
      bool partial = false;
      for (int64_t i = 0; i < samples; ++i) {
        // The middles of equal shares of the blocks.
        const int64_t block = (2 * i + 1) * blocks / (2 * samples);
        const int64_t end = std::min((block + 1) * kLargest, plan_.seqlen_q);
        for (int64_t row = block * kLargest; row < end; row += size.rows) {
          const BlockOfRows rows = {0, 0, row, std::min(row + size.rows, end)};
          const BlockCounts counts = Look(rows, &workers_[0]);
          pairs += static_cast<double>((rows.end - rows.first) * counts.keys);
          partial |= counts.words > 0;
        }
      }
      const double cost = pairs * (partial ? size.partial_cost : size.cost);
      if (plan_.query_block_size != 0 && cost >= least) continue;
      least = cost;
      plan_.query_block_size = size.rows;
    }
  }

  SparsePlan plan_;
  const PatternView& pattern_;
  const Scratch& memory_;
  const Executor& executor_;
  BlockMemory* workers_ = nullptr;
};

}  // namespace

Status MakeSparsePlan(const AttentionParams& params,
                      const AttentionShape& shape, const PatternView& pattern,
                      const SparseOptions& options, const Scratch& memory,
                      const Executor& executor, SparsePlan* plan) {
  const Status status =
      CheckPlanRequest(params, shape, options.query_block_size, memory);
  if (!status.ok()) return status;
  const Status usable = CheckExecutor(executor);
  if (!usable.ok()) return usable;
  return PlanMaker(params, shape, pattern, options, memory, executor)
      .Make(plan);
}

}  // namespace heed::internal
