// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The tile primitives of heed/ops.h on every table: to the bit against scalar
// loops, with every array between pages that cannot be touched.
#include "heed/ops.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "lib/eval/workload.h"
#include "lib/kernels/kernels.h"
#include "tests/support/compare.h"
#include "tests/support/quick.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

// `count` floats that end, or begin, where memory that faults begins or ends.
class GuardedArray {
 public:
  GuardedArray(int64_t count, bool at_end) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t bytes = static_cast<size_t>(count) * sizeof(float);
    size_ = (bytes + page - 1) / page * page + 2 * page;
    memory_ = static_cast<char*>(
        mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(memory_ + page, size_ - 2 * page, PROT_READ | PROT_WRITE);
    data_ = reinterpret_cast<float*>(at_end ? memory_ + size_ - page - bytes
                                            : memory_ + page);
  }
  ~GuardedArray() { munmap(memory_, size_); }
  GuardedArray(const GuardedArray&) = delete;
  GuardedArray& operator=(const GuardedArray&) = delete;
  float* data() const { return data_; }

 private:
  char* memory_;
  size_t size_;
  float* data_;
};

// Floats in (-2, 2), none of them a round number.
void FillRandom(float* x, int64_t n, uint64_t seed) {
  eval::Random random(seed);
  for (int64_t i = 0; i < n; ++i) {
    x[i] = static_cast<float>(random.Below(1 << 24) - (1 << 23)) * 0x1p-22f;
  }
}

class Ops : public OnEveryTarget {
 protected:
  const internal::OpsTable& table() const {
    return internal::FindKernels(GetParam().c_str())->ops;
  }
  float MulAdd(float a, float b, float c) const {
    return table().same_bits ? std::fma(a, b, c) : a * b + c;
  }
};

struct Product {
  int64_t m, n, k;
  bool transposed_a, transposed_b, add;
  int64_t padding;  // unused floats behind every row
  bool at_end;
};

// A matrix of these extents in an array of its own; transposed in memory where
// asked for.
ops::Matrix Lay(const GuardedArray& array, int64_t rows, int64_t cols,
                bool transposed, int64_t padding) {
  ops::Matrix m{array.data(), rows, cols, cols + padding};
  if (transposed) {
    m.row_stride = 1;
    m.col_stride = rows + padding;
  }
  return m;
}
int64_t Floats(int64_t rows, int64_t cols, bool transposed, int64_t padding) {
  if (transposed) std::swap(rows, cols);
  return rows == 0 || cols == 0 ? 0 : (rows - 1) * (cols + padding) + cols;
}

TEST_P(Ops, MatMulIsOneChainAnElement) {
  const auto check = [&](const Product& p) {
    const int64_t size_a = Floats(p.m, p.k, p.transposed_a, p.padding);
    const int64_t size_b = Floats(p.k, p.n, p.transposed_b, p.padding);
    const int64_t size_c = Floats(p.m, p.n, false, p.padding);
    const GuardedArray array_a(size_a, p.at_end);
    const GuardedArray array_b(size_b, p.at_end);
    const GuardedArray array_c(size_c, p.at_end);
    FillRandom(array_a.data(), size_a, 1);
    FillRandom(array_b.data(), size_b, 2);
    FillRandom(array_c.data(), size_c, 3);
    std::vector<float> want(array_c.data(), array_c.data() + size_c);
    const ops::Matrix a = Lay(array_a, p.m, p.k, p.transposed_a, p.padding);
    const ops::Matrix b = Lay(array_b, p.k, p.n, p.transposed_b, p.padding);
    const ops::Matrix c = Lay(array_c, p.m, p.n, false, p.padding);
    for (int64_t i = 0; i < p.m; ++i) {
      for (int64_t j = 0; j < p.n; ++j) {
        float& sum = want[static_cast<size_t>(i * c.row_stride + j)];
        if (!p.add) sum = 0;
        for (int64_t k = 0; k < p.k; ++k) {
          sum = MulAdd(a.data[i * a.row_stride + k * a.col_stride],
                       b.data[k * b.row_stride + j * b.col_stride], sum);
        }
      }
    }
    table().matmul(a, b, c, p.add);
    for (int64_t i = 0; i < size_c; ++i) {
      ASSERT_EQ(array_c.data()[i], want[static_cast<size_t>(i)])
          << "m=" << p.m << " n=" << p.n << " k=" << p.k
          << " ta=" << p.transposed_a << " tb=" << p.transposed_b
          << " add=" << p.add << " at " << i;
    }
  };
  // Each extent by itself, then random ones.
  for (int64_t x = 0; x <= 70; ++x) {
    check({x, 20, 5, false, false, true, 0, true});
    check({5, x, 9, false, false, false, 0, true});
    check({3, 17, x, false, false, true, 0, true});
  }
  eval::Random random(4);
  const int rounds = Quick() ? 60 : 600;
  for (int i = 0; i < rounds; ++i) {
    check({random.Below(40), random.Below(110), random.Below(300),
           random.Below(2) == 1, random.Below(2) == 1, random.Below(2) == 1,
           random.Below(3), random.Below(2) == 1});
  }
}

TEST_P(Ops, DotIsSixteenChains) {
  for (int64_t n = 0; n < 100; ++n) {
    const GuardedArray a(n, n % 2 == 0), b(n, n % 3 == 0);
    FillRandom(a.data(), n, 1);
    FillRandom(b.data(), n, 2);
    float partial[16] = {};
    for (int64_t i = 0; i < n; ++i) {
      partial[i % 16] = MulAdd(a.data()[i], b.data()[i], partial[i % 16]);
    }
    for (int half = 8; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) partial[i] += partial[i + half];
    }
    ASSERT_EQ(table().dot(a.data(), b.data(), n), partial[0]) << n;
  }
}

TEST_P(Ops, AxpyAndScaleAreElementwise) {
  for (int64_t n = 0; n < 70; ++n) {
    const GuardedArray x(n, true), y(n, true);
    FillRandom(x.data(), n, 1);
    FillRandom(y.data(), n, 2);
    const std::vector<float> was(y.data(), y.data() + n);
    table().axpy(1.3f, x.data(), y.data(), n);
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_EQ(y.data()[i],
                MulAdd(1.3f, x.data()[i], was[static_cast<size_t>(i)]));
    }
    table().scale(0.7f, y.data(), n);
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_EQ(y.data()[i],
                0.7f * MulAdd(1.3f, x.data()[i], was[static_cast<size_t>(i)]));
    }
  }
}

TEST_P(Ops, ExpIsWithinOneAndAHalfUlp) {
  std::vector<float> x;
  const float step = Quick() ? 0.01f : 0.0003f;
  for (float v = -87.33f; v < 88.72f; v += step) x.push_back(v);
  for (float v = 1e-30f; v < 0.1f; v *= 1.01f) {
    x.push_back(v);
    x.push_back(-v);
  }
  std::vector<float> y(x.size());
  table().exp(x.data(), y.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    const double want = std::exp(static_cast<double>(x[i]));
    const double ulp = std::ldexp(1.0, std::ilogb(want) - 23);
    ASSERT_LE(std::fabs(static_cast<double>(y[i]) - want), 1.5 * ulp) << x[i];
  }
}

TEST_P(Ops, ExpHasItsEnds) {
  const float inf = INFINITY;
  const float in[] = {0.0f,   -0.0f, -87.34f, -100.0f, -1e30f, -inf, 88.73f,
                      200.0f, 1e30f, inf,     NAN,     1.0f,   NAN,  -NAN};
  float out[14];
  table().exp(in, out, 14);
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], 1.0f);
  for (int i = 2; i < 6; ++i) EXPECT_EQ(out[i], 0.0f) << in[i];
  for (int i = 6; i < 10; ++i) EXPECT_EQ(out[i], inf) << in[i];
  for (const int i : {10, 12, 13}) EXPECT_TRUE(std::isnan(out[i]));
}

TEST_P(Ops, LargestIsFoundWhereverItIs) {
  EXPECT_EQ(table().largest(nullptr, 0), -INFINITY);
  for (int64_t n = 1; n < 70; ++n) {
    const GuardedArray x(n, n % 2 == 0);
    FillRandom(x.data(), n, 1);
    for (int64_t i = 0; i < n; ++i) x.data()[i] -= 9;
    for (int64_t at = 0; at < n; ++at) {
      const float was = x.data()[at];
      for (const float most : {-0x1p-140f, 3.0f, INFINITY}) {
        x.data()[at] = most;
        ASSERT_EQ(table().largest(x.data(), n), most) << n << ' ' << at;
      }
      x.data()[at] = was;
    }
  }
  for (int64_t n = 1; n < 40; ++n) {
    std::vector<float> x(static_cast<size_t>(n), -0.0f);
    for (const float zero : {-0.0f, 0.0f}) {
      x.back() = zero;
      EXPECT_FALSE(std::signbit(table().largest(x.data(), n)));
    }
    x.assign(static_cast<size_t>(n), -INFINITY);
    EXPECT_EQ(table().largest(x.data(), n), -INFINITY);
  }
}

TEST_P(Ops, SoftmaxIsAccurate) {
  for (const int64_t n : {1, 2, 15, 16, 17, 100, 1000}) {
    const GuardedArray x(n, true);
    FillRandom(x.data(), n, 7);
    for (int64_t i = 0; i < n; ++i) x.data()[i] *= 20;
    if (n > 2) x.data()[1] = -INFINITY;
    const std::vector<float> was(x.data(), x.data() + n);
    const double max = *std::max_element(was.begin(), was.end());
    double sum = 0;
    for (const float v : was) sum += std::exp(static_cast<double>(v) - max);
    const float lse = table().softmax(x.data(), n);
    EXPECT_NEAR(lse, max + std::log(sum), 1e-5);
    for (int64_t i = 0; i < n; ++i) {
      const double score = was[static_cast<size_t>(i)] - max;
      const double want = std::exp(score) / sum;
      // The difference from the maximum is rounded once.
      const double bound = (4e-7 - score * 0x1p-24) * want + 1e-37;
      ASSERT_NEAR(x.data()[i], want, score < -100 ? 1e-37 : bound);
    }
  }
}

TEST_P(Ops, SoftmaxHasItsEnds) {
  for (const int64_t n : {1, 5, 16, 40}) {
    std::vector<float> x(static_cast<size_t>(n), -INFINITY);
    EXPECT_EQ(table().softmax(x.data(), n), -INFINITY);
    for (const float v : x) EXPECT_EQ(v, 0.0f);
    for (const float bad : {static_cast<float>(NAN), INFINITY}) {
      for (const float rest : {-INFINITY, 3.0f}) {
        for (int64_t at = 0; at < n; ++at) {
          x.assign(static_cast<size_t>(n), rest);
          x[static_cast<size_t>(at)] = bad;
          EXPECT_TRUE(std::isnan(table().softmax(x.data(), n)));
          for (const float v : x) EXPECT_TRUE(std::isnan(v));
        }
      }
    }
  }
  EXPECT_EQ(table().softmax(nullptr, 0), -INFINITY);
}

using OpsSameBits = Ops;

TEST_P(OpsSameBits, ExpAndSoftmaxHaveTheBitsOfEveryTable) {
  ASSERT_TRUE(table().same_bits);
  std::vector<float> x(5001);
  FillRandom(x.data(), 5001, 9);
  for (float& v : x) v *= 40;
  std::vector<float> y(x.size()), want(x.size());
  table().exp(x.data(), y.data(), 5001);
  internal::FindKernels("plain")->ops.exp(x.data(), want.data(), 5001);
  EXPECT_EQ(y, want);
  y = want = x;
  EXPECT_EQ(table().softmax(y.data(), 5001),
            internal::FindKernels("plain")->ops.softmax(want.data(), 5001));
  EXPECT_EQ(y, want);
}

HEED_ON_EVERY_TARGET(Ops);
INSTANTIATE_TEST_SUITE_P(Target, OpsSameBits,
                         ::testing::ValuesIn(SameBitsTargets()),
                         [](const auto& param) { return param.param; });

TEST(OpsPortable, MeanPoolDividesByWhatABlockHas) {
  const float x[] = {1, 10, 3, 20, 5, 60};  // 3 rows of 2
  float out[4];
  ops::MeanPool(ops::Dense(x, 3, 2), 2, ops::Dense(out, 2, 2));
  EXPECT_EQ(std::vector<float>(out, out + 4),
            (std::vector<float>{2, 15, 5, 60}));
  ops::MeanPool(ops::Transposed(ops::Dense(x, 2, 3)), 2, ops::Dense(out, 2, 2));
  EXPECT_EQ(std::vector<float>(out, out + 4),
            (std::vector<float>{5.5f, 12.5f, 3, 60}));
  ops::MeanPool(ops::Dense(x, 0, 2), 2, ops::Dense(out, 0, 2));
}

std::vector<int32_t> Top(std::vector<float> score, int64_t k) {
  std::vector<int32_t> index(score.size());
  index.resize(static_cast<size_t>(ops::TopK(
      score.data(), static_cast<int64_t>(score.size()), k, index.data())));
  return index;
}

TEST(OpsPortable, TopKPrefersTheLowestIndex) {
  using Index = std::vector<int32_t>;
  EXPECT_EQ(Top({1, 3, 2, 3, 0}, 2), (Index{1, 3}));
  EXPECT_EQ(Top({5, 5, 5, 5}, 2), (Index{0, 1}));
  EXPECT_EQ(Top({0, -0.0f, 0}, 1), (Index{0}));
  EXPECT_EQ(Top({-0.0f, 0}, 1), (Index{0}));
  EXPECT_EQ(Top({NAN, -INFINITY, NAN}, 2), (Index{0, 1}));
  EXPECT_EQ(Top({1, INFINITY, 2}, 9), (Index{0, 1, 2}));
  EXPECT_EQ(Top({1, 2}, 0), (Index{}));
  EXPECT_EQ(Top({1, 2}, -3), (Index{}));
  EXPECT_EQ(Top({}, 3), (Index{}));
}

TEST(OpsPortable, AllFiniteSeesEveryElement) {
  for (int64_t n = 0; n < 40; ++n) {
    std::vector<float> x(static_cast<size_t>(n), 3e38f);
    EXPECT_TRUE(ops::AllFinite(x.data(), n));
    for (float& v : x) {
      for (const float bad : {static_cast<float>(NAN), INFINITY, -INFINITY}) {
        v = bad;
        EXPECT_FALSE(ops::AllFinite(x.data(), n));
      }
      v = 0;
    }
  }
}

}  // namespace
}  // namespace heed::test
