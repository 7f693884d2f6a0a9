// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// States of shards: however a sequence's keys are spread, the bits of one call.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "lib/oracle/oracle.h"
#include "tests/support/compare.h"
#include "tests/support/quick.h"
#include "tests/support/run.h"
#include "tests/support/targets.h"
#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

// Sizes of shards in spans, one after the other until keys end.
struct Cut {
  std::vector<int64_t> spans;
  bool whole_groups = false;
};

class StatesTest : public OnEveryTarget {
 protected:
  static bool Slow() { return Quick() || GetParam() == "plain"; }

  // What the shards of `cut` give; each runs by itself, the last first.
  void RunCut(const AttentionParams& params, const eval::Tensors& tensors,
              const Cut& cut, int workers, const eval::Tensor& out,
              const eval::Tensor& lse) {
    const AttentionArgs all = tensors.Args();
    const int64_t seqlen_k = all.key.seqlen();
    const int64_t offset = params.causal_offset == kBottomRight
                               ? seqlen_k - all.query.seqlen()
                               : params.causal_offset;
    struct Part {
      Shard shard;
      int64_t num_keys;
      eval::Tensor states;
    };
    std::vector<Part> parts;
    for (size_t i = 0;
         parts.empty() ||
         parts.back().shard.first_key + parts.back().num_keys < seqlen_k;
         ++i) {
      Part part;
      part.shard.whole_groups = cut.whole_groups;
      if (!parts.empty()) {
        part.shard.first_key =
            parts.back().shard.first_key + parts.back().num_keys;
      }
      part.num_keys = std::min(cut.spans[i % cut.spans.size()] * kStateKeys,
                               seqlen_k - part.shard.first_key);
      part.states = eval::MakeTensor(
          NumStates(part.shard, part.num_keys) * all.query.batch(),
          all.query.seqlen(), all.query.heads(), 2 + all.out.head_dim(),
          eval::Layout::kPadded);
      parts.push_back(part);
    }
    std::reverse(parts.begin(), parts.end());
    for (const Part& part : parts) {
      AttentionArgs args = all;
      args.out = args.lse = TensorView();
      const int64_t first = part.shard.first_key;
      for (ConstTensorView* view :
           {&args.key, &args.value, &args.kv_scales.key_scale,
            &args.kv_scales.value_scale}) {
        *view = TokensOf(*view, first, part.num_keys);
      }
      AttentionParams own = params;
      own.causal_offset = offset - first;
      own.sink_size = std::max<int64_t>(params.sink_size - first, 0);
      PlanOptions options;
      options.target = GetParam().c_str();
      options.numerics = Numerics::kSame;
      AttentionShape shape = ShapeOf(args);
      shape.head_dim_v = args.value.head_dim();
      Plan plan;
      Status status = MakePlan(own, shape, options, &plan);
      ASSERT_TRUE(status.ok()) << ToString(status);
      const WorkspaceBuffer workspace(WorkspaceBytes(plan, workers));
      status = RunStates(plan, args, part.shard, workspace.get(),
                         ThreadExecutor(workers), part.states.view);
      ASSERT_TRUE(status.ok()) << ToString(status);
      EXPECT_TRUE(part.states.PaddingIntact());
      EXPECT_TRUE(workspace.TailIntact());
    }
    std::reverse(parts.begin(), parts.end());
    RunningStates total;
    const eval::Tensor memory = eval::MakeTensor(
        2 * all.query.batch(), all.query.seqlen(), all.query.heads(),
        2 + all.out.head_dim(), eval::Layout::kBhsd);
    ASSERT_TRUE(InitStates(memory.view, &total).ok());
    for (const Part& part : parts) {
      const Status status =
          AppendStates(part.states.view, part.shard, part.num_keys, &total);
      ASSERT_TRUE(status.ok()) << ToString(status);
    }
    const Status status =
        FinishStates(total, all.kv_scales.value_rotated, out.view, lse.view);
    ASSERT_TRUE(status.ok()) << ToString(status);
  }

  void Check(const AttentionParams& params, const eval::Tensors& tensors,
             const std::vector<Cut>& cuts) {
    if (!HasSameBits(GetParam())) return;
    tensors.ClearOutput();
    RunConfig config;
    config.target = GetParam();
    const Status status = RunOn(config, params, tensors.Args());
    ASSERT_TRUE(status.ok()) << ToString(status);
    const AttentionArgs args = tensors.Args();
    const auto like = [](const TensorView& view) {
      return eval::MakeTensor(view.batch(), view.seqlen(), view.heads(),
                              view.head_dim(), eval::Layout::kPadded, 0,
                              view.dtype);
    };
    for (const Cut& cut : cuts) {
      if (Slow() && &cut != &cuts[cuts.size() - 2]) continue;
      for (const int workers : {1, 3}) {
        if (Slow() && workers == 1) continue;
        SCOPED_TRACE("cut " + std::to_string(cut.spans[0]) + " workers " +
                     std::to_string(workers));
        const eval::Tensor out = like(args.out), lse = like(args.lse);
        RunCut(params, tensors, cut, workers, out, lse);
        ASSERT_TRUE(SameBits(out, tensors.out));
        ASSERT_TRUE(SameBits(lse, tensors.lse));
        EXPECT_TRUE(out.PaddingIntact());
      }
    }
  }
};

const std::vector<Cut> kCuts = {{{1}}, {{2}}, {{1, 3}}, {{100}}};

TEST_P(StatesTest, EqualOneCall) {
  std::vector<const char*> problems = {
      "b2_h4_kv2_d8_dv6_q5_k13000", "b1_h2_kv1_d16_q70_k9000",
      "b1_h3_kv3_d5_q1_k20001",     "b1_h2_kv1_d8_q2_k4096",
      "b1_h2_kv1_d8_q2_k100",       "b1_h2_kv1_d8_dv0_q3_k9000"};
  if (Slow()) problems = {"b2_h2_kv1_d4_dv3_q2_k13000", "b1_h2_d4_q9_k5000"};
  for (const char* problem : problems) {
    SCOPED_TRACE(problem);
    const eval::Tensors tensors = eval::MakeTensors(
        ProblemOf(problem), {eval::Fill::kSpread, eval::Layout::kPadded});
    AttentionParams params;
    Check(params, tensors, kCuts);
    params.causal = true;
    Check(params, tensors, kCuts);
    params.causal_offset = 6000;
    Check(params, tensors, kCuts);
    params.window_left = 700;
    Check(params, tensors, kCuts);
    params.sink_size = 4100;
    params.softcap = 3.0f;
    Check(params, tensors, kCuts);
  }
}

TEST_P(StatesTest, EqualTheBits) {
  if (!HasSameBits(GetParam())) return;
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("b1_h2_kv1_d4_q3_k10000"), {});
  AttentionParams params;
  params.causal = true;
  oracle::AttentionBits(params, tensors.Args());
  const eval::Tensor out = eval::MakeTensor(1, 3, 2, 4, eval::Layout::kBshd);
  const eval::Tensor lse = eval::MakeTensor(1, 3, 2, 1, eval::Layout::kBshd);
  RunCut(params, tensors, {{1}}, 1, out, lse);
  EXPECT_TRUE(SameBits(out, tensors.out));
  EXPECT_TRUE(SameBits(lse, tensors.lse));
}

// Several groups of spans, cut inside groups and between them.
TEST_P(StatesTest, Groups) {
  const eval::Tensors tensors = eval::MakeTensors(
      ProblemOf(Slow() ? "b1_h1_kv1_d2_q1_k140000" : "b1_h2_kv1_d8_q3_k204801"),
      {eval::Fill::kSpread});
  AttentionParams params;
  params.causal = true;
  Check(params, tensors,
        {{{7}}, {{1, 15}}, {{16}}, {{16}, true}, {{32}, true}});
}

TEST_P(StatesTest, NaNsStayInTheirRows) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("b1_h4_kv2_d8_q3_k9000"), {});
  *tensors.key.At(0, 5000, 0) = std::numeric_limits<float>::quiet_NaN();
  *tensors.value.At(0, 8999, 1) = INFINITY;
  AttentionParams params;
  params.causal = true;
  Check(params, tensors, kCuts);
  params.causal_offset = 4000;
  Check(params, tensors, kCuts);
}

TEST_P(StatesTest, Types) {
  for (const char* problem :
       {"b1_h4_kv2_d32_q3_k9000_bf16",
        Slow() ? "b1_h2_kv1_d6_q9_k5000_f16" : "b1_h4_kv2_d32_q40_k9000_f16"}) {
    SCOPED_TRACE(problem);
    Check({}, eval::MakeTensors(ProblemOf(problem), {}), kCuts);
  }
}

TEST_P(StatesTest, Rotated) {
  eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("b1_h4_kv2_d32_q3_k9000"), {});
  tensors.problem.shape.key_rotated = true;
  tensors.problem.shape.value_rotated = true;
  Check({}, tensors, kCuts);
}

HEED_ON_EVERY_TARGET(StatesTest);

// ---- Refusals ---------------------------------------------------------------

struct Call {
  eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("b2_h4_kv2_d8_dv6_q5_k5000"), {});
  eval::Tensor states = eval::MakeTensor(4, 5, 4, 8, eval::Layout::kBshd);
  AttentionParams params;
  AttentionShape shape = tensors.problem.shape;
  AttentionArgs args = tensors.Args();
  Shard shard;
  TensorView view = states.view;

  Call() {
    args.out = args.lse = TensorView();
    params.causal = true;
    params.causal_offset = 0;
  }
  std::string Says() {
    Plan plan;
    EXPECT_TRUE(MakePlan(params, shape, {}, &plan).ok());
    const WorkspaceBuffer workspace(WorkspaceBytes(plan, 1));
    const Status status =
        RunStates(plan, args, shard, workspace.get(), SerialExecutor(), view);
    if (!status.ok()) {
      EXPECT_TRUE(Untouched(states));
    }
    return ToString(status);
  }
};

template <typename F>
std::string Says(F spoil) {
  Call call;
  spoil(call);
  return call.Says();
}

TEST(RunStatesStatus, Refuses) {
  EXPECT_EQ(Says([](Call&) {}), "ok");
  EXPECT_EQ(Says([](Call& c) { c.shard.first_key = 4095; }),
            "invalid argument: first_key: must be a multiple of what a state "
            "covers (got 4095 over 4096)");
  EXPECT_EQ(Says([](Call& c) { c.shard.first_key = -4096; }),
            "invalid argument: first_key: must be a multiple of what a state "
            "covers (got -4096 over 4096)");
  EXPECT_EQ(Says([](Call& c) {
              c.shard = {4096, true};
            }),
            "invalid argument: first_key: must be a multiple of what a state "
            "covers (got 4096 over 65536)");
  EXPECT_EQ(Says([](Call& c) { c.params.causal_offset = kBottomRight; }),
            "invalid argument: causal_offset: must be given for a shard");
  EXPECT_EQ(Says([](Call& c) { c.view.extent[0] = 2; }),
            "invalid argument: states[0]: must be [states * batch, seqlen_q, "
            "num_heads, 2 + head_dim_v] (got 2, needs 4)");
  EXPECT_EQ(Says([](Call& c) { c.view.dtype = DType::kBF16; }),
            "unsupported: states: must be f32");
  EXPECT_EQ(Says([](Call& c) { c.args.out = c.tensors.out.view; }),
            "invalid argument: out: must be absent");
  EXPECT_EQ(Says([](Call& c) { c.args.key.data = c.view.data; }),
            "invalid argument: states: overlaps key");
  EXPECT_EQ(Says([](Call& c) { c.args.key.extent[1] = 4999; }),
            "invalid argument: value[1]: must be the key's seqlen (got 5000, "
            "needs 4999)");
}

TEST(AppendStatesStatus, Refuses) {
  const eval::Tensor memory = eval::MakeTensor(2, 3, 4, 8, eval::Layout::kBshd);
  const eval::Tensor states = eval::MakeTensor(2, 3, 4, 8, eval::Layout::kBshd);
  RunningStates total;
  ASSERT_TRUE(InitStates(memory.view, &total).ok());
  const auto append = [&](const Shard& shard, int64_t keys) {
    return ToString(AppendStates(states.view, shard, keys, &total));
  };
  EXPECT_EQ(append({1, false}, 8000),
            "invalid argument: first_key: must be a multiple of what a state "
            "covers (got 1 over 4096)");
  EXPECT_EQ(append({0, false}, 8193),
            "invalid argument: states[0]: have another shape than the total "
            "and num_keys (got 2, needs 3)");
  EXPECT_EQ(append({0, false}, -1),
            "invalid argument: num_keys: is negative or leaves 64 bits (got "
            "-1)");
  states.FillAll(0);
  EXPECT_EQ(append({8192, false}, 8000), "ok");
  EXPECT_EQ(total.next_key, 16384);
  EXPECT_EQ(append({12288, false}, 8000),
            "invalid argument: first_key: lies before keys that were appended "
            "(got 12288, at least 16384)");
  EXPECT_EQ(ToString(AppendStates(memory.view, {65536, false}, 8000, &total)),
            "invalid argument: memory: overlaps states");
  TensorView odd = memory.view;
  odd.extent[0] = 1;
  EXPECT_EQ(ToString(InitStates(odd, &total)),
            "invalid argument: memory[0]: must be [2 * batch, seqlen_q, "
            "num_heads, 2 + head_dim_v] (got 1)");
  const eval::Tensor out = eval::MakeTensor(1, 3, 4, 6, eval::Layout::kBshd);
  TensorView bad = out.view;
  bad.extent[3] = 5;
  EXPECT_EQ(ToString(FinishStates(total, false, bad, {})),
            "invalid argument: out[3]: has another shape than the states (got "
            "5, needs 6)");
  EXPECT_EQ(ToString(FinishStates(total, false, out.view, out.view)),
            "invalid argument: lse[3]: has another shape than the states (got "
            "6, needs 1)");
  EXPECT_TRUE(Untouched(out));
  EXPECT_EQ(ToString(FinishStates(total, false, out.view, {})), "ok");
}

}  // namespace
}  // namespace heed::test
