// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Plans from other libraries' arrays: the same as from a map, block by block,
// and what is refused of them.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "heed/sparse.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/workload.h"
#include "tests/support/compare.h"
#include "tests/support/intervals.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

// Ends of rows and keys that no block divides.
BlockGridShape Grid() {
  BlockGridShape shape;
  shape.batch = 2;
  shape.num_heads = 3;
  shape.seqlen_q = 50;
  shape.seqlen_k = 70;
  shape.query_block_size = 16;  // 4 blocks
  shape.key_block_size = 12;    // 6 blocks
  return shape;
}
constexpr int64_t kLists = 2 * 3 * 4;
constexpr int64_t kKeyBlocks = 6;

std::vector<uint8_t> RandomMap() {
  eval::Random random(5);
  std::vector<uint8_t> map;
  for (int64_t i = 0; i < kLists * kKeyBlocks; ++i) {
    map.push_back(static_cast<uint8_t>(random.Below(2)));
  }
  return map;
}

struct BlockRowArrays {
  std::vector<int32_t> indptr = {0};
  std::vector<int32_t> indices;
};

BlockRowArrays RowsOfMap(const std::vector<uint8_t>& map) {
  BlockRowArrays rows;
  for (int64_t i = 0; i < kLists * kKeyBlocks; ++i) {
    if (map[static_cast<size_t>(i)]) {
      rows.indices.push_back(static_cast<int32_t>(i % kKeyBlocks));
    }
    if ((i + 1) % kKeyBlocks == 0) {
      rows.indptr.push_back(static_cast<int32_t>(rows.indices.size()));
    }
  }
  return rows;
}

TEST(Import, AMapIsWhatIsAttendedTo) {
  const io::Problem problem = ProblemOf("b2_h3_d8_q50_k70");
  const std::vector<uint8_t> map = RandomMap();
  eval::ScratchPool memory, scratch;
  SparsePlan plan;
  ASSERT_TRUE(PlanFromBlockMap(problem.params, Grid(), map.data(),
                               memory.Begin(), &plan)
                  .ok());
  EXPECT_TRUE(CheckSparsePlan(plan).ok());
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  ASSERT_TRUE(AttendSparse(plan, problem.params, tensors.Args(),
                           scratch.Begin(), SerialExecutor())
                  .ok());
  IntervalLists lists;
  lists.query_block_size = 1;
  for (int64_t row = 0; row < 2 * 3 * 50; ++row) {
    const int64_t list = row / 50 * 4 + row % 50 / 16;
    for (int64_t key = 0; key < 70; ++key) {
      if (map[static_cast<size_t>(list * kKeyBlocks + key / 12)]) {
        lists.Add(key, key + 1);
      }
    }
    lists.EndList();
  }
  AttentionArgs args = tensors.Args();
  args.key_intervals = lists.View();
  EXPECT_TRUE(Truth(problem.params, args).Near(tensors.out, tensors.lse));
}

TEST(Import, MapsComeBack) {
  const std::vector<uint8_t> map = RandomMap();
  eval::ScratchPool memory;
  SparsePlan plan;
  ASSERT_TRUE(PlanFromBlockMap(AttentionParams(), Grid(), map.data(),
                               memory.Begin(), &plan)
                  .ok());
  std::vector<uint8_t> back(map.size(), 7);
  ASSERT_TRUE(BlockMapOf(plan, Grid(), back.data()).ok());
  EXPECT_EQ(back, map);
}

TEST(Import, BlockRowsAreAsTheirMap) {
  const std::vector<uint8_t> map = RandomMap();
  const BlockRowArrays rows = RowsOfMap(map);
  eval::ScratchPool memory;
  SparsePlan plan;
  ASSERT_TRUE(PlanFromBlockRows(AttentionParams(), Grid(), rows.indptr.data(),
                                rows.indices.data(), memory.Begin(), &plan)
                  .ok());
  EXPECT_TRUE(CheckSparsePlan(plan).ok());
  std::vector<uint8_t> back(map.size(), 7);
  ASSERT_TRUE(BlockMapOf(plan, Grid(), back.data()).ok());
  EXPECT_EQ(back, map);
}

TEST(Import, CountsAreAsTheirMap) {
  const std::vector<uint8_t> map = RandomMap();
  std::vector<int32_t> counts, indices;
  for (int64_t list = 0; list < kLists; ++list) {
    int32_t count = 0;
    // Backwards: the order does not matter.
    for (int64_t j = kKeyBlocks - 1; j >= 0; --j) {
      if (!map[static_cast<size_t>(list * kKeyBlocks + j)]) continue;
      indices.push_back(static_cast<int32_t>(j));
      ++count;
    }
    counts.push_back(count);
    indices.resize(static_cast<size_t>((list + 1) * 8), -1);  // never read
  }
  std::vector<uint8_t> back(map.size(), 7);
  ASSERT_TRUE(
      BlockMapFromCounts(Grid(), counts.data(), indices.data(), 8, back.data())
          .ok());
  EXPECT_EQ(back, map);
}

void ExpectRefused(const Status& status, const char* argument, int64_t index) {
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_STREQ(status.argument(), argument) << ToString(status);
  if (index >= 0) {
    EXPECT_EQ(status.index(), index);
  }
}

TEST(Import, BadGrids) {
  eval::ScratchPool memory;
  SparsePlan plan;
  const std::vector<uint8_t> map = RandomMap();
  const auto make = [&](const BlockGridShape& shape) {
    return PlanFromBlockMap(AttentionParams(), shape, map.data(),
                            memory.Begin(), &plan);
  };
  BlockGridShape shape = Grid();
  shape.key_block_size = 0;
  ExpectRefused(make(shape), "key_block_size", -1);
  shape = Grid();
  shape.query_block_size = -4;
  ExpectRefused(make(shape), "query_block_size", -1);
  shape = Grid();
  shape.num_heads = 0;
  ExpectRefused(make(shape), "num_heads", -1);
  ExpectRefused(PlanFromBlockMap(AttentionParams(), Grid(), nullptr,
                                 memory.Begin(), &plan),
                "map", -1);
  ExpectRefused(
      PlanFromBlockMap(AttentionParams(), Grid(), map.data(), Scratch(), &plan),
      "scratch", -1);
  EXPECT_EQ(plan.offsets, nullptr);
}

TEST(Import, BadBlockRows) {
  eval::ScratchPool memory;
  SparsePlan plan;
  const auto make = [&](const BlockRowArrays& rows) {
    return PlanFromBlockRows(AttentionParams(), Grid(), rows.indptr.data(),
                             rows.indices.data(), memory.Begin(), &plan);
  };
  const BlockRowArrays good = RowsOfMap(std::vector<uint8_t>(
      static_cast<size_t>(kLists * kKeyBlocks), uint8_t{1}));
  BlockRowArrays bad = good;
  bad.indptr[0] = 1;
  ExpectRefused(make(bad), "indptr", 0);
  bad = good;
  bad.indptr[3] = bad.indptr[2] - 1;
  ExpectRefused(make(bad), "indptr", 3);
  bad = good;
  bad.indices[8] = bad.indices[7];
  ExpectRefused(make(bad), "indices", 8);
  bad = good;
  bad.indices[11] = kKeyBlocks;
  ExpectRefused(make(bad), "indices", 11);
  bad = good;
  bad.indices[6] = -1;
  ExpectRefused(make(bad), "indices", 6);
  ExpectRefused(PlanFromBlockRows(AttentionParams(), Grid(), nullptr,
                                  good.indices.data(), memory.Begin(), &plan),
                "indptr", -1);
  EXPECT_EQ(plan.offsets, nullptr);
  EXPECT_TRUE(make(good).ok());
}

TEST(Import, BadCounts) {
  std::vector<int32_t> counts(static_cast<size_t>(kLists), 1);
  std::vector<int32_t> indices(static_cast<size_t>(kLists * 2), 3);
  std::vector<uint8_t> map(static_cast<size_t>(kLists * kKeyBlocks), 7);
  const auto make = [&] {
    return BlockMapFromCounts(Grid(), counts.data(), indices.data(), 2,
                              map.data());
  };
  counts[5] = 3;
  ExpectRefused(make(), "kv_num_blocks", 5);
  counts[5] = -1;
  ExpectRefused(make(), "kv_num_blocks", 5);
  counts[5] = 2;
  indices[11] = kKeyBlocks;
  ExpectRefused(make(), "kv_indices", 11);
  EXPECT_EQ(map, std::vector<uint8_t>(map.size(), 7)) << "was written";
  indices[11] = 0;
  EXPECT_TRUE(make().ok());
}

// Rows of no entries need no indices, and grids without keys no map; what they
// count is checked all the same.
TEST(SparseImport, CountsOfNothing) {
  BlockGridShape shape = Grid();
  std::vector<int32_t> counts(kLists, 0);
  std::vector<uint8_t> map(kLists * kKeyBlocks, 1);
  ASSERT_TRUE(
      BlockMapFromCounts(shape, counts.data(), nullptr, 0, map.data()).ok());
  EXPECT_EQ(map, std::vector<uint8_t>(kLists * kKeyBlocks, 0));
  EXPECT_STREQ(BlockMapFromCounts(shape, counts.data(), nullptr, 1, map.data())
                   .argument(),
               "kv_indices");
  shape.seqlen_k = 0;
  const std::vector<int32_t> indices(kLists, 0);
  EXPECT_TRUE(
      BlockMapFromCounts(shape, counts.data(), indices.data(), 1, nullptr)
          .ok());
  counts[3] = 1;
  const Status status =
      BlockMapFromCounts(shape, counts.data(), indices.data(), 1, nullptr);
  EXPECT_STREQ(status.argument(), "kv_indices");
  EXPECT_EQ(status.index(), 3);
}

}  // namespace
}  // namespace heed::test
