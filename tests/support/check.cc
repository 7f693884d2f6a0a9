// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/check.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "lib/oracle/oracle.h"
#include "tests/support/targets.h"
#include "tests/support/thread_executor.h"

namespace heed::test {

Checker::Checker(const std::string& target, const AttentionParams& params,
                 const eval::Tensors& tensors,
                 const KeyIntervals& key_intervals)
    : target_(target),
      params_(params),
      tensors_(tensors),
      key_intervals_(key_intervals) {
  if (!HasSameBits(target)) {
    truth_ = std::make_unique<Truth>(params, Args());
    return;
  }
  const TensorView& out = tensors.out.view;
  want_out_ =
      eval::MakeTensor(out.batch(), out.seqlen(), out.heads(), out.head_dim(),
                       eval::Layout::kBshd, 0, out.dtype);
  want_lse_ = eval::MakeTensor(out.batch(), out.seqlen(), out.heads(), 1,
                               eval::Layout::kBshd);
  AttentionArgs args = Args();
  args.out = want_out_.view;
  args.lse = want_lse_.view;
  oracle::AttentionBits(params, args);
}

AttentionArgs Checker::Args() const {
  AttentionArgs args = tensors_.Args();
  args.key_intervals = key_intervals_;
  return args;
}

::testing::AssertionResult Checker::Matches(const eval::Tensor& out,
                                            const eval::Tensor& lse) const {
  if (truth_ != nullptr) return truth_->Near(out, lse);
  ::testing::AssertionResult result = SameBits(out, want_out_);
  if (!result) return result << " (out)";
  result = SameBits(lse, want_lse_);
  return result ? result : result << " (lse)";
}

void Checker::Check(const RunConfig& config) const {
  if (config.workers == 1) {
    Check(config, SerialExecutor());
  } else {
    ThreadExecutor threads(config.workers);
    Check(config, threads);
  }
}

void Checker::Check(const RunConfig& config, const Executor& executor) const {
  SCOPED_TRACE(config.Text() + ", " + io::FormatProblem(tensors_.problem));
  tensors_.ClearOutput();
  const Status status = RunOn(config, params_, Args(), executor);
  ASSERT_TRUE(status.ok()) << ToString(status);
  EXPECT_TRUE(Matches(tensors_.out, tensors_.lse));
  EXPECT_TRUE(tensors_.out.PaddingIntact()) << "written outside out";
  EXPECT_TRUE(tensors_.lse.PaddingIntact()) << "written outside lse";
  CheckWithoutLse(config, executor);
}

void Checker::CheckWithoutLse(const RunConfig& config,
                              const Executor& executor) const {
  const eval::Tensor with_lse =
      eval::MakeTensor(tensors_.lse.view.batch(), tensors_.lse.view.seqlen(),
                       tensors_.lse.view.heads(), 1, eval::Layout::kBshd);
  for (int64_t b = 0; b < with_lse.view.batch(); ++b) {
    for (int64_t s = 0; s < with_lse.view.seqlen(); ++s) {
      for (int64_t h = 0; h < with_lse.view.heads(); ++h) {
        *with_lse.At(b, s, h) = *tensors_.lse.At(b, s, h);
      }
    }
  }
  tensors_.ClearOutput();
  AttentionArgs args = Args();
  args.lse = TensorView();
  const Status status = RunOn(config, params_, args, executor);
  ASSERT_TRUE(status.ok()) << ToString(status);
  EXPECT_TRUE(Matches(tensors_.out, with_lse)) << "without lse";
  EXPECT_TRUE(Untouched(tensors_.lse));
}

void CheckProblem(const std::string& target, const std::string& problem,
                  const eval::WorkloadOptions& options) {
  const io::Problem parsed = ProblemOf(problem);
  const eval::Tensors tensors = eval::MakeTensors(parsed, options);
  const Checker checker(target, parsed.params, tensors);
  const size_t hash = std::hash<std::string>()(problem);
  static constexpr int kWorkers[] = {1, 2, 3};
  static constexpr int kLaneGroups[] = {0, 1, 2, 4};
  checker.Check(RunConfig{target, kLaneGroups[(hash >> 8) % 4],
                          kWorkers[(hash >> 16) % 3]});
}

}  // namespace heed::test
