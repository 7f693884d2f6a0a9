// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What every variant must compute, by its semantics. Nothing here knows any
// variant by name.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "lib/eval/selection.h"
#include "tests/support/compare.h"
#include "tests/support/quick.h"
#include "tests/support/run.h"
#include "tests/support/thread_executor.h"
#include "tests/variants/variant_run.h"

namespace heed::test {
namespace {

// Root mean square of the error over that of the reference: f32 arithmetic in
// another order, with sums of a few hundred terms.
constexpr double kReferenceError = 1e-5;

// Odd extents, no and one query or key, GQA, head_dim_v of its own, rows before
// the first key and beyond the last.
const char* const kPlainProblems[] = {
    "b2_h3_d7_q17",
    "b1_h2_d16_q17_causal",
    "b1_h4_kv2_d33_dv9_q17_k40_causal",
    "b1_h3_kv1_d64_dv80_q130_k130_causal",
    "b1_h2_kv1_d8_dv65_q200_k333",
    "b2_h6_kv2_d1_q1_k17",
    "b1_h2_d5_q1_k70_causal",
    "b1_h2_d5_q0_k17",
    "b1_h2_d5_q17_k0",
    "b1_h2_d5_q17_k1",
    "b0_h2_d5_q17",
    "b1_h2_d5_dv0_q17",
    "b1_h2_d5_q40_k17_causal",
    "b1_h2_d5_q20_k150_causal_off30",
    "b1_h2_d5_q20_k30_causal_off25",
    "b1_h2_kv1_d16_q300_causal_scale-0.5",
};
// What a variant may refuse as unsupported.
const char* const kMaskedProblems[] = {
    "b1_h2_d16_q65_k97_causal_wl20_sink4",
    "b1_h2_d16_q65_k97_wl9_wr30_sink4",
    "b1_h2_d16_q65_k97_wl30",
    "b1_h2_d16_q90_k40_wl3_wr3",
    "b1_h4_kv2_d16_q130_causal_cap5",
};

std::vector<std::string> AllProblems() {
  std::vector<std::string> all(std::begin(kPlainProblems),
                               std::end(kPlainProblems));
  all.insert(all.end(), std::begin(kMaskedProblems), std::end(kMaskedProblems));
  return all;
}

class VariantResult : public VariantTest {};
class VariantThatSelects : public VariantTest {};

std::vector<VariantCase> CasesThatSelect() {
  std::vector<VariantCase> cases = AllVariantCases();
  std::erase_if(cases, [](const VariantCase& param) {
    return param.variant.variant.semantics != Semantics::kExactOnSelection;
  });
  return cases;
}

void ExpectNearReference(const Variant& variant, const VariantArgs& args,
                         const eval::Tensor& out) {
  const std::vector<float> got = out.Dense();
  std::vector<double> want(got.size());
  variant.reference(args, want.data());
  double error = 0;
  double norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double distance = static_cast<double>(got[i]) - want[i];
    error += distance * distance;
    norm += want[i] * want[i];
  }
  EXPECT_LE(std::sqrt(error), kReferenceError * std::sqrt(norm));
}

// Runs one problem at one setting and holds the result to its semantics.
void CheckRun(const Variant& variant, const eval::Tensors& tensors,
              const Setting& setting, bool may_refuse) {
  tensors.ClearOutput();
  VariantArgs args = ArgsOf(tensors, setting);
  eval::Selection selection(args.params, ShapeOf(args.args));
  args.selection = selection.Recorder();
  ThreadExecutor threads(3);
  args.executor = threads;
  const Status status = RunGuarded(variant, args);
  if (may_refuse && status.code() == StatusCode::kUnsupported) {
    EXPECT_STRNE(status.message(), "");
    EXPECT_TRUE(Untouched(tensors.out));
    EXPECT_TRUE(Untouched(tensors.lse));
    return;
  }
  ASSERT_TRUE(status.ok()) << ToString(status);
  EXPECT_TRUE(tensors.out.PaddingIntact());
  EXPECT_TRUE(tensors.lse.PaddingIntact());
  switch (variant.semantics) {
    case Semantics::kExact: {
      const Truth truth(args.params, args.args);
      EXPECT_TRUE(truth.Near(tensors.out, tensors.lse));
      break;
    }
    case Semantics::kExactOnSelection: {
      ASSERT_EQ(selection.Finish(), "");
      const AttentionShape shape = ShapeOf(args.args);
      const eval::SelectionMask mask(selection, shape, 0, shape.seqlen_q);
      args.args.key_intervals = mask.View();
      const Truth truth(args.params, args.args);
      EXPECT_TRUE(truth.Near(tensors.out, tensors.lse));
      break;
    }
    case Semantics::kOwnReference:
      ExpectNearReference(variant, args, tensors.out);
      break;
  }
}

TEST_P(VariantResult, HoldsItsSemantics) {
  eval::WorkloadOptions options;
  const size_t plain = std::size(kPlainProblems);
  const std::vector<std::string> problems = AllProblems();
  for (size_t i = 0; i < problems.size(); ++i) {
    if (!IsForTable(i)) continue;
    options.layout = static_cast<eval::Layout>(i % 4);
    options.misalign = static_cast<int>(i % 3);
    const eval::Tensors tensors =
        eval::MakeTensors(ProblemOf(problems[i]), options);
    size_t turn = i / 3;  // quick: a third of the settings for each problem
    for (const Setting& setting : SettingsOf(variant())) {
      if (Quick() && turn++ % 3 != 0) continue;
      SCOPED_TRACE(problems[i] + " with knobs at " + setting.name);
      CheckRun(variant(), tensors, setting, i >= plain);
    }
  }
}

// Alone, with lists made for it alone.
TEST_P(VariantThatSelects, SelectsForEachSequenceAsIfAlone) {
  const eval::Tensors both =
      eval::MakeTensors(ProblemOf("b2_h4_kv2_d16_q70_k200_causal"), {});
  size_t turn = 0;
  for (const Setting& setting : SettingsOf(variant())) {
    if (!IsForTable(turn++)) continue;
    SCOPED_TRACE(setting.name);
    const VariantArgs args = ArgsOf(both, setting);
    ASSERT_TRUE(RunGuarded(variant(), args).ok());
    const std::vector<float> together = both.out.Dense();
    for (int64_t b = 0; b < 2; ++b) {
      VariantArgs alone = args;
      const auto only = [&](auto view) {
        view.data = RowAt(view, b, 0, 0);
        view.extent[0] = 1;
        return view;
      };
      alone.args.query = only(alone.args.query);
      alone.args.key = only(alone.args.key);
      alone.args.value = only(alone.args.value);
      alone.args.out = only(alone.args.out);
      alone.args.lse = TensorView();
      ASSERT_TRUE(RunGuarded(variant(), alone).ok());
      EXPECT_TRUE(both.out.Dense() == together) << "sequence " << b;
    }
  }
}

class VariantWithExactKnobs : public VariantTest {};

std::vector<VariantCase> CasesWithExactKnobs() {
  std::vector<VariantCase> cases = AllVariantCases();
  std::erase_if(cases, [](const VariantCase& param) {
    Setting setting;
    return !ExactSetting(param.variant.variant, &setting);
  });
  return cases;
}

TEST_P(VariantWithExactKnobs, IsExactAtThem) {
  Setting setting;
  ASSERT_TRUE(ExactSetting(variant(), &setting));
  const std::vector<std::string> problems = AllProblems();
  for (size_t i = 0; i < problems.size(); ++i) {
    if (!IsForTable(i)) continue;
    const std::string& problem = problems[i];
    SCOPED_TRACE(problem);
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(problem), {});
    const VariantArgs args = ArgsOf(tensors, setting);
    const Status status = RunGuarded(variant(), args);
    if (status.code() == StatusCode::kUnsupported) continue;
    ASSERT_TRUE(status.ok()) << ToString(status);
    const Truth truth(args.params, args.args);
    EXPECT_TRUE(truth.Near(tensors.out, tensors.lse));
  }
}

// What selects and keeps everything is this library's exact kernel.
TEST_P(VariantWithExactKnobs, HasTheBitsOfExactWhereItSelects) {
  if (variant().semantics != Semantics::kExactOnSelection) {
    GTEST_SKIP() << "does not select";
  }
  Setting setting;
  ASSERT_TRUE(ExactSetting(variant(), &setting));
  const std::vector<std::string> problems = AllProblems();
  for (size_t i = 0; i < problems.size(); ++i) {
    if (!IsForTable(i)) continue;
    const std::string& problem = problems[i];
    SCOPED_TRACE(problem);
    const eval::Tensors kept = eval::MakeTensors(ProblemOf(problem), {});
    const eval::Tensors dense = eval::MakeTensors(ProblemOf(problem), {});
    if (RunGuarded(variant(), ArgsOf(kept, setting)).code() ==
        StatusCode::kUnsupported) {
      continue;
    }
    GuardedScratch scratch;
    VariantArgs args = ArgsOf(dense, setting);
    args.scratch = scratch.get();
    ASSERT_TRUE(ops::Attend(args.params, args.args, args).ok());
    EXPECT_TRUE(SameBits(kept.out, dense.out));
    EXPECT_TRUE(SameBits(kept.lse, dense.lse));
  }
}

// What the thread sanitizer is for: all of it on every table.
TEST_P(VariantResult, HasTheSameBitsForAnyWorkers) {
  for (const char* problem :
       {"b2_h4_kv2_d20_q100_k130_causal", "b1_h3_d16_q77_k200"}) {
    for (const Setting& setting : SettingsOf(variant())) {
      SCOPED_TRACE(std::string(problem) + " with knobs at " + setting.name);
      const eval::Tensors one = eval::MakeTensors(ProblemOf(problem), {});
      const eval::Tensors other = eval::MakeTensors(ProblemOf(problem), {});
      ASSERT_TRUE(RunGuarded(variant(), ArgsOf(one, setting)).ok());
      VariantArgs args = ArgsOf(other, setting);
      ThreadExecutor three(3);
      BackwardExecutor backward(2);
      for (const Executor& executor : {Executor(three), Executor(backward)}) {
        other.ClearOutput();
        args.executor = executor;
        ASSERT_TRUE(RunGuarded(variant(), args).ok());
        EXPECT_TRUE(SameBits(other.out, one.out));
        EXPECT_TRUE(SameBits(other.lse, one.lse));
      }
    }
  }
}

TEST_P(VariantResult, DoesNotNeedLse) {
  const io::Problem problem = ProblemOf("b1_h2_d16_q50_causal");
  const eval::Tensors with = eval::MakeTensors(problem, {});
  const eval::Tensors without = eval::MakeTensors(problem, {});
  const Setting setting = SettingsOf(variant()).front();
  ASSERT_TRUE(RunGuarded(variant(), ArgsOf(with, setting)).ok());
  VariantArgs args = ArgsOf(without, setting);
  args.args.lse = TensorView();
  ASSERT_TRUE(RunGuarded(variant(), args).ok());
  EXPECT_TRUE(SameBits(without.out, with.out));
  EXPECT_TRUE(Untouched(without.lse));
}

// Keys and values from `first` on become NaN; rows that stand before it must
// not notice. (Where selection looks ahead, that no such pair is attended to is
// what HoldsItsSemantics checks.)
TEST_P(VariantResult, DoesNotSeeTheFuture) {
  if (variant().selects_ahead) GTEST_SKIP() << "selects by what comes later";
  if (variant().non_causal) GTEST_SKIP() << "has no causal form";
  const io::Problem problem = ProblemOf("b1_h2_kv1_d16_q90_k110_causal");
  const int64_t offset = 20;
  size_t turn = 0;
  for (const Setting& setting : SettingsOf(variant())) {
    for (const int64_t first : {int64_t{21}, int64_t{64}, int64_t{100}}) {
      if (!IsForTable(turn++)) continue;
      SCOPED_TRACE(setting.name + ", keys from " + std::to_string(first));
      const eval::Tensors clean = eval::MakeTensors(problem, {});
      const eval::Tensors poisoned = eval::MakeTensors(problem, {});
      for (int64_t key = first; key < 110; ++key) {
        for (int64_t c = 0; c < 16; ++c) {
          *poisoned.key.At(0, key, 0, c) = NAN;
          *poisoned.value.At(0, key, 0, c) = NAN;
        }
      }
      ASSERT_TRUE(RunGuarded(variant(), ArgsOf(clean, setting)).ok());
      ASSERT_TRUE(RunGuarded(variant(), ArgsOf(poisoned, setting)).ok());
      for (int64_t row = 0; row + offset < first && row < 90; ++row) {
        for (int64_t h = 0; h < 2; ++h) {
          for (int64_t c = 0; c < 16; ++c) {
            ASSERT_EQ(CanonicalBits(*poisoned.out.At(0, row, h, c)),
                      CanonicalBits(*clean.out.At(0, row, h, c)))
                << "row " << row << " head " << h;
          }
        }
      }
    }
  }
}

// Values that no row of a group keeps become NaN: no bit may change. (Values
// choose nothing.)
TEST_P(VariantThatSelects, DoesNotReadValuesThatItLeavesOut) {
  const io::Problem problem = ProblemOf("b2_h4_kv2_d16_q3_k150_causal");
  size_t turn = 0;
  for (const Setting& setting : SettingsOf(variant())) {
    if (!IsForTable(turn++)) continue;
    SCOPED_TRACE("knobs at " + setting.name);
    const eval::Tensors clean = eval::MakeTensors(problem, {});
    const eval::Tensors poisoned = eval::MakeTensors(problem, {});
    VariantArgs args = ArgsOf(clean, setting);
    eval::Selection selection(args.params, problem.shape);
    args.selection = selection.Recorder();
    ASSERT_TRUE(RunGuarded(variant(), args).ok());
    ASSERT_EQ(selection.Finish(), "");
    for (int64_t b = 0; b < 2; ++b) {
      for (int64_t kv = 0; kv < 2; ++kv) {
        std::vector<bool> kept(150);
        for (int64_t i = 0; i < 6; ++i) {
          for (const KeyInterval& at : selection.Row(b, 2 * kv + i % 2, i / 2))
            std::fill(kept.begin() + at.begin, kept.begin() + at.end, true);
        }
        for (int64_t key = 0; key < 150; ++key) {
          if (kept[static_cast<size_t>(key)]) continue;
          for (int64_t c = 0; c < 16; ++c) {
            *poisoned.value.At(b, key, kv, c) = NAN;
          }
        }
      }
    }
    ASSERT_TRUE(RunGuarded(variant(), ArgsOf(poisoned, setting)).ok());
    EXPECT_TRUE(SameBits(poisoned.out, clean.out));
    EXPECT_TRUE(SameBits(poisoned.lse, clean.lse));
  }
}

HEED_ON_EVERY_VARIANT(VariantResult);
HEED_ON_VARIANT_CASES(VariantThatSelects, CasesThatSelect());
HEED_ON_VARIANT_CASES(VariantWithExactKnobs, CasesWithExactKnobs());

}  // namespace
}  // namespace heed::test
