// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The conversions that every oracle reads and writes through, against a
// definition in double, and the oracles on tensors of 16 bits.
#include "lib/oracle/element.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lib/eval/workload.h"
#include "lib/oracle/oracle.h"
#include "tests/support/compare.h"
#include "tests/support/formats.h"
#include "tests/support/quick.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

using oracle::RoundToBF16;
using oracle::RoundToF16;
using oracle::Widen;

// A type of 16 bits: what IEEE 754 says about it, and what is tested.
struct BF16 {
  using Storage = bf16;
  static constexpr int kMantissa = 7, kBias = 127;
  static bf16 Round(float value) { return RoundToBF16(value); }
};
struct F16 {
  using Storage = f16;
  static constexpr int kMantissa = 10, kBias = 15;
  static f16 Round(float value) { return RoundToF16(value); }
};

// The value of a pattern by the formula of the standard; the first exponent
// without finite values is taken as one with.
template <typename Type>
double ValueOf(uint32_t magnitude) {
  const int exponent = static_cast<int>(magnitude >> Type::kMantissa);
  const uint32_t unit = 1u << Type::kMantissa;
  const uint32_t mantissa = magnitude & (unit - 1);
  return exponent == 0 ? std::ldexp(mantissa, 1 - Type::kBias - Type::kMantissa)
                       : std::ldexp(mantissa + unit,
                                    exponent - Type::kBias - Type::kMantissa);
}

template <typename Type>
uint32_t InfinityOf() {
  return (2u * Type::kBias + 1) << Type::kMantissa;
}

// The pattern of the neighbour nearest to |value|, the even one of two. The
// pattern of infinity stands where the next finite value would.
template <typename Type>
uint32_t NearestTo(double value) {
  uint32_t low = 0, high = InfinityOf<Type>();
  if (value >= ValueOf<Type>(high)) return high;
  while (high - low > 1) {
    const uint32_t middle = (low + high) / 2;
    (ValueOf<Type>(middle) <= value ? low : high) = middle;
  }
  const double below = value - ValueOf<Type>(low);
  const double above = ValueOf<Type>(high) - value;
  if (below == above) return low % 2 == 0 ? low : high;
  return below < above ? low : high;
}

template <typename Type>
class Half : public ::testing::Test {};
using Halves = ::testing::Types<BF16, F16>;
TYPED_TEST_SUITE(Half, Halves);

TYPED_TEST(Half, EveryPatternWidensToItsValueAndBack) {
  const uint32_t infinity = InfinityOf<TypeParam>();
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const typename TypeParam::Storage x{static_cast<uint16_t>(bits)};
    const float value = Widen(x);
    const uint16_t back = TypeParam::Round(value).bits;
    const uint32_t magnitude = bits & 0x7fff;
    ASSERT_EQ(std::signbit(value), bits >> 15 != 0) << bits;
    if (magnitude > infinity) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_GT(back & 0x7fffu, infinity) << bits;
      continue;
    }
    ASSERT_EQ(back, bits);
    const double want = magnitude == infinity ? static_cast<double>(INFINITY)
                                              : ValueOf<TypeParam>(magnitude);
    ASSERT_EQ(std::fabs(value), want) << bits;
  }
}

template <typename Type>
void ExpectNearest(float value) {
  const uint32_t want = NearestTo<Type>(std::fabs(static_cast<double>(value))) |
                        (std::signbit(value) ? 0x8000u : 0u);
  ASSERT_EQ(Type::Round(value).bits, want) << value;
}

TYPED_TEST(Half, RoundsToTheNearestAndTiesToEven) {
  eval::Random random(11);
  for (int i = 0; i < (Quick() ? 20000 : 1000000); ++i) {
    // Any pattern, and those whose exponents the type has.
    const uint64_t draw = random.Next();
    const float any = std::bit_cast<float>(static_cast<uint32_t>(draw));
    if (!std::isnan(any)) ExpectNearest<TypeParam>(any);
    const int exponent = static_cast<int>(draw >> 32 & 63) - 40;
    const float mantissa = static_cast<float>(draw >> 40) * 0x1p-23f - 1.0f;
    ExpectNearest<TypeParam>(std::ldexp(mantissa, exponent));
  }
}

// Every tie and both of its neighbours; the last lies beyond the largest finite
// value and decides between that and infinity.
TYPED_TEST(Half, TiesAndTheirNeighbours) {
  for (uint32_t bits = 0; bits < InfinityOf<TypeParam>(); ++bits) {
    const double middle =
        (ValueOf<TypeParam>(bits) + ValueOf<TypeParam>(bits + 1)) / 2;
    const float tie = static_cast<float>(middle);
    ASSERT_EQ(tie, middle);
    for (const float value :
         {std::nextafter(tie, 0.0f), tie, std::nextafter(tie, INFINITY)}) {
      ExpectNearest<TypeParam>(value);
      ExpectNearest<TypeParam>(-value);
    }
  }
}

TYPED_TEST(Half, NoNaNBecomesANumber) {
  for (const uint32_t bits : {0x7f800001u, 0x7fc00000u, 0x7fffffffu}) {
    for (const uint32_t sign : {0u, 0x80000000u}) {
      const float value = std::bit_cast<float>(bits | sign);
      EXPECT_TRUE(std::isnan(Widen(TypeParam::Round(value)))) << bits;
    }
  }
}

// A copy of a tensor in another type, dense.
struct Copy {
  std::vector<uint16_t> memory;
  TensorView view;
};

Copy CopyAs(DType dtype, const TensorView& from) {
  Copy copy;
  copy.view = Bshd(static_cast<bf16*>(nullptr), from.batch(), from.seqlen(),
                   from.heads(), from.head_dim());
  copy.view.dtype = dtype;
  copy.memory.resize(static_cast<size_t>(from.batch() * copy.view.stride[0]) /
                     sizeof(uint16_t));
  copy.view.data = copy.memory.data();
  for (int64_t b = 0; b < from.batch(); ++b) {
    for (int64_t s = 0; s < from.seqlen(); ++s) {
      for (int64_t h = 0; h < from.heads(); ++h) {
        for (int64_t c = 0; c < from.head_dim(); ++c) {
          const float value =
              static_cast<float>(oracle::ElementAt(from, b, s, h, c));
          oracle::StoreElement(copy.view, b, s, h, c, value);
        }
      }
    }
  }
  return copy;
}

TEST(Element, WholeNumbers) {
  const int8_t bytes[3] = {-128, 0, 127};
  for (int64_t c = 0; c < 3; ++c) {
    EXPECT_EQ(oracle::ElementAt(Bshd(bytes, 1, 1, 1, 3), 0, 0, 0, c), bytes[c]);
  }
  // The even one of a pair stands in the low half.
  const u4x2 pairs[4] = {{0x20}, {0x71}, {0xf8}, {0x00}};
  const auto view = Bshd(pairs, 1, 2, 1, 4);
  const double want[2][4] = {{0, 2, 1, 7}, {8, 15, 0, 0}};
  for (int64_t s = 0; s < 2; ++s) {
    for (int64_t c = 0; c < 4; ++c) {
      EXPECT_EQ(oracle::ElementAt(view, 0, s, 0, c), want[s][c]);
    }
  }
}

// Every pattern of the 8-bit floats is its value by the definition, and the
// nearest to it; what lies between goes to the nearer one, or the even one.
TEST(Element, Float8) {
  for (const Format& format : {kE4M3, kE5M2}) {
    int8_t memory[8] = {};
    TensorView view = Bshd(memory, 1, 1, 1, 1);
    view.dtype = format.dtype;
    const auto stored = [&](double value) {
      oracle::StoreElement(view, 0, 0, 0, 0, static_cast<float>(value));
      return static_cast<uint8_t>(memory[0]);
    };
    for (uint32_t bits = 0; bits < 256; ++bits) {
      memory[0] = static_cast<int8_t>(bits);
      const double value = oracle::ElementAt(view, 0, 0, 0, 0);
      const double want = format.Value(bits);
      if (std::isnan(want)) {
        EXPECT_TRUE(std::isnan(value)) << format.name << " " << bits;
        continue;
      }
      ASSERT_EQ(value, want) << format.name << " " << bits;
      ASSERT_EQ(std::signbit(value), bits >= 128);
      if (bits >= 128 || bits >= format.End()) continue;
      ASSERT_EQ(stored(value), bits);
      ASSERT_EQ(stored(-value), bits | 128);
      if (bits + 1 == format.End()) continue;
      const double next = format.Magnitude(bits + 1);
      const double middle = (value + next) / 2;
      ASSERT_EQ(stored(middle), bits + bits % 2);
      ASSERT_EQ(stored(middle - value / 1024 - 1e-9), bits);
      ASSERT_EQ(stored(middle + value / 1024 + 1e-9), bits + 1);
    }
    EXPECT_EQ(stored(1e30), format.End() - 1);
    EXPECT_EQ(stored(-INFINITY), (format.End() - 1) | 128);
    stored(NAN);
    EXPECT_TRUE(std::isnan(oracle::ElementAt(view, 0, 0, 0, 0)));
  }
}

// One rounding of q * scale, and of q * scale + minimum.
TEST(Element, ScalesOfRowsAndGroups) {
  const float scale[2] = {0.3f, 1e-3f};
  const float minimum[2] = {-1.1f, 7.0f};
  const int8_t bytes[2] = {-7, 100};
  const oracle::ScaledTensor rows = {
      Bshd(bytes, 1, 2, 1, 1), Bshd(scale, 1, 2, 1, 1), {}};
  for (int64_t s = 0; s < 2; ++s) {
    EXPECT_EQ(oracle::ElementAt(rows, 0, s, 0, 0),
              static_cast<float>(static_cast<double>(bytes[s]) *
                                 static_cast<double>(scale[s])));
  }
  u4x2 pairs[32];
  for (int i = 0; i < 32; ++i) pairs[i].bits = static_cast<uint8_t>(i * 37);
  const auto view = Bshd(pairs, 1, 1, 1, 64);
  const oracle::ScaledTensor groups = {view, Bshd(scale, 1, 1, 1, 2),
                                       Bshd(minimum, 1, 1, 1, 2)};
  for (int64_t c = 0; c < 64; ++c) {
    const double q = oracle::ElementAt(view, 0, 0, 0, c);
    // Exact in double.
    const double want = q * static_cast<double>(scale[c / 32]) +
                        static_cast<double>(minimum[c / 32]);
    EXPECT_EQ(oracle::ElementAt(groups, 0, 0, 0, c), static_cast<float>(want));
  }
}

class OracleOn : public ::testing::TestWithParam<DType> {};

// Inputs of 16 bits give what the same numbers in f32 give, and an output of 16
// bits is that, rounded.
TEST_P(OracleOn, SixteenBitsIsFloatRounded) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("b2_h4_kv2_d7_dv9_q12_k70_causal"), {});
  const AttentionParams& params = tensors.problem.params;
  const Copy query = CopyAs(GetParam(), tensors.query.view);
  const Copy key = CopyAs(GetParam(), tensors.key.view);
  const Copy value = CopyAs(GetParam(), tensors.value.view);
  const Copy out = CopyAs(GetParam(), tensors.out.view);

  // The rounded numbers, in f32.
  for (const auto& [copy, tensor] :
       {std::pair{&query, &tensors.query}, std::pair{&key, &tensors.key},
        std::pair{&value, &tensors.value}}) {
    const TensorView& view = tensor->view;
    for (int64_t b = 0; b < view.batch(); ++b) {
      for (int64_t s = 0; s < view.seqlen(); ++s) {
        for (int64_t h = 0; h < view.heads(); ++h) {
          oracle::ReadRow(copy->view, b, s, h, tensor->At(b, s, h));
        }
      }
    }
  }
  const AttentionArgs wide = tensors.Args();
  oracle::AttentionBits(params, wide);
  const eval::Tensor lse = eval::MakeTensor(2, 12, 4, 1, eval::Layout::kBshd);
  AttentionArgs narrow;
  narrow.query = query.view;
  narrow.key = key.view;
  narrow.value = value.view;
  narrow.out = out.view;
  narrow.lse = lse.view;
  oracle::AttentionBits(params, narrow);
  EXPECT_EQ(CopyAs(GetParam(), tensors.out.view).memory, out.memory);
  EXPECT_EQ(lse.Dense(), tensors.lse.Dense());

  const size_t rows = lse.Dense().size();
  std::vector<double> want(rows * 9), got(want);
  oracle::AttentionDouble(params, wide, want.data(), nullptr);
  oracle::AttentionDouble(params, narrow, got.data(), nullptr);
  EXPECT_EQ(got, want);
  oracle::AttentionFast(params, wide, want.data(), nullptr);
  oracle::AttentionFast(params, narrow, got.data(), nullptr);
  EXPECT_EQ(got, want);
  std::vector<float> plain_want(rows * 9), plain_got(plain_want);
  oracle::AttentionPlainFloat(params, wide, plain_want.data(), nullptr);
  oracle::AttentionPlainFloat(params, narrow, plain_got.data(), nullptr);
  for (float& element : plain_want) {
    element = oracle::RoundTo(GetParam(), element);
  }
  EXPECT_EQ(plain_got, plain_want);
}

INSTANTIATE_TEST_SUITE_P(DTypes, OracleOn,
                         ::testing::Values(DType::kBF16, DType::kF16),
                         [](const auto& param) {
                           return std::string(NameOf(param.param));
                         });

}  // namespace
}  // namespace heed::test
