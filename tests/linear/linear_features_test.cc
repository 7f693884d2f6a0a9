// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Random features against their closed forms, and pairs against the square.
#include "heed/linear_features.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/linear/scan_case.h"

namespace heed::test {
namespace {

// A query and a key with |q + k|^2 = `square` and q . k = `dot`.
struct Pair {
  std::vector<double> query, key;
};
Pair PairOf(int64_t dim, double square, double dot) {
  // q = (a, b, 0...), k = (a, -b, 0...): 4 a^2 = square, a^2 - b^2 = dot.
  Pair p = {std::vector<double>(static_cast<size_t>(dim)),
            std::vector<double>(static_cast<size_t>(dim))};
  const double a = std::sqrt(square / 4), b = std::sqrt(square / 4 - dot);
  p.query[0] = p.key[0] = a;
  p.query[1] = b;
  p.key[1] = -b;
  return p;
}

// exp(w . q - |q|^2 / 2) exp(w . k - |k|^2 / 2), the mean over `rows` rows.
double Estimate(const Pair& p, const float* w, int64_t rows) {
  const size_t dim = p.query.size();
  double off = 0, sum = 0;
  for (size_t c = 0; c < dim; ++c) {
    off += (p.query[c] * p.query[c] + p.key[c] * p.key[c]) / 2;
  }
  for (int64_t r = 0; r < rows; ++r) {
    double at = -off;
    for (size_t c = 0; c < dim; ++c) {
      at += static_cast<double>(w[static_cast<size_t>(r) * dim + c]) *
            (p.query[c] + p.key[c]);
    }
    sum += std::exp(at);
  }
  return sum / static_cast<double>(rows);
}

// One row a seed: Gaussian ones. The mean is exp(q . k), the relative variance
// exp(|q + k|^2) - 1; each within three sigma of what so many draws show. A
// lognormal variable's fourth moment says how far a variance strays.
TEST(LinearFeatures, RandomOnesAreUnbiasedWithTheKnownVariance) {
  constexpr int kDraws = 20000;
  const int64_t dim = 8;
  for (const double square : {0.1, 0.4}) {
    for (const double dot : {-0.2, 0.02}) {
      SCOPED_TRACE(square);
      const Pair p = PairOf(dim, square, dot);
      const double want = std::exp(dot);
      double sum = 0, squares = 0;
      std::vector<float> w(static_cast<size_t>(dim));
      for (int seed = 1; seed <= kDraws; ++seed) {
        DrawOrthogonalRows(seed, 1, dim, true, 1, w.data());
        const double x = Estimate(p, w.data(), 1) / want;
        sum += x;
        squares += (x - 1) * (x - 1);
      }
      const double e = std::exp(square), variance = e - 1;
      const double kurtosis =
          std::pow(e, 4) + 2 * std::pow(e, 3) + 3 * e * e - 3;
      EXPECT_NEAR(sum / kDraws, 1, 3 * std::sqrt(variance / kDraws));
      EXPECT_NEAR(squares / kDraws, variance,
                  3 * variance * std::sqrt((kurtosis - 1) / kDraws));
    }
  }
}

// Orthogonal rows estimate the same with less variance.
TEST(LinearFeatures, OrthogonalRowsVaryLess) {
  constexpr int kDraws = 4000;
  const int64_t dim = 8;
  const Pair p = PairOf(dim, 0.4, -0.2);
  double sum = 0, squares = 0;
  std::vector<float> w(static_cast<size_t>(dim * dim));
  for (int seed = 1; seed <= kDraws; ++seed) {
    DrawOrthogonalRows(seed, dim, dim, true, 1, w.data());
    const double x = Estimate(p, w.data(), dim) / std::exp(-0.2);
    sum += x;
    squares += (x - 1) * (x - 1);
  }
  const double independent = (std::exp(0.4) - 1) / static_cast<double>(dim);
  EXPECT_NEAR(sum / kDraws, 1, 3 * std::sqrt(independent / kDraws));
  EXPECT_LT(squares / kDraws, 0.95 * independent);
}

TEST(LinearFeatures, ProjectionsKeepScalarProducts) {
  const int64_t dim = 12;
  std::vector<float> w(static_cast<size_t>(dim * dim));
  DrawProjection(1, dim, dim, w.data());
  for (int64_t i = 0; i < dim * dim; ++i) {
    EXPECT_EQ(w[static_cast<size_t>(i)], i / dim == i % dim ? 1.0f : 0.0f);
  }
  const Pair p = PairOf(dim, 2, 0.4);
  double sum = 0;
  constexpr int kDraws = 4000;
  for (int seed = 1; seed <= kDraws; ++seed) {
    DrawProjection(seed, 5, dim, w.data());
    for (size_t r = 0; r < 5; ++r) {
      double q = 0, k = 0;
      for (size_t c = 0; c < 12; ++c) {
        q += static_cast<double>(w[r * 12 + c]) * p.query[c];
        k += static_cast<double>(w[r * 12 + c]) * p.key[c];
      }
      sum += q * k;
    }
  }
  EXPECT_NEAR(sum / kDraws, 0.4, 0.03);
}

TEST(LinearFeatures, PairsMultiplyToTheSquare) {
  const std::vector<float> q = {0.5f, -2, 3, 1}, k = {1, 2, -0.25f, 4};
  std::vector<float> a(PairFeatures(4)), b(PairFeatures(4));
  WritePairs(q.data(), 4, false, a.data());
  WritePairs(k.data(), 4, true, b.data());
  float square = 0, dot = 0;
  for (size_t i = 0; i < a.size(); ++i) square += a[i] * b[i];
  for (size_t i = 0; i < 4; ++i) dot += q[i] * k[i];
  EXPECT_EQ(square, dot * dot);
}

// A map of the place alone: sequences of a packed call, batches and chunks see
// the same places.
struct Places {
  static void Map(const void* /*self*/, const FeatureRows& rows) {
    for (int64_t i = 0; i < rows.x.rows; ++i) {
      for (int64_t c = 0; c < rows.x.cols; ++c) {
        rows.phi.row(i)[c] =
            rows.x.row(i)[c] *
            Factor(rows.batch, rows.position + i, rows.head, rows.key);
      }
    }
  }
  static float Factor(int64_t batch, int64_t position, int64_t head, bool key) {
    return 1 + 0.25f * static_cast<float>(batch) +
           0.125f * static_cast<float>(position) +
           0.5f * static_cast<float>(head) + (key ? 2.0f : 0.0f);
  }
};

TEST(LinearFeatures, MapsKnowThePlaceOfTheirRows) {
  for (const bool ragged : {false, true}) {
    for (const int chunk : {1, 5, 16}) {
      ScanCase c;
      c.seqlen = 40;
      c.batch = ragged ? 1 : 2;
      c.query_heads = 4;
      c.key_heads = c.value_heads = 2;
      if (ragged) c.cu_seqlens = {0, 13, 13, 40};
      ScanTensors want(c), got(c);
      const auto scale = [&](std::vector<float>& rows, int64_t heads,
                             bool key) {
        for (size_t i = 0; i < rows.size(); ++i) {
          const int64_t row = static_cast<int64_t>(i) / c.dim;
          const int64_t head = row % heads, token = row / heads;
          int64_t batch = token / 40, position = token % 40;
          if (ragged) {
            batch = position < 13 ? 0 : 2;
            position -= position < 13 ? 0 : 13;
          }
          rows[i] *= Places::Factor(batch, position + (key ? 3 : 7), head, key);
        }
      };
      scale(want.query, 4, false);
      scale(want.key, 2, true);
      ScanArgs args = got.Args();
      args.map = {c.dim, nullptr, &Places::Map, 7, 3};
      ScanParams params = got.Params();
      params.scale = 1;
      ASSERT_TRUE(RunScanOn({"", chunk, 3}, params, args).ok());
      ASSERT_TRUE(RunScanOn({"", chunk, 1}, params, want.Args()).ok());
      EXPECT_TRUE(SameResults(got, want));
    }
  }
}

}  // namespace
}  // namespace heed::test
