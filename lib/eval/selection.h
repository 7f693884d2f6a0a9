// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The pairs that a variant kept: records them, counts them, and turns them into
// the mask with which the oracle repeats the run.
#ifndef HEED_LIB_EVAL_SELECTION_H_
#define HEED_LIB_EVAL_SELECTION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "heed/attention.h"
#include "heed/variant.h"

namespace heed::eval {

// A set of key positions of one row: sorted, disjoint, not touching.
using KeySet = std::vector<KeyInterval>;

// Returns ops::VisibleTo as a set: one interval, or two where sinks stand apart
// from the window.
KeySet VisibleKeySet(const AttentionParams& params, int64_t seqlen_q,
                     int64_t seqlen_k, int64_t row);

// Returns ops::VisiblePairs over all batches and heads.
double TotalVisiblePairs(const AttentionShape& shape,
                         const AttentionParams& params);

// Records one run. Rows may be recorded from any thread, one row from one
// thread.
class Selection {
 public:
  Selection(const AttentionParams& params, const AttentionShape& shape);

  // The recorder to hand to the variant. Points at this object.
  SelectionRecorder Recorder();

  // Ends recording: sorts and merges each row's intervals and cuts them to what
  // the masks leave. Returns "", or one sentence where an interval ran
  // backwards or left the tensors.
  std::string Finish();

  // After Finish. Pairs kept, over all batches and heads, and their share of
  // the visible pairs (1 where nothing is visible).
  double KeptPairs() const;
  double Density() const;
  // The latter of each query head.
  std::vector<double> HeadDensities() const;

  // After Finish. Key rows that some query head of their group kept for some
  // query row, over all batches and key heads: what must be read at least.
  double TouchedKeys() const;

  // After Finish. The keys kept by one row.
  const KeySet& Row(int64_t batch, int64_t head, int64_t query) const {
    return rows_[RowIndex(batch, head, query)];
  }

 private:
  size_t RowIndex(int64_t batch, int64_t head, int64_t query) const {
    return static_cast<size_t>(
        (batch * shape_.num_heads + head) * shape_.seqlen_q + query);
  }
  static void Keep(void* self, int64_t batch, int64_t head, int64_t query,
                   int64_t key_begin, int64_t key_end);

  AttentionParams params_;
  AttentionShape shape_;
  std::vector<KeySet> rows_;  // batch, head, query
  // One flag a row, so that rows stay independent across threads.
  std::vector<char> refused_;
  bool outside_ = false;  // a row that does not exist was recorded
};

// KeyIntervals for query rows [first, first + count) of every batch and head,
// with one list a row. Owns the arrays that View points at.
class SelectionMask {
 public:
  SelectionMask(const Selection& selection, const AttentionShape& shape,
                int64_t first, int64_t count);
  KeyIntervals View() const;

 private:
  std::vector<int64_t> offsets_;
  std::vector<KeyInterval> intervals_;
};

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_SELECTION_H_
