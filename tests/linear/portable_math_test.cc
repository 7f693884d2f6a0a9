// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Functions without a math library against those of one, and their bits.
#include "heed/portable_math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace heed::test {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Of the result's size, counted as at least `least`.
void ExpectClose(double got, double want, double least = 0) {
  EXPECT_LE(std::fabs(got - want),
            1e-15 * std::fmax(std::fabs(want), least) + 5e-324)
      << got << " for " << want;
}

TEST(PortableMath, ExponentialsAreThoseOfTheMathLibrary) {
  for (double x = -700; x <= 700; x += 0.37) {
    SCOPED_TRACE(x);
    ExpectClose(portable::Exp(x), std::exp(x));
    ExpectClose(portable::OneMinusExp(x), -std::expm1(x));
    ExpectClose(portable::OneMinusExp(x / 1e3), -std::expm1(x / 1e3));
    ExpectClose(portable::OneMinusExp(x * 1e-12), -std::expm1(x * 1e-12));
    ExpectClose(portable::Exp2(x / 16), std::exp2(x / 16));
    ExpectClose(portable::Sigmoid(x / 16), 1 / (1 + std::exp(-x / 16)));
  }
  EXPECT_EQ(portable::Exp(0), 1);
  EXPECT_EQ(portable::Exp(-kInf), 0);
  EXPECT_EQ(portable::Exp(-1e300), 0);
  EXPECT_EQ(portable::Exp(1e300), kInf);
  EXPECT_EQ(portable::OneMinusExp(-kInf), 1);
  EXPECT_EQ(portable::Sigmoid(-kInf), 0);
  EXPECT_EQ(portable::Sigmoid(kInf), 1);
  EXPECT_TRUE(std::isnan(portable::Exp(kNan)));
  EXPECT_TRUE(std::isnan(portable::OneMinusExp(kNan)));
}

TEST(PortableMath, LogarithmsAreThoseOfTheMathLibrary) {
  for (double x = 1e-320; x < 1e305; x *= 1.37) {
    SCOPED_TRACE(x);
    ExpectClose(portable::Log(x), std::log(x), std::fmin(1, std::fabs(x - 1)));
    ExpectClose(portable::Log1p(x), std::log1p(x));
  }
  for (double x = -0.999; x < 3; x += 0.0137) {
    SCOPED_TRACE(x);
    ExpectClose(portable::Log1p(x), std::log1p(x));
  }
  EXPECT_EQ(portable::Log(1), 0);
  EXPECT_EQ(portable::Log(0), -kInf);
  EXPECT_EQ(portable::Log(kInf), kInf);
  EXPECT_TRUE(std::isnan(portable::Log(-1)));
  EXPECT_TRUE(std::isnan(portable::Log(kNan)));
}

TEST(PortableMath, SinesAreThoseOfTheMathLibrary) {
  for (double x = -1e6; x<1e6; x += x> - 20 && x < 20 ? 0.0137 : 997.3) {
    SCOPED_TRACE(x);
    const portable::SineAndCosine of = portable::SinCos(x);
    ExpectClose(of.sine, std::sin(x), 0.1);
    ExpectClose(of.cosine, std::cos(x), 0.1);
  }
  // Far away they stay those of some angle.
  for (const double x : {1e7, 1e20, -1e300}) {
    const portable::SineAndCosine of = portable::SinCos(x);
    ExpectClose(of.sine * of.sine + of.cosine * of.cosine, 1);
  }
  EXPECT_TRUE(std::isnan(portable::SinCos(kInf).sine));
  EXPECT_TRUE(std::isnan(portable::SinCos(kNan).cosine));
}

// Written down once: another compiler or CPU has them too.
TEST(PortableMath, HasTheseBits) {
  uint64_t hash = 14695981039346656037u;
  const auto add = [&](double x) {
    uint64_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    hash = (hash ^ bits) * 1099511628211u;
  };
  for (int i = 1; i <= 1000; ++i) {
    const double x = 0.0103 * i;
    for (const double y : {x, -x}) {
      add(portable::Exp(y));
      add(portable::OneMinusExp(y));
      add(portable::SinCos(7 * y).sine);
      add(portable::SinCos(7 * y).cosine);
    }
    add(portable::Log(x));
    add(portable::Log1p(x));
  }
  EXPECT_EQ(hash, 7779025146730166733u);
}

}  // namespace
}  // namespace heed::test
