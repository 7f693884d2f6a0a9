// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What projections and positions refuse: each with a sentence that names the
// argument, outputs untouched.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "heed/positions.h"
#include "heed/rope.h"
#include "tests/layers/layer_case.h"

namespace heed::test {
namespace {

constexpr float kUntouched = -77.0f;

TEST(LinearStatus, PackingAndRunning) {
  const std::vector<float> numbers(200, 1.0f);
  const float* const w = numbers.data();
  LinearWeights sound;
  sound.weight = Bshd(w, 1, 10, 1, 6);
  sound.bias = Bshd(w, 1, 1, 1, 10);
  const size_t need = PackedLinearBytes(sound);
  const AlignedBytes memory(need + 64, 0x11);
  const struct {
    const char* argument;
    std::function<void(LinearWeights*)> spoil;
    StatusCode code = StatusCode::kInvalidArgument;
  } cases[] = {
      {"weight", [](auto* s) { s->weight.data = nullptr; }},
      {"weight", [](auto* s) { s->weight.dtype = DType::kI8; },
       StatusCode::kUnsupported},
      {"weight", [](auto* s) { s->weight.extent[0] = 2; }},
      {"weight", [](auto* s) { s->weight.extent[3] = 0; }},
      {"bias", [](auto* s) { s->bias.extent[3] = 9; }},
      {"bias", [](auto* s) { s->bias.extent[1] = 2; }},
      {"bias", [](auto* s) { s->bias.dtype = DType::kI32; },
       StatusCode::kUnsupported},
      {"memory", [&](auto* s) { s->weight.data = memory.data(); }},
      {"memory", [&](auto* s) { s->bias.data = memory.data(); }},
  };
  for (const auto& c : cases) {
    LinearWeights source = sound;
    c.spoil(&source);
    PackedLinear packed;
    const Status status =
        PackLinear(source, memory.data(), memory.size(), &packed);
    EXPECT_EQ(status.code(), c.code) << ToString(status);
    EXPECT_STREQ(status.argument(), c.argument) << ToString(status);
    EXPECT_EQ(packed.weight, nullptr);
  }
  PackedLinear packed;
  char* const at = static_cast<char*>(memory.data());
  EXPECT_STREQ(PackLinear(sound, nullptr, need, &packed).argument(), "memory");
  EXPECT_STREQ(PackLinear(sound, at, need - 1, &packed).argument(), "memory");
  EXPECT_STREQ(PackLinear(sound, at + 4, need, &packed).argument(), "memory");
  EXPECT_STREQ(PackLinear(sound, at, need, nullptr).argument(), "packed");
  for (size_t i = 0; i < memory.size(); ++i) ASSERT_EQ(at[i], 0x11);
  ASSERT_TRUE(PackLinear(sound, at, need, &packed).ok());
  for (size_t i = need; i < memory.size(); ++i) ASSERT_EQ(at[i], 0x11);

  std::vector<float> out(30, kUntouched);
  const ConstTensorView x = Bshd(w, 1, 3, 1, 6);
  const TensorView to = Bshd(out.data(), 1, 3, 1, 10);
  EXPECT_STREQ(RunLinear({}, x, to).argument(), "linear");
  PackedLinear other = packed;
  other.dtype = DType::kI8;
  EXPECT_STREQ(RunLinear(other, x, to).argument(), "linear");
  EXPECT_STREQ(RunLinear(packed, Bshd(w, 1, 3, 1, 5), to).argument(), "x");
  EXPECT_STREQ(RunLinear(packed, Bshd(w, 1, 4, 1, 6), to).argument(), "out");
  EXPECT_STREQ(RunLinear(packed, to, to).argument(), "x");
  TensorView weight = Bshd(static_cast<float*>(memory.data()), 1, 3, 1, 10);
  EXPECT_STREQ(RunLinear(packed, x, weight).argument(), "out");
  ConstTensorView narrow = x;
  narrow.dtype = DType::kBF16;
  EXPECT_EQ(RunLinear(packed, narrow, to).code(), StatusCode::kUnsupported);
  for (const float o : out) ASSERT_EQ(o, kUntouched);
  EXPECT_TRUE(RunLinear(packed, x, to).ok());
}

void ExpectRefused(const Status& status, const char* argument) {
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << ToString(status);
  EXPECT_STREQ(status.argument(), argument) << ToString(status);
}

TEST(PositionsStatus, Tables) {
  float table[64];
  std::fill(std::begin(table), std::end(table), -77.0f);
  ExpectRefused(FillSinusoids(5, 0, 1, table), "dim");
  ExpectRefused(FillSinusoids(0, 0, 1, table), "dim");
  ExpectRefused(FillSinusoids(4, -1, 1, table), "first");
  ExpectRefused(FillSinusoids(4, INT32_MAX, 2, table), "count");
  ExpectRefused(FillSinusoids(4, 0, 1, nullptr), "table");
  ExpectRefused(AlibiSlopes(0, table), "num_heads");
  ExpectRefused(AlibiSlopes(1, nullptr), "slope");
  T5Buckets buckets;
  ExpectRefused(FillT5Bias(buckets, 0, table, 1, table), "num_heads");
  ExpectRefused(FillT5Bias(buckets, 1, table, -1, table), "reach");
  ExpectRefused(FillT5Bias(buckets, 1, nullptr, 1, table), "weight");
  ExpectRefused(FillT5Bias(buckets, 1, table, 1, nullptr), "bias");
  buckets.num_buckets = 7;
  ExpectRefused(FillT5Bias(buckets, 1, table, 1, table), "num_buckets");
  EXPECT_EQ(T5Bucket(buckets, 1), -1);
  buckets.num_buckets = 8;
  buckets.max_distance = 2;
  ExpectRefused(FillT5Bias(buckets, 1, table, 1, table), "max_distance");
  for (const float x : table) ASSERT_EQ(x, -77.0f);
}

TEST(PositionsStatus, Added) {
  std::vector<float> numbers(64, 1.0f), to(24, -77.0f);
  const float* const x = numbers.data();
  const ConstTensorView rows = Bshd(x, 1, 3, 1, 8);
  const ConstTensorView table = Bshd(x, 1, 4, 1, 8);
  const TensorView out = Bshd(to.data(), 1, 3, 1, 8);
  int32_t positions[] = {0, 3, 1};
  ExpectRefused(AddPositions(rows, nullptr, table, out), "positions");
  ExpectRefused(AddPositions(rows, positions, Bshd(x, 1, 4, 1, 7), out),
                "table");
  ExpectRefused(AddPositions(rows, positions, Bshd(x, 2, 4, 1, 8), out),
                "table");
  ExpectRefused(AddPositions(rows, positions, Bshd(x, 1, 3, 1, 8), out),
                "positions");
  ExpectRefused(AddPositions(Bshd(x, 1, 2, 1, 8), positions, table, out), "to");
  ExpectRefused(AddPositions(rows, positions, out, out), "to");
  ExpectRefused(AddPositions(rows, positions, table,
                             Bshd(numbers.data() + 8, 1, 3, 1, 8)),
                "to");
  positions[2] = -1;
  ExpectRefused(AddPositions(rows, positions, table, out), "positions");
  for (const float t : to) ASSERT_EQ(t, -77.0f);
  positions[2] = 1;
  ASSERT_TRUE(AddPositions(out, positions, table, out).ok());
  for (const float t : to) ASSERT_EQ(t, -76.0f);
}

TEST(PositionsStatus, RopeScaling) {
  double frequency[4] = {-77, -77, -77, -77};
  const auto refused = [&](RopeScaling s, const char* argument,
                           int64_t dim = 8) {
    ExpectRefused(ScaledRopeFrequencies(10000, dim, s, frequency, nullptr),
                  argument);
    for (const double f : frequency) ASSERT_EQ(f, -77);
  };
  RopeScaling s;
  refused(s, "rotary_dim", 7);
  s.kind = static_cast<RopeScalingKind>(9);
  refused(s, "kind");
  s.kind = RopeScalingKind::kLinear;
  s.factor = 0.5;
  refused(s, "factor");
  s.factor = NAN;
  refused(s, "factor");
  s.factor = 2;
  s.kind = RopeScalingKind::kNtk;
  refused(s, "rotary_dim", 2);
  s.seqlen = 8;
  refused(s, "original_positions");
  s.seqlen = -1;
  refused(s, "seqlen");
  s.kind = RopeScalingKind::kYarn;
  refused(s, "original_positions");
  s.original_positions = 64;
  s.beta_slow = 40;
  refused(s, "beta_slow");
  s.beta_fast = 0;
  refused(s, "beta_fast");
  s = RopeScaling();
  s.kind = RopeScalingKind::kYarn;
  s.original_positions = 64;
  for (const double factor : {-1.0, 1e-300, 1e300}) {
    s.attention_factor = factor;
    refused(s, "attention_factor");
  }
  s.kind = RopeScalingKind::kLlama3;
  s.high_freq_factor = 1;
  refused(s, "high_freq_factor");
  s.low_freq_factor = 0;
  refused(s, "low_freq_factor");
  ExpectRefused(ScaledRopeFrequencies(0, 8, {}, frequency, nullptr), "theta");
  ExpectRefused(ScaledRopeFrequencies(10, 8, {}, nullptr, nullptr),
                "frequency");
  float cos[4], sin[4];
  ExpectRefused(FillScaledRopeTables(10, 8, {}, 0, -1, cos, sin), "count");
  ExpectRefused(FillScaledRopeTables(10, 8, {}, 0, 1, cos, nullptr), "sin");
}

}  // namespace
}  // namespace heed::test
