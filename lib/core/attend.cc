// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The loop over key blocks: key rows, dense or from intervals, become lists of
// row pointers, block by block, for one query tile and one span.
#include <algorithm>
#include <cstdint>
#include <optional>

#include "lib/core/key_rows.h"
#include "lib/core/tile.h"

namespace heed::internal {
namespace {

// A block being filled, and what it feeds: step(tile, block).
template <typename StepFunction>
class BlockFeeder {
 public:
  BlockFeeder(const AttentionRun& run, TileWork* work, StepFunction step)
      : work_(*work),
        step_(step),
        fetches_beyond_(work->item.kernel != &run.plan.table->decode &&
                        !run.args.pages.any() &&
                        run.args.ragged.num_sequences == 0),
        key_(run.args, KeysOf(run.args), work->item),
        value_(run.args, FromColumn(ValuesOf(run.args), work->columns.first),
               work->item) {
    block_.key = key_.rows();
    block_.value = value_.rows();
    block_.key_scales = key_.scales();
    block_.value_scales = value_.scales();
    block_.position = position_;
    if (run.args.key_intervals.query_block_size == 0) {
      block_.fetch_key = key_.fetch();
      block_.fetch_value = value_.fetch();
      block_.next_key = key_.block_step();
      block_.next_value = value_.block_step();
    }
  }

  int num_keys() const { return block_.num_keys; }

  // For tiles that are fed side by side: what is read next, and so what to
  // fetch, are the next key head's rows of the same block, and after those of
  // the last head the first one's of the next block.
  void FetchNextHead() {
    fills_fetch_ = false;
    block_.fetch_key = key_.rows();
    block_.fetch_value = value_.rows();
    block_.next_key = key_.head_step();
    block_.next_value = value_.head_step();
  }
  void FetchFirstHead(int64_t heads_back) {
    block_.next_key -= heads_back * key_.head_step();
    block_.next_value -= heads_back * value_.head_step();
  }

  void Add(int32_t begin, int32_t end) {
    const int at = block_.num_keys;
    key_.Fill(begin, end, at);
    value_.Fill(begin, end, at);
    for (int32_t i = begin; i < end; ++i) position_[at + i - begin] = i;
    block_.num_keys += end - begin;
  }

  // A whole block, and where the one behind it stands.
  void AddDense(int32_t begin, int32_t end) {
    Add(begin, end);
    if (!fills_fetch_) return;
    key_.FillFetch(begin, end);
    value_.FillFetch(begin, end);
    if (end >= work_.all.end()) FetchBeyond(begin, end);
  }

  // Steps over what was added, if anything in it is visible.
  void Step() {
    if (block_.num_keys == 0) return;
    bool any = false;
    for (int g = 0; g < work_.tile.num_groups; ++g) {
      any |= Classify(work_.groups[g], g);
    }
    if (any) step_(work_.tile, block_);
    block_.num_keys = 0;
  }

 private:
  // What is read behind the last block that the tile sees, where a list is one
  // tile: the next list's first block. Of the tile kernel alone; the other asks
  // for rows two blocks on as if rows went on as they do.
  //
  // Emerald Rapids, AVX-512, 96 heads, microseconds without and with it, tokens
  // outside of heads: 32 tokens 378 and 320, 64 tokens 1,128 and 1,017; with
  // heads outside, where memory goes on alike, 329 and 319, 955 and 949. A head
  // of 16 tokens takes 119 without any and 127 with it.
  void FetchBeyond(int32_t begin, int32_t end) {
    if (!fetches_beyond_) return;
    if (end - begin <= kBlockKeys / 4) {
      block_.fetch_key = block_.fetch_value = nullptr;
      return;
    }
    const int32_t first =
        work_.all.max_sink > 0 ? 0 : work_.all.min_begin / kBlockKeys;
    const int64_t back = begin / kBlockKeys - first;
    block_.next_key = key_.list_step() - back * key_.block_step();
    block_.next_value = value_.list_step() - back * value_.block_step();
  }

  // Sets what lane group g sees of the block. Returns whether it sees anything.
  bool Classify(const GroupLimits& limits, int g) {
    const int count = block_.num_keys;
    const auto all_see = [&](int32_t first, int32_t last) {
      return (first >= limits.max_begin && last < limits.min_end) ||
             last < limits.min_sink;
    };
    const auto some_see = [&](int32_t at) {
      return (at >= limits.min_begin && at < limits.max_end) ||
             at < limits.max_sink;
    };
    int first = 0;
    int last = count;
    bool full = all_see(position_[0], position_[count - 1]);
    if (!full) {
      while (first < last && !some_see(position_[first])) ++first;
      while (first < last && !some_see(position_[last - 1])) --last;
      full = first < last && all_see(position_[first], position_[last - 1]);
    }
    block_.first[g] = static_cast<uint8_t>(first);
    block_.last[g] = static_cast<uint8_t>(last);
    block_.full[g] = full;
    return first < last;
  }

  const TileWork& work_;
  const StepFunction step_;
  const bool fetches_beyond_;  // pages and sequences may be anywhere
  RowList key_, value_;
  bool fills_fetch_ = true;
  int32_t position_[kBlockKeys];
  KeyBlock block_;
};

// Feeds the tiles of several key heads, block by block.
template <typename StepFunction>
class BlockFeeders {
 public:
  BlockFeeders(const AttentionRun& run, TileWork* work, int64_t count,
               StepFunction step)
      : count_(count) {
    for (int64_t i = 0; i < count; ++i) {
      feeder_[i].emplace(run, work + i, step);
      if (i + 1 < count) feeder_[i]->FetchNextHead();
    }
    feeder_[count - 1]->FetchFirstHead(count - 1);
  }

  void AddDense(int32_t begin, int32_t end) {
    for (int64_t i = 0; i < count_; ++i) feeder_[i]->AddDense(begin, end);
  }
  void Step() {
    for (int64_t i = 0; i < count_; ++i) feeder_[i]->Step();
  }

 private:
  const int64_t count_;
  std::optional<BlockFeeder<StepFunction>> feeder_[kMostTogether];
};

// Blocks at the absolute positions from a multiple of kBlockKeys.
template <typename Feeder>
void AttendDense(const GroupLimits& all, int32_t begin, int32_t end,
                 Feeder* feeder) {
  end = std::min(end, all.end());
  for (int32_t at = begin; at < end; at += kBlockKeys) {
    const int32_t next = at + kBlockKeys;
    if (at >= all.max_sink && next <= all.min_begin) {
      // Between the sinks and the window.
      at = all.min_begin / kBlockKeys * kBlockKeys - kBlockKeys;
      continue;
    }
    feeder->AddDense(at, std::min(next, end));
    feeder->Step();
  }
}

// Blocks filled from the list's intervals, across their ends.
template <typename Feeder>
void AttendIntervals(const KeyIntervals& lists, int64_t list, int32_t begin,
                     int32_t end, Feeder* feeder) {
  const KeyInterval* first = lists.intervals + lists.offsets[list];
  const KeyInterval* last = lists.intervals + lists.offsets[list + 1];
  first = std::partition_point(
      first, last, [&](const KeyInterval& i) { return i.end <= begin; });
  for (; first < last && first->begin < end; ++first) {
    int32_t at = std::max(first->begin, begin);
    const int32_t stop = std::min(first->end, end);
    while (at < stop) {
      const int32_t take = std::min(stop - at, kBlockKeys - feeder->num_keys());
      feeder->Add(at, at + take);
      at += take;
      if (feeder->num_keys() == kBlockKeys) feeder->Step();
    }
  }
  feeder->Step();
}

// The keys [begin, end) of the tile's sequence, cut where that ends.
struct KeyRange {
  int32_t begin, end;
};
KeyRange KeysIn(const TileWork& work, int64_t begin, int64_t end) {
  return {static_cast<int32_t>(begin),
          static_cast<int32_t>(std::min(end, work.item.sequence.seqlen_k))};
}

// Where the scores of a block stand among those of its span.
int64_t ScoresAt(const TileWork& work, const KeyBlock& block) {
  const int64_t in_span = block.position[0] % kSpanKeys;
  return in_span / kBlockKeys * kBlockKeys * work.item.num_rows;
}

}  // namespace

void AttendSpan(const AttentionRun& run, int64_t span, TileWork* work) {
  work->item.kernel->clear(work->tile);
  const KeyRange keys = KeysIn(*work, span * kSpanKeys, (span + 1) * kSpanKeys);
  BlockFeeder feeder(run, work, work->item.kernel->step);
  if (run.args.key_intervals.query_block_size == 0) {
    AttendDense(work->all, keys.begin, keys.end, &feeder);
  } else {
    AttendIntervals(run.args.key_intervals, work->item.list, keys.begin,
                    keys.end, &feeder);
  }
}

void AttendSpan(const AttentionRun& run, int64_t span, TileWork* work,
                int64_t count) {
  if (count == 1) return AttendSpan(run, span, work);
  for (int64_t i = 0; i < count; ++i) work->item.kernel->clear(work[i].tile);
  const KeyRange keys = KeysIn(*work, span * kSpanKeys, (span + 1) * kSpanKeys);
  BlockFeeders feeders(run, work, count, work->item.kernel->step);
  AttendDense(work->all, keys.begin, keys.end, &feeders);
}

void ScoreSpan(const AttentionRun& run, int64_t begin, int64_t end,
               float* scores, TileWork* work) {
  const KeyRange keys = KeysIn(*work, begin, end);
  const auto score = [&](const QueryTile& tile, const KeyBlock& block) {
    work->item.kernel->score(tile, block, scores + ScoresAt(*work, block));
  };
  BlockFeeder feeder(run, work, score);
  AttendDense(work->all, keys.begin, keys.end, &feeder);
}

void WeighSpan(const AttentionRun& run, int64_t span, const float* scores,
               TileWork* work) {
  work->item.kernel->clear(work->tile);
  const KeyRange keys = KeysIn(*work, span * kSpanKeys, (span + 1) * kSpanKeys);
  const auto weigh = [&](const QueryTile& tile, const KeyBlock& block) {
    work->item.kernel->weigh(tile, block, scores + ScoresAt(*work, block));
  };
  BlockFeeder feeder(run, work, weigh);
  AttendDense(work->all, keys.begin, keys.end, &feeder);
}

}  // namespace heed::internal
