// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What the CPU's model decides: which unit a plan takes (beside what it is
// asked), and how rows are fetched.
#include "lib/kernels/units.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "lib/kernels/row_fetch.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

using internal::ChooseUnit;
using internal::CpuModel;
using internal::Unit;

CpuModel Model(const char* vendor, uint32_t family) {
  CpuModel model;
  for (int word = 0; word < 3; ++word) {
    for (int byte = 0; byte < 4; ++byte) {
      model.vendor[word] |= static_cast<uint32_t>(vendor[4 * word + byte])
                            << 8 * byte;
    }
  }
  model.family = family;
  return model;
}

TEST(Units, DotProductsOfBF16PayOnZen4And5Alone) {
  const auto use = [](const char* vendor, uint32_t family) {
    return ChooseUnit(Unit::kAvx512Bf16, Model(vendor, family)).use;
  };
  EXPECT_TRUE(use("AuthenticAMD", 0x19));
  EXPECT_TRUE(use("AuthenticAMD", 0x1a));
  EXPECT_FALSE(use("AuthenticAMD", 0x17));
  EXPECT_FALSE(use("AuthenticAMD", 0x1b));
  EXPECT_FALSE(use("GenuineIntel", 6));
  EXPECT_FALSE(use("GenuineIntel", 0x13));
  EXPECT_FALSE(use("HygonGenuine", 0x19));
  EXPECT_FALSE(ChooseUnit(Unit::kAvx512Bf16, {}).use);
}

TEST(RowFetch, OnlyAmdsZen5AndLaterFollowRows) {
  using internal::RowFetch;
  using internal::RowFetchOf;
  EXPECT_EQ(RowFetchOf(Model("AuthenticAMD", 0x1a)), RowFetch::kOnce);
  EXPECT_EQ(RowFetchOf(Model("AuthenticAMD", 0x19)), RowFetch::kOften);
  EXPECT_EQ(RowFetchOf(Model("GenuineIntel", 0x1a)), RowFetch::kOften);
  EXPECT_EQ(RowFetchOf({}), RowFetch::kOften);
}

TEST(Units, EveryChoiceHasAReason) {
  for (const CpuModel& model :
       {Model("AuthenticAMD", 0x19), Model("GenuineIntel", 6), CpuModel()}) {
    EXPECT_NE(std::string(ChooseUnit(Unit::kAvx512Bf16, model).reason), "");
  }
}

TEST(Units, TheBitThatSaysSoIsNeeded) {
  internal::CpuBits cpu = internal::kAvx512Bits;
  EXPECT_FALSE(cpu.HasAll(internal::kAvx512Bf16Bits));
  cpu.leaf7_1_eax = internal::Bits(5);
  EXPECT_TRUE(cpu.HasAll(internal::kAvx512Bf16Bits));
  cpu.xcr0 &= ~(uint64_t{1} << 6);  // the system does not save the registers
  EXPECT_FALSE(cpu.HasAll(internal::kAvx512Bf16Bits));
}

#if defined(__x86_64__)
// What Linux says of the CPU, against what the library found out.
TEST(Units, AreWhatTheSystemSays) {
  std::ifstream info("/proc/cpuinfo");
  ASSERT_TRUE(info.good());
  bool flag = false, zen4_or_5 = false, amd = false;
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("flags", 0) == 0) {
      flag = (line + " ").find(" avx512_bf16 ") != std::string::npos;
    }
    if (line.rfind("vendor_id", 0) == 0) {
      amd = line.find("AuthenticAMD") != std::string::npos;
    }
    if (line.rfind("cpu family", 0) == 0) {
      zen4_or_5 = line.find(": 25") != std::string::npos ||
                  line.find(": 26") != std::string::npos;
    }
  }
  const UnitInfo unit = GetUnit(0);
  if (unit.usable) {
    EXPECT_TRUE(flag);
  } else if (flag) {
    EXPECT_EQ(std::string(unit.reason), "has no kernels in this library");
  }
  EXPECT_EQ(unit.used, unit.usable && amd && zen4_or_5);
}
#endif

TEST(Units, AreListed) {
  ASSERT_EQ(NumUnits(), 1);
  const UnitInfo unit = GetUnit(0);
  EXPECT_EQ(std::string(unit.name), "avx512_bf16");
  EXPECT_NE(unit.target, nullptr);
  EXPECT_NE(unit.needs, nullptr);
  EXPECT_NE(unit.serves, nullptr);
  EXPECT_NE(unit.reason, nullptr);
  EXPECT_EQ(GetUnit(-1).name, nullptr);
  EXPECT_EQ(GetUnit(NumUnits()).name, nullptr);
}

std::string Explained(const std::string& text, const PlanOptions& options) {
  Plan plan;
  const Status status = MakePlan({}, ProblemOf(text).shape, options, &plan);
  EXPECT_TRUE(status.ok()) << ToString(status);
  char explained[4096];
  ExplainPlan(plan, explained, sizeof(explained));
  return explained;
}

bool TakesUnit(const std::string& text, const PlanOptions& options) {
  return Explained(text, options).rfind("kernel    attend_bf16", 0) == 0;
}

TEST(Units, APlanTakesOneWhereItMay) {
  PlanOptions fast, same;
  same.numerics = Numerics::kSame;
  EXPECT_EQ(fast.numerics, Numerics::kFast);
  const UnitInfo unit = GetUnit(0);
  const bool best = std::string(DefaultTarget()) == unit.target;
  EXPECT_EQ(TakesUnit("h1_d64_q100_bf16", fast), unit.used && best);
  EXPECT_FALSE(TakesUnit("h1_d64_q100_bf16", same));
  EXPECT_FALSE(TakesUnit("h1_d64_q100_bf16_rot", fast));
  EXPECT_FALSE(TakesUnit("h1_d64_q100_f16", fast));
  EXPECT_FALSE(TakesUnit("h1_d64_q100", fast));
  if (unit.usable && best) {
    EXPECT_NE(Explained("h1_d64_q100_bf16", fast).find(unit.reason),
              std::string::npos);
  }
  for (int i = 0; i < NumTargets(); ++i) {
    const TargetInfo target = GetTarget(i);
    fast.target = target.name;
    if (!target.usable || std::string(target.name) == unit.target) continue;
    EXPECT_FALSE(TakesUnit("h1_d64_q100_bf16", fast)) << target.name;
  }
}

// Score inputs are no reason to leave it.
TEST(Units, ServeScoreInputs) {
  const UnitInfo unit = GetUnit(0);
  if (!unit.usable) GTEST_SKIP() << unit.name << ": " << unit.reason;
  AttentionShape shape = ProblemOf("h1_d64_q100_bf16").shape;
  shape.scores = true;
  PlanOptions options;
  options.target = unit.target;
  options.unit = unit.name;
  Plan plan;
  const Status status = MakePlan({}, shape, options, &plan);
  ASSERT_TRUE(status.ok()) << ToString(status);
  char explained[4096];
  ExplainPlan(plan, explained, sizeof(explained));
  EXPECT_EQ(std::string(explained).rfind("kernel    attend_bf16", 0), 0u);
}

TEST(Units, APlanTakesTheNamedOneOrSaysWhyNot) {
  const UnitInfo unit = GetUnit(0);
  PlanOptions options;
  options.unit = unit.name;
  options.target = unit.target;
  Plan plan;
  const AttentionShape shape = ProblemOf("h1_d64_q100_bf16").shape;
  const auto refused = [&](const AttentionShape& of, const char* why) {
    const Status status = MakePlan({}, of, options, &plan);
    EXPECT_EQ(status.code(), StatusCode::kUnsupported) << why;
    EXPECT_NE(ToString(status).find(why), std::string::npos)
        << ToString(status);
  };
  if (unit.usable) {
    EXPECT_TRUE(TakesUnit("h1_d64_q100_bf16", options));
    refused(ProblemOf("h1_d64_q100").shape, "unit: serves query, key");
    for (const bool key : {false, true}) {
      AttentionShape rotated = shape;
      rotated.key_rotated = key;
      rotated.value_rotated = !key;
      refused(rotated, "unit: does not serve rotated");
    }
    options.numerics = Numerics::kSame;
    refused(shape, "unit: does not give the bits of kSame");
    options.numerics = Numerics::kFast;
    options.target = "plain";
    refused(shape, "unit: belongs to another target");
  } else {
    EXPECT_FALSE(MakePlan({}, shape, options, &plan).ok());
  }
  options.target = nullptr;
  options.unit = "abacus";
  refused(shape, "unit: is unknown");
}

// The tile kernel of f32 widens keys, which few rows do not repay; a unit does
// not, and takes over from the decode kernel earlier.
TEST(Units, TakesOverFromFewerRows) {
  const UnitInfo unit = GetUnit(0);
  if (!unit.usable) GTEST_SKIP() << unit.name << ": " << unit.reason;
  PlanOptions options;
  options.target = unit.target;
  options.unit = unit.name;
  const AttentionShape shape = ProblemOf("h1_d64_q100_bf16").shape;
  Plan fast, same;
  ASSERT_TRUE(MakePlan({}, shape, options, &fast).ok());
  options.unit = nullptr;
  options.numerics = Numerics::kSame;
  ASSERT_TRUE(MakePlan({}, shape, options, &same).ok());
  EXPECT_GT(fast.decode_rows, 0);
  EXPECT_LT(fast.decode_rows, same.decode_rows);
}

TEST(Units, NumericsThatDoNotExistAreRefused) {
  PlanOptions options;
  options.numerics = static_cast<Numerics>(2);
  Plan plan;
  const Status status =
      MakePlan({}, ProblemOf("h1_d8_q4").shape, options, &plan);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ToString(status),
            "invalid argument: numerics: must be kSame or kFast (got 2)");
}

// Types that no unit serves, and rotated rows, give the bits of kSame under
// kFast.
TEST(Units, FastIsTheSameWhereThereIsNoUnit) {
  for (const char* text : {"h2_d24_q70_causal", "h2_d24_q70_causal_f16",
                           "h2_d24_q70_causal_bf16_rot"}) {
    std::vector<float> out[2];
    for (const Numerics numerics : {Numerics::kSame, Numerics::kFast}) {
      const io::Problem problem = ProblemOf(text);
      const eval::Tensors tensors = eval::MakeTensors(problem, {});
      RunConfig config{DefaultTarget()};
      config.numerics = numerics;
      ASSERT_TRUE(RunOn(config, problem.params, tensors.Args()).ok());
      out[numerics == Numerics::kFast] = tensors.out.Dense();
    }
    EXPECT_EQ(out[0], out[1]) << text;
  }
}

}  // namespace
}  // namespace heed::test
