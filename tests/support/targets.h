// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Which kernel tables a test must run on.
#ifndef HEED_TESTS_SUPPORT_TARGETS_H_
#define HEED_TESTS_SUPPORT_TARGETS_H_

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace heed::test {

// The tables that this CPU offers, by heed/target.h.
std::vector<std::string> OfferedTargets();

// Those to be tested: all, or those that the environment variable HEED_TARGETS
// names, as "sve sve2", where the CPU offers any of these.
std::vector<std::string> UsableTargets();

// Whether a table has FMA, so gives the bits of docs/numerics.md.
bool HasSameBits(const std::string& target);

// The usable tables for which that is true.
std::vector<std::string> SameBitsTargets();

// The tables that this CPU must offer, by what the operating system says of it
// and without asking the library.
std::vector<std::string> ExpectedTargets();

// A test on every usable table: TEST_P(Fixture, ...) with GetParam() the name.
class OnEveryTarget : public ::testing::TestWithParam<std::string> {};

}  // namespace heed::test

// Instantiates a fixture derived from OnEveryTarget.
#define HEED_ON_EVERY_TARGET(Fixture)                                        \
  INSTANTIATE_TEST_SUITE_P(Target, Fixture,                                  \
                           ::testing::ValuesIn(heed::test::UsableTargets()), \
                           [](const auto& param) { return param.param; })

#endif  // HEED_TESTS_SUPPORT_TARGETS_H_
