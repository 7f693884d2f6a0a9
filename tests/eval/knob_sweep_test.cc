// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Settings as users write them, and the hints for what they mistype.
#include "lib/eval/knob_sweep.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "lib/io/input_error.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

using eval::FormatSetting;
using eval::ParseSettings;
using eval::Setting;
using io::InputError;

constexpr Knob kKnobs[] = {
    {"window", "Keys.", 256, 1, 1e6, true, true, 1e6},
    {"share", "Of something.", 0.5, 0, 1, false},
};

double Keys(const AttentionShape& shape, const double* knobs) {
  return std::min(static_cast<double>(shape.seqlen_k), knobs[0]);
}

Cost CostOf(const AttentionShape& shape, const AttentionParams&,
            const double* knobs) {
  return {Keys(shape, knobs), 0};
}

std::vector<NamedVariant> Variants() {
  Variant window;
  window.semantics = Semantics::kExactOnSelection;
  window.knobs = kKnobs;
  window.num_knobs = 2;
  window.cost = CostOf;
  return {{"exact", Variant()}, {"window_sink", window}};
}

std::vector<std::string> Read(const std::string& text) {
  std::vector<std::string> names;
  for (const Setting& setting : ParseSettings(text, Variants())) {
    names.push_back(FormatSetting(setting));
  }
  return names;
}

std::string Complaint(const std::string& text) {
  try {
    Read(text);
    return "";
  } catch (const InputError& error) {
    return error.what();
  }
}

using Names = std::vector<std::string>;

TEST(KnobSweep, ReadsDefaultsAndLists) {
  EXPECT_EQ(Read("exact"), Names{"exact"});
  EXPECT_EQ(Read("window_sink"), Names{"window_sink:window=256:share=0.5"});
  EXPECT_EQ(
      Read("window_sink:share=0,1:window=8,9"),
      (Names{"window_sink:window=8:share=0", "window_sink:window=9:share=0",
             "window_sink:window=8:share=1", "window_sink:window=9:share=1"}));
  EXPECT_EQ(Read("window_sink:share=1e-3"),
            Names{"window_sink:window=256:share=0.001"});
}

TEST(KnobSweep, ReadsWhatItWrites) {
  for (const std::string& name : Read("window_sink:window=1,77:share=0.1")) {
    EXPECT_EQ(Read(name), Names{name});
  }
}

TEST(KnobSweep, SuggestsNames) {
  EXPECT_EQ(Complaint("window_snk"),
            "unknown variant 'window_snk'; did you mean 'window_sink'?");
  EXPECT_EQ(Complaint("zzzzzz"),
            "unknown variant 'zzzzzz'; there is exact, window_sink");
  EXPECT_EQ(Complaint("window_sink:windw=3"),
            "variant 'window_sink' has no knob 'windw'; did you mean "
            "'window'?");
  EXPECT_EQ(Complaint("exact:x=1"),
            "variant 'exact' has no knob 'x'; there is none");
}

TEST(KnobSweep, RefusesValues) {
  for (const char* bad :
       {"window_sink:", "window_sink:window",
        "window_sink:window=", "window_sink:window=x", "window_sink:window=1,",
        "window_sink:window=0", "window_sink:window=1.5", "window_sink:share=2",
        "window_sink:share=nan", "window_sink:share=inf",
        "window_sink:window=1:window=2", "window_sink:window=8 ",
        "window_sink:window=0x10", ""}) {
    EXPECT_NE(Complaint(bad), "") << bad;
  }
  EXPECT_EQ(Complaint("window_sink:window=0"),
            "knob 'window' of window_sink must be in [1, 1e+06], not 0");
}

TEST(KnobSweep, RefusesExplosions) {
  std::string values = "0";
  for (int i = 1; i < 20; ++i) values += ",0." + std::to_string(i);
  std::string windows = "1";
  for (int i = 2; i <= 20; ++i) windows += "," + std::to_string(i);
  EXPECT_NE(Complaint("window_sink:share=" + values + ":window=" + windows)
                .find("at most 256"),
            std::string::npos);
}

TEST(KnobSweep, SweepsBudgetsBelowEverything) {
  Names names;
  for (const Setting& setting :
       eval::DefaultSweep(Variants(), ProblemOf("h1_d1_q300"))) {
    names.push_back(FormatSetting(setting));
  }
  EXPECT_EQ(names, (Names{"exact", "window_sink:window=64:share=0.5",
                          "window_sink:window=128:share=0.5",
                          "window_sink:window=256:share=0.5"}));
  // Where every budget keeps everything, the default alone.
  EXPECT_EQ(eval::DefaultSweep(Variants(), ProblemOf("h1_d1_q8")).size(), 2u);
}

TEST(KnobSweep, FindsNearestNames) {
  EXPECT_EQ(eval::NearestName("kat", {"cart", "cat", "dog"}), "cat");
  EXPECT_EQ(eval::NearestName("horse", {"cat"}), "");
  EXPECT_EQ(eval::NearestName("x", {}), "");
}

TEST(KnobSweep, MinusZeroIsZero) {
  EXPECT_EQ(Read("window_sink:share=-0"),
            Names{"window_sink:window=256:share=0"});
}

}  // namespace
}  // namespace heed::test
