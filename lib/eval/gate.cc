// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Gates by semantics.
#include "lib/eval/gate.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "heed/ops.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/workload.h"

namespace heed::eval {
namespace {

std::string Scientific(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2e", value);
  return text;
}

GateResult Judge(double error, double bound, const std::string& where) {
  GateResult result;
  result.error = error;
  result.bound = bound;
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

// How many leading tokens keep the reference affordable.
int64_t ReferenceTokens(const AttentionArgs& args) {
  const double per_pair =
      static_cast<double>(args.query.batch() * args.query.heads()) *
      static_cast<double>(args.query.head_dim() + args.value.head_dim());
  const double pairs = kReferenceOperations / std::max(per_pair, 1.0);
  return std::max<int64_t>(16, static_cast<int64_t>(std::sqrt(pairs)));
}

}  // namespace

double GateBound(double plain_error, double truth_max) {
  constexpr double kUlp = 0x1p-23;
  return 2 * plain_error + kGateFloorUlps * kUlp * truth_max;
}

GateResult CheckAgainstTruth(const Truth& truth, const ConstTensorView& out) {
  const ErrorMetrics error = MeasureError(truth, out);
  int64_t rows = 0;
  for (const TruthRun& run : truth.runs) rows += run.rows.count;
  return Judge(error.MaxAbs(), GateBound(truth.plain_error, error.TruthMax()),
               "on " + std::to_string(rows) + " of " +
                   std::to_string(truth.shape.seqlen_q) + " rows");
}

GateResult CheckAgainstReference(const Variant& variant,
                                 const VariantArgs& run) {
  GateResult refused;
  if (variant.reference == nullptr) {
    refused.reason = "the variant has no reference";
    return refused;
  }
  VariantArgs cut = run;
  cut.selection = SelectionRecorder();
  const int64_t tokens = ReferenceTokens(run.args);
  AttentionArgs& args = cut.args;
  args.query.extent[1] = std::min(args.query.extent[1], tokens);
  args.key.extent[1] = std::min(args.key.extent[1], tokens);
  args.value.extent[1] = args.key.extent[1];
  const int64_t rows = args.query.seqlen();
  const Tensor out = MakeTensor(args.query.batch(), rows, args.query.heads(),
                                args.value.head_dim(), Layout::kBshd);
  args.out = out.view;
  args.lse = TensorView();
  ScratchPool scratch;
  cut.scratch = scratch.Begin();
  if (const Status status = RunVariant(variant, cut); !status.ok()) {
    refused.reason = "refused the check: " + ToString(status);
    return refused;
  }
  const std::vector<float> got = out.Dense();
  std::vector<double> expected(got.size());
  variant.reference(cut, expected.data());
  ErrorMetrics error;
  for (size_t i = 0; i < got.size(); ++i) error.Add(got[i], expected[i]);
  return Judge(error.MaxAbs(), kGateReference * error.TruthMax(),
               "against its own reference on the first " +
                   std::to_string(rows) + " rows");
}

}  // namespace heed::eval
