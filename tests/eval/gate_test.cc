// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What the gate sees: faults in any row, far from those with a yardstick, and
// in the log-sum-exp that the kept mass comes from.
#include "lib/eval/gate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "lib/eval/cut_layer.h"
#include "lib/eval/truth.h"
#include "tests/eval/compare_run.h"
#include "tests/support/quick.h"
#include "tests/support/source_tree.h"

namespace heed::test {
namespace {

using eval::Gate;

// Longer than the rows that have a yardstick of their own.
constexpr char kLong[] = "b1_h2_d8_q512_f32_causal";

// The truth is computed once.
eval::CompareResult CompareLong(const eval::Setting& setting) {
  static const eval::TensorSource source = eval::MakeSynthetic(kLong, {});
  static eval::Comparison comparison(source, QuickOptions());
  return comparison.Run({setting}, nullptr);
}

// The row that a broken variant spoils; a run is a plain function.
int64_t spoilt_row = 0;

template <typename Spoil>
Status RunAndSpoil(const char* name, const VariantArgs& run, Spoil spoil) {
  const Status status = Real(name).variant.run(run);
  if (status.ok()) spoil();
  return status;
}

// Expects each of some rows to be missed when it is wrong.
void ExpectEveryRowToCount(const char* name,
                           Status (*run)(const VariantArgs&)) {
  const std::vector<int64_t> rows =
      Quick() ? std::vector<int64_t>{70, 506}
              : std::vector<int64_t>{5, 70, 133, 260, 377, 506, 511};
  for (const int64_t row : rows) {
    SCOPED_TRACE("row " + std::to_string(row));
    spoilt_row = row;
    ExpectRed(CompareLong(Broken(name, run)), Gate::kFailed, "exceeds");
  }
}

TEST(Gate, FailsAnyRowOfExact) {
  ExpectEveryRowToCount("exact", [](const VariantArgs& run) {
    return RunAndSpoil("exact", run,
                       [&] { Row(run.args.out, spoilt_row)[3] += 0.01f; });
  });
}

TEST(Gate, FailsAnyRowOfASelection) {
  ExpectEveryRowToCount("window_sink", [](const VariantArgs& run) {
    return RunAndSpoil("window_sink", run,
                       [&] { Row(run.args.out, spoilt_row)[3] += 0.01f; });
  });
}

TEST(Gate, FailsAnyRowOfAnOwnReference) {
  ExpectEveryRowToCount("linear_elu", [](const VariantArgs& run) {
    return RunAndSpoil("linear_elu", run,
                       [&] { Row(run.args.out, spoilt_row)[3] += 0.01f; });
  });
}

// An output that is right where it is repeated from the start, and wrong where
// it was timed.
TEST(Gate, JudgesAnOwnReferenceOnTheRunItself) {
  const auto run = [](const VariantArgs& args) {
    return RunAndSpoil("linear_elu", args, [&] {
      for (int64_t row = 600; row < args.args.out.seqlen(); ++row) {
        Row(args.args.out, row)[0] = 42;
      }
    });
  };
  ExpectRed(Compare({Broken("linear_elu", run)}, "b1_h2_d32_q1024_f32_causal"),
            Gate::kFailed, "own reference");
}

TEST(Gate, PassesAnOwnReferenceWhereverItsRowsStand) {
  for (const char* problem :
       {"b2_h4_kv2_d16_q300_k400_f32_causal",
        "b1_h2_d8_q40_k17_f32_causal_off-3", "b1_h2_d8_q100_k30_f32"}) {
    const eval::CompareResult result =
        Compare({eval::DefaultSetting(Real("linear_elu"))}, problem);
    EXPECT_EQ(result.rows[1].total.gate, Gate::kPassed)
        << result.rows[1].total.reason;
  }
}

TEST(Gate, FailsALogSumExpOfAnotherBase) {
  const auto exact = [](const VariantArgs& run) {
    return RunAndSpoil("exact", run, [&] {
      for (int64_t row = 0; row < 512; ++row) {
        *Row(run.args.lse, row) *= 1.442695f;
      }
    });
  };
  ExpectRed(CompareLong(Broken("exact", exact)), Gate::kFailed, "lse");
  const auto selects = [](const VariantArgs& run) {
    return RunAndSpoil("window_sink", run, [&] {
      for (int64_t row = 0; row < 512; ++row) {
        *Row(run.args.lse, row) *= 1.442695f;
      }
    });
  };
  ExpectRed(CompareLong(Broken("window_sink", selects)), Gate::kFailed, "lse");
}

TEST(Gate, FailsOneWrongLogSumExp) {
  spoilt_row = 260;
  const auto wrong = [](const VariantArgs& run) {
    return RunAndSpoil("window_sink", run,
                       [&] { *Row(run.args.lse, spoilt_row) += 0.001f; });
  };
  ExpectRed(CompareLong(Broken("window_sink", wrong)), Gate::kFailed, "lse");
  const auto nan = [](const VariantArgs& run) {
    return RunAndSpoil("exact", run,
                       [&] { *Row(run.args.lse, spoilt_row) = NAN; });
  };
  ExpectRed(CompareLong(Broken("exact", nan)), Gate::kFailed, "lse");
}

// A token decoded alone, whose error and whose yardstick are one draw each:
// here they differ by more than twice.
TEST(Gate, PassesWhateverOneRowDraws) {
  eval::CaptureOptions capture;
  capture.layers = {{10, 10}};
  capture.tokens = 1008;
  eval::TensorSource source = eval::LoadCapture(
      SourcePath("data/smollm2_135m_moby_dick.safetensors"), capture);
  eval::DecodeLast(1, &source);
  const auto exact = CompareOn(source, {}).rows[0].total;
  EXPECT_EQ(exact.gate, Gate::kPassed) << exact.reason;
}

// Peaked scores: the largest errors stand in few rows, most of them without a
// yardstick of their own.
TEST(Gate, PassesWhatFewRowsDecide) {
  const eval::CompareResult result =
      Compare({eval::DefaultSetting(Real("naive")),
               eval::DefaultSetting(Real("window_sink"))},
              "b1_h1_d64_q320_f32_scale100");
  for (const eval::Summary& row : result.rows) {
    EXPECT_EQ(row.total.gate, Gate::kPassed) << row.total.reason;
  }
}

TEST(Gate, PassesRowsThatSeeNothing) {
  const eval::CompareResult result =
      Compare({eval::DefaultSetting(Real("window_sink"))},
              "b1_h2_d8_q100_k60_f32_causal");
  for (const eval::Summary& row : result.rows) {
    EXPECT_EQ(row.total.gate, Gate::kPassed) << row.total.reason;
  }
}

TEST(Truth, PicksRowsThatMeetEveryLane) {
  // (seqlen_q - 4) is a multiple of 15: even steps would meet few lanes.
  for (const int64_t seqlen : {64, 1024, 4084, 100000}) {
    const std::vector<eval::RowRun> runs = eval::PickRows(seqlen, 64);
    std::vector<int> met(16);
    int64_t end = 0;
    for (const eval::RowRun& run : runs) {
      EXPECT_GE(run.first, end);
      end = run.first + run.count;
      ++met[static_cast<size_t>(run.first % 16)];
    }
    EXPECT_EQ(runs.front().first, 0);
    EXPECT_EQ(end, seqlen);
    EXPECT_EQ(eval::CountRows(runs), 64);
    if (seqlen == 64) continue;  // all of them
    int lanes = 0;
    for (const int count : met) lanes += count > 0;
    EXPECT_GE(lanes, 7) << seqlen;
  }
}

}  // namespace
}  // namespace heed::test
