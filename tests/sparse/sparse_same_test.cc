// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What must not matter: prompts in chunks give the bits of whole ones, and
// every kernel table chooses the same keys.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "heed/ops.h"
#include "heed/sparse.h"
#include "lib/core/ops_target.h"
#include "lib/eval/knob_sweep.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/selection.h"
#include "lib/eval/workload.h"
#include "tests/support/compare.h"
#include "tests/support/run.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

using patterns::EveryNth;
using patterns::KeepIf;
using patterns::Segments;
using patterns::Sinks;
using patterns::Window;

// Chunks that begin where a block of query rows does have the lists of the
// whole prompt, so its bits.
template <typename P>
void CheckChunks(const P& pattern, int64_t block,
                 const std::vector<int64_t>& ends) {
  for (const char* text :
       {"b2_h4_kv2_d16_q100_k150_causal", "b1_h2_d8_q100_causal_wl40_sink3"}) {
    SCOPED_TRACE(std::string(text) + " in blocks of " + std::to_string(block));
    const io::Problem problem = ProblemOf(text);
    const int64_t offset = problem.shape.seqlen_k - problem.shape.seqlen_q;
    const eval::Tensors whole = eval::MakeTensors(problem, {});
    const eval::Tensors chunks = eval::MakeTensors(problem, {});
    SparseOptions options;
    options.query_block_size = block;
    const auto attend = [&](const AttentionArgs& args) {
      eval::ScratchPool memory, scratch;
      SparsePlan plan;
      ASSERT_TRUE(MakeSparsePlan(problem.params, ShapeOf(args), pattern,
                                 options, memory.Begin(), SerialExecutor(),
                                 &plan)
                      .ok());
      ASSERT_TRUE(AttendSparse(plan, problem.params, args, scratch.Begin(),
                               SerialExecutor())
                      .ok());
    };
    attend(whole.Args());
    int64_t first = 0;
    for (const int64_t end : ends) {
      AttentionArgs args = chunks.Args();
      args.query = TokensOf(args.query, first, end - first);
      args.out = TokensOf(args.out, first, end - first);
      args.lse = TokensOf(args.lse, first, end - first);
      args.key = TokensOf(args.key, 0, offset + end);
      args.value = TokensOf(args.value, 0, offset + end);
      attend(args);
      first = end;
    }
    EXPECT_TRUE(SameBits(chunks.out, whole.out));
    EXPECT_TRUE(SameBits(chunks.lse, whole.lse));
  }
}

TEST(SparsePlan, ChunksAreTheWholePrompt) {
  const auto scattered = KeepIf([](int64_t, int64_t query, int64_t key) {
    return (query * 31 + key * 17) % 7 < 2;
  });
  for (const int64_t block : {1, 16}) {
    const std::vector<int64_t> ends =
        block == 1 ? std::vector<int64_t>{1, 48, 71, 99, 100}
                   : std::vector<int64_t>{16, 64, 80, 100};
    CheckChunks(Window(20) | Sinks(3), block, ends);
    CheckChunks(Window(6) | EveryNth(6), block, ends);
    CheckChunks(Segments(24), block, ends);
    CheckChunks(scattered, block, ends);
  }
}

// What a variant chooses by scores, on every table with the same bits.
TEST(SparseSelection, IsTheSameOnEveryTable) {
  const io::Problem problem = ProblemOf("b1_h4_kv2_d20_q130_k150_causal");
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  int compared = 0;
  for (const NamedVariant& named : eval::AllVariants()) {
    if (named.variant.semantics != Semantics::kExactOnSelection) continue;
    std::vector<eval::KeySet> first;
    for (const std::string& target : SameBitsTargets()) {
      ASSERT_TRUE(internal::SetOpsTarget(target.c_str()));
      eval::ScratchPool pool;
      VariantArgs args;
      args.params = problem.params;
      args.args = tensors.Args();
      args.target = target.c_str();
      args.scratch = pool.Begin();
      for (int i = 0; i < named.variant.num_knobs; ++i) {
        const Knob& knob = named.variant.knobs[i];
        // Small enough to leave something out.
        args.knobs[i] = knob.integer
                            ? std::min(std::max(8.0, knob.min), knob.max)
                            : knob.default_value;
      }
      eval::Selection selection(problem.params, problem.shape);
      args.selection = selection.Recorder();
      const Status status = RunVariant(named.variant, args);
      ASSERT_TRUE(status.ok()) << named.name << ": " << ToString(status);
      ASSERT_EQ(selection.Finish(), "");
      std::vector<eval::KeySet> rows;
      for (int64_t i = 0; i < 4 * 130; ++i) {
        rows.push_back(selection.Row(0, i / 130, i % 130));
      }
      if (first.empty()) first = rows;
      for (size_t i = 0; i < rows.size(); ++i) {
        const auto same = [](const KeyInterval& a, const KeyInterval& b) {
          return a.begin == b.begin && a.end == b.end;
        };
        ASSERT_TRUE(std::equal(rows[i].begin(), rows[i].end(), first[i].begin(),
                               first[i].end(), same))
            << named.name << " on " << target << ": row " << i;
      }
      ++compared;
    }
    internal::SetOpsTarget(nullptr);
  }
  EXPECT_GT(compared, 10);
}

}  // namespace
}  // namespace heed::test
