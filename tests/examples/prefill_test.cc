// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Prompts over ranks, keys gathered or heads exchanged: the bits of one call.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "examples/context_parallel/exchanged_heads.h"
#include "examples/context_parallel/gathered_keys.h"
#include "examples/context_parallel/spread.h"
#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "tests/examples/step.h"
#include "tests/support/quick.h"

namespace heed::test {
namespace {

using namespace context_parallel;

void CheckGathered(const Step& step, int ranks) {
  const int64_t tokens = step.sizes[0].num_rows;
  for (int rank = 0; rank < ranks; ++rank) {
    const ZigzagTokens own = ZigzagOf(tokens, ranks, rank);
    const auto like = [&](const eval::Tensor& all) {
      return eval::MakeTensor(1, own.count(), all.view.heads(),
                              all.view.head_dim(), eval::Layout::kBshd);
    };
    const auto pieces = [&](const TensorView& all, const eval::Tensor& mine,
                            const auto& visit) {
      const int64_t low = own.low.count();
      visit(TokensOf(all, own.low.begin, low), TokensOf(mine.view, 0, low));
      visit(TokensOf(all, own.high.begin, own.high.count()),
            TokensOf(mine.view, low, own.high.count()));
    };
    const eval::Tensor query = like(step.query), out = like(step.got);
    pieces(step.query.view, query, CopyRows);
    AttentionArgs args;
    args.query = query.view;
    args.key = step.key.view;
    args.value = step.value.view;
    args.out = out.view;
    const Status status =
        AttendGathered(step.params, own, args, SerialExecutor());
    ASSERT_TRUE(status.ok()) << ToString(status);
    pieces(step.got.view, out,
           [](const TensorView& all, const TensorView& mine) {
             CopyRows(mine, all);
           });
  }
  step.ExpectSame();
}

TEST(GatheredKeys, Prefill) {
  for (const int64_t tokens : {5, 5003}) {
    Step step({{tokens, tokens}}, 2);
    ForEachMask(&step, [&] {
      for (const int ranks : RankCounts()) {
        SCOPED_TRACE("ranks " + std::to_string(ranks));
        CheckGathered(step, ranks);
      }
    });
  }
}

TEST(GatheredKeys, RanksHaveAsMuchToDo) {
  for (int ranks = 1; ranks <= kMostRanks; ++ranks) {
    const int64_t tokens = 2 * ranks * 10;
    int64_t rows = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      const ZigzagTokens own = ZigzagOf(tokens, ranks, rank);
      int64_t pairs = 0;
      for (const Range& piece : {own.low, own.high}) {
        for (int64_t row = piece.begin; row < piece.end; ++row) {
          pairs += row + 1;
        }
      }
      EXPECT_EQ(pairs, tokens * (tokens + 1) / 2 / ranks);
      rows += own.count();
    }
    EXPECT_EQ(rows, tokens);
  }
}

void CheckHeads(const Step& step, int ranks) {
  const HeadExchange exchange = {ranks,          step.sizes[0].num_rows,
                                 step.num_heads, step.num_kv_heads,
                                 step.head_dim,  step.head_dim_v};
  const auto there = [&](int from, int to) {
    return exchange.FloatsThere(from, to);
  };
  const auto back = [&](int from, int to) {
    return exchange.FloatsBack(from, to);
  };
  const auto own = [&](const TensorView& view, int rank) {
    const Range tokens = exchange.Tokens(rank);
    return TokensOf(view, tokens.begin, tokens.count());
  };
  std::vector<std::vector<float>> sent, sent_back;
  for (int rank = 0; rank < ranks; ++rank) {
    sent.push_back(Floats(SentBy(rank, ranks, there)));
    PackTokens(exchange, own(step.query.view, rank), own(step.key.view, rank),
               own(step.value.view, rank), sent.back().data());
  }
  for (int rank = 0; rank < ranks; ++rank) {
    sent_back.push_back(Floats(SentBy(rank, ranks, back)));
    const Status status = AttendHeads(
        exchange, rank, step.params, Received(sent, rank, there).data(),
        SerialExecutor(), sent_back.back().data());
    ASSERT_TRUE(status.ok()) << ToString(status);
  }
  for (int rank = 0; rank < ranks; ++rank) {
    UnpackOut(exchange, rank, Received(sent_back, rank, back).data(),
              own(step.got.view, rank));
  }
  step.ExpectSame();
}

// Heads that ranks divide and that they don't, several ranks to a key head, and
// ranks without any.
TEST(ExchangedHeads, Prefill) {
  const int64_t heads[][2] = {{8, 8}, {6, 2}, {3, 1}};
  for (const auto& [num_heads, num_kv_heads] : heads) {
    if (Quick() && num_heads != 6) continue;
    SCOPED_TRACE(num_heads);
    const int64_t tokens = Quick() ? 300 : 1500;
    Step step({{tokens, tokens}}, num_heads, num_kv_heads);
    ForEachMask(&step, [&] {
      for (const int ranks : RankCounts()) {
        SCOPED_TRACE("ranks " + std::to_string(ranks));
        CheckHeads(step, ranks);
      }
    });
  }
}

}  // namespace
}  // namespace heed::test
