// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The kernel on vdpbf16ps keeps what kFast promises: the bits do not depend on
// how work is cut, what a row does not see has no influence, and nothing but
// elements is touched.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "lib/eval/truth.h"
#include "lib/eval/workload.h"
#include "lib/oracle/element.h"
#include "lib/oracle/oracle.h"
#include "tests/arch/unit.h"
#include "tests/support/compare.h"
#include "tests/support/guard.h"
#include "tests/support/intervals.h"
#include "tests/support/quick.h"

namespace heed::test {
namespace {

// Outputs of f32, so that no difference is rounded away.
io::Problem FastProblem(const std::string& text) {
  io::Problem problem = ProblemOf(text + "_bf16");
  problem.shape.out_dtype = DType::kF32;
  return problem;
}

struct Result {
  std::vector<float> out, lse;
};

Result RunFast(const io::Problem& problem, const eval::Tensors& tensors,
               const RunConfig& config = OnUnit(),
               const KeyIntervals& intervals = {}) {
  tensors.ClearOutput();
  AttentionArgs args = tensors.Args();
  args.key_intervals = intervals;
  const Status status = RunOn(config, problem.params, args);
  EXPECT_TRUE(status.ok()) << ToString(status);
  EXPECT_TRUE(tensors.out.PaddingIntact());
  return {tensors.out.Dense(), tensors.lse.Dense()};
}

::testing::AssertionResult Same(const std::vector<float>& got,
                                const std::vector<float>& want) {
  if (got.size() != want.size()) {
    return ::testing::AssertionFailure() << "sizes differ";
  }
  for (size_t i = 0; i < want.size(); ++i) {
    if (CanonicalBits(got[i]) != CanonicalBits(want[i])) {
      return ::testing::AssertionFailure()
             << "element " << i << ": " << got[i] << " != " << want[i];
    }
  }
  return ::testing::AssertionSuccess();
}

void ExpectSame(const Result& got, const Result& want) {
  EXPECT_TRUE(Same(got.out, want.out)) << "(out)";
  EXPECT_TRUE(Same(got.lse, want.lse)) << "(lse)";
}

class Avx512Bf16 : public UnitTest {};

constexpr const char* kProblems[] = {
    "h1_d64_q300_k300_causal",     "b2_h6_kv2_d17_dv33_q70_k131_causal",
    "h2_kv1_d24_q90_k205_wl9_wr4", "h3_d40_q200_k77_causal_wl20_sink3",
    "h1_d33_q65_k129_cap3",
};

TEST_F(Avx512Bf16, LaneGroupsAndWorkersLeaveNoTrace) {
  for (const char* text : kProblems) {
    SCOPED_TRACE(text);
    const io::Problem problem = FastProblem(text);
    const eval::Tensors tensors = eval::MakeTensors(problem, {});
    const Result want = RunFast(problem, tensors);
    for (const int groups : {1, 2, 3, 7, 16}) {
      for (const int workers : {1, 3, 5}) {
        ExpectSame(RunFast(problem, tensors, OnUnit(groups, workers)), want);
      }
    }
  }
}

TEST_F(Avx512Bf16, LayoutsLeaveNoTrace) {
  for (const char* text : kProblems) {
    SCOPED_TRACE(text);
    const io::Problem problem = FastProblem(text);
    const Result want = RunFast(problem, eval::MakeTensors(problem, {}));
    for (const eval::Layout layout :
         {eval::Layout::kBshd, eval::Layout::kBhsd, eval::Layout::kPacked,
          eval::Layout::kPadded}) {
      for (const int misalign : {0, 1, 3}) {
        eval::WorkloadOptions options;
        options.layout = layout;
        options.misalign = misalign;
        ExpectSame(RunFast(problem, eval::MakeTensors(problem, options)), want);
      }
    }
  }
}

// A batch's and a head's numbers do not depend on how many there are.
TEST_F(Avx512Bf16, BatchesAndHeadsLeaveNoTrace) {
  const io::Problem one = FastProblem("h1_d24_q70_k90_causal");
  const io::Problem all = FastProblem("b3_h4_kv4_d24_q70_k90_causal");
  const Result want = RunFast(one, eval::MakeTensors(one, {}));
  const eval::Tensors tensors = eval::MakeTensors(all, {});
  RunFast(all, tensors);
  for (int64_t s = 0; s < 70; ++s) {
    for (int64_t c = 0; c < 24; ++c) {
      EXPECT_EQ(*tensors.out.At(0, s, 0, c), want.out[s * 24 + c]);
    }
  }
}

// Long keys, whose spans become tasks where there are several workers.
TEST_F(Avx512Bf16, SpansLeaveNoTrace) {
  for (const char* text :
       {"h1_d8_q5_k20500_causal", "h2_kv1_d5_q40_k8200_causal_wl5000",
        "h1_d2_q20_k70001"}) {
    if (Quick() && std::strstr(text, "70001") != nullptr) continue;
    SCOPED_TRACE(text);
    const io::Problem problem = FastProblem(text);
    const eval::Tensors tensors = eval::MakeTensors(problem, {});
    const Result want = RunFast(problem, tensors);
    for (const int workers : {2, 3, 5}) {
      ExpectSame(RunFast(problem, tensors, OnUnit(0, workers)), want);
    }
  }
}

// A prompt in chunks gives the rows of the whole.
TEST_F(Avx512Bf16, ChunksLeaveNoTrace) {
  for (const char* text : kProblems) {
    SCOPED_TRACE(text);
    const io::Problem problem = FastProblem(text);
    const eval::Tensors tensors = eval::MakeTensors(problem, {});
    const Result want = RunFast(problem, tensors);
    const int64_t rows = problem.shape.seqlen_q;
    for (int64_t at = 0; at < rows; at += 37) {
      const int64_t count = std::min<int64_t>(37, rows - at);
      AttentionParams params = problem.params;
      AttentionArgs args = tensors.Args();
      eval::CutRows({at, count}, &params, &args);
      const eval::Tensor out =
          eval::MakeTensor(problem.shape.batch, count, problem.shape.num_heads,
                           problem.shape.head_dim_v, eval::Layout::kBshd);
      args.out = out.view;
      args.lse = TensorView();
      ASSERT_TRUE(RunOn(OnUnit(), params, args).ok());
      const std::vector<float> got = out.Dense();
      const size_t row = static_cast<size_t>(problem.shape.num_heads *
                                             problem.shape.head_dim_v);
      for (int64_t b = 0; b < problem.shape.batch; ++b) {
        const auto from = want.out.begin() + (b * rows + at) * row;
        EXPECT_TRUE(Same({got.begin() + b * count * row,
                          got.begin() + (b + 1) * count * row},
                         {from, from + count * row}))
            << "rows from " << at;
      }
    }
  }
}

// Key intervals that offer everything.
TEST_F(Avx512Bf16, FullIntervalsLeaveNoTrace) {
  eval::Random random(5);
  for (const char* text : {"h2_kv1_d24_q90_k205_causal", "h1_d9_q50_k300"}) {
    const io::Problem problem = FastProblem(text);
    const eval::Tensors tensors = eval::MakeTensors(problem, {});
    const Result want = RunFast(problem, tensors);
    for (const int64_t block : {1, 16, 50}) {
      const IntervalLists lists = FullLists(problem.shape, block, 6, random);
      ExpectSame(RunFast(problem, tensors, OnUnit(), lists.View()), want);
    }
  }
}

// Rows that do not see a key are the same whatever it holds; rows that see it
// take its NaN, and only in the column of a value.
TEST_F(Avx512Bf16, PoisonReachesThoseWhoSeeIt) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const char* text :
       {"h1_d8_q60_k60_causal", "h2_kv1_d9_dv5_q70_k97_causal_wl6",
        "h1_d7_q50_k75_wl3_wr2", "h1_d4_q40_k130_causal_wl9_sink3",
        "h1_d8_q60_k60_causal_cap4"}) {
    SCOPED_TRACE(text);
    const io::Problem problem = FastProblem(text);
    const AttentionShape& shape = problem.shape;
    const eval::Tensors clean = eval::MakeTensors(problem, {});
    const Result want = RunFast(problem, clean);
    for (int64_t key = 0; key < shape.seqlen_k; key += 7) {
      for (const float poison : {nan, infinity, -infinity}) {
        for (const bool in_value : {false, true}) {
          const eval::Tensors tensors = eval::MakeTensors(problem, {});
          const int64_t column = 2;
          oracle::StoreElement(in_value ? tensors.value.view : tensors.key.view,
                               0, key, 0, column, poison);
          const Result got = RunFast(problem, tensors);
          const AttentionArgs args = tensors.Args();
          size_t at = 0;
          for (int64_t s = 0; s < shape.seqlen_q; ++s) {
            for (int64_t h = 0; h < shape.num_heads; ++h) {
              const bool sees =
                  oracle::Visible(problem.params, args, 0, h, s, key);
              for (int64_t c = 0; c < shape.head_dim_v; ++c, ++at) {
                if (!sees || (in_value && c != column)) {
                  ASSERT_EQ(got.out[at], want.out[at])
                      << "row " << s << ", key " << key;
                } else if (in_value || std::isnan(poison)) {
                  ASSERT_FALSE(std::isfinite(got.out[at]))
                      << "row " << s << ", key " << key;
                }
              }
            }
          }
        }
      }
    }
  }
}

TEST_F(Avx512Bf16, ANaNInAQueryIsThatRowsAlone) {
  const io::Problem problem = FastProblem("h1_d20_q70_k90_causal");
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  const Result want = RunFast(problem, tensors);
  for (const int64_t row : {0, 1, 15, 16, 47, 69}) {
    const eval::Tensors bad = eval::MakeTensors(problem, {});
    oracle::StoreElement(bad.query.view, 0, row, 0, 3,
                         std::numeric_limits<float>::quiet_NaN());
    const Result got = RunFast(problem, bad);
    for (int64_t s = 0; s < 70; ++s) {
      for (int64_t c = 0; c < 20; ++c) {
        const size_t at = static_cast<size_t>(s * 20 + c);
        if (s == row) {
          EXPECT_TRUE(std::isnan(got.out[at]));
        } else {
          EXPECT_EQ(got.out[at], want.out[at]);
        }
      }
      EXPECT_EQ(std::isnan(got.lse[static_cast<size_t>(s)]), s == row);
    }
  }
}

TEST_F(Avx512Bf16, NoVisibleKeyGivesZero) {
  // The first 30 rows stand before key 0.
  const io::Problem problem = FastProblem("h1_d16_q50_k20_causal");
  const Result got = RunFast(problem, eval::MakeTensors(problem, {}));
  for (size_t s = 0; s < 50; ++s) {
    EXPECT_EQ(std::isinf(got.lse[s]), s < 30) << s;
    for (size_t c = 0; c < 16; ++c) {
      EXPECT_EQ(got.out[s * 16 + c] == 0.0f, s < 30) << s;
    }
  }
  const io::Problem none = FastProblem("h1_d16_q50_k0");
  for (const float x : RunFast(none, eval::MakeTensors(none, {})).out) {
    EXPECT_EQ(CanonicalBits(x), 0u);
  }
}

// Weights of a row sum to one, as l sums what values are multiplied with.
TEST_F(Avx512Bf16, EqualValuesComeOutExactly) {
  const io::Problem problem = FastProblem("h1_d32_q70_k301_causal");
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  for (int64_t key = 0; key < 301; ++key) {
    for (int64_t c = 0; c < 32; ++c) {
      oracle::StoreElement(tensors.value.view, 0, key, 0, c, 1.0f);
    }
  }
  for (const float x : RunFast(problem, tensors).out) EXPECT_EQ(x, 1.0f);
}

// softmax_scale 0 is the default; the smallest magnitudes and signs of it.
TEST_F(Avx512Bf16, ScalesOfAllKinds) {
  io::Problem problem = FastProblem("h1_d16_q40_k70");
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  const eval::Tensors negated = eval::MakeTensors(problem, {});
  for (int64_t s = 0; s < 40; ++s) {
    for (int64_t c = 0; c < 16; ++c) {
      oracle::StoreElement(negated.query.view, 0, s, 0, c,
                           static_cast<float>(-oracle::ElementAt(
                               tensors.query.view, 0, s, 0, c)));
    }
  }
  problem.params.softmax_scale = 0.3f;
  const Result plus = RunFast(problem, tensors);
  problem.params.softmax_scale = -0.3f;
  ExpectSame(RunFast(problem, negated), plus);
  // Scores of next to nothing: equal weights.
  problem.params.softmax_scale = std::numeric_limits<float>::denorm_min();
  const Result even = RunFast(problem, tensors);
  for (const float lse : even.lse) EXPECT_NEAR(lse, std::log(70.0f), 1e-5f);
}

// Scores whose rounding is larger than 1: the largest one's value comes out, of
// positive and of negative ones, and rows beside them keep their bits.
TEST_F(Avx512Bf16, LargeScoresStayFinite) {
  const io::Problem problem = FastProblem("h1_d16_q40_k90");
  const eval::Tensors ordinary = eval::MakeTensors(problem, {});
  const auto large = [](int64_t row) { return row % 3 != 0; };
  const auto sign = [](int64_t row) { return row % 2 == 0 ? 1.0f : -1.0f; };
  for (int64_t row = 0; row < 40; ++row) {
    oracle::StoreElement(ordinary.query.view, 0, row, 0, 0, 0.0f);
  }
  const Result want = RunFast(problem, ordinary);
  for (const int exponent : {20, 24, 31, 32, 50, 80, 120}) {
    SCOPED_TRACE(exponent);
    const eval::Tensors tensors = eval::MakeTensors(problem, {});
    for (int64_t row = 0; row < 40; ++row) {
      oracle::StoreElement(tensors.query.view, 0, row, 0, 0, 0.0f);
      for (int64_t c = 0; c < 16 && large(row); ++c) {
        oracle::StoreElement(
            tensors.query.view, 0, row, 0, c,
            c == 0 ? sign(row) * std::ldexp(1.0f, exponent / 2) : 0.0f);
      }
    }
    const auto key = [&](int64_t at) {
      return std::ldexp(1 + static_cast<float>(at) / 128,
                        exponent - exponent / 2);
    };
    for (int64_t at = 0; at < 90; ++at) {
      oracle::StoreElement(tensors.key.view, 0, at, 0, 0, key(at));
    }
    const Result got = RunFast(problem, tensors);
    for (int64_t row = 0; row < 40; ++row) {
      const int64_t winner = sign(row) > 0 ? 89 : 0;
      const double lse = static_cast<double>(sign(row)) * 0.25 *
                         std::ldexp(key(winner), exponent / 2);
      const size_t r = static_cast<size_t>(row);
      if (large(row)) {
        EXPECT_NEAR(got.lse[r], lse, std::fabs(lse) * 1e-6) << row;
      } else {
        EXPECT_EQ(got.lse[r], want.lse[r]) << row;
      }
      for (int64_t c = 0; c < 16; ++c) {
        const size_t at = r * 16 + static_cast<size_t>(c);
        if (large(row)) {
          const double value =
              oracle::ElementAt(tensors.value.view, 0, winner, 0, c);
          EXPECT_NEAR(got.out[at], value, std::fabs(value) * 1e-6) << row;
        } else {
          EXPECT_EQ(got.out[at], want.out[at]) << row;
        }
      }
    }
  }
}

// All tensors and the workspace against pages that fault.
TEST_F(Avx512Bf16, TouchesNothingButElements) {
  const GuardedMemory memory[4] = {
      GuardedMemory(1 << 18), GuardedMemory(1 << 18), GuardedMemory(1 << 18),
      GuardedMemory(1 << 18)};
  const GuardedMemory scratch(8 << 20);
  const auto check = [&](const std::string& text) {
    const io::Problem problem = ProblemOf(text + "_bf16");
    const eval::Tensors tensors = eval::MakeTensors(problem, {});
    for (const Against end : {Against::kFront, Against::kBack}) {
      SetGuardContext(text + " on the unit");
      AttentionArgs args = tensors.Args();
      const auto place = [&](int which, const eval::Tensor& from) {
        TensorView view = from.view;
        size_t bytes = 2;
        for (const int64_t extent : view.extent) {
          bytes *= static_cast<size_t>(extent);
        }
        char* at = memory[which].Place(bytes, end);
        // Dense already: bshd.
        if (bytes > 0) std::memcpy(at, view.data, bytes);
        view.data = at;
        return view;
      };
      args.query = place(0, tensors.query);
      args.key = place(1, tensors.key);
      args.value = place(2, tensors.value);
      args.out = place(3, tensors.out);
      PlanOptions options;
      options.decode_rows = 0;
      options.unit = "avx512_bf16";
      options.target = UnitUnderTest().target;
      Plan plan;
      ASSERT_TRUE(MakePlan(problem.params, problem.shape, options, &plan).ok());
      const size_t bytes = WorkspaceBytes(plan, 1);
      ASSERT_TRUE(heed::Run(plan, args, {scratch.Place(bytes, end), bytes},
                            SerialExecutor())
                      .ok());
      // What is under guard is also right.
      ASSERT_TRUE(RunOn(OnUnit(), problem.params, tensors.Args()).ok());
      const std::vector<float> want = tensors.out.Dense();
      for (size_t i = 0; i < want.size(); ++i) {
        const float got =
            oracle::Widen(static_cast<const bf16*>(args.out.data)[i]);
        ASSERT_EQ(got, want[i]) << text;
      }
    }
  };
  for (int d = 1; d <= 70; d += Quick() ? 9 : 1) {
    const std::string dim = std::to_string(d);
    check("h2_kv1_d" + dim + "_q17_k67_causal");
    check("h1_d16_dv" + dim + "_q33_k9");
  }
  for (const int k : {1, 2, 3, 31, 63, 64, 65, 127, 129}) {
    check("h1_d5_q20_k" + std::to_string(k));
    check("b2_h3_kv1_d32_q16_k" + std::to_string(k) + "_causal_wl5");
  }
}

}  // namespace
}  // namespace heed::test
