// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Which keys the variants choose that group them, by hashes or in clusters: on
// numbers whose groups are known.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/support/run.h"
#include "tests/variants/selection_run.h"

namespace heed::test {
namespace {

// Sets key and query `row` of both heads to `sign` times one direction, and a
// little of what they were.
void Point(const eval::Tensors& t, int64_t row, float sign) {
  for (int64_t c = 0; c < t.problem.shape.head_dim; ++c) {
    const float x = sign * (c % 3 == 0 ? 1.0f : -2.0f);
    for (int64_t h = 0; h < 2; ++h) {
      *t.query.At(0, row, h, c) = x + 0.01f * *t.query.At(0, row, h, c);
    }
    *t.key.At(0, row, 0, c) = x + 0.01f * *t.key.At(0, row, 0, c);
  }
}

// A query that is a key of up to a chunk before it always finds it: between
// them stand fewer than a chunk of their bucket.
TEST(GroupedChoice, ReformerFindsTheKeyThatIsTheQuery) {
  const eval::Tensors t =
      eval::MakeTensors(ProblemOf("b1_h1_d16_q200_causal"), {});
  constexpr int64_t kBack = 20;
  for (int64_t row = kBack; row < 200; ++row) {
    for (int64_t c = 0; c < 16; ++c) {
      *t.query.At(0, row, 0, c) = 3.0f * *t.key.At(0, row - kBack, 0, c);
    }
  }
  const Chosen chosen("reformer", {32, 1}, t);
  for (int64_t row = kBack; row < 200; ++row) {
    const Keys& keys = chosen.Row(0, 0, row);
    EXPECT_TRUE(keys.contains(row - kBack)) << "row " << row;
    EXPECT_TRUE(keys.contains(row));
    EXPECT_LE(keys.size(), 65u);
  }
  EXPECT_LT(chosen.Density(), 0.6);
}

TEST(GroupedChoice, ReformerFindsMoreInMoreRounds) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf("b1_h2_d16_q200"), {});
  const Chosen one("reformer", {32, 1}, t);
  const Chosen three("reformer", {32, 3}, t);
  EXPECT_TRUE(three.Contains(one));
  EXPECT_GT(three.Density(), one.Density());
}

TEST(GroupedChoice, HyperAttentionSeparatesOpposites) {
  const eval::Tensors t =
      eval::MakeTensors(ProblemOf("b1_h2_kv1_d16_q130"), {});
  for (int64_t row = 0; row < 130; ++row) Point(t, row, row % 2 ? 1.f : -1.f);
  const Chosen chosen("hyperattention", {65}, t);
  chosen.ForEachRow([&](int64_t, int64_t h, int64_t row) {
    Keys want;
    for (int64_t key = row % 2; key < 130; key += 2) want.insert(key);
    ASSERT_EQ(chosen.Row(0, h, row), want) << "row " << row;
  });
}

// Queries that are the keys: blocks are a partition.
TEST(GroupedChoice, HyperAttentionSortsQueriesAsKeys) {
  const eval::Tensors t = eval::MakeTensors(ProblemOf("b1_h1_d16_q150"), {});
  for (int64_t row = 0; row < 150; ++row) {
    std::copy_n(t.key.At(0, row, 0), 16, t.query.At(0, row, 0));
  }
  const Chosen chosen("hyperattention", {50}, t);
  for (int64_t row = 0; row < 150; ++row) {
    const Keys& keys = chosen.Row(0, 0, row);
    ASSERT_EQ(keys.size(), 50u);
    for (const int64_t key : keys) ASSERT_EQ(chosen.Row(0, 0, key), keys);
  }
}

TEST(GroupedChoice, RoutingFindsItsClusters) {
  const eval::Tensors t =
      eval::MakeTensors(ProblemOf("b1_h2_kv1_d16_q130"), {});
  // Centres start from keys 0 and 65: both of the same side at first, then
  // one of each.
  for (const int64_t same : {0, 1}) {
    const auto side = [&](int64_t row) { return (row / 3 + same) % 2; };
    int64_t count[2] = {};
    for (int64_t row = 0; row < 130; ++row) {
      Point(t, row, side(row) == 0 ? 1.f : -1.f);
      ++count[side(row)];
    }
    const Chosen chosen("routing", {65}, t);
    chosen.ForEachRow([&](int64_t, int64_t h, int64_t row) {
      int64_t own = 0;
      const Keys& keys = chosen.Row(0, h, row);
      for (const int64_t key : keys) own += side(key) == side(row);
      // All of its side, as far as the cluster holds so many.
      EXPECT_EQ(own, std::min<int64_t>(count[side(row)], std::ssize(keys)));
    });
  }
}

}  // namespace
}  // namespace heed::test
