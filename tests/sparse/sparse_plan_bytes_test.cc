// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Plans as bytes: what is read is what was written, and what is not a plan is
// refused by name. tests/fuzz spoils every byte.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "heed/sparse.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/workload.h"
#include "tests/support/compare.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

using Bytes = std::vector<unsigned char>;

Bytes Write(const SparsePlan& plan) {
  Bytes bytes(static_cast<size_t>(BytesOf(plan)));
  const Status status =
      WriteSparsePlan(plan, bytes.data(), static_cast<int64_t>(bytes.size()));
  EXPECT_TRUE(status.ok()) << ToString(status);
  return bytes;
}

Status Read(const Bytes& bytes, const Scratch& memory, SparsePlan* plan) {
  return ReadSparsePlan(bytes.data(), static_cast<int64_t>(bytes.size()),
                        memory, plan);
}

void SetNumber(size_t at, int64_t value, Bytes* bytes) {
  for (size_t i = 0; i < 8; ++i) {
    (*bytes)[at + i] =
        static_cast<unsigned char>(static_cast<uint64_t>(value) >> (8 * i));
  }
}

class PlanBytes : public ::testing::Test {
 protected:
  SparsePlan Make(const io::Problem& problem, int64_t block) {
    SparsePlan plan;
    SparseOptions options;
    options.query_block_size = block;
    const Status status = MakeSparsePlan(
        problem.params, problem.shape, patterns::Window(5) | patterns::Sinks(1),
        options, memory_.Begin(), SerialExecutor(), &plan);
    EXPECT_TRUE(status.ok()) << ToString(status);
    return plan;
  }

  eval::ScratchPool memory_, read_memory_, scratch_;
};

TEST_F(PlanBytes, AreReadAsTheyWereWritten) {
  for (const char* text :
       {"b2_h2_d8_q20_k30_causal", "b1_h1_d8_q20_k30_wl7_wr3_sink2",
        "b1_h2_d8_q1_k30_causal_off-3", "b1_h1_d8_q0_k0"}) {
    const io::Problem problem = ProblemOf(text);
    for (const int64_t block : {int64_t{1}, int64_t{16}, INT64_MAX}) {
      SCOPED_TRACE(std::string(text) + " in blocks of " +
                   std::to_string(block));
      const SparsePlan plan = Make(problem, block);
      const Bytes bytes = Write(plan);
      SparsePlan again;
      const Status status = Read(bytes, read_memory_.Begin(), &again);
      ASSERT_TRUE(status.ok()) << ToString(status);
      EXPECT_EQ(Write(again), bytes);
      const eval::Tensors a = eval::MakeTensors(problem, {});
      const eval::Tensors b = eval::MakeTensors(problem, {});
      ASSERT_TRUE(AttendSparse(plan, problem.params, a.Args(), scratch_.Begin(),
                               SerialExecutor())
                      .ok());
      ASSERT_TRUE(AttendSparse(again, problem.params, b.Args(),
                               scratch_.Begin(), SerialExecutor())
                      .ok());
      EXPECT_TRUE(SameBits(a.out, b.out));
      EXPECT_TRUE(SameBits(a.lse, b.lse));
    }
  }
}

// Files outlive the program that wrote them.
TEST_F(PlanBytes, HaveAFixedForm) {
  const int64_t offsets[] = {0, 2};
  const KeyInterval intervals[] = {{1, 3}, {4, 5}};
  const int64_t bits[] = {-1, 0};
  const uint64_t words[] = {1, 0};
  SparsePlan plan;
  plan.params.causal = true;
  plan.params.causal_offset = 3;
  plan.batch = plan.num_heads = 1;
  plan.seqlen_q = plan.query_block_size = 2;
  plan.seqlen_k = 5;
  plan.num_intervals = plan.num_words = 2;
  plan.offsets = offsets;
  plan.intervals = intervals;
  plan.bits = bits;
  plan.words = words;
  Bytes want = {'h', 'e', 'e', 'd', 'p', 'l', 'a', 'n', 1, 0, 0, 0, 1, 0, 0, 0};
  const auto add = [&](int64_t number, int bytes) {
    for (int i = 0; i < bytes; ++i) {
      want.push_back(
          static_cast<unsigned char>(static_cast<uint64_t>(number) >> (8 * i)));
    }
  };
  for (const int64_t number : {1, 3, -1, -1, 0, 1, 1, 2, 5, 2, 2, 2, 0, 2}) {
    add(number, 8);
  }
  for (const int number : {1, 3, 4, 5}) add(number, 4);
  for (const int number : {-1, 0, 1, 0}) add(number, 8);
  EXPECT_EQ(Write(plan), want);
}

TEST_F(PlanBytes, ThatAreSpoiltAreRefusedByName) {
  const SparsePlan plan = Make(ProblemOf("b1_h2_d8_q20_k30_causal"), 16);
  ASSERT_GT(plan.num_words, 0);
  const Bytes good = Write(plan);
  const size_t numbers = 16, offsets = numbers + 12 * 8;
  const size_t intervals = offsets + 3 * 8;
  const size_t bits = intervals + static_cast<size_t>(plan.num_intervals) * 8;
  const struct {
    size_t at;
    int64_t value;
    const char* argument;
    int64_t index;
  } cases[] = {
      {0, 0, "bytes", -1},
      {8, 2, "version", -1},
      {8, (int64_t{2} << 32) + 1, "flags", -1},
      {8, 1, "num_words", -1},  // no bits
      {numbers, 2, "causal", -1},
      {numbers + 8, INT64_MIN, "causal_offset", -1},
      {numbers + 16, -2, "window_left", -1},
      {numbers + 32, -1, "sink_size", -1},
      {numbers + 40, 0, "batch", -1},
      {numbers + 40, -1, "batch", -1},
      {numbers + 48, 0, "num_heads", -1},
      {numbers + 48, INT64_MAX, "seqlen_q", -1},
      {numbers + 56, INT64_MAX, "seqlen_q", -1},
      {numbers + 64, 3, "intervals", -1},
      {numbers + 72, 0, "query_block_size", -1},
      {numbers + 72, 8, "size", -1},
      {numbers + 80, plan.num_intervals + 1, "size", -1},
      {numbers + 88, INT64_MAX, "size", -1},
      {offsets, 1, "offsets", 0},
      {offsets + 8, -1, "offsets", 1},
      {offsets + 16, 99, "offsets", 2},
      {intervals, 7, "intervals", 0},  // [7, 0)
      {bits, -2, "bits", 0},
      {bits, plan.num_words, "bits", 0},
  };
  for (const auto& bad : cases) {
    Bytes bytes = good;
    SetNumber(bad.at, bad.value, &bytes);
    SparsePlan read;
    const Status status = Read(bytes, read_memory_.Begin(), &read);
    EXPECT_STREQ(status.argument(), bad.argument)
        << ToString(status) << " at " << bad.at;
    if (bad.index >= 0) {
      EXPECT_EQ(status.index(), bad.index);
    }
    EXPECT_EQ(read.offsets, nullptr);
  }
  for (const int change : {-1, 1}) {
    Bytes bytes = good;
    bytes.resize(
        static_cast<size_t>(static_cast<int64_t>(good.size()) + change));
    SparsePlan read;
    EXPECT_STREQ(Read(bytes, read_memory_.Begin(), &read).argument(), "size");
  }
}

TEST_F(PlanBytes, AreNotWrittenToTooLittle) {
  const SparsePlan plan = Make(ProblemOf("b1_h2_d8_q20_k30_causal"), 16);
  Bytes bytes(static_cast<size_t>(BytesOf(plan)), 7);
  const Bytes before = bytes;
  EXPECT_STREQ(
      WriteSparsePlan(plan, bytes.data(), BytesOf(plan) - 1).argument(),
      "size");
  EXPECT_STREQ(WriteSparsePlan(plan, nullptr, BytesOf(plan)).argument(),
               "bytes");
  EXPECT_STREQ(WriteSparsePlan(SparsePlan(), bytes.data(), 0).argument(),
               "plan");
  EXPECT_EQ(BytesOf(SparsePlan()), 0);
  EXPECT_EQ(bytes, before);
  SparsePlan read;
  EXPECT_STREQ(
      ReadSparsePlan(nullptr, 200, read_memory_.Begin(), &read).argument(),
      "bytes");
  EXPECT_STREQ(Read(Write(plan), Scratch(), &read).argument(), "scratch");
}

}  // namespace
}  // namespace heed::test
