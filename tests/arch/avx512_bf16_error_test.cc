// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// How far the kernel on vdpbf16ps is from the double oracle: no further than
// twice a plain implementation in bf16, and within what docs/numerics.md
// publishes for kFast.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "lib/eval/workload.h"
#include "lib/oracle/element.h"
#include "lib/oracle/oracle.h"
#include "tests/arch/unit.h"
#include "tests/support/intervals.h"
#include "tests/support/quick.h"

namespace heed::test {
namespace {

// Of docs/numerics.md, times the largest |value|, and for lse.
constexpr double kPublishedBound = 0x1.08p-7;
constexpr double kPublishedLseBound = 0x1.08p-8;

double OutputUnit(DType dtype) {
  return dtype == DType::kBF16 ? 0x1p-8 : dtype == DType::kF16 ? 0x1p-11 : 0;
}

// The visible keys' scores of a row, in double.
std::vector<double> Scores(const AttentionParams& params,
                           const AttentionArgs& args, int64_t b, int64_t row,
                           int64_t h, std::vector<int64_t>* keys) {
  const int64_t dim = args.query.head_dim();
  const double scale = params.softmax_scale != 0
                           ? params.softmax_scale
                           : 1 / std::sqrt(static_cast<double>(dim));
  const int64_t kv = h / (args.query.heads() / args.key.heads());
  std::vector<double> scores;
  for (int64_t key = 0; key < args.key.seqlen(); ++key) {
    if (!oracle::Visible(params, args, b, h, row, key)) continue;
    double s = 0;
    for (int64_t c = 0; c < dim; ++c) {
      s += static_cast<double>(oracle::ElementAt(args.query, b, row, h, c)) *
           oracle::ElementAt(args.key, b, key, kv, c);
    }
    s *= scale;
    if (params.softcap != 0) s = params.softcap * std::tanh(s / params.softcap);
    scores.push_back(s);
    keys->push_back(key);
  }
  return scores;
}

// Textbook attention as frameworks do it in bf16: probabilities are rounded to
// bf16 before they meet the values; all else is exact but for the output.
std::vector<double> PlainBF16(const AttentionParams& params,
                              const AttentionArgs& args) {
  std::vector<double> out;
  const int64_t group = args.query.heads() / args.key.heads();
  for (int64_t b = 0; b < args.query.batch(); ++b) {
    for (int64_t row = 0; row < args.query.seqlen(); ++row) {
      for (int64_t h = 0; h < args.query.heads(); ++h) {
        std::vector<int64_t> keys;
        std::vector<double> p = Scores(params, args, b, row, h, &keys);
        double most = -INFINITY, sum = 0;
        for (const double s : p) most = std::max(most, s);
        for (double& s : p) sum += s = std::exp(s - most);
        for (double& s : p) {
          s = oracle::RoundTo(DType::kBF16, static_cast<float>(s / sum));
        }
        for (int64_t c = 0; c < args.value.head_dim(); ++c) {
          double x = 0;
          for (size_t i = 0; i < keys.size(); ++i) {
            x += p[i] * oracle::ElementAt(args.value, b, keys[i], h / group, c);
          }
          out.push_back(oracle::RoundTo(args.out.dtype, static_cast<float>(x)));
        }
      }
    }
  }
  return out;
}

template <typename T>
double LargestError(const std::vector<T>& got,
                    const std::vector<double>& want) {
  double error = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    if (std::isinf(want[i]) && got[i] == want[i]) continue;
    const double e = std::fabs(got[i] - want[i]);
    error = e <= error ? error : e;  // NaN counts
  }
  return error;
}

double Largest(const std::vector<double>& x) {
  double most = 0;
  for (const double v : x) most = std::max(most, std::fabs(v));
  return most;
}

class Avx512Bf16Error : public UnitTest {
 protected:
  void Check(const std::string& text, eval::Fill fill = eval::Fill::kNormal,
             const KeyIntervals& intervals = {}, DType out = DType::kF32) {
    SCOPED_TRACE(text);
    io::Problem problem = ProblemOf(text + "_bf16");
    problem.shape.out_dtype = out;
    eval::WorkloadOptions options;
    options.fill = fill;
    const eval::Tensors tensors = eval::MakeTensors(problem, options);
    AttentionArgs args = tensors.Args();
    args.key_intervals = intervals;
    const Status status = RunOn(OnUnit(), problem.params, args);
    ASSERT_TRUE(status.ok()) << ToString(status);
    const std::vector<float> got = tensors.out.Dense();
    const std::vector<float> lse = tensors.lse.Dense();
    std::vector<double> truth(got.size()), true_lse(lse.size());
    oracle::AttentionDouble(problem.params, args, truth.data(),
                            true_lse.data());
    double value = 0;
    for (const float v : tensors.value.Dense()) {
      value = std::max(value, std::fabs(static_cast<double>(v)));
    }
    const double rounding = OutputUnit(out) * Largest(truth);
    const double error = LargestError(got, truth);
    EXPECT_LE(error, kPublishedBound * value + rounding);
    // Scores are f32 chains: a score of hundreds brings its rounding.
    const double score = fill == eval::Fill::kNormal ? 0 : 4e-4;
    EXPECT_LE(LargestError(lse, true_lse), kPublishedLseBound + score);
    const double plain = LargestError(PlainBF16(problem.params, args), truth);
    // The floor: a few keys may have weights that bf16 holds by luck.
    EXPECT_LE(error, 2 * plain + 0x1p-11 * value + rounding);
    worst_ = std::max(worst_, error / (kPublishedBound * value + rounding));
    worst_lse_ =
        std::max(worst_lse_, LargestError(lse, true_lse) / kPublishedLseBound);
    most_of_plain_ =
        std::max(most_of_plain_, error / (plain + 0x1p-12 * value));
  }
  void TearDown() override {
    RecordProperty("share_of_bound", std::to_string(worst_));
    RecordProperty("share_of_lse_bound", std::to_string(worst_lse_));
    RecordProperty("share_of_plain", std::to_string(most_of_plain_));
  }

  double worst_ = 0, worst_lse_ = 0, most_of_plain_ = 0;
};

TEST_F(Avx512Bf16Error, HeadDims) {
  for (const char* d : {"1", "2", "7", "31", "32", "33", "64", "80", "96",
                        "128", "192", "256", "576"}) {
    Check(std::string("h1_d") + d + "_q50_k129");
    Check(std::string("h2_kv1_d") + d + "_q33_k70_causal");
    Check(std::string("h1_d40_dv") + d + "_q17_k65");
  }
}

TEST_F(Avx512Bf16Error, Keys) {
  for (const int k : {1, 2, 3, 5, 31, 63, 64, 65, 66, 67, 127, 128, 191, 200}) {
    Check("h1_d64_q20_k" + std::to_string(k));
    Check("h1_d24_q49_k" + std::to_string(k) + "_causal");
  }
}

TEST_F(Avx512Bf16Error, GroupsAndBatches) {
  for (const char* text :
       {"b2_h6_kv2_d64_q20_k75_causal", "b3_h7_kv1_d9_q5_k70",
        "h8_kv1_d32_q30_k100_causal", "b2_h3_d16_q100_k100"}) {
    Check(text);
  }
}

TEST_F(Avx512Bf16Error, MasksAndModifiers) {
  for (const char* text :
       {"h1_d64_q70_k200_causal_wl20", "h2_d16_q90_k90_wl7_wr3",
        "h1_d32_q100_k150_causal_wl9_sink5", "h1_d64_q60_k60_cap2",
        "h1_d17_q60_k90_cap20_causal_wl33", "h1_d64_q40_k75_scale-0.2",
        "h1_d64_q40_k75_scale3", "h1_d16_q30_k300_causal_wl0"}) {
    Check(text);
  }
}

TEST_F(Avx512Bf16Error, OtherFills) {
  for (const eval::Fill fill :
       {eval::Fill::kInteger, eval::Fill::kSpread, eval::Fill::kOneHot,
        eval::Fill::kGrowing, eval::Fill::kEqual}) {
    Check("h1_d64_q40_k300", fill);
    Check("h1_d24_q70_k201_causal", fill);
  }
}

TEST_F(Avx512Bf16Error, OutputTypes) {
  for (const DType out : {DType::kBF16, DType::kF16}) {
    Check("h2_kv1_d64_q40_k131_causal", eval::Fill::kNormal, {}, out);
    Check("h1_d33_dv31_q40_k64", eval::Fill::kNormal, {}, out);
  }
}

TEST_F(Avx512Bf16Error, KeyIntervals) {
  eval::Random random(7);
  for (const int64_t block : {1, 7, 48}) {
    const std::string text = "h2_kv1_d24_q60_k300_causal";
    const IntervalLists lists =
        RandomLists(ProblemOf(text).shape, block, 20, 13, random);
    Check(text, eval::Fill::kNormal, lists.View());
  }
}

// Several spans, and several groups of spans.
TEST_F(Avx512Bf16Error, LongSequences) {
  Check("h1_d8_q17_k4097");
  Check("h1_d8_q20_k12293_causal");
  if (!Quick()) Check("h1_d4_q3_k70001");
}

}  // namespace
}  // namespace heed::test
