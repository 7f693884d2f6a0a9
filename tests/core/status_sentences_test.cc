// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// How typical mistakes read.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "heed/heed.h"
#include "tests/support/run_status.h"

namespace heed::test {
namespace {

class StatusSentences : public RunStatusTest {
 protected:
  std::string Plans(const std::function<void(AttentionShape&)>& spoil,
                    const PlanOptions& options = {}) {
    AttentionShape shape = tensors_.problem.shape;
    spoil(shape);
    Plan plan;
    return ToString(MakePlan({}, shape, options, &plan));
  }

  std::string Runs(const std::function<void(AttentionArgs&)>& spoil) {
    AttentionArgs args = tensors_.Args();
    spoil(args);
    return ToString(
        heed::Run(plan_, args, workspace_->get(), SerialExecutor()));
  }
};

TEST_F(StatusSentences, OfAPlan) {
  EXPECT_EQ(Plans([](AttentionShape& s) { s.num_kv_heads = 3; }),
            "invalid argument: num_heads: must be a multiple of num_kv_heads "
            "(got 4 heads over 3)");
  EXPECT_EQ(Plans([](AttentionShape& s) { s.head_dim = 0; }),
            "invalid argument: head_dim: is too small (got 0, at least 1)");
  EXPECT_EQ(Plans([](AttentionShape& s) { s.head_dim_v = 1025; }),
            "unsupported: head_dim_v: is larger than this version offers "
            "(got 1025, at most 1024)");
  EXPECT_EQ(Plans([](AttentionShape& s) { s.seqlen_k = int64_t{1} << 31; }),
            "overflow: seqlen_k: is too large (got 2147483648 keys, at most "
            "2147483519)");
  EXPECT_EQ(Plans([](AttentionShape& s) { s.out_dtype = DType::kI8; }),
            "unsupported: out_dtype: must be f32, bf16 or f16");
  EXPECT_EQ(
      Plans([](AttentionShape& s) { s.key_dtype = static_cast<DType>(9); }),
      "unsupported: key_dtype: must be f32, bf16, f16, i8, f8_e4m3, f8_e5m2 or "
      "u4");
  EXPECT_EQ(Plans([](AttentionShape& s) { s.key_dtype = DType::kU4; }),
            "invalid argument: head_dim: of 4-bit keys must be a multiple of "
            "32 (got 8)");
  EXPECT_EQ(Plans([](AttentionShape& s) { s.value_dtype = DType::kU4; }),
            "invalid argument: head_dim_v: of 4-bit values must be a multiple "
            "of 32 (got 6)");
  PlanOptions options;
  options.lane_groups = 17;
  EXPECT_EQ(Plans([](AttentionShape&) {}, options),
            "invalid argument: lane_groups: must be 0 (the default) to 16 "
            "(got 17)");
}

TEST_F(StatusSentences, OfACallsTensors) {
  EXPECT_EQ(Runs([](AttentionArgs& a) { a.out.data = nullptr; }),
            "invalid argument: out: is null");
  EXPECT_EQ(Runs([](AttentionArgs& a) { a.value.extent[1] = 6; }),
            "invalid argument: value[1]: must be the key's seqlen (got 6, "
            "needs 7)");
  EXPECT_EQ(Runs([](AttentionArgs& a) { a.key.extent[3] = 7; }),
            "invalid argument: key[3]: must be the query's head_dim (got 7, "
            "needs 8)");
  EXPECT_EQ(
      Runs([](AttentionArgs& a) { a.key.extent[1] = a.value.extent[1] = 8; }),
      "invalid argument: key[1]: is larger than the plan's seqlen_k "
      "(got 8, at most 7)");
  EXPECT_EQ(Runs([](AttentionArgs& a) { a.query.dtype = DType::kF16; }),
            "invalid argument: query: dtype differs from the plan's");
  EXPECT_EQ(Runs([](AttentionArgs& a) { a.key.stride[3] = 8; }),
            "unsupported: key[3]: must have an innermost stride of one element "
            "(got 8 bytes, needs 4)");
  EXPECT_EQ(Runs([](AttentionArgs& a) { a.key.stride[1] = 6; }),
            "invalid argument: key[1]: has a stride that is no multiple of its "
            "element (got 6 bytes over 4)");
  EXPECT_EQ(Runs([](AttentionArgs& a) {
              a.key.data = static_cast<const char*>(a.key.data) + 1;
            }),
            "invalid argument: key: is not aligned to its element (needs 4 "
            "bytes)");
  EXPECT_EQ(Runs([](AttentionArgs& a) { a.lse.data = a.out.data; }),
            "invalid argument: lse: overlaps out");
  EXPECT_EQ(
      Runs([](AttentionArgs& a) { a.key_intervals.query_block_size = 5; }),
      "invalid argument: key_intervals: num_offsets must be batch * "
      "num_heads * query blocks + 1 (got 0, needs 9)");
}

TEST_F(StatusSentences, OfWhatACallIsGivenBeside) {
  const Workspace memory = workspace_->get();
  const std::string need = std::to_string(WorkspaceBytes(plan_, 1));
  EXPECT_EQ(ToString(heed::Run(plan_, tensors_.Args(), {memory.data, 100},
                               SerialExecutor())),
            "workspace: is too small (got 100 bytes, needs " + need + ")");
  Executor executor = SerialExecutor();
  executor.max_workers = 0;
  EXPECT_EQ(ToString(heed::Run(plan_, tensors_.Args(), memory, executor)),
            "invalid argument: executor: needs at least one worker (got 0)");
  executor = SerialExecutor();
  executor.parallel_for = nullptr;
  EXPECT_EQ(ToString(heed::Run(plan_, tensors_.Args(), memory, executor)),
            "invalid argument: executor: has no parallel_for");
}

// Every way in which a bound may stand to its value.
TEST(StatusSentence, OfEveryBound) {
  const auto sentence = [](BoundKind kind, bool value) {
    Status status(StatusCode::kInternal, "executor", "is odd");
    if (value) status.WithValue(5);
    return ToString(status.WithBound(6, kind).WithUnit("tasks"));
  };
  const std::string start = "internal error: executor: is odd";
  const struct {
    BoundKind kind;
    const char* with_value;
    const char* alone;
  } cases[] = {
      {BoundKind::kAtMost, " (got 5 tasks, at most 6)", " (at most 6 tasks)"},
      {BoundKind::kAtLeast, " (got 5 tasks, at least 6)",
       " (at least 6 tasks)"},
      {BoundKind::kNeeds, " (got 5 tasks, needs 6)", " (needs 6 tasks)"},
      {BoundKind::kOver, " (got 5 tasks over 6)", " (over 6 tasks)"},
      {BoundKind::kOf, " (got 5 tasks of 6)", " (of 6 tasks)"},
      {BoundKind::kSaid, " (got 5 tasks)", ""},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(sentence(c.kind, true), start + c.with_value);
    EXPECT_EQ(sentence(c.kind, false), start + c.alone);
  }
}

}  // namespace
}  // namespace heed::test
