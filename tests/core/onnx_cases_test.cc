// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a third party says that attention is: the backend cases of the ONNX
// operator Attention, on every table and for the oracle that the other tests
// trust.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <string>
#include <vector>

#include "lib/oracle/oracle.h"
#include "tests/support/onnx_case.h"
#include "tests/support/run.h"
#include "tests/support/source_tree.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

constexpr char kPath[] = "data/onnx_attention_cases.safetensors";
constexpr size_t kCases = 93;

// Times the largest |expected|. In f32 rounding takes 2.4e-7 of it; the cases
// of 16 bits were computed in them, step by step, and heed rounds once.
double ToleranceOf(const OnnxCase& made) {
  switch (made.tensors.problem.shape.query_dtype) {
    case DType::kBF16:
      return 0x1p-6;
    case DType::kF16:
      return 0x1p-9;
    default:
      return 1e-6;
  }
}

void ExpectNear(const std::vector<double>& got, const std::vector<float>& want,
                double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  double largest = 0;
  for (const float x : want) {
    if (std::isfinite(x)) {
      largest = std::max(largest, std::fabs(static_cast<double>(x)));
    }
  }
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isfinite(want[i])) {
      ASSERT_NEAR(got[i], want[i], tolerance * largest) << "element " << i;
    } else if (std::isnan(want[i])) {
      ASSERT_TRUE(std::isnan(got[i])) << "element " << i;
    } else {
      ASSERT_EQ(got[i], want[i]) << "element " << i;
    }
  }
}

std::vector<double> Doubles(const std::vector<float>& x) {
  return std::vector<double>(x.begin(), x.end());
}

// Writes down the scores that come by.
struct Recorder {
  AttentionShape shape;
  std::mutex mutex;
  std::vector<double> scores;  // [batch][heads][seqlen_q][seqlen_k]

  explicit Recorder(const AttentionShape& s)
      : shape(s),
        scores(static_cast<size_t>(s.batch * s.num_heads * s.seqlen_q *
                                   s.seqlen_k)) {}

  size_t At(int64_t b, int64_t h, int64_t row, int64_t key) const {
    return static_cast<size_t>(
        ((b * shape.num_heads + h) * shape.seqlen_q + row) * shape.seqlen_k +
        key);
  }

  static void Record(void* self, const ScoreTile& tile) {
    Recorder& recorder = *static_cast<Recorder*>(self);
    const std::lock_guard<std::mutex> lock(recorder.mutex);
    for (int32_t key = 0; key < tile.num_keys; ++key) {
      for (int32_t row = 0; row < tile.num_rows; ++row) {
        recorder
            .scores[recorder.At(tile.batch, tile.row_head[row],
                                tile.row_index[row], tile.key_position[key])] =
            tile.score[key * tile.key_stride + row * tile.row_stride];
      }
    }
  }
};

// The scores that the case asks for: what a hook sees of a call without what
// comes later in the order of the operator.
std::vector<double> ScoresOf(const OnnxCase& made, const std::string& target) {
  AttentionParams params = made.tensors.problem.params;
  AttentionArgs args = made.Args();
  Recorder recorder(made.tensors.problem.shape);
  if (made.scores_kind == OnnxScores::kRaw) params.softcap = 0.0f;
  if (made.scores_kind < OnnxScores::kBiased) {
    params.causal = false;
    params.window_left = params.window_right = -1;
    args.scores.bias = args.scores.mask = ConstTensorView();
  }
  args.scores.hook = &Recorder::Record;
  args.scores.hook_self = &recorder;
  const Status status = RunOn(RunConfig{target}, params, args);
  EXPECT_TRUE(status.ok()) << ToString(status);
  const AttentionShape& s = made.tensors.problem.shape;
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t h = 0; h < s.num_heads; ++h) {
      for (int64_t row = 0; row < s.seqlen_q; ++row) {
        for (int64_t key = 0; key < s.seqlen_k; ++key) {
          double& score = recorder.scores[recorder.At(b, h, row, key)];
          if (!oracle::Visible(params, args, b, h, row, key)) {
            score = -HUGE_VAL;
          }
          if (made.scores_kind != OnnxScores::kWeights) continue;
          const double lse = *made.tensors.lse.At(b, row, h);
          score = lse == -HUGE_VAL ? 0.0 : std::exp(score - lse);
        }
      }
    }
  }
  return recorder.scores;
}

class OnnxCases : public OnEveryTarget {};

TEST_P(OnnxCases, TableGivesWhatIsExpected) {
  std::vector<OnnxCase> cases;
  ASSERT_NO_FATAL_FAILURE(ReadOnnxCases(SourcePath(kPath), kCases, &cases));
  for (const OnnxCase& made : cases) {
    SCOPED_TRACE(made.name);
    const Status status =
        RunOn(RunConfig{GetParam()}, made.tensors.problem.params, made.Args());
    ASSERT_TRUE(status.ok()) << ToString(status);
    ExpectNear(Doubles(made.tensors.out.Dense()), made.want.Dense(),
               ToleranceOf(made));
  }
}

TEST_P(OnnxCases, HookSeesTheScoresExpected) {
  std::vector<OnnxCase> cases;
  ASSERT_NO_FATAL_FAILURE(ReadOnnxCases(SourcePath(kPath), kCases, &cases));
  int checked = 0;
  for (const OnnxCase& made : cases) {
    if (made.scores_kind == OnnxScores::kNone) continue;
    SCOPED_TRACE(made.name);
    ExpectNear(ScoresOf(made, GetParam()), made.scores, ToleranceOf(made));
    ++checked;
  }
  EXPECT_EQ(checked, 18);
}

TEST(OnnxOracle, GivesWhatIsExpected) {
  std::vector<OnnxCase> cases;
  ASSERT_NO_FATAL_FAILURE(ReadOnnxCases(SourcePath(kPath), kCases, &cases));
  for (const OnnxCase& made : cases) {
    SCOPED_TRACE(made.name);
    const AttentionShape& s = made.tensors.problem.shape;
    std::vector<double> out(
        static_cast<size_t>(s.batch * s.seqlen_q * s.num_heads * s.head_dim_v));
    oracle::AttentionDouble(made.tensors.problem.params, made.Args(),
                            out.data(), nullptr);
    ExpectNear(out, made.want.Dense(), ToleranceOf(made));
  }
}

HEED_ON_EVERY_TARGET(OnnxCases);

}  // namespace
}  // namespace heed::test
