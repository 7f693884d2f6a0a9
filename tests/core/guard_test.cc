// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// No kernel touches memory that is not an element: every tensor and the
// workspace lie against pages that fault, in front and behind.
#include "tests/support/guard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "tests/support/check.h"
#include "tests/support/intervals.h"
#include "tests/support/quick.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

// Guarded places for all tensors and the workspace of one call.
class Guards {
 public:
  // Copies an input, or the sentinels of an output, to its place.
  eval::Tensor Place(int which, const eval::Tensor& from, Against end) {
    eval::Tensor tensor = from;
    const TensorView& v = from.view;
    if (v.absent()) return tensor;
    // The workload's tensors are dense.
    const int64_t rows = v.batch() * v.seqlen() * v.heads();
    const size_t bytes =
        static_cast<size_t>(rows * BytesOf(v.dtype, v.head_dim()));
    tensor.view.data = tensors_[which].Place(bytes, end);
    if (bytes > 0) std::memcpy(tensor.view.data, v.data, bytes);
    return tensor;
  }
  Workspace PlaceWorkspace(size_t bytes, Against end) {
    // The size is a multiple of the alignment, so both ends are exact.
    EXPECT_EQ(bytes % kWorkspaceAlignment, 0u);
    return {workspace_.Place(bytes, end), bytes};
  }

 private:
  static constexpr size_t kBytes = 1 << 20;
  GuardedMemory tensors_[9] = {
      GuardedMemory(kBytes), GuardedMemory(kBytes), GuardedMemory(kBytes),
      GuardedMemory(kBytes), GuardedMemory(kBytes), GuardedMemory(kBytes),
      GuardedMemory(kBytes), GuardedMemory(kBytes), GuardedMemory(kBytes)};
  GuardedMemory workspace_{8 << 20};
};

class Guard : public OnEveryTarget {
 protected:
  // Runs with all tensors against guards on one side, then the other, with an
  // exact workspace, and checks the result.
  void Check(const std::string& text, int workers = 1) {
    const io::Problem problem = ProblemOf(text);
    const eval::Tensors tensors = eval::MakeTensors(problem, {});
    for (const Against end : {Against::kFront, Against::kBack}) {
      SetGuardContext(text + " on " + GetParam() +
                      (end == Against::kFront ? ", front" : ", back"));
      eval::Tensors guarded = tensors;
      guarded.query = guards_.Place(0, tensors.query, end);
      guarded.key = guards_.Place(1, tensors.key, end);
      guarded.value = guards_.Place(2, tensors.value, end);
      guarded.out = guards_.Place(3, tensors.out, end);
      guarded.lse = guards_.Place(4, tensors.lse, end);
      guarded.key_scale = guards_.Place(5, tensors.key_scale, end);
      guarded.key_minimum = guards_.Place(6, tensors.key_minimum, end);
      guarded.value_scale = guards_.Place(7, tensors.value_scale, end);
      guarded.value_minimum = guards_.Place(8, tensors.value_minimum, end);
      PlanOptions options;
      options.target = GetParam().c_str();
      Plan plan;
      ASSERT_TRUE(MakePlan(problem.params, problem.shape, options, &plan).ok());
      const Workspace workspace =
          guards_.PlaceWorkspace(WorkspaceBytes(plan, workers), end);
      const Status status =
          heed::Run(plan, guarded.Args(), workspace, InTurn(workers));
      ASSERT_TRUE(status.ok()) << text << ": " << ToString(status);
      if (check_values_) {
        const Checker checker(GetParam(), problem.params, tensors);
        EXPECT_TRUE(checker.Matches(guarded.out, guarded.lse)) << text;
      }
    }
  }

  // Takes the workers' places one after the other: with several, the spans of
  // long keys go through slots and carries.
  static Executor InTurn(int workers) {
    static constexpr auto kParallelFor =
        [](void* self, int64_t num_tasks, void* ctx,
           void (*task)(void* ctx, int64_t i, int worker)) {
          const int64_t count = reinterpret_cast<intptr_t>(self);
          for (int64_t i = 0; i < num_tasks; ++i) {
            task(ctx, i, static_cast<int>(i % count));
          }
        };
    return Executor{reinterpret_cast<void*>(static_cast<intptr_t>(workers)),
                    kParallelFor, workers};
  }

  Guards guards_;
  bool check_values_ = false;
};

TEST_P(Guard, EveryHeadDim) {
  for (int d = 1; d <= 130; d += Quick() ? 9 : 1) {
    const std::string dim = std::to_string(d);
    Check("h2_kv1_d" + dim + "_q3_k5");
    Check("h1_d" + dim + "_dv" + std::to_string(131 - d) + "_q17_k67_causal");
    Check("h1_d16_dv" + dim + "_q33_k9");
    if (!Quick()) Check("h2_d" + dim + "_q2_k130_wl7_wr1_sink1");
  }
}

TEST_P(Guard, SequencesAroundTilesAndBlocks) {
  const std::vector<int> edges =
      Quick() ? std::vector<int>{16, 64}
              : std::vector<int>{8, 16, 24, 32, 48, 64, 96, 128, 192};
  for (const int q_edge : edges) {
    for (const int k_edge : edges) {
      for (const int q : {q_edge - 1, q_edge, q_edge + 1}) {
        for (const int k : {k_edge - 1, k_edge + 1}) {
          Check("h1_d5_q" + std::to_string(q) + "_k" + std::to_string(k) +
                (q % 2 == 0 ? "_causal" : ""));
        }
      }
    }
  }
}

TEST_P(Guard, FewOfEverything) {
  check_values_ = true;
  for (int q = 0; q <= 4; ++q) {
    for (int k = 0; k <= 4; ++k) {
      for (int d = 1; d <= 4; ++d) {
        for (const char* mask : {"", "_causal", "_cap2"}) {
          Check("b2_h3_kv1_d" + std::to_string(d) + "_q" + std::to_string(q) +
                "_k" + std::to_string(k) + mask);
        }
      }
    }
  }
}

TEST_P(Guard, BatchesAndGroups) {
  check_values_ = true;
  for (const char* text :
       {"b3_h7_kv1_d9_q5_k70_causal", "b2_h6_kv3_d33_q20_k65",
        "b2_h8_kv2_d13_dv29_q9_k64_causal_wl5", "b5_h1_d3_q1_k129"}) {
    Check(text);
  }
}

// Scales and minima too; rows for the tile kernel and for that of decoding.
TEST_P(Guard, QuantisedKeysAndValues) {
  check_values_ = true;
  for (int d = 1; d <= 70; d += Quick() ? 23 : d < 36 ? 1 : 5) {
    const std::string dims =
        "_d" + std::to_string(d) + "_dv" + std::to_string(71 - d);
    const char* type = d % 3 == 0   ? "_kvi8"
                       : d % 3 == 1 ? "_kve4m3"
                                    : "_kve5m2";
    Check("h2_kv1_q1_k67" + dims + type);
    Check("h2_kv1_q17_k5_causal" + dims + type);
  }
  for (const char* text :
       {"h2_kv1_d32_dv64_q1_k67_kvu4", "h2_kv1_d96_dv32_q17_k130_kvu4_causal",
        "b2_h3_kv1_d64_q2_k16_kvu4", "h1_d128_dv160_q1_k1_kvu4"}) {
    Check(text);
  }
}

TEST_P(Guard, AcrossASpan) {
  check_values_ = true;
  Check("h1_d3_q2_k4095");
  Check("h1_d3_q2_k4096");
  Check("h1_d3_q2_k4097_causal");
  if (!Quick()) Check("h1_d5_q40_k4100_causal_wl4090");
}

// Slots, carries and counters of a run whose spans are tasks.
TEST_P(Guard, SpansInParallel) {
  check_values_ = true;
  for (const int workers : {2, 3}) {
    Check("h1_d3_q2_k8200_causal", workers);
    Check("h1_d5_dv9_q3_k20500", workers);
    if (!Quick()) Check("h2_d3_q9_k12290_causal", workers);
  }
}

// The lists of key intervals are read to their last entry and no further.
TEST_P(Guard, KeyIntervals) {
  const io::Problem problem = ProblemOf("h2_kv1_d5_q9_k300_causal");
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  eval::Random random(3);
  const GuardedMemory offsets(4096), intervals(1 << 16);
  for (const int64_t block : {1, 4, 9}) {
    const IntervalLists lists =
        RandomLists(problem.shape, block, 30, 9, random);
    const Checker checker(GetParam(), problem.params, tensors, lists.View());
    for (const Against end : {Against::kFront, Against::kBack}) {
      SetGuardContext("key intervals on " + GetParam());
      KeyIntervals view = lists.View();
      const size_t offset_bytes = lists.offsets.size() * sizeof(int64_t);
      const size_t interval_bytes =
          lists.intervals.size() * sizeof(KeyInterval);
      char* at = offsets.Place(offset_bytes, end);
      std::memcpy(at, view.offsets, offset_bytes);
      view.offsets = reinterpret_cast<const int64_t*>(at);
      at = intervals.Place(interval_bytes, end);
      std::memcpy(at, view.intervals, interval_bytes);
      view.intervals = reinterpret_cast<const KeyInterval*>(at);
      AttentionArgs args = tensors.Args();
      args.key_intervals = view;
      tensors.ClearOutput();
      ASSERT_TRUE(RunOn(RunConfig{GetParam()}, problem.params, args).ok());
      EXPECT_TRUE(checker.Matches(tensors.out, tensors.lse));
    }
  }
}

// Rows apart from one another: what lies between stays as it was.
TEST_P(Guard, NothingBetweenRowsIsWritten) {
  eval::WorkloadOptions options;
  options.layout = eval::Layout::kPadded;
  for (int d = 1; d <= 40; d += Quick() ? 13 : 1) {
    CheckProblem(GetParam(),
                 "b2_h2_kv1_d" + std::to_string(d) + "_q19_k20_causal",
                 options);
  }
}

HEED_ON_EVERY_TARGET(Guard);

}  // namespace
}  // namespace heed::test
