// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The comparison's promises, on variants that keep or break theirs: nothing
// wrong gets a time.
#include "lib/eval/compare.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "lib/io/input_error.h"
#include "tests/eval/compare_run.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

using eval::CompareOptions;
using eval::CompareResult;
using eval::DefaultSetting;
using eval::Gate;
using eval::RunCompare;
using eval::Setting;

Status RunExact(const VariantArgs& run) {
  return Real("exact").variant.run(run);
}

// `exact` with its run and its promise replaced.
Setting Promising(Semantics semantics, Status (*run)(const VariantArgs&)) {
  Setting setting = Broken("exact", run);
  setting.variant.variant.semantics = semantics;
  return setting;
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
      eval::DefaultSweep(eval::AllVariants(), source.layers[0].tensors.problem),
      options, nullptr);
  for (size_t i = 0; i < result.rows.size(); ++i) {
    EXPECT_EQ(result.rows[i].total.gate, Gate::kPassed)
        << FormatSetting(result.settings[i]) << result.rows[i].total.reason;
    EXPECT_GT(result.rows[i].median_seconds, 0);
    EXPECT_GT(result.rows[i].total.cost.flops, 0);
    EXPECT_GT(result.rows[i].total.cost.bytes, 0);
    EXPECT_LE(result.rows[i].total.density > 1, false);
  }
  EXPECT_TRUE(result.rows[0].total.rel_l2 < 1e-5);
  EXPECT_EQ(result.rows[0].total.density, 1);
  EXPECT_NEAR(result.rows[0].total.mass_mean, 1, 1e-5);
}

// References are asked for some rows at a time, which stand where they stood.
TEST(Compare, PassesVariantsThatKnowPlaces) {
  for (const char* problem : {"b1_h2_d16_q150_f32", "b1_h2_d16_q90_k130_f32",
                              "b1_h2_d16_q150_k60_f32_causal_off10"}) {
    const CompareResult result = Compare(
        {DefaultSetting(Real("aft")), DefaultSetting(Real("cosformer"))},
        problem);
    for (const auto& row : result.rows) {
      EXPECT_EQ(row.total.gate, Gate::kPassed)
          << problem << ": " << row.total.reason;
    }
  }
}

// Their references are of all rows, or of none.
TEST(Compare, PassesVariantsWithoutACausalForm) {
  std::vector<NamedVariant> variants = eval::AllVariants();
  std::erase_if(variants, [](const NamedVariant& named) {
    return !named.variant.non_causal;
  });
  ASSERT_FALSE(variants.empty());
  const char problem[] = "b1_h4_kv2_d16_q150_f32";
  std::vector<Setting> settings =
      eval::DefaultSweep(variants, ProblemOf(problem));
  EXPECT_GE(settings.size(), variants.size());
  const CompareResult result = Compare(settings, problem);
  for (size_t i = 0; i < result.rows.size(); ++i) {
    EXPECT_EQ(result.rows[i].total.gate, Gate::kPassed)
        << FormatSetting(result.settings[i]) << result.rows[i].total.reason;
  }
  EXPECT_TRUE(
      eval::DefaultSweep(variants, ProblemOf("b1_h4_kv2_d16_q150_f32_causal"))
          .empty());
}

TEST(Compare, FailsASmallErrorInOneRow) {
  const auto run = [](const VariantArgs& args) {
    const Status status = RunExact(args);
    Row(args.args.out, 33)[1] += 1e-4f;
    return status;
  };
  ExpectRed(Compare({Broken("exact", run)}), Gate::kFailed, "exceeds");
}

TEST(Compare, FailsNaNAndUnwrittenOutput) {
  const auto nan = [](const VariantArgs& args) {
    const Status status = RunExact(args);
    Row(args.args.out, 69)[0] = NAN;
    return status;
  };
  ExpectRed(Compare({Broken("exact", nan)}), Gate::kFailed, "not finite");
  const auto nothing = [](const VariantArgs&) { return Status(); };
  ExpectRed(Compare({Broken("exact", nothing)}), Gate::kFailed, "not written");
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
  ExpectRed(Compare({Promising(Semantics::kExactOnSelection, run)}),
            Gate::kFailed, "exceeds");
}

TEST(Compare, FailsAnOwnReferenceThatDiffers) {
  Setting setting = Promising(Semantics::kOwnReference, RunExact);
  ExpectRed(Compare({setting}), Gate::kFailed, "no reference");
  setting.variant.variant.reference = [](const VariantArgs& args, double* out) {
    const AttentionShape shape = ShapeOf(args.args);
    std::fill_n(
        out, shape.batch * shape.seqlen_q * shape.num_heads * shape.head_dim_v,
        1.0);
  };
  ExpectRed(Compare({setting}), Gate::kFailed, "own reference");
}

TEST(Compare, KeepsRefusalsApart) {
  const auto run = [](const VariantArgs& args) {
    VariantArgs wrong = args;
    wrong.params.softcap = NAN;
    return RunExact(wrong);
  };
  ExpectRed(Compare({Broken("exact", run)}), Gate::kRefused,
            "invalid argument: softcap");
}

// Two layers whose inputs differ: sums, maxima and means over them.
TEST(Compare, SummarisesLayers) {
  eval::TensorSource source =
      eval::MakeSynthetic("b1_h2_d8_q70_f32_causal", {});
  eval::WorkloadOptions other;
  other.seed = 99;
  eval::TensorSource second =
      eval::MakeSynthetic("b1_h2_d8_q70_f32_causal", other);
  source.layers.push_back(std::move(second.layers[0]));
  const CompareResult result =
      CompareOn(source, {DefaultSetting(Real("window_sink"))});
  ASSERT_EQ(result.layers.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    const auto& cells = result.cells[i];
    const eval::Measurement& total = result.rows[i].total;
    ASSERT_EQ(cells.size(), 2u);
    EXPECT_NE(cells[0].rel_l2, cells[1].rel_l2) << "the layers are the same";
    EXPECT_EQ(total.cost.flops, cells[0].cost.flops + cells[1].cost.flops);
    EXPECT_EQ(total.cost.bytes, cells[0].cost.bytes + cells[1].cost.bytes);
    EXPECT_EQ(total.workspace,
              std::max(cells[0].workspace, cells[1].workspace));
    EXPECT_EQ(total.max_abs, std::max(cells[0].max_abs, cells[1].max_abs));
    EXPECT_NEAR(total.rel_l2, (cells[0].rel_l2 + cells[1].rel_l2) / 2, 1e-12);
    EXPECT_NEAR(total.cosine, (cells[0].cosine + cells[1].cosine) / 2, 1e-12);
    ASSERT_EQ(total.seconds.size(), 3u);
    EXPECT_DOUBLE_EQ(total.seconds[1],
                     cells[0].seconds[1] + cells[1].seconds[1]);
  }
}

// A layer that fails makes the whole row red.
TEST(Compare, OneRedLayerIsEnough) {
  eval::TensorSource source =
      eval::MakeSynthetic("b1_h2_d8_q70_f32_causal", {});
  source.layers.push_back(
      std::move(eval::MakeSynthetic("b1_h2_d8_q60_f32_causal", {}).layers[0]));
  const auto run = [](const VariantArgs& args) {
    const Status status = RunExact(args);
    if (args.args.out.seqlen() == 60) Row(args.args.out, 33)[1] += 0.01f;
    return status;
  };
  ExpectRed(CompareOn(source, {Broken("exact", run)}), Gate::kFailed,
            "exceeds");
}

TEST(Compare, ThrowsWhereExactIsRefused) {
  EXPECT_THROW(Compare({}, "b1_h1_d0_q4"), io::InputError);
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
