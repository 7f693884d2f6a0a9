// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The oracle's answer at some query rows, so that a result can be judged at any
// size for a bounded price.
#ifndef HEED_LIB_EVAL_TRUTH_H_
#define HEED_LIB_EVAL_TRUTH_H_

#include <cstdint>
#include <vector>

#include "heed/attention.h"
#include "heed/executor.h"
#include "lib/eval/metrics.h"
#include "lib/eval/selection.h"

namespace heed::eval {

// Query rows [first, first + count).
struct RowRun {
  int64_t first = 0;
  int64_t count = 0;
};

// Picks at most `max_rows` (at least 4) of `seqlen_q` rows, always the same:
// all of them in runs of up to 32, or else runs of four spread from the first
// row to the last, at uneven steps where there is room: even ones would always
// meet the same lanes of a vector kernel.
std::vector<RowRun> PickRows(int64_t seqlen_q, int64_t max_rows);

// Returns the number of rows in the runs.
int64_t CountRows(const std::vector<RowRun>& runs);

// Returns how many rows of a problem the oracle computes within about `flops`
// operations, at least `min_rows`.
int64_t AffordableRows(const AttentionShape& shape, double flops,
                       int64_t min_rows);

struct TruthRun {
  RowRun rows;
  std::vector<double> out;  // [batch][rows.count][num_heads][head_dim_v]
  std::vector<double> lse;  // [batch][rows.count][num_heads]
};

struct Truth {
  AttentionShape shape;
  std::vector<TruthRun> runs;
  // The largest error of textbook attention in float over the same rows, where
  // asked for; the yardstick of the tolerance.
  double plain_error = 0;
  double plain_lse_error = 0;
};

// Returns the same call for some of its query rows, at their place among the
// keys. Outputs are left out but for their type.
void CutRows(const RowRun& rows, AttentionParams* params, AttentionArgs* args);

// Computes the oracle's answer at these rows, and over `selection` where that
// is not null (finished, of the same problem). `yardstick` asks for the errors
// of the plain one too, which costs more than the answer.
Truth ComputeTruth(const AttentionParams& params, const AttentionArgs& args,
                   const std::vector<RowRun>& runs, const Selection* selection,
                   bool yardstick, const Executor& executor);

// Measures `out` against the truth at its rows.
ErrorMetrics MeasureError(const Truth& truth, const ConstTensorView& out);

// Returns |out - truth| / |truth| of each query row of each head by itself.
std::vector<double> RowErrors(const Truth& truth, const ConstTensorView& out);

// Measures the share of attention kept at the truth's rows by the lse of a
// variant.
MassMetrics MeasureMass(const Truth& truth, const ConstTensorView& lse);

// What one query head lost, over the batch.
struct HeadMetrics {
  ErrorMetrics error;
  MassMetrics mass;
};

// Measures the same for each query head by itself.
std::vector<HeadMetrics> MeasureHeads(const Truth& truth,
                                      const ConstTensorView& out,
                                      const ConstTensorView& lse);

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_TRUTH_H_
