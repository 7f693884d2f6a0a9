// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Conversions between storage types and floats: heed/types.h against the
// definition of the formats, every table's rows against heed/types.h, to the
// bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "heed/types.h"
#include "lib/eval/workload.h"
#include "lib/kernels/ops_table.h"
#include "tests/support/float_control.h"
#include "tests/support/guard.h"
#include "tests/support/quick.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

uint32_t BitsOf(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}

float FloatOf(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

// ---- The formats ------------------------------------------------------------

// A binary format, by the number of bits of its fields.
struct Format {
  const char* name;
  DType dtype;
  int exponent, mantissa;
  bool infinity;  // else the largest exponent is an ordinary one

  uint32_t patterns() const { return 2u << (exponent + mantissa); }
  uint32_t magnitudes() const { return patterns() / 2; }

  // The magnitude with these bits; the first after the largest finite one is
  // what it would be if exponents went on.
  double Magnitude(uint32_t bits) const {
    const int e = static_cast<int>(bits >> mantissa);
    const int m = static_cast<int>(bits & ((1u << mantissa) - 1));
    const int bias = (1 << (exponent - 1)) - 1;
    return e == 0 ? std::ldexp(m, 1 - bias - mantissa)
                  : std::ldexp(m + (1 << mantissa), e - bias - mantissa);
  }
  // The first magnitude that is not finite.
  uint32_t End() const {
    return infinity ? ((1u << exponent) - 1) << mantissa : magnitudes() - 1;
  }
  double Value(uint32_t bits) const {
    const uint32_t magnitude = bits % magnitudes();
    double value = Magnitude(magnitude);
    if (magnitude >= End()) {
      value = infinity && magnitude == End()
                  ? std::numeric_limits<double>::infinity()
                  : std::numeric_limits<double>::quiet_NaN();
    }
    return bits < magnitudes() ? value : -value;
  }
};

constexpr Format kBF16 = {"bf16", DType::kBF16, 8, 7, true};
constexpr Format kF16 = {"f16", DType::kF16, 5, 10, true};
constexpr Format kE4M3 = {"f8_e4m3", DType::kF8E4M3, 4, 3, false};
constexpr Format kE5M2 = {"f8_e5m2", DType::kF8E5M2, 5, 2, true};

float ScalarWiden(const Format& format, uint32_t bits) {
  const uint16_t half = static_cast<uint16_t>(bits);
  const uint8_t byte = static_cast<uint8_t>(bits);
  switch (format.dtype) {
    case DType::kBF16:
      return ToFloat(bf16{half});
    case DType::kF16:
      return ToFloat(f16{half});
    case DType::kF8E4M3:
      return ToFloat(f8_e4m3{byte});
    default:
      return ToFloat(f8_e5m2{byte});
  }
}

uint16_t ScalarNarrow(const Format& format, float x) {
  return format.dtype == DType::kBF16 ? ToBF16(x).bits : ToF16(x).bits;
}

// Floats at which rounding to a 16-bit format decides, of both signs: all of
// its numbers, the middles between them and the floats beside those; the ends
// of float; NaNs.
std::vector<float> Critical(const Format& format) {
  std::vector<float> list;
  const auto add = [&](uint32_t bits) {
    for (const uint32_t sign : {0u, 0x80000000u}) {
      list.push_back(FloatOf(bits | sign));
    }
  };
  for (uint32_t m = 0; m <= format.End(); ++m) {
    const double here = format.Magnitude(m);
    const double middle =
        (here + format.Magnitude(std::min(m + 1, format.End()))) / 2;
    for (const double x : {here, middle}) {
      if (x > std::numeric_limits<float>::max()) continue;
      const uint32_t bits = BitsOf(static_cast<float>(x));
      for (uint32_t near = bits - (bits > 0); near <= bits + 1; ++near) {
        add(near);
      }
    }
  }
  for (int bit = 0; bit < 23; ++bit) {
    add(1u << bit);
    add((1u << bit) - 1);
    add(0x7f800000u | 1u << bit);  // signalling, but for the last
    add(0x7fffffffu ^ 1u << bit);
  }
  add(0x7f7fffffu);
  add(0x7f800000u);
  add(0x7fffffffu);
  return list;
}

// Any bits, and numbers in the range of an f16.
std::vector<float> Random(size_t count) {
  std::vector<float> list(count);
  eval::Random random(7);
  for (size_t i = 0; i < count; ++i) {
    const uint32_t bits = static_cast<uint32_t>(random.Next() >> 16);
    list[i] = FloatOf(i % 2 == 0 ? bits
                                 : (bits & 0x807fffffu) |
                                       (100 + (bits >> 23 & 0xff) % 46) << 23);
  }
  return list;
}

std::vector<float> NarrowInputs(const Format& format) {
  std::vector<float> list = Critical(format);
  const std::vector<float> more = Random(Quick() ? 1 << 19 : 1 << 22);
  list.insert(list.end(), more.begin(), more.end());
  return list;
}

TEST(Convert, WidenIsTheDefinition) {
  for (const Format& format : {kBF16, kF16, kE4M3, kE5M2}) {
    for (uint32_t bits = 0; bits < format.patterns(); ++bits) {
      const double want = format.Value(bits);
      const float got = ScalarWiden(format, bits);
      if (std::isnan(want)) {
        ASSERT_TRUE(std::isnan(got)) << format.name << " " << bits;
      } else {
        ASSERT_EQ(static_cast<double>(got), want) << format.name << " " << bits;
      }
      ASSERT_EQ(std::signbit(got), bits >= format.magnitudes())
          << format.name << " " << bits;
    }
  }
}

TEST(Convert, NarrowIsTheDefinition) {
  for (const Format& format : {kBF16, kF16}) {
    std::vector<double> numbers;
    for (uint32_t m = 0; m <= format.End(); ++m) {
      numbers.push_back(format.Magnitude(m));
    }
    for (const float x : NarrowInputs(format)) {
      const uint16_t got = ScalarNarrow(format, x);
      const uint32_t magnitude = got & 0x7fffu;
      ASSERT_EQ(got >> 15 != 0, std::signbit(x)) << format.name << " " << x;
      if (std::isnan(x)) {
        // Quiet, with as much of the payload as there is room for.
        const uint32_t payload = BitsOf(x) << 9 >> (32 - format.mantissa);
        const uint32_t quiet = 1u << (format.mantissa - 1);
        ASSERT_EQ(magnitude, format.End() | quiet | payload) << BitsOf(x);
        continue;
      }
      const double wanted = std::fabs(static_cast<double>(x));
      size_t want = static_cast<size_t>(
          std::lower_bound(numbers.begin(), numbers.end(), wanted) -
          numbers.begin());
      if (want == numbers.size()) {
        --want;
      } else if (want > 0) {
        const double below = wanted - numbers[want - 1];
        const double above = numbers[want] - wanted;
        if (below < above || (below == above && want % 2 == 1)) --want;
      }
      ASSERT_EQ(magnitude, want) << format.name << " " << x;
    }
  }
}

TEST(Convert, ThereAndBack) {
  for (const Format& format : {kBF16, kF16}) {
    for (uint32_t bits = 0; bits < format.patterns(); ++bits) {
      const float x = ScalarWiden(format, bits);
      const uint32_t quiet = 1u << (format.mantissa - 1);
      ASSERT_EQ(ScalarNarrow(format, x), std::isnan(x) ? bits | quiet : bits);
    }
  }
}

TEST(Convert, Types) {
  EXPECT_EQ(SizeOf(DTypeOf<f8_e4m3>::value), int64_t{sizeof(f8_e4m3)});
  EXPECT_EQ(SizeOf(DTypeOf<f8_e5m2>::value), int64_t{sizeof(f8_e5m2)});
  EXPECT_STREQ(NameOf(DType::kF8E4M3), "f8_e4m3");
  EXPECT_STREQ(NameOf(DType::kF8E5M2), "f8_e5m2");
}

// ---- Rows of every table ----------------------------------------------------

class ConvertRows : public OnEveryTarget {
 protected:
  const internal::OpsTable& Table() const {
    return *internal::FindOpsTable(GetParam().c_str());
  }
};

// All patterns of a type, as they lie in memory, and what they are as floats.
struct Patterns {
  DType dtype;
  std::vector<char> bytes;
  std::vector<uint32_t> want;
};

Patterns PatternsOf(const Format& format) {
  Patterns all{format.dtype, {}, {}};
  const size_t size = static_cast<size_t>(SizeOf(format.dtype));
  all.bytes.resize(format.patterns() * size);
  for (uint32_t bits = 0; bits < format.patterns(); ++bits) {
    std::memcpy(all.bytes.data() + bits * size, &bits, size);
    all.want.push_back(BitsOf(ScalarWiden(format, bits)));
  }
  return all;
}

std::vector<Patterns> EveryPattern() {
  std::vector<Patterns> list = {PatternsOf(kBF16), PatternsOf(kF16),
                                PatternsOf(kE4M3), PatternsOf(kE5M2)};
  Patterns whole{DType::kI8, {}, {}};
  for (int i = -128; i < 128; ++i) {
    whole.bytes.push_back(static_cast<char>(i));
    whole.want.push_back(BitsOf(static_cast<float>(i)));
  }
  list.push_back(whole);
  Patterns floats{DType::kF32, {}, {}};
  for (const float x : Critical(kF16)) floats.want.push_back(BitsOf(x));
  floats.bytes.resize(floats.want.size() * sizeof(float));
  std::memcpy(floats.bytes.data(), floats.want.data(), floats.bytes.size());
  list.push_back(floats);
  return list;
}

// Sets the CPU to flush denormals for as long as it lives.
class Flushing {
 public:
  explicit Flushing(bool flush) : before_(FloatingPointControl()) {
    if (flush) SetFloatingPointControl(before_ | kFlushDenormals);
  }
  ~Flushing() { SetFloatingPointControl(before_); }
  Flushing(const Flushing&) = delete;
  Flushing& operator=(const Flushing&) = delete;

 private:
  uint64_t before_;
};

TEST_P(ConvertRows, WidenAllPatterns) {
  for (const Patterns& all : EveryPattern()) {
    for (const bool flush : {false, true}) {
      std::vector<uint32_t> got(all.want.size());
      {
        const Flushing flushing(flush);
        Table().widen(all.dtype, all.bytes.data(),
                      static_cast<int64_t>(got.size()),
                      reinterpret_cast<float*>(got.data()));
      }
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(got[i], all.want[i])
            << NameOf(all.dtype) << " " << i << (flush ? ", flushing" : "");
      }
    }
  }
}

TEST_P(ConvertRows, Narrow) {
  for (const Format& format : {kBF16, kF16}) {
    const std::vector<float> from = NarrowInputs(format);
    std::vector<uint16_t> want;
    for (const float x : from) want.push_back(ScalarNarrow(format, x));
    for (const bool flush : {false, true}) {
      std::vector<uint16_t> got(from.size());
      {
        const Flushing flushing(flush);
        Table().narrow(format.dtype, from.data(),
                       static_cast<int64_t>(from.size()), got.data());
      }
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(got[i], want[i])
            << format.name << " of bits " << std::hex << BitsOf(from[i])
            << (flush ? ", flushing" : "");
      }
    }
  }
}

TEST_P(ConvertRows, WidenScaled) {
  std::vector<int8_t> from;
  for (int i = -128; i < 128; ++i) from.push_back(static_cast<int8_t>(i));
  for (const float scale : {1.0f, 0.0123f, -3e37f, 1e-40f}) {
    for (size_t n = 0; n <= from.size(); n += n < 67 ? 1 : 63) {
      std::vector<float> got(n + 1, 5.0f);
      Table().widen_scaled(from.data() + 1, static_cast<int64_t>(n) - (n > 255),
                           scale, got.data());
      for (size_t i = 0; i < n - (n > 255); ++i) {
        const float want = static_cast<float>(from[i + 1]) * scale;
        ASSERT_EQ(BitsOf(got[i]), BitsOf(want)) << scale << " " << i;
      }
      ASSERT_EQ(got[n], 5.0f);
    }
  }
}

// A type that a table does not take, and null where there are no elements.
TEST_P(ConvertRows, Nothing) {
  float one = 5.0f;
  for (const DType dtype : {static_cast<DType>(-1), static_cast<DType>(77)}) {
    Table().widen(dtype, nullptr, 1, &one);
    Table().narrow(dtype, nullptr, 1, &one);
  }
  for (const DType dtype : {DType::kI8, DType::kF8E4M3, DType::kF8E5M2}) {
    Table().narrow(dtype, nullptr, 1, &one);
  }
  EXPECT_EQ(one, 5.0f);
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    Table().widen(dtype, nullptr, 0, nullptr);
    Table().narrow(dtype, nullptr, 0, nullptr);
  }
}

// Memory for a row against a guard page, and its other side watched.
class WatchedRow {
 public:
  explicit WatchedRow(size_t capacity) : memory_(capacity + 2 * kWatched) {}

  char* Place(size_t bytes, Against end) {
    bytes_ = bytes;
    char* all = memory_.Place(bytes + kWatched, end);
    row_ = end == Against::kFront ? all : all + kWatched;
    watched_ = end == Against::kFront ? all + bytes : all;
    std::memset(all, 0x5a, bytes + kWatched);
    return row_;
  }
  bool Untouched() const {
    return std::all_of(watched_, watched_ + kWatched,
                       [](char c) { return c == 0x5a; });
  }

 private:
  static constexpr size_t kWatched = 64;
  GuardedMemory memory_;
  size_t bytes_ = 0;
  char* row_ = nullptr;
  const char* watched_ = nullptr;
};

constexpr size_t kLongest = 67;

// Every length, against either end of a page: so at every alignment too.
TEST_P(ConvertRows, WidenTouchesNothingElse) {
  WatchedRow source(kLongest * 4), target(kLongest * 4);
  for (const Patterns& all : EveryPattern()) {
    const size_t size = static_cast<size_t>(SizeOf(all.dtype));
    for (size_t n = 0; n <= kLongest; ++n) {
      for (const Against end : {Against::kFront, Against::kBack}) {
        const std::string text =
            GetParam() + " " + NameOf(all.dtype) + " " + std::to_string(n);
        SetGuardContext(text);
        const size_t first = (n * 977 + 31) % (all.want.size() - n);
        char* from = source.Place(n * size, end);
        if (n > 0) std::memcpy(from, all.bytes.data() + first * size, n * size);
        char* to = target.Place(n * sizeof(float), end);
        Table().widen(all.dtype, from, static_cast<int64_t>(n),
                      reinterpret_cast<float*>(to));
        EXPECT_EQ(std::memcmp(to, all.want.data() + first, n * sizeof(float)),
                  0)
            << text;
        EXPECT_TRUE(source.Untouched() && target.Untouched()) << text;
      }
    }
  }
}

TEST_P(ConvertRows, NarrowTouchesNothingElse) {
  const std::vector<float> input = Critical(kF16);
  WatchedRow source(kLongest * 4), target(kLongest * 4);
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    const size_t size = static_cast<size_t>(SizeOf(dtype));
    for (size_t n = 0; n <= kLongest; ++n) {
      for (const Against end : {Against::kFront, Against::kBack}) {
        const std::string text =
            GetParam() + " to " + NameOf(dtype) + " " + std::to_string(n);
        SetGuardContext(text);
        const float* wanted = input.data() + n * 9973 % (input.size() - n);
        char* from = source.Place(n * sizeof(float), end);
        std::memcpy(from, wanted, n * sizeof(float));
        char* to = target.Place(n * size, end);
        Table().narrow(dtype, reinterpret_cast<float*>(from),
                       static_cast<int64_t>(n), to);
        std::vector<char> want(n * size + 1);
        for (size_t i = 0; i < n; ++i) {
          const uint32_t bits =
              dtype == DType::kF32
                  ? BitsOf(wanted[i])
                  : ScalarNarrow(dtype == DType::kF16 ? kF16 : kBF16,
                                 wanted[i]);
          std::memcpy(want.data() + i * size, &bits, size);
        }
        EXPECT_EQ(std::memcmp(to, want.data(), n * size), 0) << text;
        EXPECT_TRUE(source.Untouched() && target.Untouched()) << text;
      }
    }
  }
}

HEED_ON_EVERY_TARGET(ConvertRows);

}  // namespace
}  // namespace heed::test
