// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Plans as bytes: whatever they are, either a sound plan is read, which is
// written as the same bytes, or a sentence says why not.
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "heed/sparse.h"
#include "lib/eval/scratch_pool.h"
#include "tests/fuzz/fuzz_target.h"

namespace heed::test {
namespace {

void Run(std::string_view bytes) {
  eval::ScratchPool pool;
  SparsePlan plan;
  const Status status = ReadSparsePlan(
      bytes.data(), static_cast<int64_t>(bytes.size()), pool.Begin(), &plan);
  // What is asked for is no more than what is there, each array rounded up.
  Require(pool.HighWater() <= bytes.size() + 4 * 64);
  if (!status.ok()) {
    RequireSentence(ToString(status));
    Require(plan.offsets == nullptr);
    return;
  }
  Require(CheckSparsePlan(plan).ok());
  Require(BytesOf(plan) == static_cast<int64_t>(bytes.size()));
  std::string again(bytes.size(), '\0');
  Require(WriteSparsePlan(plan, again.data(), BytesOf(plan)).ok());
  Require(again == bytes);
  // Costs a few nanoseconds a row.
  if (plan.seqlen_q < 4096) {
    const SparseStats stats = StatsOf(plan);
    Require(stats.kept_pairs <= stats.visible_pairs);
  }
}

std::string Written(const AttentionParams& params, int64_t seqlen_q,
                    int64_t seqlen_k, int64_t block) {
  eval::ScratchPool pool;
  AttentionShape shape;
  shape.num_heads = 1;
  shape.seqlen_q = seqlen_q;
  shape.seqlen_k = seqlen_k;
  SparseOptions options;
  options.query_block_size = block;
  SparsePlan plan;
  Require(MakeSparsePlan(params, shape,
                         patterns::Window(2) | patterns::Sinks(1), options,
                         pool.Begin(), SerialExecutor(), &plan)
              .ok());
  std::string bytes(static_cast<size_t>(BytesOf(plan)), '\0');
  Require(WriteSparsePlan(plan, bytes.data(), BytesOf(plan)).ok());
  return bytes;
}

std::vector<std::string> Seeds() {
  AttentionParams causal;
  causal.causal = true;
  AttentionParams window;
  window.window_left = 3;
  window.window_right = 1;
  window.sink_size = 2;
  const std::string plan = Written(causal, 4, 6, 4);
  return {
      plan,
      Written(causal, 3, 70, 1),
      Written(window, 5, 9, 2),
      Written(causal, 0, 0, 1),
      plan + plan,
      plan.substr(0, 112),
      "heedplan",
      "",
  };
}

const FuzzTarget kTarget("sparse_plan", Run, Seeds,
                         {"\0\1\2\x7f\x80\xfe\xff", 7});

}  // namespace
}  // namespace heed::test
