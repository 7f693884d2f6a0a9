// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/core/scores.h"

#include <algorithm>
#include <cstdint>

#include "lib/core/row_limits.h"
#include "lib/core/tile_rows.h"

namespace heed::internal {
namespace {

// A row of a tile: the row in its sequence, the head, and where the row stands
// in tensors that lie as the query does.
struct Row {
  int64_t index, head, batch, query;
};

// The position of a row, as near as 2^62 allows.
int64_t PositionOf(const Sequence& sequence, int64_t row) {
  constexpr int64_t kMost = int64_t{1} << 62;
  if (sequence.causal_offset > kMost) return kMost;
  if (sequence.causal_offset < -kMost) return -kMost;
  return sequence.causal_offset + row;
}

// Whether a number is that of every key.
bool Repeats(const ConstTensorView& view) { return view.stride[3] == 0; }

ScoreRow RowOf(const ScoreInputs& scores, const Sequence& sequence,
               const Row& at) {
  ScoreRow row;
  row.position = PositionOf(sequence, at.index);
  if (!scores.bias.absent()) {
    row.bias = BytesAt(scores.bias, at.batch, at.query, at.head);
    row.bias_repeats = Repeats(scores.bias);
  }
  if (!scores.mask.absent()) {
    row.mask = reinterpret_cast<const uint8_t*>(
        BytesAt(scores.mask, at.batch, at.query, at.head));
    row.mask_repeats = Repeats(scores.mask);
  }
  if (!scores.relative_bias.absent()) {
    row.relative_reach = (scores.relative_bias.head_dim() - 1) / 2;
    row.relative = RowAt(scores.relative_bias, sequence.index, 0, at.head) +
                   row.relative_reach;
  }
  if (!scores.query_decay.absent()) {
    row.query_decay = *RowAt(scores.query_decay, at.batch, at.query, at.head);
    row.key_decay = BytesAt(scores.key_decay, sequence.index, 0, at.head);
    row.key_decay_step = scores.key_decay.stride[1];
  }
  if (!scores.tree_mask.absent()) {
    row.tree = reinterpret_cast<const uint64_t*>(
        BytesAt(scores.tree_mask, at.batch, at.query, 0));
    row.tree_begin = sequence.seqlen_k - sequence.seqlen_q;
  }
  return row;
}

// What the call has, but for what is of single rows.
ScoreRows RowsOf(const AttentionRun& run, const Sequence& sequence,
                 const ScoreMemory& memory) {
  const ScoreInputs& scores = run.args.scores;
  const bool bias = !scores.bias.absent();
  const bool mask = !scores.mask.absent();
  const bool others = !scores.relative_bias.absent() ||
                      !scores.query_decay.absent() ||
                      !scores.tree_mask.absent() || scores.hook != nullptr;
  ScoreRows rows;
  rows.row = memory.row;
  rows.bias_type = scores.bias.dtype;
  rows.adds = bias || mask || others;
  rows.only_mask = mask && !bias && !others;
  rows.only_bias = bias && !mask && !others && !Repeats(scores.bias);
  if (!scores.alibi_slopes.absent()) {
    rows.alibi_slope = memory.alibi_slope;
    rows.position = memory.position;
  }
  if (!scores.sink_logits.absent()) rows.sink = memory.sink;
  // Otherwise the rows' limits say it.
  if (!scores.query_documents.absent() &&
      (run.plan.params.sink_size > 0 || !scores.prefix_lengths.absent())) {
    rows.first = memory.first;
  }
  rows.hook = scores.hook;
  rows.hook_self = scores.hook_self;
  rows.batch = sequence.index;
  rows.row_index = memory.row_index;
  rows.row_head = memory.row_head;
  return rows;
}

}  // namespace

void SetScores(const AttentionRun& run, TileWork* work) {
  const ScoreInputs& scores = run.args.scores;
  work->tile.scores = nullptr;
  if (!run.plan.shape.scores) return;
  const WorkItem& item = work->item;
  const Sequence& sequence = item.sequence;
  const ScoreMemory& memory = work->memory.scores;
  work->scores = RowsOf(run, sequence, memory);
  if (!work->scores.adds && work->scores.alibi_slope == nullptr &&
      work->scores.sink == nullptr && work->scores.first == nullptr) {
    return;  // ranges of keys alone
  }
  work->tile.scores = &work->scores;
  LimitsOfRows limits(run, sequence);
  RowCursor cursor(item);
  for (int r = 0; r < work->tile.padded_rows; ++r) {
    const Row at = {cursor.position(), cursor.head(), sequence.query_batch,
                    sequence.first_query + cursor.position()};
    // Padding repeats the last row.
    if (r + 1 < item.num_rows) cursor.Next();
    memory.row[r] = RowOf(scores, sequence, at);
    memory.row_index[r] = static_cast<int32_t>(at.index);
    memory.row_head[r] = static_cast<int32_t>(at.head);
    if (work->scores.alibi_slope != nullptr) {
      memory.alibi_slope[r] =
          *RowAt(scores.alibi_slopes, sequence.index, 0, at.head);
      memory.position[r] = static_cast<float>(memory.row[r].position);
    }
    if (work->scores.sink != nullptr) {
      memory.sink[r] = *RowAt(scores.sink_logits, sequence.index, 0, at.head);
    }
    if (work->scores.first != nullptr) {
      memory.first[r] = static_cast<int32_t>(limits.At(at.index).first);
    }
  }
}

}  // namespace heed::internal
