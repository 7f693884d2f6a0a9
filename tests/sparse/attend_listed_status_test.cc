// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What attention to listed keys refuses, and that nothing was written then, nor
// ever behind what scratch gave.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "heed/gather.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/workload.h"
#include "tests/sparse/listed_case.h"
#include "tests/support/compare.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

TEST(Listed, RefusesBadInput) {
  const io::Problem problem = ProblemOf("b2_h4_kv2_d8_q6_k30_causal");
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  const int32_t lengths[] = {30, 11};
  const struct {
    const char* argument;
    int64_t index;
    std::function<void(KeyLists*, Lists*, AttentionArgs*)> spoil;
  } cases[] = {
      {"indices", 5, [](auto*, auto* l, auto*) { l->indices[5] = 30; }},
      {"indices", 7, [](auto*, auto* l, auto*) { l->indices[7] = -2; }},
      {"indices", 11,
       [](auto*, auto* l, auto*) { l->indices[8] = l->indices[11] = 29; }},
      {"indices", -1, [](auto* v, auto*, auto*) { v->indices = nullptr; }},
      {"log_weights", 9,
       [](auto*, auto* l, auto*) {
         l->indices[9] = 28;
         l->weights[9] = NAN;
       }},
      {"log_weights", 9,
       [](auto*, auto* l, auto*) {
         l->indices[9] = 28;
         l->weights[9] = INFINITY;
       }},
      {"batch", -1, [](auto* v, auto*, auto*) { v->batch = 3; }},
      {"num_heads", -1, [](auto* v, auto*, auto*) { v->num_heads = 3; }},
      {"query_block_size", -1,
       [](auto* v, auto*, auto*) { v->query_block_size = 0; }},
      {"width", -1, [](auto* v, auto*, auto*) { v->width = -1; }},
      {"width", -1, [](auto* v, auto*, auto*) { v->width = int64_t{1} << 40; }},
      {"query", -1, [](auto*, auto*, auto* a) { a->query.data = nullptr; }},
      {"out", -1,
       [](auto*, auto*, auto* a) {
         a->out.data = const_cast<void*>(a->key.data);
       }},
      {"scores", -1,
       [](auto*, auto*, auto* a) {
         a->scores.hook = [](void*, const ScoreTile&) {};
       }},
      {"key_intervals", -1,
       [](auto*, auto*, auto* a) { a->key_intervals.query_block_size = 1; }},
      // The second sequence has 11 keys.
      {"indices", 150,
       [&](auto*, auto* l, auto* a) {
         a->ragged.num_sequences = 2;
         a->ragged.seqlens_k = lengths;
         for (int32_t& index : l->indices) index = -1;
         l->indices[0] = 29;
         l->indices[150] = 11;
       }},
  };
  for (const auto& bad : cases) {
    Lists lists(problem.shape, 2, 2, 1, 12, true);
    KeyLists view = lists.view;
    AttentionArgs args = tensors.Args();
    bad.spoil(&view, &lists, &args);
    const Status status = RunLists(view, problem.params, args);
    EXPECT_STREQ(status.argument(), bad.argument) << ToString(status);
    if (bad.index >= 0) {
      EXPECT_EQ(status.index(), bad.index);
    }
    EXPECT_TRUE(Untouched(tensors.out));
  }
  const Lists lists(problem.shape, 2, 2, 1, 12, true);
  EXPECT_TRUE(RunLists(lists.view, problem.params, tensors.Args()).ok());
}

// Padding is commonly left unwritten.
TEST(Listed, WeightsOfNoKeyAreNotLookedAt) {
  const io::Problem problem = ProblemOf("b2_h4_kv2_d8_q6_k30_causal");
  const eval::Tensors want = eval::MakeTensors(problem, {});
  const eval::Tensors got = eval::MakeTensors(problem, {});
  Lists lists(problem.shape, 2, 2, 1, 12, true);
  ASSERT_TRUE(RunLists(lists.view, problem.params, want.Args()).ok());
  for (size_t i = 0; i < lists.indices.size(); ++i) {
    if (lists.indices[i] < 0) lists.weights[i] = NAN;
  }
  ASSERT_TRUE(RunLists(lists.view, problem.params, got.Args()).ok());
  EXPECT_TRUE(SameBits(got.out, want.out));
}

// Of no batch, so that no sequence says what a list may name: nothing is
// written behind what scratch gave.
TEST(Listed, ListsOfNoBatch) {
  const io::Problem problem = ProblemOf("b0_h4_kv2_d8_q6_k4096_causal");
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  Lists lists(problem.shape, 1, 2, 1, 12, false);
  constexpr size_t kGuard = 4096;
  std::vector<std::vector<char>> given;
  Scratch scratch;
  scratch.self = &given;
  scratch.allocate = [](void* self, size_t bytes) -> void* {
    auto& all = *static_cast<std::vector<std::vector<char>>*>(self);
    all.emplace_back(bytes + kGuard + 64, char{0x5a});
    const uintptr_t at = reinterpret_cast<uintptr_t>(all.back().data());
    return all.back().data() + (64 - at % 64) % 64;
  };
  const Status status = AttendListed(lists.view, problem.params, tensors.Args(),
                                     scratch, SerialExecutor());
  EXPECT_TRUE(status.ok()) << ToString(status);
  for (const std::vector<char>& memory : given) {
    EXPECT_TRUE(std::all_of(memory.end() - kGuard + 64, memory.end(),
                            [](char c) { return c == 0x5a; }));
  }
}

// Whatever allocation fails, nothing was written.
TEST(Listed, SurvivesLackOfMemory) {
  const io::Problem problem = ProblemOf("b2_h4_kv2_d8_q6_k30_causal");
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  const Lists lists(problem.shape, 2, 2, 3, 12, true);
  struct Failing {
    Scratch from;
    int left;
  };
  for (int count = 0;; ++count) {
    eval::ScratchPool pool;
    Failing failing = {pool.Begin(), count};
    Scratch scratch;
    scratch.self = &failing;
    scratch.allocate = [](void* self, size_t bytes) -> void* {
      Failing& own = *static_cast<Failing*>(self);
      if (own.left-- <= 0) return nullptr;
      return own.from.allocate(own.from.self, bytes);
    };
    const Status status = AttendListed(
        lists.view, problem.params, tensors.Args(), scratch, SerialExecutor());
    if (status.ok()) {
      EXPECT_GT(count, 5);
      break;
    }
    EXPECT_EQ(status.code(), StatusCode::kOutOfMemory);
    EXPECT_TRUE(Untouched(tensors.out));
  }
}

}  // namespace
}  // namespace heed::test
