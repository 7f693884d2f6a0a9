// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Rows of storage types to floats and back on every table: to the bit what
// heed/types.h gives, also where the host flushes denormals, and no byte
// beyond.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "heed/types.h"
#include "lib/kernels/kernels.h"
#include "tests/support/float_control.h"
#include "tests/support/formats.h"
#include "tests/support/guard.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

class ConvertRows : public OnEveryTarget {
 protected:
  const internal::OpsTable& Table() const {
    return *&internal::FindKernels(GetParam().c_str())->ops;
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

// One more rounding, of a product.
TEST_P(ConvertRows, WidenScaled) {
  std::vector<int8_t> from;
  for (int i = -128; i < 128; ++i) from.push_back(static_cast<int8_t>(i));
  for (const float scale : {1.0f, 0.0123f, -3e37f, 1e-40f}) {
    for (size_t n = 0; n <= from.size(); n += n < 67 ? 1 : 63) {
      std::vector<float> got(n + 1, 5.0f);
      Table().widen_scaled(from.data() + from.size() - n,
                           static_cast<int64_t>(n), scale, got.data());
      for (size_t i = 0; i < n; ++i) {
        const float x = static_cast<float>(from[from.size() - n + i]);
        ASSERT_EQ(BitsOf(got[i]), BitsOf(x * scale)) << scale << " " << i;
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
