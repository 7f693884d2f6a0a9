// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Gates by semantics.
#include "lib/eval/gate.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "lib/oracle/element.h"

namespace heed::eval {
namespace {

std::string Scientific(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2e", value);
  return text;
}

// Twice the yardstick plus the floor; more where the yardstick is of few rows.
double Bound(const Truth& yardstick, double truth_max) {
  constexpr double kUlp = 0x1p-23;
  int64_t rows = 0;
  for (const TruthRun& run : yardstick.runs) rows += run.rows.count;
  return (rows < kGateFewRows ? kGateOtherRows : 1) *
         (2 * yardstick.plain_error + kGateFloorUlps * kUlp * truth_max);
}

GateResult Verdict(double error, double bound, const std::string& where) {
  GateResult result;
  // Written so that a NaN does not pass.
  result.passed = error <= bound;
  if (std::isnan(error)) {
    result.reason =
        "the output is not finite, or was not written, where the "
        "reference is finite (" +
        where + ")";
  } else {
    result.reason = "largest error " + Scientific(error) +
                    (result.passed ? " within " : " exceeds ") +
                    Scientific(bound) + ", " + where;
  }
  return result;
}

std::string OnRows(const Truth& truth) {
  int64_t rows = 0;
  for (const TruthRun& run : truth.runs) rows += run.rows.count;
  return "on " + std::to_string(rows) + " of " +
         std::to_string(truth.shape.seqlen_q) + " rows";
}

// The largest distance of lse; infinite where a row without keys is not -inf.
double LseError(const Truth& truth, const ConstTensorView& lse) {
  double largest = 0;
  for (const TruthRun& run : truth.runs) {
    const double* expected = run.lse.data();
    for (int64_t b = 0; b < truth.shape.batch; ++b) {
      for (int64_t s = 0; s < run.rows.count; ++s) {
        for (int64_t h = 0; h < truth.shape.num_heads; ++h, ++expected) {
          const double got =
              oracle::ElementAt(lse, b, run.rows.first + s, h, 0);
          const double error =
              got == *expected ? 0 : std::fabs(got - *expected);
          if (!(error <= largest)) largest = error;
          if (std::isnan(largest)) return largest;
        }
      }
    }
  }
  return largest;
}

double Operations(const AttentionShape& shape, int64_t rows) {
  return static_cast<double>(shape.batch * shape.num_heads) *
         static_cast<double>(rows) * static_cast<double>(shape.seqlen_k) *
         static_cast<double>(shape.head_dim + shape.head_dim_v);
}

struct ReferenceJob {
  const Variant& variant;
  const VariantArgs& run;
  const std::vector<RowRun>& rows;
  Executor executor;                     // of each reference
  std::vector<std::vector<double>> out;  // of each run of rows
};

void ComputeReference(void* ctx, int64_t i, int /*worker*/) {
  ReferenceJob& job = *static_cast<ReferenceJob*>(ctx);
  const size_t index = static_cast<size_t>(i);
  VariantArgs cut = job.run;
  cut.selection = SelectionRecorder();
  cut.executor = job.executor;
  CutRows(job.rows[index], &cut.params, &cut.args);
  const AttentionArgs& args = cut.args;
  job.out[index].resize(
      static_cast<size_t>(args.query.batch() * args.query.seqlen() *
                          args.query.heads() * args.value.head_dim()));
  job.variant.reference(cut, job.out[index].data());
}

}  // namespace

Judge::Judge(const AttentionParams& params, const AttentionArgs& args,
             std::vector<RowRun> measured, std::vector<RowRun> yardstick,
             const Executor& executor)
    : params_(params),
      args_(args),
      measured_(std::move(measured)),
      yardstick_(std::move(yardstick)),
      executor_(executor),
      exact_(Compute(nullptr)) {}

Judge::Truths Judge::Compute(const Selection* selection) const {
  return {ComputeTruth(params_, args_, measured_, selection, false, executor_),
          ComputeTruth(params_, args_, yardstick_, selection, true, executor_)};
}

GateResult Judge::Check(const Variant& variant, const VariantArgs& run,
                        Selection* selection) const {
  GateResult result;
  switch (variant.semantics) {
    case Semantics::kExact:
      result = CheckSoftmax(exact_, nullptr);
      result.density = 1;
      break;
    case Semantics::kExactOnSelection:
      result.reason = selection->Finish();
      if (!result.reason.empty()) break;
      result = CheckSoftmax(Compute(selection), selection);
      result.density = selection->Density();
      break;
    case Semantics::kOwnReference:
      result = CheckOwnReference(variant, run);
      break;
  }
  return result;
}

GateResult Judge::CheckSoftmax(Truths truths,
                               const Selection* selection) const {
  const GateResult result = CheckRows(truths);
  if (result.passed) return result;
  // Where scores are peaked, a few rows hold the largest errors of every
  // implementation, and the yardstick may have missed them: only what looks
  // wrong pays for a yardstick at all measured rows.
  truths.yardstick =
      ComputeTruth(params_, args_, measured_, selection, true, executor_);
  return CheckRows(truths);
}

GateResult Judge::CheckRows(const Truths& truths) const {
  const ErrorMetrics near = MeasureError(truths.yardstick, args_.out);
  const double bound = Bound(truths.yardstick, near.TruthMax());
  GateResult result = Verdict(near.MaxAbs(), bound, OnRows(truths.yardstick));
  if (!result.passed) return result;
  // The other measured rows have no yardstick of their own.
  const double far = MeasureError(truths.measured, args_.out).MaxAbs();
  if (!(far <= kGateOtherRows * bound)) {
    return Verdict(far, kGateOtherRows * bound, OnRows(truths.measured));
  }
  if (args_.lse.absent()) return result;
  const double lse = LseError(truths.measured, args_.lse);
  const double lse_bound = kGateLse + 2 * truths.yardstick.plain_lse_error;
  if (!(lse <= lse_bound)) {
    return Verdict(lse, lse_bound, "lse " + OnRows(truths.measured));
  }
  return result;
}

GateResult Judge::CheckOwnReference(const Variant& variant,
                                    const VariantArgs& run) const {
  GateResult result;
  if (variant.reference == nullptr) {
    result.reason = "the variant has no reference";
    return result;
  }
  const AttentionShape& shape = exact_.measured.shape;
  const std::vector<RowRun> every = {{0, shape.seqlen_q}};
  const bool all =
      Operations(shape, CountRows(measured_)) <= kReferenceOperations;
  ReferenceJob job{variant,
                   run,
                   variant.reference_of_all_rows ? every
                   : all                         ? measured_
                                                 : yardstick_,
                   variant.reference_of_all_rows ? executor_ : SerialExecutor(),
                   {}};
  job.out.resize(job.rows.size());
  // The reference of a whole call is what runs in parallel, or its runs of rows
  // are.
  const Executor& outer =
      variant.reference_of_all_rows ? SerialExecutor() : executor_;
  outer.parallel_for(outer.self, static_cast<int64_t>(job.rows.size()), &job,
                     &ComputeReference);
  Truth truth;
  truth.shape = shape;
  for (size_t i = 0; i < job.rows.size(); ++i) {
    truth.runs.push_back({job.rows[i], std::move(job.out[i]), {}});
  }
  const ErrorMetrics error = MeasureError(truth, args_.out);
  return Verdict(error.MaxAbs(), kGateReference * error.TruthMax(),
                 "against its own reference " + OnRows(truth));
}

}  // namespace heed::eval
