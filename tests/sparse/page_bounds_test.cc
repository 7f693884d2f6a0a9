// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Bounds of pages: they bound, they come to the same however keys come, and
// what is attended to is what they choose, exactly.
#include "heed/page_bounds.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <vector>

#include "heed/gather.h"
#include "heed/ops.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/workload.h"
#include "tests/support/compare.h"
#include "tests/support/run.h"
#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

constexpr int64_t kPage = 8;

class PageBoundsTest : public ::testing::Test {
 protected:
  PageBounds Make(const AttentionShape& shape) {
    PageBounds bounds;
    const Status status =
        MakePageBounds(shape.batch, shape.num_kv_heads, shape.head_dim, kPage,
                       shape.seqlen_k, memory_.Begin(), &bounds);
    EXPECT_TRUE(status.ok()) << ToString(status);
    return bounds;
  }
  // Decodes with the keys that are in.
  Status Attend(const PageBounds& bounds, int64_t budget,
                const AttentionParams& params, const AttentionArgs& args,
                const Executor& executor = SerialExecutor()) {
    return AttendPages(bounds, budget, params, args, scratch_.Begin(),
                       executor);
  }

  eval::ScratchPool memory_, scratch_;
};

TEST_F(PageBoundsTest, AreTheSameHoweverKeysCome) {
  const io::Problem problem = ProblemOf("b2_h2_d5_q1_k61");
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  *tensors.key.At(0, 8, 1, 2) = NAN;  // the first of its page
  *tensors.key.At(0, 18, 1, 2) = NAN;
  PageBounds bounds = Make(problem.shape);
  ThreadExecutor threads(3);
  for (const int64_t keys : {1, 7, 8, 9, 30, 30, 61}) {
    ASSERT_TRUE(AppendPageBounds(TokensOf(tensors.Args().key, 0, keys), threads,
                                 &bounds)
                    .ok());
    EXPECT_EQ(bounds.num_keys, keys);
  }
  for (int64_t i = 0; i < 2 * 2 * 5 * 8; ++i) {
    const int64_t page = i % 8, c = i / 8 % 5, head = i / 40;
    float most = 0, least = 0;
    for (int64_t key = page * kPage; key < std::min<int64_t>(page * 8 + 8, 61);
         ++key) {
      const float x = *tensors.key.At(head / 2, key, head % 2, c);
      if (key % kPage == 0) most = least = x;
      most = std::max(most, x);
      least = std::min(least, x);
    }
    const int64_t at = head * 2 * 5 * 8 + c * 8 + page;
    EXPECT_EQ(CanonicalBits(bounds.data[at]), CanonicalBits(most)) << i;
    EXPECT_EQ(CanonicalBits(bounds.data[at + 40]), CanonicalBits(least)) << i;
  }
}

// The pages that a row should keep, in double.
std::vector<int32_t> WantKeys(const eval::Tensors& t, int64_t b,
                              int64_t kv_head, int64_t row, int64_t budget) {
  const AttentionShape& shape = t.problem.shape;
  const int64_t group = shape.num_heads / shape.num_kv_heads;
  const int64_t position = row + shape.seqlen_k - shape.seqlen_q;  // causal
  const int64_t own = position / kPage;
  std::vector<double> rank(static_cast<size_t>(own + 1), -INFINITY);
  for (int64_t g = 0; g < group; ++g) {
    std::vector<double> bound(rank.size());
    for (int64_t page = 0; page <= own; ++page) {
      for (int64_t c = 0; c < shape.head_dim; ++c) {
        const double q =
            static_cast<double>(*t.query.At(b, row, kv_head * group + g, c));
        double most = -INFINITY;
        for (int64_t key = page * kPage;
             key < std::min((page + 1) * kPage, shape.seqlen_k); ++key) {
          most = std::max(
              most, q * static_cast<double>(*t.key.At(b, key, kv_head, c)));
        }
        bound[static_cast<size_t>(page)] += most;
      }
      bound[static_cast<size_t>(page)] /=
          std::sqrt(static_cast<double>(shape.head_dim));
    }
    const double most = *std::max_element(bound.begin(), bound.end());
    for (size_t page = 0; page < rank.size(); ++page) {
      rank[page] = std::max(rank[page], bound[page] - most);
    }
  }
  rank[0] = rank[static_cast<size_t>(own)] = INFINITY;  // kept anyway
  std::vector<size_t> order(rank.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b2) { return rank[a] > rank[b2]; });
  order.resize(
      std::min<size_t>(order.size(), static_cast<size_t>(std::max<int64_t>(
                                         budget / kPage, own == 0 ? 1 : 2))));
  std::vector<int32_t> keys;
  for (const size_t page : order) {
    for (int64_t key = static_cast<int64_t>(page) * kPage;
         key <
         std::min((static_cast<int64_t>(page) + 1) * kPage, shape.seqlen_k);
         ++key) {
      keys.push_back(static_cast<int32_t>(key));
    }
  }
  return keys;
}

TEST_F(PageBoundsTest, ChooseWhatIsAttendedTo) {
  for (const char* text :
       {"b2_h6_kv2_d16_q1_k200_causal", "b1_h4_kv4_d8_q5_k93_causal"}) {
    const io::Problem problem = ProblemOf(text);
    const AttentionShape& shape = problem.shape;
    const eval::Tensors got = eval::MakeTensors(problem, {});
    const eval::Tensors want = eval::MakeTensors(problem, {});
    PageBounds bounds = Make(shape);
    ASSERT_TRUE(
        AppendPageBounds(got.Args().key, SerialExecutor(), &bounds).ok());
    ThreadExecutor threads(3);
    for (const int64_t budget : {1, 24, 40, 70}) {
      KeyLists lists;
      lists.batch = shape.batch;
      lists.num_heads = shape.num_kv_heads;
      lists.width = shape.seqlen_k;
      std::vector<int32_t> indices;
      for (int64_t i = 0; i < shape.batch * shape.num_kv_heads * shape.seqlen_q;
           ++i) {
        const int64_t head = i / shape.seqlen_q;
        std::vector<int32_t> keys =
            WantKeys(want, head / shape.num_kv_heads, head % shape.num_kv_heads,
                     i % shape.seqlen_q, budget);
        keys.resize(static_cast<size_t>(lists.width), -1);
        indices.insert(indices.end(), keys.begin(), keys.end());
      }
      lists.indices = indices.data();
      ASSERT_TRUE(AttendListed(lists, problem.params, want.Args(),
                               scratch_.Begin(), SerialExecutor())
                      .ok());
      for (const Executor& executor : {SerialExecutor(), Executor(threads)}) {
        got.ClearOutput();
        const Status status =
            Attend(bounds, budget, problem.params, got.Args(), executor);
        ASSERT_TRUE(status.ok()) << ToString(status);
        EXPECT_TRUE(SameBits(got.out, want.out)) << text << " " << budget;
        EXPECT_TRUE(SameBits(got.lse, want.lse)) << text << " " << budget;
      }
    }
  }
}

TEST_F(PageBoundsTest, ABudgetForAllIsExactToTheBit) {
  const io::Problem problem = ProblemOf("b2_h6_kv2_d16_q3_k200_causal");
  const eval::Tensors got = eval::MakeTensors(problem, {});
  const eval::Tensors exact = eval::MakeTensors(problem, {});
  PageBounds bounds = Make(problem.shape);
  ASSERT_TRUE(AppendPageBounds(got.Args().key, SerialExecutor(), &bounds).ok());
  ASSERT_TRUE(Attend(bounds, 200, problem.params, got.Args()).ok());
  ASSERT_TRUE(Attention(problem.params, exact.Args()).ok());
  EXPECT_TRUE(SameBits(got.out, exact.out));
  EXPECT_TRUE(SameBits(got.lse, exact.lse));
}

TEST_F(PageBoundsTest, RefuseWhatTheyAreNotFor) {
  const io::Problem problem = ProblemOf("b1_h4_kv2_d8_q1_k40_causal");
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  const AttentionArgs args = tensors.Args();
  PageBounds bounds = Make(problem.shape);
  const auto refused = [&](const Status& status, const char* argument) {
    EXPECT_STREQ(status.argument(), argument) << ToString(status);
    EXPECT_TRUE(Untouched(tensors.out));
  };
  refused(Attend(bounds, 16, problem.params, args), "seqlen_k");
  ConstTensorView key = args.key;
  key.extent[1] = 41;
  refused(AppendPageBounds(key, SerialExecutor(), &bounds), "seqlen_k");
  key.extent[1] = 40;
  key.extent[2] = 1;
  refused(AppendPageBounds(key, SerialExecutor(), &bounds), "num_kv_heads");
  key = args.key;
  key.dtype = DType::kBF16;
  refused(AppendPageBounds(key, SerialExecutor(), &bounds), "key_dtype");
  key = args.key;
  key.stride[3] = 0;
  refused(AppendPageBounds(key, SerialExecutor(), &bounds), "key");
  PageBounds never;
  refused(AppendPageBounds(args.key, SerialExecutor(), &never), "bounds");
  EXPECT_EQ(bounds.num_keys, 0);
  ASSERT_TRUE(AppendPageBounds(args.key, SerialExecutor(), &bounds).ok());
  refused(
      AppendPageBounds(TokensOf(args.key, 0, 39), SerialExecutor(), &bounds),
      "seqlen_k");
  refused(Attend(bounds, 0, problem.params, args), "token_budget");
  AttentionArgs spoilt = args;
  spoilt.scores.hook = [](void*, const ScoreTile&) {};
  refused(Attend(bounds, 16, problem.params, spoilt), "scores");
  spoilt = args;
  spoilt.query.data = nullptr;
  refused(Attend(bounds, 16, problem.params, spoilt), "query");
  PageBounds made;
  refused(MakePageBounds(1, 2, 8, 0, 40, memory_.Begin(), &made), "page_size");
  refused(MakePageBounds(1, 2, 8, 16, 40, Scratch(), &made), "scratch");
  refused(MakePageBounds(INT64_MAX, 2, 8, 16, 40, memory_.Begin(), &made),
          "max_keys");
  EXPECT_EQ(made.data, nullptr);
}

}  // namespace
}  // namespace heed::test
