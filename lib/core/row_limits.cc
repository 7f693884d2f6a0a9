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

}  // namespace

// Takes away the keys of other documents.
void LimitsOfRows::KeepDocument(int64_t row, RowLimits* limits) {
  const ScoreInputs& scores = run_.args.scores;
  const int32_t document =
      NumberAt(scores.query_documents, sequence_.query_batch,
               sequence_.first_query + row);
  if (!looked_up_ || document != document_) {
    looked_up_ = true;
    document_ = document;
    first_ = FirstOf(scores.key_documents, sequence_, document);
    end_ = FirstOf(scores.key_documents, sequence_, int64_t{document} + 1);
  }
  limits->first = first_;
  limits->begin = std::max(limits->begin, first_);
  limits->end = std::min(limits->end, end_);
  limits->sink_end = std::min(limits->sink_end, end_);
  if (limits->sink_end <= limits->first) limits->sink_end = 0;
}

RowLimits LimitsOfRows::At(int64_t row) {
  const ScoreInputs& scores = run_.args.scores;
  RowLimits limits = LimitsOf(run_.plan.params, sequence_.causal_offset,
                              sequence_.seqlen_k, row);
  if (!run_.plan.shape.scores) return limits;
  if (!scores.prefix_lengths.absent()) {
    limits.sink_end = std::max<int64_t>(
        limits.sink_end, NumberAt(scores.prefix_lengths, sequence_.index, 0));
  }
  if (!scores.row_lengths.absent()) {
    const int64_t length = NumberAt(scores.row_lengths, sequence_.query_batch,
                                    sequence_.first_query + row);
    limits.end = std::min(limits.end, length);
    limits.sink_end = std::min(limits.sink_end, length);
  }
  if (!scores.query_documents.absent()) KeepDocument(row, &limits);
  return limits;
}

}  // namespace heed::internal
