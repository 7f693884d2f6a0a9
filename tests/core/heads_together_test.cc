// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Key heads that are read together: which calls they are, and the bits of
// heads that are read one after the other.
#include "lib/core/heads_together.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "tests/support/check.h"
#include "tests/support/quick.h"
#include "tests/support/ragged_case.h"
#include "tests/support/run.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

// A call laid out and not computed.
struct Laid {
  Laid(const std::string& target, const AttentionParams& params,
       const AttentionArgs& args, int workers) {
    PlanOptions options;
    options.target = target.c_str();
    const Status made = MakePlan(params, ShapeOf(args), options, &plan);
    EXPECT_TRUE(made.ok()) << ToString(made);
    workspace.emplace_back(WorkspaceBytes(plan, workers));
    const Status begun =
        BeginRun(plan, args, workspace[0].get(), workers, {}, &run);
    EXPECT_TRUE(begun.ok()) << ToString(begun);
  }

  // Whether the target's decode kernel takes the rows of a key head; the plain
  // table has none.
  bool few_rows() const {
    const AttentionShape& shape = plan.shape;
    const int64_t group = shape.num_heads / shape.num_kv_heads;
    return shape.seqlen_q * group <= plan.decode_rows;
  }

  Plan plan;
  std::vector<WorkspaceBuffer> workspace;
  AttentionRun run;
};

class HeadsTogether : public OnEveryTarget {
 protected:
  // `together`: what is expected of one worker.
  void Check(const std::string& text, int together,
             eval::Layout layout = eval::Layout::kBshd) {
    SCOPED_TRACE(text);
    eval::WorkloadOptions options;
    options.layout = layout;
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), options);
    const AttentionParams& params = tensors.problem.params;
    const Laid laid(GetParam(), params, tensors.Args(), 1);
    EXPECT_EQ(laid.run.all.together, laid.few_rows() ? together : 1);
    const Checker checker(GetParam(), params, tensors);
    for (const int workers : {1, 2, 3}) {
      checker.Check(RunConfig{GetParam(), 0, workers});
    }
  }
};

TEST_P(HeadsTogether, WhereTokensAreOutsideOfHeads) {
  Check("h8_d16_q1_k200", 8);
  Check("h8_d16_q1_k200", 1, eval::Layout::kBhsd);
  Check("h8_d16_q1_k200", 8, eval::Layout::kPadded);
  Check("h2_d16_q1_k200", 2, eval::Layout::kPacked);
  Check("h1_d16_q1_k200", 1);
  // Tiles of the other kernel.
  Check("h4_d16_q70_k70", 1);
}

// The number divides the key heads, so that batches stay apart.
TEST_P(HeadsTogether, AnyNumberOfHeads) {
  Check("b2_h7_d4_q1_k90", 7);
  Check("b3_h10_kv5_d4_dv6_q1_k90", 5);
  Check("b2_h12_d4_q1_k50_causal", 6);
  Check("h11_d4_q1_k50", 1);
  Check("h16_d4_q1_k50", 8);
  Check("h32_kv16_d4_q2_k50_causal", 8);
}

TEST_P(HeadsTogether, Masks) {
  Check("b2_h4_d8_q2_k300_causal_wl100_sink9", 4);
  Check("h4_kv2_d8_q2_k200_wr20_wl50_sink70_off60", 2);
  Check("h4_d8_q1_k90_cap5", 4);
  Check("h4_d8_q2_k40_off-50_causal", 4);  // no row sees a key
  Check("h4_d8_q1_k0", 1);
}

TEST_P(HeadsTogether, Types) {
  for (const std::string type : {"kvu4", "kve4m3", "kvi8"}) {
    Check("h8_kv4_d32_q1_k150_causal_" + type, 4);
  }
  // The bound of tables without FMA is for out of f32.
  if (!HasSameBits(GetParam())) return;
  Check("h8_kv4_d32_q1_k150_causal_bf16", 4);
  Check("h8_kv4_d32_q2_k150_causal_f16", 4);
}

// States of spans, and of groups of them, are merged head by head.
TEST_P(HeadsTogether, SeveralSpans) {
  Check("h2_d2_q1_k9000", 2);
  if (!Quick()) Check("h2_d2_dv3_q1_k70000_causal_wl69000_sink5", 2);
}

// What is read at a time has a limit.
TEST_P(HeadsTogether, WideRows) { Check("h8_d512_q1_k60", 2); }

TEST_P(HeadsTogether, RaggedAndInPages) {
  const std::vector<SequenceLengths> lengths = {
      {1, 133}, {1, 1}, {1, 0}, {2, 300}, {0, 9}, {90, 90}, {1, 5000}};
  for (const int64_t page_size : {0, 1, 16}) {
    RaggedLayout layout;
    layout.page_size = page_size;
    layout.pointers = page_size == 1;
    const RaggedCase ragged("h8_kv4_d16_q1_k1_causal", lengths, layout);
    const Laid laid(GetParam(), ragged.params(), ragged.Args(), 1);
    int most = 1;
    for (int64_t i = 0; i < laid.run.num_sequences; ++i) {
      most = std::max<int>(most, laid.run.sequences[i].together);
    }
    EXPECT_EQ(most, laid.plan.decode_rows > 0 ? 4 : 1);
    for (const int workers : {1, 2, 5}) {
      ragged.Check(GetParam(), workers, true);
      ragged.Check(GetParam(), workers, false);
    }
  }
}

// What changes scores has a place in each of the tiles: each key head has the
// bits that it has alone.
TEST_P(HeadsTogether, ScoreInputs) {
  constexpr int64_t kBatch = 2, kHeads = 8, kKvHeads = 4, kRows = 2, kKeys = 90;
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("b2_h8_kv4_d16_q2_k90_causal"), {});
  const auto numbers = [](int64_t count) {
    std::vector<float> made(static_cast<size_t>(count));
    for (size_t i = 0; i < made.size(); ++i) {
      made[i] = static_cast<float>(i * 37 % 101) / 50 - 1;
    }
    return made;
  };
  const std::vector<float> bias = numbers(kBatch * kHeads * kRows * kKeys);
  const std::vector<float> of_heads = numbers(kBatch * kHeads);
  AttentionArgs args = tensors.Args();
  args.scores.bias = Bhsd(bias.data(), kBatch, kHeads, kRows, kKeys);
  args.scores.alibi_slopes = Bshd(of_heads.data(), kBatch, 1, kHeads, 1);
  args.scores.sink_logits = Bshd(of_heads.data(), kBatch, 1, kHeads, 1);
  const AttentionParams& params = tensors.problem.params;
  const Laid laid(GetParam(), params, args, 1);
  EXPECT_EQ(laid.run.all.together, laid.few_rows() ? kKvHeads : 1);
  const RunConfig config{GetParam()};
  ASSERT_TRUE(RunOn(config, params, args).ok());
  const std::vector<float> out = tensors.out.Dense(), lse = tensors.lse.Dense();
  tensors.ClearOutput();
  for (int64_t head = 0; head < kKvHeads; ++head) {
    AttentionArgs alone = args;
    const auto cut = [&](auto* view, int64_t of) {
      view->data = internal::BytesAt(*view, 0, 0, head * of);
      view->extent[2] = of;
    };
    cut(&alone.key, 1);
    cut(&alone.value, 1);
    cut(&alone.query, kHeads / kKvHeads);
    cut(&alone.out, kHeads / kKvHeads);
    cut(&alone.lse, kHeads / kKvHeads);
    cut(&alone.scores.bias, kHeads / kKvHeads);
    cut(&alone.scores.alibi_slopes, kHeads / kKvHeads);
    cut(&alone.scores.sink_logits, kHeads / kKvHeads);
    ASSERT_TRUE(RunOn(config, params, alone).ok());
  }
  EXPECT_EQ(tensors.out.Dense(), out);
  EXPECT_EQ(tensors.lse.Dense(), lse);
}

// Every worker keeps a share.
TEST_P(HeadsTogether, LeavesWorkForAll) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("h8_d16_q1_k900"), {});
  for (const int workers : {2, 4, 8}) {
    const Laid laid(GetParam(), tensors.problem.params, tensors.Args(),
                    workers);
    EXPECT_GE(NumTasks(laid.run, 0), workers);
  }
}

HEED_ON_EVERY_TARGET(HeadsTogether);

}  // namespace
}  // namespace heed::test
