// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Masks of heed/ops.h against the definition, pair by pair.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "heed/ops.h"
#include "lib/eval/workload.h"
#include "lib/oracle/oracle.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

// The keys that ForEachVisible names, checking that they rise.
std::vector<bool> Named(const AttentionParams& params,
                        const AttentionArgs& args, int64_t head, int64_t row) {
  std::vector<bool> seen(static_cast<size_t>(args.key.seqlen()));
  int64_t last = 0;
  ops::ForEachVisible(params, args, 0, head, row,
                      [&](int64_t begin, int64_t end) {
                        EXPECT_LE(last, begin);
                        EXPECT_LT(begin, end);
                        EXPECT_LE(end, args.key.seqlen());
                        for (int64_t key = begin; key < end; ++key) {
                          seen[static_cast<size_t>(key)] = true;
                        }
                        last = end;
                      });
  return seen;
}

void ExpectAsDefined(const AttentionParams& params, const AttentionArgs& args) {
  double pairs = 0;
  std::vector<bool> ever(static_cast<size_t>(args.key.seqlen()));
  for (int64_t head = 0; head < args.query.heads(); ++head) {
    for (int64_t row = 0; row < args.query.seqlen(); ++row) {
      const std::vector<bool> seen = Named(params, args, head, row);
      for (int64_t key = 0; key < args.key.seqlen(); ++key) {
        const bool want = oracle::Visible(params, args, 0, head, row, key);
        ASSERT_EQ(seen[static_cast<size_t>(key)], want)
            << "head " << head << " row " << row << " key " << key;
        pairs += want;
        if (want) ever[static_cast<size_t>(key)] = true;
      }
    }
  }
  if (args.key_intervals.query_block_size != 0) return;
  EXPECT_EQ(ops::VisiblePairs(ShapeOf(args), params) *
                static_cast<double>(args.query.heads()),
            pairs);
  EXPECT_EQ(ops::VisibleKeyRows(ShapeOf(args), params),
            static_cast<double>(std::count(ever.begin(), ever.end(), true)));
}

TEST(OpsMasks, AreAsDefined) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("b1_h2_kv1_d1_q9_k13"), {});
  AttentionParams params;
  for (const bool causal : {false, true}) {
    params.causal = causal;
    for (const int64_t offset : {kBottomRight, int64_t{-4}, int64_t{0},
                                 int64_t{30}, INT64_MAX, INT64_MIN + 1}) {
      params.causal_offset = offset;
      for (const int64_t left :
           {int64_t{-1}, int64_t{0}, int64_t{3}, INT64_MAX}) {
        params.window_left = left;
        for (const int64_t right :
             {int64_t{-1}, int64_t{0}, int64_t{2}, INT64_MAX}) {
          params.window_right = right;
          for (const int64_t sink : {int64_t{0}, int64_t{2}, INT64_MAX}) {
            params.sink_size = sink;
            ExpectAsDefined(params, tensors.Args());
          }
        }
      }
    }
  }
}

TEST(OpsCost, CountsEachTensorInItsOwnBytes) {
  AttentionShape shape = ProblemOf("b2_h4_kv2_d8_dv6_q5_k7").shape;
  const double queries = 2 * 5 * 4, keys = 2 * 7 * 2;
  const double dims = 8 + 6;
  EXPECT_EQ(ops::SoftmaxCost(shape, 35).bytes, 4 * (queries + keys) * dims);
  shape.query_dtype = DType::kF16;
  shape.key_dtype = DType::kBF16;
  shape.value_dtype = DType::kI8;
  EXPECT_EQ(ops::SoftmaxCost(shape, 35).bytes,
            queries * (2 * 8 + 4 * 6) + keys * (2 * 8 + 1 * 6));
  EXPECT_EQ(ops::SoftmaxCost(shape, 35).flops, 2 * 2 * 4 * 35 * dims);
  EXPECT_EQ(ops::SoftmaxCost(shape, 35, 3).bytes,
            queries * (2 * 8 + 4 * 6) + 2 * 3 * 2 * (2 * 8 + 1 * 6));
  EXPECT_EQ(ops::SoftmaxCost(shape, 35, 3).flops, 2 * 2 * 4 * 35 * dims);
}

TEST(OpsMasks, MeetKeyIntervals) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("b1_h2_kv1_d1_q9_k13"), {});
  const std::vector<int64_t> offsets = {0, 2, 2, 3, 4, 6, 7, 8, 8, 9, 11};
  const std::vector<KeyInterval> intervals = {
      {0, 2}, {3, 9}, {4, 13}, {0, 13}, {1, 2}, {11, 12},
      {0, 1}, {5, 7}, {2, 3},  {0, 6},  {6, 13}};
  AttentionArgs args = tensors.Args();
  args.key_intervals.query_block_size = 2;
  args.key_intervals.num_offsets = 11;
  args.key_intervals.num_intervals = 11;
  args.key_intervals.offsets = offsets.data();
  args.key_intervals.intervals = intervals.data();
  AttentionParams params;
  for (const bool causal : {false, true}) {
    params.causal = causal;
    params.window_left = causal ? 3 : -1;
    params.sink_size = 2;
    ExpectAsDefined(params, args);
  }
}

}  // namespace
}  // namespace heed::test
