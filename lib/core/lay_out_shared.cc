// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Which sequences share whole spans of keys, and how many of them a tile holds.
#include <algorithm>
#include <cstdint>

#include "lib/core/lay_out.h"

namespace heed::internal {
namespace {

// Whether rows have the same bits in tiles of others, and score inputs do not
// differ from row to row.
bool MayShare(const Plan& plan) {
  return plan.shares && !plan.shape.scores && plan.table->attend.same_bits &&
         (plan.decode_rows == 0 || plan.table->decode.same_bits);
}

// Whether the decode kernel serves these rows where they stand alone.
bool Few(const Plan& plan, int64_t rows) { return rows <= plan.decode_rows; }

// The kernel for a tile of sequences, each of `rows` rows at most, which alone
// have the decode kernel or not. A unit's bits are its own.
const AttendKernel* KernelOf(const Plan& plan, int64_t rows, int64_t of_tile) {
  if (!Few(plan, rows)) return plan.attend;
  return Few(plan, of_tile) ? &plan.table->decode : &plan.table->attend;
}

}  // namespace

SharedRuns::SharedRuns(const AttentionRun& run)
    : run_(run),
      next_(run.args.ragged.shared_prefixes),
      end_(next_),
      // Two fit a tile, whose states fit a slot where they are split.
      most_rows_((run.workers > 1 ? SlotRows(run.plan) : run.plan.tile_rows) /
                 2) {
  if (MayShare(run.plan)) end_ += run.args.ragged.num_shared_prefixes;
}

// Whole spans at the beginning that all rows of a sequence see.
int64_t SharedRuns::SpansOf(int64_t index) const {
  const Sequence sequence = SequenceOf(run_, index);
  const int64_t rows = RowsOf(run_, sequence);
  if (rows == 0 || rows > most_rows_) return 0;
  const RowLimits first = LimitsOf(run_, sequence, 0);
  const RowLimits last = LimitsOf(run_, sequence, sequence.seqlen_q - 1);
  if (last.begin > 0) return 0;
  return std::min<int64_t>(first.end, next_->num_keys) / kSpanKeys;
}

SequenceWork SharedRuns::At(int64_t index) {
  SequenceWork work;
  work.sequence = index;
  while (next_ != end_ &&
         next_->first_sequence + next_->num_sequences <= index) {
    ++next_;
  }
  if (next_ == end_ || index < next_->first_sequence) return work;
  int64_t spans = SpansOf(index);
  if (spans == 0) return work;
  const Plan& plan = run_.plan;
  int64_t rows = RowsOf(run_, SequenceOf(run_, index));
  const bool unit = plan.attend != &plan.table->attend;
  const bool few = Few(plan, rows);
  const int64_t end = int64_t{next_->first_sequence} + next_->num_sequences;
  int64_t s = index + 1;
  for (; s < end; ++s) {
    const int64_t more = SpansOf(s);
    const int64_t more_rows = RowsOf(run_, SequenceOf(run_, s));
    if (more == 0 || (unit && Few(plan, more_rows) != few)) break;
    spans = std::min(spans, more);
    rows = std::max(rows, more_rows);
  }
  if (s - index < 2) return work;
  work.sharers = static_cast<int32_t>(s - index);
  work.shared_spans = static_cast<int32_t>(spans);
  work.tile_rows = static_cast<int32_t>(rows);
  return work;
}

void LayOutSharedUnits(int64_t spans, SequenceWork* work) {
  work->unit_spans = spans;
  work->num_units = CeilDiv(work->shared_spans, spans);
}

void LayOutShared(const AttentionRun& run, double share, SequenceWork* work) {
  const Plan& plan = run.plan;
  const int64_t rows = work->tile_rows;
  const double keys = static_cast<double>(work->shared_spans * kSpanKeys);
  const auto weight = [&](int64_t of_tile) {
    return WeightOf(
        static_cast<double>(std::min(of_tile, rows * work->sharers)), keys);
  };
  const int64_t group_rows = GroupRows(plan);
  int64_t limit = plan.tile_rows;
  while (run.workers > 1 && limit > group_rows &&
         weight(limit) * kTilesPerWorker > share) {
    limit = std::max(RoundUp(limit / 2, group_rows), group_rows);
  }
  const int64_t most = limit / rows;
  work->num_lists = plan.shape.num_kv_heads;
  work->tiles_per_list = CeilDiv(work->sharers, most);
  // Evened out.
  work->sharers_per_tile =
      static_cast<int32_t>(CeilDiv(work->sharers, work->tiles_per_list));
  work->tiles_per_list = CeilDiv(work->sharers, work->sharers_per_tile);
  const int64_t of_tile = work->sharers_per_tile * rows;
  work->kernel = KernelOf(plan, rows, of_tile);
  work->tile_rows = static_cast<int32_t>(of_tile);
  work->weight = static_cast<float>(weight(of_tile));
  LayOutSharedUnits(1, work);
  work->split = run.workers > 1 && work->num_units > 1 &&
                weight(of_tile) * kSplitTilesPerWorker > share;
  if (!work->split) LayOutSharedUnits(kGroupSpans, work);
}

SequenceWork OwnWork(const AttentionRun& run, int64_t index) {
  const Plan& plan = run.plan;
  const Sequence sequence = SequenceOf(run, index);
  const int64_t rows = RowsOf(run, sequence);
  SequenceWork work;
  work.sequence = index;
  work.num_lists = plan.shape.num_kv_heads;
  work.tiles_per_list = 1;
  work.kernel = Few(plan, rows) ? &plan.table->decode : plan.attend;
  work.tile_rows = static_cast<int32_t>(rows);
  work.uneven_keys = UnevenKeys(run, sequence);
  return work;
}

}  // namespace heed::internal
