// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The keys that a row of a run may see, by AttentionParams and by those score
// inputs that are ranges of keys.
#ifndef HEED_LIB_CORE_ROW_LIMITS_H_
#define HEED_LIB_CORE_ROW_LIMITS_H_

#include <cstdint>

#include "heed/attention.h"
#include "lib/core/sequences.h"
#include "lib/core/visible.h"

namespace heed::internal {

// A number of a view of i32 that has one a (batch, position).
inline int32_t NumberAt(const ConstTensorView& view, int64_t batch, int64_t i) {
  return *reinterpret_cast<const int32_t*>(BytesAt(view, batch, i, 0));
}

// Whether score inputs limit rows: then later rows may see less than earlier.
inline bool LimitsByData(const AttentionRun& run) {
  const ScoreInputs& scores = run.args.scores;
  return run.plan.shape.scores &&
         (!scores.prefix_lengths.absent() || !scores.row_lengths.absent() ||
          !scores.query_documents.absent());
}

// Whether all rows may see the same keys.
inline bool SameForAllRows(const AttentionRun& run) {
  return SameForAllRows(run.plan.params) && !LimitsByData(run);
}

// Whether all rows of a document may see the same keys; without documents, all
// rows.
inline bool SameWithinDocuments(const AttentionRun& run) {
  return SameForAllRows(run.plan.params) &&
         (!run.plan.shape.scores || run.args.scores.row_lengths.absent());
}

// The limits of rows of a sequence. Sinks and a prefix begin with the row's
// document: RowLimits::first. The keys of a document are looked up where the
// row before was of another.
class LimitsOfRows {
 public:
  LimitsOfRows(const AttentionRun& run, const Sequence& sequence)
      : run_(run), sequence_(sequence) {}

  RowLimits At(int64_t row);

 private:
  void KeepDocument(int64_t row, RowLimits* limits);

  const AttentionRun& run_;
  const Sequence& sequence_;
  bool looked_up_ = false;
  int32_t document_ = 0;
  int64_t first_ = 0, end_ = 0;  // its keys
};

// The same of a single row.
inline RowLimits LimitsOf(const AttentionRun& run, const Sequence& sequence,
                          int64_t row) {
  return LimitsOfRows(run, sequence).At(row);
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_ROW_LIMITS_H_
