// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// How the tile kernels of every table split rows into lane groups: whole
// vectors, all of them, anew where keys change.
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "lib/eval/workload.h"
#include "lib/kernels/kernels.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

using internal::AttendKernel;
using internal::LaneGroup;
using internal::QueryTile;
using internal::TileShape;

class LaneGroups : public OnEveryTarget {
 protected:
  const AttendKernel& kernel() const {
    internal::Target target;
    EXPECT_TRUE(internal::FindTarget(GetParam().c_str(), &target));
    return internal::KernelsOf(target)->attention.attend;
  }

  std::vector<LaneGroup> GroupsOf(int rows, uint64_t cuts) const {
    TileShape shape;
    shape.rows = rows;
    shape.head_dim = shape.head_dim_v = 1;
    shape.cuts = cuts;
    const int64_t bytes = kernel().tile_bytes(shape);
    std::vector<char> memory(static_cast<size_t>(bytes) + 64);
    void* at =
        memory.data() + 64 - reinterpret_cast<uintptr_t>(memory.data()) % 64;
    QueryTile tile;
    kernel().open(shape, at, &tile);
    return {tile.groups, tile.groups + tile.num_groups};
  }
};

TEST_P(LaneGroups, HoldEveryRowOnce) {
  const int lanes = kernel().lanes();
  const int most = lanes * kernel().max_group_vectors;
  eval::Random random(3);
  for (int i = 0; i < 300; ++i) {
    const int rows =
        1 + static_cast<int>(random.Below(most * internal::kMaxLaneGroups));
    const std::vector<LaneGroup> groups =
        GroupsOf(rows, random.Next() & random.Next());
    int next = 0;
    for (const LaneGroup& group : groups) {
      ASSERT_EQ(group.row, next);
      ASSERT_GT(group.rows, 0);
      ASSERT_EQ(group.rows % lanes, 0);
      ASSERT_LE(group.rows, most);
      next += group.rows;
    }
    ASSERT_GE(next, rows);
    ASSERT_LT(next, rows + lanes);
  }
}

// As far as there are lane groups for it.
TEST_P(LaneGroups, StartAtCuts) {
  const int lanes = kernel().lanes();
  if (lanes == 1) GTEST_SKIP() << "has no vectors to part";
  for (int vectors = 1; vectors <= internal::kMaxLaneGroups; ++vectors) {
    for (int cut = 0; cut < vectors; ++cut) {
      const uint64_t cuts = uint64_t{1} << cut | uint64_t{8} << cut;
      for (const LaneGroup& group : GroupsOf(vectors * lanes, cuts)) {
        for (int row = group.row + lanes; row < group.row + group.rows;
             row += lanes) {
          ASSERT_EQ(cuts >> row / lanes & 1, 0) << vectors << " " << cut;
        }
      }
    }
  }
}

HEED_ON_EVERY_TARGET(LaneGroups);

}  // namespace
}  // namespace heed::test
