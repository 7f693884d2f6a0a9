// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/core/row_limits.h"

#include <algorithm>
#include <cstdint>

namespace heed::internal {
namespace {

// The first key of the sequence whose document is `least` or a later one.
int64_t FirstOf(const ConstTensorView& documents, const Sequence& sequence,
                int64_t least) {
  int64_t from = 0;
  int64_t to = sequence.seqlen_k;
  while (from < to) {
    const int64_t middle = from + (to - from) / 2;
    if (NumberAt(documents, sequence.index, middle) < least) {
      from = middle + 1;
    } else {
      to = middle;
    }
  }
  return from;
}

// Takes away the keys of other documents.
void KeepDocument(const ScoreInputs& scores, const Sequence& sequence,
                  int64_t row, RowLimits* limits) {
  const int64_t document = NumberAt(
      scores.query_documents, sequence.query_batch, sequence.first_query + row);
  limits->first = FirstOf(scores.key_documents, sequence, document);
  const int64_t end = FirstOf(scores.key_documents, sequence, document + 1);
  limits->begin = std::max(limits->begin, limits->first);
  limits->end = std::min(limits->end, end);
  limits->sink_end = std::min(limits->sink_end, end);
  if (limits->sink_end <= limits->first) limits->sink_end = 0;
}

}  // namespace

RowLimits LimitsOf(const AttentionRun& run, const Sequence& sequence,
                   int64_t row) {
  const ScoreInputs& scores = run.args.scores;
  RowLimits limits =
      LimitsOf(run.plan.params, sequence.causal_offset, sequence.seqlen_k, row);
  if (!run.plan.shape.scores) return limits;
  if (!scores.prefix_lengths.absent()) {
    limits.sink_end = std::max<int64_t>(
        limits.sink_end, NumberAt(scores.prefix_lengths, sequence.index, 0));
  }
  if (!scores.row_lengths.absent()) {
    const int64_t length = NumberAt(scores.row_lengths, sequence.query_batch,
                                    sequence.first_query + row);
    limits.end = std::min(limits.end, length);
    limits.sink_end = std::min(limits.sink_end, length);
  }
  if (!scores.query_documents.absent()) {
    KeepDocument(scores, sequence, row, &limits);
  }
  return limits;
}

}  // namespace heed::internal
