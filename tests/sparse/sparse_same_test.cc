// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What must not matter: prompts in chunks and sequences of ragged calls give
// the bits of those that are whole and alone, and every kernel table chooses
// the same keys.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
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
#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

using patterns::EveryNth;
using patterns::KeepIf;
using patterns::Segments;
using patterns::Sinks;
using patterns::Window;

auto Scattered() {
  return KeepIf([](int64_t head, int64_t query, int64_t key) {
    return (query * 31 + key * 17 + head * 5) % 7 < 2;
  });
}

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

// Two sequences of a call, packed and in pages, have the bits that each has
// alone.
class RaggedPlans : public ::testing::Test {
 protected:
  static constexpr int64_t kKvHeads = 2, kDim = 8, kSize = 7, kPages = 13;
  static constexpr int64_t kRow = kKvHeads * kDim;

  RaggedPlans()
      : alone_(eval::MakeTensors(ProblemOf("b1_h4_kv2_d8_q65_k131"), {})),
        ragged_(eval::MakeTensors(ProblemOf("b1_h4_kv2_d8_q65_k131"), {})) {
    params_.causal = true;
    for (int32_t i = 0; i < 2 * kPages; ++i) table_.push_back(i * 5 % 26);
    for (int part = 0; part < 2; ++part) {
      pool_[part].resize(2 * kPages * kSize * kRow, NAN);
      const eval::Tensor& from = part == 0 ? ragged_.key : ragged_.value;
      for (int64_t entry = 0; entry < 2 * kPages; ++entry) {
        float* const page = pool_[part].data() +
                            table_[static_cast<size_t>(entry)] * kSize * kRow;
        pages_[part].push_back(page);
        const int64_t s = entry / kPages;
        for (int64_t i = 0; i < kSize * kRow; ++i) {
          const int64_t key = entry % kPages * kSize + i / kRow;
          if (key >= lengths_[s]) break;
          page[i] = *from.At(0, keys_[s] + key, i / kDim % kKvHeads, i % kDim);
        }
      }
    }
  }

  template <typename P>
  void MakePlans(const P& pattern, int64_t block) {
    alone_.ClearOutput();
    for (int s = 0; s < 2; ++s) {
      AttentionArgs args = alone_.Args();
      const int64_t first = rows_[s], count = rows_[s + 1] - rows_[s];
      args.query = TokensOf(args.query, first, count);
      args.out = TokensOf(args.out, first, count);
      args.lse = TokensOf(args.lse, first, count);
      args.key = TokensOf(args.key, keys_[s], lengths_[s]);
      args.value = TokensOf(args.value, keys_[s], lengths_[s]);
      SparseOptions options;
      options.per_head = true;
      options.query_block_size = block;
      ASSERT_TRUE(MakeSparsePlan(params_, ShapeOf(args), pattern, options,
                                 memory_[s].Begin(), SerialExecutor(),
                                 &plans_[s])
                      .ok());
      ASSERT_TRUE(AttendSparse(plans_[s], params_, args, scratch_.Begin(),
                               SerialExecutor())
                      .ok());
    }
  }

  // 0: packed, 1: in pages by a table, 2: by pointers.
  AttentionArgs RaggedArgs(int kind) const {
    AttentionArgs args = ragged_.Args();
    args.ragged.num_sequences = 2;
    args.ragged.cu_seqlens_q = rows_;
    if (kind == 0) {
      args.ragged.cu_seqlens_k = keys_;
      return args;
    }
    args.ragged.seqlens_k = lengths_;
    args.pages.num_sequences = 2;
    args.pages.pages_per_sequence = args.pages.table_stride = kPages;
    const float* const none = nullptr;
    const bool table = kind == 1;
    args.key = Bshd(table ? pool_[0].data() : none, table ? 2 * kPages : 1,
                    kSize, kKvHeads, kDim);
    args.value = Bshd(table ? pool_[1].data() : none, table ? 2 * kPages : 1,
                      kSize, kKvHeads, kDim);
    if (table) {
      args.pages.page_table = table_.data();
    } else {
      args.pages.key_pages = pages_[0].data();
      args.pages.value_pages = pages_[1].data();
    }
    return args;
  }

  const int32_t rows_[3] = {0, 40, 65}, keys_[3] = {0, 90, 131};
  const int32_t lengths_[2] = {90, 41};
  AttentionParams params_;
  eval::Tensors alone_, ragged_;
  std::vector<float> pool_[2];
  std::vector<int32_t> table_;
  std::vector<void*> pages_[2];
  eval::ScratchPool memory_[2], scratch_;
  SparsePlan plans_[2];
};

TEST_F(RaggedPlans, HaveTheBitsOfEachAlone) {
  ThreadExecutor threads(3);
  for (const int64_t block : {1, 16, 64}) {
    for (const bool partial : {false, true}) {
      if (partial) {
        MakePlans(Window(20) & Scattered(), block);
      } else {
        MakePlans(Segments(16), block);
      }
      for (int kind = 0; kind < 3; ++kind) {
        SCOPED_TRACE("kind " + std::to_string(kind) + ", blocks of " +
                     std::to_string(block));
        ragged_.ClearOutput();
        const Status status = AttendSparse(plans_, 2, params_, RaggedArgs(kind),
                                           scratch_.Begin(), threads);
        ASSERT_TRUE(status.ok()) << ToString(status);
        EXPECT_TRUE(SameBits(ragged_.out, alone_.out));
        EXPECT_TRUE(SameBits(ragged_.lse, alone_.lse));
      }
    }
  }
}

TEST_F(RaggedPlans, AreRefusedWhereTheyDoNotFit) {
  MakePlans(Segments(16), 16);
  const SparsePlan swapped[2] = {plans_[1], plans_[0]};
  const auto expect_refused = [&](const Status& status, const char* argument) {
    EXPECT_STREQ(status.argument(), argument) << ToString(status);
    EXPECT_TRUE(Untouched(ragged_.out));
    EXPECT_TRUE(Untouched(ragged_.lse));
  };
  ragged_.ClearOutput();
  for (int kind = 0; kind < 3; ++kind) {
    expect_refused(AttendSparse(swapped, 2, params_, RaggedArgs(kind),
                                scratch_.Begin(), SerialExecutor()),
                   "seqlen_q");
    expect_refused(AttendSparse(plans_[0], params_, RaggedArgs(kind),
                                scratch_.Begin(), SerialExecutor()),
                   "seqlen_q");
    expect_refused(AttendSparse(plans_, 3, params_, RaggedArgs(kind),
                                scratch_.Begin(), SerialExecutor()),
                   "num_plans");
    AttentionArgs args = RaggedArgs(kind);
    args.scores.hook = [](void*, const ScoreTile&) {};
    expect_refused(AttendSparse(plans_, 2, params_, args, scratch_.Begin(),
                                SerialExecutor()),
                   "scores");
  }
  // A call that is not ragged would have no sequence to compute.
  AttentionArgs args = RaggedArgs(0);
  args.ragged = Ragged();
  expect_refused(AttendSparse(plans_, 1, params_, args, scratch_.Begin(),
                              SerialExecutor()),
                 "num_sequences");
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
