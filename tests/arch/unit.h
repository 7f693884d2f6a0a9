// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Runs problems of bf16 on the unit avx512_bf16, whether or not it is faster on
// this CPU.
#ifndef HEED_TESTS_ARCH_UNIT_H_
#define HEED_TESTS_ARCH_UNIT_H_

#include <gtest/gtest.h>

#include <string>

#include "heed/heed.h"
#include "tests/support/run.h"

namespace heed::test {

inline UnitInfo UnitUnderTest() {
  for (int i = 0; i < NumUnits(); ++i) {
    if (std::string(GetUnit(i).name) == "avx512_bf16") return GetUnit(i);
  }
  return {};
}

// No decode rows: few query rows would not reach the unit.
inline RunConfig OnUnit(int lane_groups = 0, int workers = 1) {
  RunConfig config{UnitUnderTest().target, lane_groups, workers,
                   /*decode_rows=*/0};
  config.numerics = Numerics::kFast;
  config.unit = "avx512_bf16";
  return config;
}

// Tests that need a CPU which has the unit.
class UnitTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const UnitInfo unit = UnitUnderTest();
    ASSERT_NE(unit.name, nullptr);
    if (!unit.usable) GTEST_SKIP() << unit.name << ": " << unit.reason;
  }
};

}  // namespace heed::test

#endif  // HEED_TESTS_ARCH_UNIT_H_
