// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// How every variant must behave towards its caller. Nothing here knows any
// variant by name.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "lib/eval/selection.h"
#include "tests/support/compare.h"
#include "tests/support/run.h"
#include "tests/variants/variant_run.h"

namespace heed::test {
namespace {

class VariantConformance : public VariantTest {
 protected:
  Setting Defaults() const { return SettingsOf(variant()).front(); }
};

bool IsName(const std::string& text) {
  const auto lower = [](char c) { return c >= 'a' && c <= 'z'; };
  for (const char c : text) {
    if (!lower(c) && c != '_' && !(c >= '0' && c <= '9')) return false;
  }
  return !text.empty() && lower(text[0]);
}

TEST(VariantList, IsSortedAndEndsWithNull) {
  for (int i = 1; i < NumVariants(); ++i) {
    EXPECT_LT(std::strcmp(GetVariant(i - 1).name, GetVariant(i).name), 0);
  }
  EXPECT_EQ(GetVariant(NumVariants()).name, nullptr);
  EXPECT_EQ(GetVariant(-1).name, nullptr);
}

TEST_P(VariantConformance, DescribesItself) {
  EXPECT_TRUE(IsName(GetParam().variant.name));
  EXPECT_STRNE(variant().summary, "");
  EXPECT_STRNE(variant().paper, "");
  EXPECT_NE(variant().run, nullptr);
  EXPECT_NE(variant().cost, nullptr);
  EXPECT_EQ(variant().reference != nullptr,
            variant().semantics == Semantics::kOwnReference);
}

TEST_P(VariantConformance, HasSoundKnobs) {
  ASSERT_GE(variant().num_knobs, 0);
  ASSERT_LE(variant().num_knobs, kMaxKnobs);
  std::set<std::string> names;
  for (int i = 0; i < variant().num_knobs; ++i) {
    const Knob& knob = variant().knobs[i];
    SCOPED_TRACE(knob.name);
    EXPECT_TRUE(IsName(knob.name));
    EXPECT_TRUE(names.insert(knob.name).second) << "twice";
    EXPECT_STRNE(knob.summary, "");
    EXPECT_TRUE(std::isfinite(knob.min) && std::isfinite(knob.max));
    const auto sound = [&](double value) {
      return value >= knob.min && value <= knob.max &&
             (!knob.integer || value == std::floor(value));
    };
    EXPECT_TRUE(sound(knob.min) && sound(knob.max));
    EXPECT_TRUE(sound(knob.default_value));
    EXPECT_TRUE(!knob.has_exact || sound(knob.exact_value));
  }
}

TEST_P(VariantConformance, EstimatesCost) {
  size_t turn = 0;
  for (const char* text :
       {"b1_h4_kv2_d16_q512_causal", "b2_h2_d64_dv32_q1_k1000",
        "b1_h1_d1_q1_k1", "b1_h2_d16_q300_causal_wl10_sink2"}) {
    const io::Problem problem = ProblemOf(text);
    for (const Setting& setting : SettingsOf(variant())) {
      if (!IsForTable(turn++)) continue;
      SCOPED_TRACE(std::string(text) + " with knobs at " + setting.name);
      const Cost cost =
          variant().cost(problem.shape, problem.params, setting.knobs);
      EXPECT_TRUE(std::isfinite(cost.flops));
      EXPECT_TRUE(std::isfinite(cost.bytes));
      EXPECT_GT(cost.flops, 0);
      EXPECT_GT(cost.bytes, 0);
    }
  }
}

// A variant that computes softmax attention spends at least the two products
// over the pairs that it kept, and not many times that.
TEST_P(VariantConformance, CountsTheWorkItDoes) {
  if (variant().semantics == Semantics::kOwnReference) return;
  const bool selects = variant().semantics == Semantics::kExactOnSelection;
  size_t turn = 0;
  for (const char* text :
       {"b1_h4_kv2_d16_q200_k300_causal", "b2_h2_d32_dv48_q40_k500",
        "b1_h2_d16_q300_causal_wl10_sink2"}) {
    const io::Problem problem = ProblemOf(text);
    const eval::Tensors tensors = eval::MakeTensors(problem, {});
    const AttentionShape& shape = problem.shape;
    for (const Setting& setting : SettingsOf(variant())) {
      if (!IsForTable(turn++)) continue;
      SCOPED_TRACE(std::string(text) + " with knobs at " + setting.name);
      VariantArgs args = ArgsOf(tensors, setting);
      eval::Selection selection(args.params, shape);
      if (selects) args.selection = selection.Recorder();
      if (!RunGuarded(variant(), args).ok()) continue;  // not served
      double density = 1;
      if (selects) {
        ASSERT_EQ(selection.Finish(), "");
        density = selection.Density();
      }
      const double pairs = eval::TotalVisiblePairs(shape, problem.params);
      const double least =
          2 * density * pairs *
          static_cast<double>(shape.head_dim + shape.head_dim_v);
      const Cost cost = variant().cost(shape, problem.params, setting.knobs);
      EXPECT_GE(cost.flops, least * (1 - 1e-9));
      EXPECT_LE(cost.flops,
                2 * static_cast<double>(shape.seqlen_q) *
                    static_cast<double>(shape.seqlen_k) *
                    static_cast<double>(shape.batch * shape.num_heads) * 2 *
                    static_cast<double>(shape.head_dim + shape.head_dim_v));
      // Every query and output row is touched.
      EXPECT_GE(cost.bytes,
                4.0 *
                    static_cast<double>(shape.batch * shape.num_heads *
                                        shape.seqlen_q) *
                    static_cast<double>(shape.head_dim + shape.head_dim_v));
    }
  }
}

// These two compute just the pairs that they keep.
TEST(VariantCost, IsThePairsKept) {
  const io::Problem problem = ProblemOf("b2_h4_kv2_d16_dv24_q200_k300_causal");
  const AttentionShape& shape = problem.shape;
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  int found = 0;
  for (const NamedVariant& named : eval::AllVariants()) {
    const bool window = std::strcmp(named.name, "window_sink") == 0;
    if (!window && std::strcmp(named.name, "exact") != 0) continue;
    ++found;
    for (const Setting& setting : SettingsOf(named.variant)) {
      VariantArgs args = ArgsOf(tensors, setting);
      eval::Selection selection(args.params, shape);
      if (window) args.selection = selection.Recorder();
      ASSERT_TRUE(RunGuarded(named.variant, args).ok());
      double density = 1;
      if (window) {
        ASSERT_EQ(selection.Finish(), "");
        density = selection.Density();
      }
      const double flops =
          2 * density * eval::TotalVisiblePairs(shape, problem.params) *
          static_cast<double>(shape.head_dim + shape.head_dim_v);
      EXPECT_NEAR(
          named.variant.cost(shape, problem.params, setting.knobs).flops, flops,
          1e-9 * flops)
          << named.name << " with knobs at " << setting.name;
    }
  }
  EXPECT_EQ(found, 2);
}

void ExpectRefused(const Variant& variant, const VariantArgs& args,
                   const eval::Tensors& tensors, const char* argument) {
  const Status status = RunGuarded(variant, args);
  EXPECT_FALSE(status.ok());
  EXPECT_STREQ(status.argument(), argument) << ToString(status);
  EXPECT_STRNE(status.message(), "");
  EXPECT_TRUE(Untouched(tensors.out));
  EXPECT_TRUE(Untouched(tensors.lse));
}

TEST_P(VariantConformance, RefusesBadInput) {
  static const float kScale[18] = {};
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("b1_h4_kv2_d8_q6_k9"), {});
  const struct {
    const char* what;
    const char* argument;
    std::function<void(VariantArgs*)> spoil;
  } cases[] = {
      {"no query", "query", [](auto* a) { a->args.query.data = nullptr; }},
      {"no out", "out", [](auto* a) { a->args.out.data = nullptr; }},
      {"negative extent", "seqlen_k",
       [](auto* a) { a->args.key.extent[1] = -1; }},
      {"head_dim", "key", [](auto* a) { a->args.key.extent[3] = 7; }},
      {"dtype", "key_dtype", [](auto* a) { a->args.key.dtype = DType::kBF16; }},
      {"quantised", "key_dtype",
       [](auto* a) { a->args.key.dtype = DType::kI8; }},
      {"scales", "key_scale",
       [](auto* a) { a->args.kv_scales.key_scale = Bshd(kScale, 1, 9, 2, 1); }},
      {"rotated", "value_rotated",
       [](auto* a) { a->args.kv_scales.value_rotated = true; }},
      {"out on query", "out",
       [](auto* a) {
         a->args.out.data = const_cast<void*>(a->args.query.data);
       }},
      {"scale", "softmax_scale",
       [](auto* a) { a->params.softmax_scale = NAN; }},
      {"softcap", "softcap", [](auto* a) { a->params.softcap = -1; }},
      {"window", "window_left", [](auto* a) { a->params.window_left = -2; }},
      {"sink", "sink_size", [](auto* a) { a->params.sink_size = -1; }},
      {"no executor", "executor",
       [](auto* a) { a->executor.parallel_for = nullptr; }},
      {"no worker", "executor", [](auto* a) { a->executor.max_workers = 0; }},
      {"unknown table", "target", [](auto* a) { a->target = "abacus"; }},
  };
  size_t turn = 0;
  for (const auto& bad : cases) {
    if (!IsForTable(turn++)) continue;
    SCOPED_TRACE(bad.what);
    VariantArgs args = ArgsOf(tensors, Defaults());
    bad.spoil(&args);
    ExpectRefused(variant(), args, tensors, bad.argument);
  }
}

TEST_P(VariantConformance, RefusesCausalCallsWithoutACausalForm) {
  if (!variant().non_causal) GTEST_SKIP() << "has a causal form";
  const eval::Tensors tensors =
      eval::MakeTensors(test::ProblemOf("b1_h2_d8_q9_causal"), {});
  ExpectRefused(variant(), ArgsOf(tensors, Defaults()), tensors, "causal");
}

TEST_P(VariantConformance, RefusesAHeadDimVOfItsOwnWhereChannelsMeet) {
  if (!variant().equal_head_dims) GTEST_SKIP() << "serves any two";
  const eval::Tensors tensors =
      eval::MakeTensors(test::ProblemOf("b1_h2_d8_dv9_q9"), {});
  ExpectRefused(variant(), ArgsOf(tensors, Defaults()), tensors, "head_dim_v");
}

TEST_P(VariantConformance, RefusesBadKnobs) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("b1_h2_d8_q6_k9"), {});
  size_t turn = 0;
  for (int i = 0; i < variant().num_knobs; ++i) {
    const Knob& knob = variant().knobs[i];
    std::vector<double> bad = {
        std::nextafter(knob.min, -INFINITY), std::nextafter(knob.max, INFINITY),
        static_cast<double>(NAN), static_cast<double>(INFINITY)};
    if (knob.integer && knob.max > knob.min) bad.push_back(knob.min + 0.5);
    for (const double value : bad) {
      if (!IsForTable(turn++)) continue;
      SCOPED_TRACE(std::string(knob.name) + "=" + std::to_string(value));
      VariantArgs args = ArgsOf(tensors, Defaults());
      args.knobs[i] = value;
      ExpectRefused(variant(), args, tensors, knob.name);
    }
  }
}

TEST_P(VariantConformance, SurvivesLackOfMemory) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("b1_h4_kv2_d8_q20_k30_causal"), {});
  for (int fail_from = 0;; ++fail_from) {
    GuardedScratch scratch(fail_from);
    VariantArgs args = ArgsOf(tensors, Defaults());
    args.scratch = scratch.get();
    const Status status = RunVariant(variant(), args);
    if (scratch.allocations() <= fail_from) {
      EXPECT_TRUE(status.ok()) << ToString(status);
      break;
    }
    EXPECT_EQ(status.code(), StatusCode::kOutOfMemory);
    EXPECT_TRUE(Untouched(tensors.out));
    EXPECT_TRUE(Untouched(tensors.lse));
  }
}

TEST_P(VariantConformance, LeavesInputsAlone) {
  const io::Problem problem = ProblemOf("b2_h2_d9_q40_causal");
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  const eval::Tensors copy = eval::MakeTensors(problem, {});
  ASSERT_TRUE(RunGuarded(variant(), ArgsOf(tensors, Defaults())).ok());
  EXPECT_TRUE(SameBits(tensors.query, copy.query));
  EXPECT_TRUE(SameBits(tensors.key, copy.key));
  EXPECT_TRUE(SameBits(tensors.value, copy.value));
}

HEED_ON_EVERY_VARIANT(VariantConformance);

}  // namespace
}  // namespace heed::test
