// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Problem strings and the tensors made from them.
#include "lib/io/problem.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "lib/eval/workload.h"
#include "lib/oracle/element.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

using io::FormatProblem;
using io::ParseProblem;
using io::Problem;

TEST(Problem, ReadsEveryField) {
  const Problem p = ProblemOf(
      "b2_h32_kv8_d128_dv64_q512_k4096_bf16_causal_off-3_wl7_wr8_sink4_cap30.5_"
      "scale-0.25");
  EXPECT_EQ(p.shape.batch, 2);
  EXPECT_EQ(p.shape.num_heads, 32);
  EXPECT_EQ(p.shape.num_kv_heads, 8);
  EXPECT_EQ(p.shape.head_dim, 128);
  EXPECT_EQ(p.shape.head_dim_v, 64);
  EXPECT_EQ(p.shape.seqlen_q, 512);
  EXPECT_EQ(p.shape.seqlen_k, 4096);
  EXPECT_EQ(p.shape.query_dtype, DType::kBF16);
  EXPECT_EQ(p.shape.key_dtype, DType::kBF16);
  EXPECT_EQ(p.shape.value_dtype, DType::kBF16);
  EXPECT_EQ(p.shape.out_dtype, DType::kBF16);
  EXPECT_TRUE(p.params.causal);
  EXPECT_EQ(p.params.causal_offset, -3);
  EXPECT_EQ(p.params.window_left, 7);
  EXPECT_EQ(p.params.window_right, 8);
  EXPECT_EQ(p.params.sink_size, 4);
  EXPECT_EQ(p.params.softcap, 30.5f);
  EXPECT_EQ(p.params.softmax_scale, -0.25f);
}

TEST(Problem, ReadsTheTypeOfACache) {
  const struct {
    const char* field;
    DType dtype;
  } types[] = {{"kvi8", DType::kI8},
               {"kve4m3", DType::kF8E4M3},
               {"kve5m2", DType::kF8E5M2},
               {"kvu4", DType::kU4}};
  for (const auto& type : types) {
    const std::string text =
        std::string("b1_h4_kv2_d64_q1_k9_bf16_") + type.field + "_rot_causal";
    const Problem p = ProblemOf(text);
    EXPECT_EQ(p.shape.query_dtype, DType::kBF16);
    EXPECT_EQ(p.shape.key_dtype, type.dtype);
    EXPECT_EQ(p.shape.value_dtype, type.dtype);
    EXPECT_EQ(p.shape.out_dtype, DType::kBF16);
    EXPECT_EQ(p.shape.num_kv_heads, 2);
    EXPECT_TRUE(p.shape.key_rotated && p.shape.value_rotated);
    EXPECT_EQ(FormatProblem(p), text);
    // Wherever it stands.
    EXPECT_EQ(
        ProblemOf(std::string(type.field) + "_rot_bf16_causal_h4_kv2_d64_q1_"
                                            "k9"),
        p);
  }
}

TEST(Problem, HasDefaults) {
  const Problem p = ProblemOf("h4_d64_q100");
  EXPECT_EQ(p.shape.batch, 1);
  EXPECT_EQ(p.shape.num_kv_heads, 4);
  EXPECT_EQ(p.shape.head_dim_v, 64);
  EXPECT_EQ(p.shape.seqlen_k, 100);
  EXPECT_EQ(p.shape.query_dtype, DType::kF32);
  EXPECT_EQ(p.params.causal_offset, kBottomRight);
  EXPECT_EQ(p.params.window_left, -1);
  EXPECT_EQ(FormatProblem(p), "b1_h4_d64_q100_k100_f32");
}

TEST(Problem, ReadsItsOwnText) {
  for (const char* text :
       {"b1_h32_kv8_d128_q512_k4096_f32_causal", "b1_h4_d64_q100_k100_f32",
        "b0_h1_kv2_d1_dv0_q0_k0_f16_causal_off-1_wl0_wr0_sink1_cap0.1_scale3",
        "b1_h1_d2_q3_k4_f32_off9223372036854775807_cap1e-30_scale-1e+30"}) {
    Problem p, again;
    ASSERT_EQ(ParseProblem(text, &p), "") << text;
    EXPECT_EQ(FormatProblem(p), text);
    ASSERT_EQ(ParseProblem(FormatProblem(p), &again), "");
    EXPECT_TRUE(p == again);
  }
  EXPECT_TRUE(ProblemOf("q5_d3_causal_h2") == ProblemOf("b1_h2_d3_q5_causal"));
  EXPECT_FALSE(ProblemOf("q5_d3_h2_wl3") == ProblemOf("q5_d3_h2_wl4"));
}

TEST(Problem, RefusesWithASentenceThatNamesTheField) {
  struct Bad {
    const char* text;
    const char* named;
  };
  for (const Bad& bad : std::initializer_list<Bad>{
           {"", "''"},
           {"h2_d8", "'q"},
           {"h2_q8", "'d"},
           {"d2_q8", "'h"},
           {"h2_d8_q4_x5", "'x5'"},
           {"h2_d8_q4_Causal", "'Causal'"},
           {"h2_d8_q4_causal1", "'causal1'"},
           {"h2_d8_q4_f64", "'f64'"},
           {"h2_d8_q", "'q'"},
           {"h2_d8_q4x", "'q4x'"},
           {"h2_d8_q4.5", "'q4.5'"},
           {"h2_d8_q-4", "'q-4'"},
           {"h2_d8_q4__causal", "''"},
           {"h2_d8_q4_", "''"},
           {"_h2_d8_q4", "''"},
           {"h2_d8_q 4", "'q 4'"},
           {"h2_d8_q2147483648", "'q2147483648'"},
           {"h2_d8_q99999999999999999999", "'q99999999999999999999'"},
           {"h2_d8_q4_off99999999999999999999", "'off9999"},
           {"h2_d8_q4_wl-1", "'wl-1'"},
           {"h2_d8_q4_wl-2", "'wl-2'"},
           {"h2_d8_q4_sink-1", "'sink-1'"},
           {"h2_d8_q4_capnan", "'capnan'"},
           {"h2_d8_q4_capinf", "'capinf'"},
           {"h2_d8_q4_scale1e999", "'scale1e999'"},
           {"h2_d8_q4_scale", "'scale'"},
           {"h2_h2_d8_q4", "twice"},
           {"h2_d8_q4_causal_causal", "twice"},
           {"h2_d8_q4_f32_bf16", "twice"},
       }) {
    Problem p = ProblemOf("h7_d7_q7");
    const std::string error = ParseProblem(bad.text, &p);
    ASSERT_NE(error, "") << bad.text;
    EXPECT_NE(error.find(bad.named), std::string::npos)
        << bad.text << ": " << error;
    EXPECT_TRUE(p == ProblemOf("h7_d7_q7")) << bad.text;
  }
}

TEST(Workload, NumbersDoNotDependOnLayoutOrExtent) {
  using eval::Layout;
  const eval::Tensors dense = eval::MakeTensors(ProblemOf("b2_h3_d5_q7"), {});
  for (const Layout layout :
       {Layout::kBhsd, Layout::kPacked, Layout::kPadded}) {
    eval::WorkloadOptions options;
    options.layout = layout;
    options.misalign = 3;
    const eval::Tensors other =
        eval::MakeTensors(ProblemOf("b2_h3_d5_q7"), options);
    EXPECT_EQ(other.query.Dense(), dense.query.Dense());
    EXPECT_EQ(other.key.Dense(), dense.key.Dense());
    EXPECT_EQ(other.value.Dense(), dense.value.Dense());
  }
  const eval::Tensors longer = eval::MakeTensors(ProblemOf("b3_h4_d9_q12"), {});
  EXPECT_EQ(*longer.key.At(1, 6, 2, 4), *dense.key.At(1, 6, 2, 4));
}

// Exact values: the same on every platform, or every list of hashes is void.
TEST(Workload, NumbersArePinned) {
  const eval::Tensors tensors = eval::MakeTensors(ProblemOf("h1_d2_q2"), {});
  double sum = 0;
  for (const float x : tensors.query.Dense()) sum = sum * 3 + x;
  for (const float x : tensors.value.Dense()) sum = sum * 3 + x;
  EXPECT_EQ(sum, 0x1.52210a96cp+10);
}

TEST(Workload, NormalIsNormal) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("h1_d100_q100"), {});
  double sum = 0, squares = 0;
  for (const float x : tensors.query.Dense()) {
    sum += x;
    squares += static_cast<double>(x) * x;
    EXPECT_LE(std::fabs(x), 3.5f);
  }
  EXPECT_NEAR(sum / 1e4, 0, 0.05);
  EXPECT_NEAR(squares / 1e4, 1, 0.05);
}

TEST(Workload, PaddingIsWatched) {
  eval::WorkloadOptions options;
  options.layout = eval::Layout::kPadded;
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("b2_h3_d5_q7"), options);
  EXPECT_TRUE(tensors.out.PaddingIntact());
  *tensors.out.At(0, 0, 0, 4) = 1;
  EXPECT_TRUE(tensors.out.PaddingIntact());
  *tensors.out.At(0, 0, 0, 5) = 1;
  EXPECT_FALSE(tensors.out.PaddingIntact());
}

TEST(Workload, SixteenBitsHoldTheRoundedNumbers) {
  const eval::Tensors f32 = eval::MakeTensors(ProblemOf("b2_h3_d5_q7"), {});
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    const std::string text = std::string("b2_h3_d5_q7_") + NameOf(dtype);
    std::vector<float> want = f32.key.Dense();
    for (float& x : want) x = oracle::RoundTo(dtype, x);
    for (const eval::Layout layout :
         {eval::Layout::kBshd, eval::Layout::kBhsd, eval::Layout::kPacked,
          eval::Layout::kPadded}) {
      eval::WorkloadOptions options;
      options.layout = layout;
      options.misalign = 3;
      const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), options);
      EXPECT_EQ(tensors.key.view.dtype, dtype);
      EXPECT_EQ(tensors.out.view.dtype, dtype);
      EXPECT_EQ(tensors.lse.view.dtype, DType::kF32);
      EXPECT_EQ(tensors.key.Dense(), want);
      for (const float x : tensors.out.Dense()) EXPECT_TRUE(std::isnan(x));
      EXPECT_TRUE(tensors.out.PaddingIntact());
      oracle::StoreElement(tensors.out.view, 1, 6, 2, 4, 1.0f);
      EXPECT_TRUE(tensors.out.PaddingIntact());
      oracle::StoreElement(tensors.out.view, 1, 6, 2, 5, 1.0f);
      EXPECT_FALSE(tensors.out.PaddingIntact());
    }
  }
}

}  // namespace
}  // namespace heed::test
