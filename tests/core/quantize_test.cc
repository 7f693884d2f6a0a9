// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// QuantizeKv: what it writes, how far that is from the source, and what it
// refuses.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "lib/oracle/element.h"
#include "tests/support/compare.h"
#include "tests/support/formats.h"
#include "tests/support/guard.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

constexpr DType kTypes[] = {DType::kI8, DType::kF8E4M3, DType::kF8E5M2,
                            DType::kU4};

// A cache to write into, padded, with its scales.
struct Cache {
  eval::Tensor rows, scale, minimum;

  Cache(DType dtype, int64_t batch, int64_t seqlen, int64_t heads, int64_t dim,
        int64_t groups = 1)
      : rows(eval::MakeTensor(batch, seqlen, heads, dim, eval::Layout::kPadded,
                              0, dtype)),
        scale(eval::MakeTensor(batch, seqlen, heads, groups,
                               eval::Layout::kPadded)) {
    if (dtype == DType::kU4) {
      minimum =
          eval::MakeTensor(batch, seqlen, heads, groups, eval::Layout::kPadded);
    }
  }
  oracle::ScaledTensor Scaled() const {
    return {rows.view, scale.view, minimum.view};
  }
  Status Write(const ConstTensorView& source, QuantizeOptions options = {}) {
    return QuantizeKv(source, options, rows.view, scale.view, minimum.view);
  }
};

// Keys of ordinary numbers, of a dtype.
eval::Tensor Source(int64_t seqlen, int64_t dim, DType dtype = DType::kF32) {
  const eval::Tensor source =
      eval::MakeTensor(2, seqlen, 3, dim, eval::Layout::kPadded, 0, dtype);
  eval::FillTensor(source, 1, eval::Fill::kNormal, 7);
  return source;
}

template <typename F>
void ForEachRow(const TensorView& view, F f) {
  for (int64_t b = 0; b < view.batch(); ++b) {
    for (int64_t s = 0; s < view.seqlen(); ++s) {
      for (int64_t h = 0; h < view.heads(); ++h) f(b, s, h);
    }
  }
}

// |x - widened|, as kv.h bounds it, with 2^-22 of |x| for rounding in f32.
double BoundOf(DType dtype, double x, double scale, double minimum) {
  const double rounding =
      (std::fabs(x) + std::fabs(minimum) + 15 * scale) * 0x1p-22;
  switch (dtype) {
    case DType::kF8E4M3:
      return std::max(std::fabs(x) * 0x1p-4, scale * 0x1p-10) + rounding;
    case DType::kF8E5M2:
      return std::max(std::fabs(x) * 0x1p-3, scale * 0x1p-17) + rounding;
    default:
      return scale / 2 + rounding;
  }
}

TEST(QuantizeKv, StaysWithinItsBound) {
  for (const DType dtype : kTypes) {
    for (const DType from : {DType::kF32, DType::kBF16, DType::kF16}) {
      for (const int group : {32, 64}) {
        const bool packed = dtype == DType::kU4;
        const int64_t dim = packed ? 128 : 37;
        const eval::Tensor source = Source(5, dim, from);
        Cache cache(dtype, 2, 5, 3, dim, packed ? dim / group : 1);
        const Status status = cache.Write(source.view);
        ASSERT_TRUE(status.ok()) << ToString(status);
        EXPECT_TRUE(cache.rows.PaddingIntact());
        EXPECT_TRUE(cache.scale.PaddingIntact());
        double largest = 0;
        ForEachRow(source.view, [&](int64_t b, int64_t s, int64_t h) {
          for (int64_t c = 0; c < dim; ++c) {
            const int64_t g = packed ? c / group : 0;
            const double x = oracle::ElementAt(source.view, b, s, h, c);
            const double scale = *cache.scale.At(b, s, h, g);
            const double minimum =
                packed ? *cache.minimum.At(b, s, h, g) : 0.0f;
            const double error =
                std::fabs(oracle::ElementAt(cache.Scaled(), b, s, h, c) - x);
            ASSERT_LE(error, BoundOf(dtype, x, scale, minimum))
                << NameOf(dtype) << " " << x;
            largest = std::max(largest, error);
          }
        });
        EXPECT_GT(largest, 0);  // something was rounded
      }
    }
  }
}

// The numbers themselves, from a definition in the test.
TEST(QuantizeKv, WritesTheNearest) {
  const eval::Tensor source = Source(4, 64);
  for (const DType dtype : kTypes) {
    const double most = dtype == DType::kI8       ? 127
                        : dtype == DType::kF8E4M3 ? 448
                                                  : 57344;
    const bool packed = dtype == DType::kU4;
    Cache cache(dtype, 2, 4, 3, 64, packed ? 2 : 1);
    ASSERT_TRUE(cache.Write(source.view).ok());
    const eval::Tensor want =
        eval::MakeTensor(2, 4, 3, 64, eval::Layout::kBshd, 0, dtype);
    ForEachRow(source.view, [&](int64_t b, int64_t s, int64_t h) {
      const float* x = source.At(b, s, h);
      for (int64_t first = 0; first < 64; first += packed ? 32 : 64) {
        const int64_t end = first + (packed ? 32 : 64);
        const auto [low, high] = std::minmax_element(x + first, x + end);
        const double least = packed ? static_cast<double>(*low) : 0.0;
        const double range =
            packed ? (static_cast<double>(*high) - least) / 15
                   : std::max(std::fabs(static_cast<double>(*low)),
                              std::fabs(static_cast<double>(*high))) /
                         most;
        const float scale = static_cast<float>(range);
        ASSERT_EQ(*cache.scale.At(b, s, h, first / 32), scale);
        if (packed) {
          ASSERT_EQ(*cache.minimum.At(b, s, h, first / 32), *low);
        }
        for (int64_t c = first; c < end; ++c) {
          const double q =
              (static_cast<double>(x[c]) - least) / static_cast<double>(scale);
          oracle::StoreElement(want.view, b, s, h, c, static_cast<float>(q));
          ASSERT_EQ(oracle::ElementAt(cache.rows.view, b, s, h, c),
                    oracle::ElementAt(want.view, b, s, h, c))
              << NameOf(dtype) << " " << q;
        }
      }
    });
  }
}

TEST(QuantizeKv, ZerosAndEqualNumbers) {
  for (const float x : {0.0f, -2.5f, 1e-45f}) {
    const std::vector<float> source(64, x);
    for (const DType dtype : kTypes) {
      Cache cache(dtype, 1, 1, 1, 64, 1);
      ASSERT_TRUE(cache.Write(Bshd(source.data(), 1, 1, 1, 64)).ok());
      for (int64_t c = 0; c < 64; ++c) {
        const double got = oracle::ElementAt(cache.Scaled(), 0, 0, 0, c);
        EXPECT_NEAR(got, x, std::fabs(x) * 1e-6 + 1e-44) << NameOf(dtype);
      }
      if (x == 0.0f || dtype == DType::kU4) {
        EXPECT_EQ(*cache.scale.At(0, 0, 0), 0.0f);
      }
    }
  }
}

TEST(QuantizeKv, WhatIsNotFiniteReadsAsNaN) {
  for (const float poison : {NAN, INFINITY, -INFINITY}) {
    for (const DType dtype : kTypes) {
      const bool packed = dtype == DType::kU4;
      for (const int64_t at : {0, 17, 63}) {
        const eval::Tensor source = Source(2, 64);
        *source.At(1, 1, 2, at) = poison;
        Cache cache(dtype, 2, 2, 3, 64, packed ? 2 : 1);
        ASSERT_TRUE(cache.Write(source.view).ok());
        ForEachRow(source.view, [&](int64_t b, int64_t s, int64_t h) {
          for (int64_t c = 0; c < 64; ++c) {
            const bool hit =
                b == 1 && s == 1 && h == 2 && (!packed || c / 32 == at / 32);
            ASSERT_EQ(std::isnan(oracle::ElementAt(cache.Scaled(), b, s, h, c)),
                      hit);
          }
        });
      }
    }
  }
}

// One scale of a whole tensor, and none at all.
TEST(QuantizeKv, GivenScales) {
  QuantizeOptions options;
  options.given_scale = true;
  for (const Format& format : {kE4M3, kE5M2}) {
    const double largest = format.Magnitude(format.End() - 1);
    std::vector<float> x = {1.3f, -1e30f, 1e30f, NAN, INFINITY, -INFINITY, 0};
    int8_t bytes[7];
    TensorView to = Bshd(bytes, 1, 1, 1, 7);
    to.dtype = format.dtype;
    float scale = 0.25f;
    const TensorView given = Strided(&scale, 1, 1, 1, 1, 0, 0, 0);
    for (const TensorView& view : {given, TensorView()}) {
      const double divisor = view.absent() ? 1 : 0.25;
      ASSERT_TRUE(
          QuantizeKv(Bshd(x.data(), 1, 1, 1, 7), options, to, view, {}).ok());
      const auto got = [&](int64_t c) {
        return oracle::ElementAt(to, 0, 0, 0, c);
      };
      EXPECT_NEAR(got(0), 1.3 / divisor, 0.13 / divisor);
      EXPECT_EQ(got(1), -largest);
      EXPECT_EQ(got(2), largest);
      EXPECT_TRUE(std::isnan(got(3)));
      const bool infinity = format.infinity;
      EXPECT_TRUE(infinity ? got(4) == INFINITY : std::isnan(got(4)));
      EXPECT_TRUE(infinity ? got(5) == -INFINITY : std::isnan(got(5)));
      EXPECT_EQ(got(6), 0);
    }
    EXPECT_EQ(scale, 0.25f);
    for (const float bad : {0.0f, -1.0f, NAN, INFINITY}) {
      scale = bad;
      ASSERT_TRUE(
          QuantizeKv(Bshd(x.data(), 1, 1, 1, 7), options, to, given, {}).ok());
      EXPECT_TRUE(std::isnan(oracle::ElementAt(to, 0, 0, 0, 0)));
    }
  }
}

// Token by token is the same as at once, and leaves the others alone.
TEST(QuantizeKv, Appends) {
  for (const DType dtype : kTypes) {
    const eval::Tensor source = Source(6, 32);
    Cache all(dtype, 2, 6, 3, 32), grown(dtype, 2, 6, 3, 32);
    ASSERT_TRUE(all.Write(source.view).ok());
    for (int64_t token = 0; token < 6; ++token) {
      ASSERT_TRUE(QuantizeKv(TokensOf(source.view, token, 1), {},
                             TokensOf(grown.rows.view, token, 1),
                             TokensOf(grown.scale.view, token, 1),
                             TokensOf(grown.minimum.view, token, 1))
                      .ok());
      if (token == 2) {
        EXPECT_TRUE(std::isnan(*grown.scale.At(0, 3, 0)));  // untouched
      }
    }
    EXPECT_EQ(grown.rows.Dense(), all.rows.Dense());
    EXPECT_EQ(grown.scale.Dense(), all.scale.Dense());
  }
}

TEST(QuantizeKv, TouchesNothingElse) {
  const GuardedMemory memory[4] = {GuardedMemory(1 << 14),
                                   GuardedMemory(1 << 14), GuardedMemory(4096),
                                   GuardedMemory(4096)};
  for (const DType dtype : kTypes) {
    for (int64_t dim = 1; dim <= 96; dim += 5) {
      if (dtype == DType::kU4) dim = (dim + 31) / 32 * 32;
      const bool packed = dtype == DType::kU4;
      const size_t groups = static_cast<size_t>(packed ? dim / 32 : 1);
      for (const Against end : {Against::kFront, Against::kBack}) {
        SetGuardContext(std::string("QuantizeKv to ") + NameOf(dtype));
        const eval::Tensor source = Source(1, dim);
        const auto place = [&](int which, size_t floats) {
          return reinterpret_cast<float*>(memory[which].Place(floats * 4, end));
        };
        float* x = place(0, static_cast<size_t>(dim));
        std::copy(source.At(0, 0, 0), source.At(0, 0, 0) + dim, x);
        TensorView to =
            eval::MakeTensor(1, 1, 1, dim, eval::Layout::kBshd, 0, dtype).view;
        to.data =
            memory[1].Place(static_cast<size_t>(BytesOf(dtype, dim)), end);
        const int64_t count = static_cast<int64_t>(groups);
        const TensorView scale = Bshd(place(2, groups), 1, 1, 1, count);
        const TensorView minimum =
            packed ? Bshd(place(3, groups), 1, 1, 1, count) : TensorView();
        for (const bool rotate : {false, true}) {
          QuantizeOptions options;
          options.rotate = rotate;
          ASSERT_TRUE(
              QuantizeKv(Bshd(x, 1, 1, 1, dim), options, to, scale, minimum)
                  .ok());
        }
      }
    }
  }
}

TEST(QuantizeKv, Refuses) {
  const eval::Tensor source = Source(5, 64);
  const auto says = [&](DType dtype, int64_t groups, auto spoil) {
    Cache cache(dtype, 2, 5, 3, 64, groups);
    ConstTensorView from = source.view;
    QuantizeOptions options;
    spoil(from, options, cache);
    const Status status = cache.Write(from, options);
    EXPECT_FALSE(status.ok());
    return ToString(status);
  };
  const DType i8 = DType::kI8, u4 = DType::kU4;
  EXPECT_EQ(says(i8, 1, [](auto& from, auto&, auto&) { from.extent[1] = 4; }),
            "invalid argument: to[1]: has another shape than source (got 5, "
            "needs 4)");
  EXPECT_EQ(says(i8, 1, [](auto& from, auto&, auto&) { from.data = nullptr; }),
            "invalid argument: source: is null");
  EXPECT_EQ(
      says(i8, 1, [](auto& from, auto&, auto&) { from.dtype = DType::kI8; }),
      "unsupported: source: must be f32, bf16 or f16");
  EXPECT_EQ(says(DType::kF16, 1, [](auto&, auto&, auto&) {}),
            "unsupported: to: must be i8, f8_e4m3, f8_e5m2 or u4");
  EXPECT_EQ(
      says(i8, 1,
           [](auto&, auto& options, auto&) { options.given_scale = true; }),
      "unsupported: given_scale: is for float8 alone");
  EXPECT_EQ(
      says(i8, 1,
           [](auto&, auto&, auto& cache) { cache.scale = eval::Tensor(); }),
      "invalid argument: scale: is missing: there is nowhere to write "
      "it");
  EXPECT_EQ(
      says(i8, 1,
           [](auto&, auto&, auto& cache) { cache.scale.view.stride[1] = 0; }),
      "invalid argument: scale: has two elements that share memory");
  EXPECT_EQ(says(i8, 2, [](auto&, auto&, auto&) {}),
            "invalid argument: scale[3]: must be one number a row (got 2, "
            "needs 1)");
  EXPECT_EQ(says(u4, 4, [](auto&, auto&, auto&) {}),
            "invalid argument: scale[3]: must be one number a group of 32 or "
            "64 (got 4)");
  EXPECT_EQ(
      says(u4, 2,
           [](auto&, auto&, auto& cache) { cache.minimum = eval::Tensor(); }),
      "invalid argument: minimum: is missing: u4 needs one");
  EXPECT_EQ(
      says(u4, 2,
           [](auto&, auto&, auto& cache) { cache.minimum = cache.scale; }),
      "invalid argument: scale: overlaps minimum");
  EXPECT_EQ(says(u4, 1,
                 [](auto& from, auto&, auto& cache) {
                   from.extent[3] = cache.rows.view.extent[3] = 40;
                 }),
            "invalid argument: scale[3]: must be one number a group of 32 or "
            "64 (got 1)");
  EXPECT_EQ(says(i8, 1,
                 [](auto& from, auto&, auto& cache) {
                   cache.rows.view.data = const_cast<void*>(from.data);
                 }),
            "invalid argument: to: overlaps source");
}

}  // namespace
}  // namespace heed::test
