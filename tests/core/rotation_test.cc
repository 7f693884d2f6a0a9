// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Keys and values that were rotated before they were stored: the bits of the
// page on every table, the same attention but for rounding, and less lost to
// 4 bits where channels differ in size.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "lib/kernels/kernels.h"
#include "lib/oracle/element.h"
#include "lib/oracle/oracle.h"
#include "tests/support/check.h"
#include "tests/support/quick.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

// Rotates all rows of an f32 tensor.
void RotateRows(const eval::Tensor& tensor) {
  const TensorView& view = tensor.view;
  for (int64_t b = 0; b < view.batch(); ++b) {
    for (int64_t s = 0; s < view.seqlen(); ++s) {
      for (int64_t h = 0; h < view.heads(); ++h) {
        oracle::Rotate(tensor.At(b, s, h), view.head_dim());
      }
    }
  }
}

double LargestDifference(const std::vector<double>& a,
                         const std::vector<double>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::fabs(a[i] - b[i]));
  }
  return largest;
}

std::vector<double> TruthOf(const AttentionParams& params,
                            const AttentionArgs& args) {
  std::vector<double> out(
      static_cast<size_t>(args.out.batch() * args.out.seqlen() *
                          args.out.heads() * args.out.head_dim()));
  oracle::AttentionDouble(params, args, out.data(), nullptr);
  return out;
}

// H is its own inverse and keeps products; blocks of the largest power of two.
TEST(RotationPage, IsOrthonormal) {
  for (const int64_t dim : {1, 2, 6, 8, 32, 80, 96, 128, 576}) {
    std::vector<double> x(static_cast<size_t>(dim)), y(x);
    for (int64_t c = 0; c < dim; ++c) {
      x[static_cast<size_t>(c)] = std::sin(static_cast<double>(c) * 1.7 + 1);
      y[static_cast<size_t>(c)] = std::cos(static_cast<double>(c * c));
    }
    std::vector<double> a = x, b = y;
    oracle::Rotate(a.data(), dim);
    oracle::Rotate(b.data(), dim);
    double before = 0, after = 0;
    for (size_t c = 0; c < x.size(); ++c) {
      before += x[c] * y[c];
      after += a[c] * b[c];
    }
    EXPECT_NEAR(before, after, 1e-12);
    if (dim % 2 == 0) {
      EXPECT_GT(LargestDifference(a, x), 0.1);
    }
    oracle::Rotate(a.data(), dim);
    EXPECT_LT(LargestDifference(a, x), 1e-12);
  }
}

class Rotation : public OnEveryTarget {
 protected:
  void Check(const io::Problem& problem) {
    const eval::Tensors tensors = eval::MakeTensors(problem, {});
    const Checker checker(GetParam(), problem.params, tensors);
    for (const int decode_rows : {0, 64}) {
      RunConfig config;
      config.target = GetParam();
      config.decode_rows = decode_rows;
      config.workers = 1 + static_cast<int>(problem.shape.head_dim % 2);
      checker.Check(config);
      // No unit serves rotated rows, so that these are the same bits.
      config.numerics = Numerics::kFast;
      checker.Check(config);
    }
  }
};

TEST_P(Rotation, RowsOfEveryLength) {
  const internal::OpsTable& ops =
      internal::FindKernels(GetParam().c_str())->ops;
  for (int64_t dim = 0; dim <= 1024; dim += dim < 300 ? 1 : 4) {
    std::vector<float> row(static_cast<size_t>(dim) + 1, 3.5f);
    for (int64_t c = 0; c < dim; ++c) {
      row[static_cast<size_t>(c)] =
          static_cast<float>(std::sin(static_cast<double>(c + dim)));
    }
    std::vector<float> want = row;
    oracle::Rotate(want.data(), dim);
    ops.rotate(row.data(), dim);
    ASSERT_EQ(row, want) << dim;
  }
}

TEST_P(Rotation, IsThePages) {
  for (const char* text :
       {"h4_kv2_d64_q20_k75_kvi8_rot_causal", "h2_d7_dv6_q5_k9_rot",
        "h3_kv1_d48_dv96_q1_k130_bf16_rot", "h2_d32_dv0_q3_k9_kve4m3_rot",
        "h8_kv2_d128_q1_k90_f16_kvu4_rot", "h1_d1_q30_k70_kve5m2_rot_causal",
        "h2_d1024_q3_k66_kvu4_rot", "h2_d16_q3_k0_rot"}) {
    SCOPED_TRACE(text);
    io::Problem both = ProblemOf(text);
    // The bound of tables without FMA is for an output of 32 bits.
    if (!HasSameBits(GetParam())) both.shape.out_dtype = DType::kF32;
    Check(both);
    for (const bool key : {false, true}) {
      io::Problem one = both;
      one.shape.key_rotated = key;
      one.shape.value_rotated = !key;
      Check(one);
    }
  }
}

// Rotated keys and values with the flags are the unrotated ones without.
TEST_P(Rotation, LeavesTheResult) {
  for (const char* text : {"h4_kv2_d64_q3_k100_causal", "h2_d80_q20_k70"}) {
    const eval::Tensors plain = eval::MakeTensors(ProblemOf(text), {});
    const std::vector<double> want =
        TruthOf(plain.problem.params, plain.Args());
    eval::Tensors rotated = plain;
    RotateRows(rotated.key);  // shares memory
    RotateRows(rotated.value);
    rotated.problem.shape.key_rotated = true;
    rotated.problem.shape.value_rotated = true;
    ASSERT_TRUE(
        RunOn(RunConfig{GetParam()}, plain.problem.params, rotated.Args())
            .ok());
    const std::vector<float> out = rotated.out.Dense();
    EXPECT_LT(LargestDifference({out.begin(), out.end()}, want), 5e-6);
    // The flags matter.
    rotated.problem.shape.key_rotated = false;
    ASSERT_TRUE(
        RunOn(RunConfig{GetParam()}, plain.problem.params, rotated.Args())
            .ok());
    const std::vector<float> wrong = rotated.out.Dense();
    EXPECT_GT(LargestDifference({wrong.begin(), wrong.end()}, want), 1e-2);
  }
}

// A channel of keys and one of values 30 times the others: by QuantizeKv to 4
// bits and back through attention, with rotation and without.
TEST_P(Rotation, LosesLessOfOutliers) {
  const eval::Tensors plain =
      eval::MakeTensors(ProblemOf("h4_kv2_d128_q8_k200"), {});
  for (int64_t s = 0; s < 200; ++s) {
    for (int64_t h = 0; h < 2; ++h) {
      *plain.key.At(0, s, h, 5) *= 30.0f;
      *plain.value.At(0, s, h, 77) *= 30.0f;
      for (int64_t g = 0; g < 128; g += 32) *plain.key.At(0, s, h, g) *= 20.0f;
    }
  }
  for (int64_t s = 0; s < 8; ++s) {
    for (int64_t h = 0; h < 4; ++h) *plain.query.At(0, s, h, 5) *= 0.03f;
  }
  const std::vector<double> want = TruthOf(plain.problem.params, plain.Args());
  double loss[2];
  for (const bool rotate : {false, true}) {
    io::Problem problem = ProblemOf("h4_kv2_d128_q8_k200_kvu4");
    problem.shape.key_rotated = problem.shape.value_rotated = rotate;
    eval::Tensors packed = eval::MakeTensors(problem, {});
    packed.query = plain.query;
    QuantizeOptions options;
    options.rotate = rotate;
    ASSERT_TRUE(QuantizeKv(plain.key.view, options, packed.key.view,
                           packed.key_scale.view, packed.key_minimum.view)
                    .ok());
    ASSERT_TRUE(QuantizeKv(plain.value.view, options, packed.value.view,
                           packed.value_scale.view, packed.value_minimum.view)
                    .ok());
    ASSERT_TRUE(
        RunOn(RunConfig{GetParam()}, problem.params, packed.Args()).ok());
    const std::vector<float> out = packed.out.Dense();
    double sum = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      const double error = static_cast<double>(out[i]) - want[i];
      sum += error * error;
    }
    loss[rotate ? 1 : 0] = std::sqrt(sum / static_cast<double>(out.size()));
  }
  EXPECT_GT(loss[1], 0);
  EXPECT_LT(loss[1], 0.7 * loss[0]);
  RecordProperty("loss", std::to_string(loss[0]));
  RecordProperty("loss_rotated", std::to_string(loss[1]));
}

HEED_ON_EVERY_TARGET(Rotation);

}  // namespace
}  // namespace heed::test
