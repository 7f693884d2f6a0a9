// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The comparison's promises, on variants that keep or break theirs: nothing
// wrong gets a time.
#include "lib/eval/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "lib/eval/input_error.h"

namespace heed::test {
namespace {

using eval::CompareOptions;
using eval::CompareResult;
using eval::DefaultSetting;
using eval::Gate;
using eval::RunCompare;
using eval::Setting;

NamedVariant Real(const std::string& name) {
  for (const NamedVariant& variant : eval::AllVariants()) {
    if (name == variant.name) return variant;
  }
  ADD_FAILURE() << "no variant " << name;
  return {};
}

// The variant `exact` with its run replaced.
Setting Broken(const char* name, Status (*run)(const VariantArgs&),
               Semantics semantics = Semantics::kExact) {
  NamedVariant variant = Real("exact");
  variant.name = name;
  variant.variant.run = run;
  variant.variant.semantics = semantics;
  return DefaultSetting(variant);
}

Status RunExact(const VariantArgs& run) {
  return Real("exact").variant.run(run);
}

float* Row(const VariantArgs& run, int64_t row) {
  char* data = static_cast<char*>(run.args.out.data);
  return reinterpret_cast<float*>(data + row * run.args.out.stride[1]);
}

CompareResult Compare(std::vector<Setting> settings,
                      const char* problem = "b1_h2_d8_q70_f32_causal") {
  CompareOptions options;
  options.repeats = 3;
  options.min_sample_seconds = 0;
  return RunCompare(eval::MakeSynthetic(problem, {}), std::move(settings),
                    options, nullptr);
}

// Expects the second row to be red, with a reason and without a time.
void ExpectRed(const CompareResult& result, Gate gate, const char* reason) {
  ASSERT_EQ(result.rows.size(), 2u);
  const eval::Summary& row = result.rows[1];
  EXPECT_EQ(row.total.gate, gate);
  EXPECT_TRUE(row.total.seconds.empty());
  EXPECT_TRUE(std::isnan(row.median_seconds));
  EXPECT_TRUE(std::isnan(row.speedup));
  EXPECT_FALSE(row.pareto);
  EXPECT_NE(row.total.reason.find(reason), std::string::npos)
      << row.total.reason;
}

TEST(Compare, PutsTheBaselineFirstAndOnce) {
  const Setting naive = DefaultSetting(Real("naive"));
  const Setting exact = DefaultSetting(Real("exact"));
  CompareResult result = Compare({naive, exact, naive});
  ASSERT_EQ(result.settings.size(), 2u);
  EXPECT_STREQ(result.settings[0].variant.name, "exact");
  result = Compare({naive});
  ASSERT_EQ(result.settings.size(), 2u);
  EXPECT_EQ(result.baseline, 0u);
  EXPECT_EQ(result.rows[0].speedup, 1);
  EXPECT_EQ(result.rows[0].total.seconds.size(), 3u);
}

TEST(Compare, PassesEveryVariantOfTheBuild) {
  const eval::TensorSource source =
      eval::MakeSynthetic("b1_h4_kv2_d16_q150_f32_causal", {});
  CompareOptions options;
  options.repeats = 1;
  const CompareResult result = RunCompare(
      source,
      DefaultSweep(eval::AllVariants(), source.layers[0].tensors.problem),
      options, nullptr);
  for (size_t i = 0; i < result.rows.size(); ++i) {
    EXPECT_EQ(result.rows[i].total.gate, Gate::kPassed)
        << FormatSetting(result.settings[i]) << result.rows[i].total.reason;
    EXPECT_GT(result.rows[i].median_seconds, 0);
    EXPECT_GT(result.rows[i].total.flops, 0);
    EXPECT_GT(result.rows[i].total.bytes, 0);
    EXPECT_LE(result.rows[i].total.density > 1, false);
  }
  EXPECT_TRUE(result.rows[0].total.rel_l2 < 1e-5);
  EXPECT_EQ(result.rows[0].total.density, 1);
  EXPECT_NEAR(result.rows[0].total.mass_mean, 1, 1e-5);
}

TEST(Compare, FailsASmallErrorInOneRow) {
  const auto run = [](const VariantArgs& args) {
    const Status status = RunExact(args);
    Row(args, 33)[1] += 1e-4f;
    return status;
  };
  ExpectRed(Compare({Broken("off", run)}), Gate::kFailed, "exceeds");
}

TEST(Compare, FailsNaNAndUnwrittenOutput) {
  const auto nan = [](const VariantArgs& args) {
    const Status status = RunExact(args);
    Row(args, 69)[0] = NAN;
    return status;
  };
  ExpectRed(Compare({Broken("nan", nan)}), Gate::kFailed, "not finite");
  const auto nothing = [](const VariantArgs&) { return Status(); };
  ExpectRed(Compare({Broken("nothing", nothing)}), Gate::kFailed,
            "not written");
}

TEST(Compare, FailsASelectionThatIsNotTheOneThatRan) {
  // Runs over everything and says that it kept each row's first key.
  const auto run = [](const VariantArgs& args) {
    const Status status = RunExact(args);
    for (int64_t head = 0; head < 2; ++head) {
      for (int64_t row = 0; row < 70; ++row) {
        args.selection.Keep(0, head, row, 0, 1);
      }
    }
    return status;
  };
  ExpectRed(Compare({Broken("liar", run, Semantics::kExactOnSelection)}),
            Gate::kFailed, "exceeds");
}

TEST(Compare, FailsAnOwnReferenceThatDiffers) {
  Setting setting = Broken("own", RunExact, Semantics::kOwnReference);
  ExpectRed(Compare({setting}), Gate::kFailed, "no reference");
  setting.variant.variant.reference = [](const VariantArgs& args, double* out) {
    const TensorView& view = args.args.out;
    for (int64_t i = 0;
         i < view.extent[0] * view.extent[1] * view.extent[2] * view.extent[3];
         ++i) {
      out[i] = 1;
    }
  };
  ExpectRed(Compare({setting}), Gate::kFailed, "own reference");
}

TEST(Compare, KeepsRefusalsApart) {
  const auto run = [](const VariantArgs& args) {
    VariantArgs wrong = args;
    wrong.params.softcap = NAN;
    return RunExact(wrong);
  };
  ExpectRed(Compare({Broken("refuses", run)}), Gate::kRefused,
            "refused: invalid argument: softcap");
}

TEST(Compare, ThrowsWhereExactIsRefused) {
  EXPECT_THROW(Compare({}, "b1_h1_d0_q4"), eval::InputError);
}

TEST(Compare, TellsProgressThatOnlyGrows) {
  std::vector<double> shares;
  CompareOptions options;
  options.repeats = 2;
  RunCompare(eval::MakeSynthetic("h1_d4_q9", {}), {}, options,
             [&shares](const eval::Progress& progress) {
               EXPECT_FALSE(progress.what.empty());
               shares.push_back(progress.share);
             });
  ASSERT_GE(shares.size(), 4u);
  for (size_t i = 1; i < shares.size(); ++i) {
    EXPECT_GE(shares[i], shares[i - 1]);
  }
  EXPECT_EQ(shares.front(), 0);
  EXPECT_LT(shares.back(), 1);
}

TEST(Compare, CountsRoundingErrorsAsEqual) {
  const CompareResult result = Compare({DefaultSetting(Real("naive"))});
  // Whichever is faster: one of two exact methods is on the frontier.
  EXPECT_EQ(result.rows[0].pareto + result.rows[1].pareto, 1);
}

}  // namespace
}  // namespace heed::test
