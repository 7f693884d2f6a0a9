// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Rotary positions: the tables against libm, rows against double.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "lib/oracle/element.h"
#include "tests/support/compare.h"
#include "tests/support/guard.h"
#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

struct Tables {
  std::vector<float> cos, sin;
  Rope rope;

  Tables(int64_t rotary_dim, int64_t positions, bool interleaved = false) {
    std::vector<double> frequency(static_cast<size_t>(rotary_dim / 2));
    cos.resize(static_cast<size_t>(positions * rotary_dim / 2));
    sin = cos;
    EXPECT_TRUE(RopeFrequencies(1e4, rotary_dim, frequency.data()).ok());
    EXPECT_TRUE(FillRopeTables(frequency.data(), rotary_dim, 0, positions,
                               cos.data(), sin.data())
                    .ok());
    rope = {rotary_dim, interleaved, positions, cos.data(), sin.data()};
  }
};

eval::Tensor Source(int64_t dim, DType dtype = DType::kF32) {
  const eval::Tensor source =
      eval::MakeTensor(2, 5, 3, dim, eval::Layout::kPadded, 0, dtype);
  eval::FillTensor(source, 0, eval::Fill::kNormal, 3);
  return source;
}

constexpr int32_t kPositions[] = {0, 1, 2, 31, 7, 30, 9, 9, 0, 4};

TEST(RopeTables, EqualLibmToRounding) {
  for (const double theta : {1e4, 5e5, 1e6, 2.0, 0.5}) {
    for (const int64_t dim : {2, 64, 128, 256}) {
      std::vector<double> frequency(static_cast<size_t>(dim / 2));
      ASSERT_TRUE(RopeFrequencies(theta, dim, frequency.data()).ok());
      for (int64_t i = 0; i < dim / 2; ++i) {
        const double want = std::pow(
            theta, -2.0 * static_cast<double>(i) / static_cast<double>(dim));
        ASSERT_NEAR(frequency[static_cast<size_t>(i)], want, want * 0x1p-47);
      }
      for (const int64_t first : {0, 4095, 131071, 1000000, 2147483640}) {
        std::vector<float> cos(static_cast<size_t>(8 * dim / 2)), sin(cos);
        ASSERT_TRUE(FillRopeTables(frequency.data(), dim, first, 8, cos.data(),
                                   sin.data())
                        .ok());
        for (size_t i = 0; i < cos.size(); ++i) {
          const size_t half = static_cast<size_t>(dim / 2);
          const double angle =
              static_cast<double>(first + static_cast<int64_t>(i / half)) *
              frequency[i % half];
          const double bound = 0x1.01p-25 + angle * 0x1p-51;
          ASSERT_NEAR(cos[i], std::cos(angle), bound) << angle;
          ASSERT_NEAR(sin[i], std::sin(angle), bound) << angle;
        }
      }
    }
  }
}

// To the bit what the header says, and near what double says.
TEST(ApplyRope, TurnsPairs) {
  for (const bool interleaved : {false, true}) {
    for (const int64_t rotary : {2, 6, 10}) {
      const Tables tables(rotary, 32, interleaved);
      const eval::Tensor source = Source(10);
      const eval::Tensor to =
          eval::MakeTensor(2, 5, 3, 10, eval::Layout::kPadded);
      ASSERT_TRUE(
          ApplyRope(source.view, kPositions, tables.rope, to.view).ok());
      EXPECT_TRUE(to.PaddingIntact());
      for (int64_t r = 0; r < 10; ++r) {
        for (int64_t h = 0; h < 3; ++h) {
          const float* x = source.At(r / 5, r % 5, h);
          const float* y = to.At(r / 5, r % 5, h);
          for (int64_t c = rotary; c < 10; ++c) ASSERT_EQ(y[c], x[c]);
          for (int64_t i = 0; i < rotary / 2; ++i) {
            const int64_t a = interleaved ? 2 * i : i;
            const int64_t b = interleaved ? 2 * i + 1 : i + rotary / 2;
            const size_t at =
                static_cast<size_t>(kPositions[r] * (rotary / 2) + i);
            const float c = tables.cos[at], s = tables.sin[at];
            volatile float ac = x[a] * c, bs = x[b] * s;
            volatile float bc = x[b] * c, as = x[a] * s;
            ASSERT_EQ(y[a], ac - bs);
            ASSERT_EQ(y[b], bc + as);
            const double angle =
                kPositions[r] * std::pow(1e4, -2.0 * static_cast<double>(i) /
                                                  static_cast<double>(rotary));
            ASSERT_NEAR(y[a],
                        static_cast<double>(x[a]) * std::cos(angle) -
                            static_cast<double>(x[b]) * std::sin(angle),
                        1e-6);
            // A turn keeps lengths.
            ASSERT_NEAR(std::hypot(y[a], y[b]), std::hypot(x[a], x[b]), 1e-6);
          }
        }
      }
    }
  }
}

TEST(ApplyRope, InterleavedIsHalfSplitOfPermutedChannels) {
  const Tables half(8, 32), interleaved(8, 32, true);
  const eval::Tensor source = Source(8);
  const eval::Tensor permuted = Source(8);
  const auto at = [](int64_t c) { return c / 2 + c % 2 * 4; };
  for (int64_t r = 0; r < 30; ++r) {
    for (int64_t c = 0; c < 8; ++c) {
      *permuted.At(r / 15, r / 3 % 5, r % 3, at(c)) =
          *source.At(r / 15, r / 3 % 5, r % 3, c);
    }
  }
  ASSERT_TRUE(
      ApplyRope(source.view, kPositions, interleaved.rope, source.view).ok());
  ASSERT_TRUE(
      ApplyRope(permuted.view, kPositions, half.rope, permuted.view).ok());
  for (int64_t r = 0; r < 30; ++r) {
    for (int64_t c = 0; c < 8; ++c) {
      ASSERT_EQ(*permuted.At(r / 15, r / 3 % 5, r % 3, at(c)),
                *source.At(r / 15, r / 3 % 5, r % 3, c));
    }
  }
}

// In place, on threads, and to other types: one rounding of the same number.
TEST(ApplyRope, RoundsOnce) {
  const Tables tables(6, 32);
  const eval::Tensor source = Source(9, DType::kBF16);
  const eval::Tensor f32 = eval::MakeTensor(2, 5, 3, 9, eval::Layout::kBshd);
  ASSERT_TRUE(ApplyRope(source.view, kPositions, tables.rope, f32.view).ok());
  const eval::Tensor f16 =
      eval::MakeTensor(2, 5, 3, 9, eval::Layout::kBhsd, 0, DType::kF16);
  ASSERT_TRUE(ApplyRope(source.view, kPositions, tables.rope, f16.view,
                        ThreadExecutor(3))
                  .ok());
  ASSERT_TRUE(
      ApplyRope(source.view, kPositions, tables.rope, source.view).ok());
  for (int64_t r = 0; r < 30; ++r) {
    for (int64_t c = 0; c < 9; ++c) {
      const int64_t b = r / 15, s = r / 3 % 5, h = r % 3;
      const float x = *f32.At(b, s, h, c);
      ASSERT_EQ(oracle::ElementAt(f16.view, b, s, h, c), ToFloat(ToF16(x)));
      ASSERT_EQ(oracle::ElementAt(source.view, b, s, h, c), ToFloat(ToBF16(x)));
    }
  }
}

TEST(ApplyRope, ReadsNothingBeyondItsTables) {
  const GuardedMemory memory[3] = {GuardedMemory(4096), GuardedMemory(4096),
                                   GuardedMemory(4096)};
  const Tables tables(8, 4);
  for (const Against end : {Against::kFront, Against::kBack}) {
    SetGuardContext("ApplyRope");
    Rope rope = tables.rope;
    float* const row = reinterpret_cast<float*>(memory[0].Place(9 * 4, end));
    float* const cos = reinterpret_cast<float*>(memory[1].Place(16 * 4, end));
    float* const sin = reinterpret_cast<float*>(memory[2].Place(16 * 4, end));
    std::fill_n(row, 9, 1.0f);
    std::copy(tables.cos.begin(), tables.cos.end(), cos);
    std::copy(tables.sin.begin(), tables.sin.end(), sin);
    rope.cos = cos;
    rope.sin = sin;
    for (const int32_t position : {0, 3}) {
      const TensorView view = Bshd(row, 1, 1, 1, 9);
      ASSERT_TRUE(ApplyRope(view, &position, rope, view).ok());
    }
  }
}

TEST(ApplyRope, Refuses) {
  const auto says = [&](auto spoil) {
    Tables tables(6, 32);
    const eval::Tensor source = Source(9);
    eval::Tensor to = eval::MakeTensor(2, 5, 3, 9, eval::Layout::kBshd);
    std::vector<int32_t> positions(kPositions, kPositions + 10);
    const int32_t* at = positions.data();
    ConstTensorView from = source.view;
    spoil(from, positions, at, tables.rope, to.view);
    const Status status = ApplyRope(from, at, tables.rope, to.view);
    EXPECT_FALSE(status.ok());
    if (to.view.data == to.memory->data()) {
      EXPECT_TRUE(Untouched(to));
    }
    return ToString(status);
  };
  EXPECT_EQ(says([](auto&, auto& p, auto&, auto&, auto&) { p[7] = 32; }),
            "invalid argument: positions[7]: is not among the tables' "
            "positions (got 32, at most 31)");
  EXPECT_EQ(says([](auto&, auto& p, auto&, auto&, auto&) { p[0] = -1; }),
            "invalid argument: positions[0]: is not among the tables' "
            "positions (got -1, at most 31)");
  EXPECT_EQ(says([](auto&, auto&, auto& at, auto&, auto&) { at = nullptr; }),
            "invalid argument: positions: is null");
  EXPECT_EQ(
      says([](auto&, auto&, auto&, auto& rope, auto&) { rope.rotary_dim = 5; }),
      "invalid argument: rotary_dim: must be even, as channels turn in pairs "
      "(got 5)");
  EXPECT_EQ(says([](auto&, auto&, auto&, auto& rope, auto&) {
              rope.rotary_dim = 10;
            }),
            "invalid argument: rotary_dim: must be 0 to head_dim (got 10, at "
            "most 9)");
  EXPECT_EQ(
      says([](auto&, auto&, auto&, auto& rope, auto&) { rope.cos = nullptr; }),
      "invalid argument: cos: is null");
  EXPECT_EQ(says([](auto& from, auto&, auto&, auto&, auto&) {
              from.dtype = DType::kI32;
            }),
            "unsupported: source: must be f32, bf16 or f16");
  EXPECT_EQ(
      says([](auto& from, auto&, auto&, auto&, auto&) { from.extent[1] = 4; }),
      "invalid argument: to[1]: has another shape than source (got 5, "
      "needs 4)");
  EXPECT_EQ(says([](auto& from, auto&, auto&, auto&, auto& to) {
              to.data = static_cast<char*>(const_cast<void*>(from.data)) + 4;
            }),
            "invalid argument: to: overlaps source");
  std::vector<float> sin(1000);  // longer than `to`
  EXPECT_EQ(says([&](auto&, auto&, auto&, auto& rope, auto& to) {
              rope.sin = sin.data();
              to.data = sin.data();
            }),
            "invalid argument: to: overlaps sin");
  float number;
  const double frequency[2] = {1, INFINITY};
  const auto fill = [&](int64_t dim, int64_t first, int64_t count) {
    return ToString(
        FillRopeTables(frequency, dim, first, count, &number, &number));
  };
  EXPECT_EQ(fill(3, 0, 1),
            "invalid argument: rotary_dim: must be even, 2 to 1024 (got 3)");
  EXPECT_EQ(fill(2, -1, 1),
            "invalid argument: first: must be 0 to 2^31 - 1 (got -1)");
  EXPECT_EQ(fill(2, 2147483647, 2),
            "invalid argument: count: must leave positions below 2^31 (got 2)");
  EXPECT_EQ(fill(4, 0, 1),
            "invalid argument: frequency[1]: must be finite, at most 16 in "
            "size");
  double one;
  EXPECT_EQ(ToString(RopeFrequencies(NAN, 2, &one)),
            "invalid argument: theta: must be finite and above 0");
}

}  // namespace
}  // namespace heed::test
