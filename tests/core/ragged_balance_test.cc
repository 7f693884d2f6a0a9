// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// How well the work of a ragged call spreads over many workers, by simulation:
// list scheduling of its tasks in their order, each as long as it has visible
// (row, key) pairs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <vector>

#include "heed/heed.h"
#include "lib/core/work.h"
#include "lib/eval/workload.h"
#include "lib/kernels/kernel_table.h"
#include "tests/support/ragged_case.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

constexpr int kWorkers = 64;
constexpr int64_t kGroup = 4;  // query heads a key head

// Prompts, chunks of prompts and single tokens, and the memory that a call with
// them would need: none is ever touched.
class Batch {
 public:
  Batch(const std::vector<SequenceLengths>& lengths, int64_t kv_heads) {
    cu_.push_back(0);
    int64_t keys = 0;
    for (const SequenceLengths& s : lengths) {
      cu_.push_back(cu_.back() + static_cast<int32_t>(s.rows));
      keys_.push_back(static_cast<int32_t>(s.keys));
      keys = std::max(keys, s.keys);
    }
    const int64_t rows = cu_.back(), heads = kGroup * kv_heads;
    out_.reset(new float[static_cast<size_t>(rows * heads * 128)]);
    args_.query = Strided(kInputs, 1, rows, heads, int64_t{128}, 0, 0, 0);
    const int64_t count = static_cast<int64_t>(lengths.size());
    args_.key = Strided(kInputs, count, keys, kv_heads, int64_t{128}, 0, 0, 0);
    args_.value = args_.key;
    args_.out = Thd(out_.get(), rows, heads, int64_t{128});
    args_.ragged.num_sequences = count;
    args_.ragged.cu_seqlens_q = cu_.data();
    args_.ragged.seqlens_k = keys_.data();
  }
  const AttentionArgs& args() const { return args_; }

 private:
  static constexpr float kInputs[128] = {};
  std::vector<int32_t> cu_, keys_;
  std::unique_ptr<float[]> out_;
  AttentionArgs args_;
};

// The pairs of rows [first, last) of a list with the keys [begin, end).
double Pairs(const internal::Sequence& sequence, int64_t first, int64_t last,
             int64_t begin, int64_t end) {
  double pairs = 0;
  for (int64_t row = first; row < last; ++row) {
    const int64_t seen = sequence.causal_offset + row / kGroup + 1;
    pairs +=
        static_cast<double>(std::clamp<int64_t>(seen - begin, 0, end - begin));
  }
  return pairs;
}

// The weight of one tile, of the keys [begin, end).
double TilePairs(const AttentionRun& run, const internal::SequenceWork& work,
                 int64_t tile, int64_t begin, int64_t end) {
  const internal::Sequence sequence = internal::SequenceOf(run, work.sequence);
  const int64_t rows = sequence.seqlen_q * kGroup - work.rest_rows;
  const int64_t whole = work.tiles_per_list - (work.rest_rows != 0 ? 1 : 0);
  const int64_t index =
      work.position_major ? tile / work.num_lists : tile % work.tiles_per_list;
  if (index == whole) {
    return Pairs(sequence, rows, rows + work.rest_rows, begin, end);
  }
  const int64_t first = (whole - 1 - index) * work.tile_rows;
  return Pairs(sequence, first, std::min(first + work.tile_rows, rows), begin,
               end);
}

// The time until the last worker is done.
double Schedule(const std::vector<double>& tasks) {
  std::priority_queue<double, std::vector<double>, std::greater<double>> free;
  for (int i = 0; i < kWorkers; ++i) free.push(0);
  double last = 0;
  for (const double task : tasks) {
    const double end = free.top() + task;
    free.pop();
    free.push(end);
    last = std::max(last, end);
  }
  return last;
}

// The tasks of a call: rounds of items, and whole tiles beside the last.
std::vector<std::vector<double>> TasksOf(const AttentionRun& run) {
  std::vector<double> items, whole;
  for (int64_t s = 0; s < run.num_sequences; ++s) {
    const internal::SequenceWork& work = run.sequences[s];
    if (s < run.num_split) {
      for (int64_t i = 0; i < internal::NumItems(work); ++i) {
        const int64_t keys = work.unit_spans * internal::kSpanKeys;
        const int64_t begin = internal::UnitAt(work, i % work.num_units) * keys;
        items.push_back(
            TilePairs(run, work, i / work.num_units, begin, begin + keys));
      }
      continue;
    }
    const int64_t tiles = internal::NumTiles(work);
    for (int64_t t = 0; t < tiles; t += work.tiles_per_task) {
      double task = 0;
      for (int64_t i = t; i < std::min(t + work.tiles_per_task, tiles); ++i) {
        task += TilePairs(run, work, i, 0, INT32_MAX);
      }
      whole.push_back(task);
    }
  }
  std::vector<std::vector<double>> phases;
  for (size_t i = 0; i < items.size();
       i += static_cast<size_t>(run.num_slots)) {
    const size_t end =
        std::min(i + static_cast<size_t>(run.num_slots), items.size());
    phases.emplace_back(items.begin() + static_cast<std::ptrdiff_t>(i),
                        items.begin() + static_cast<std::ptrdiff_t>(end));
  }
  if (phases.empty()) phases.emplace_back();
  phases.back().insert(phases.back().end(), whole.begin(), whole.end());
  return phases;
}

double Efficiency(const std::vector<SequenceLengths>& lengths,
                  int64_t kv_heads) {
  const Batch batch(lengths, kv_heads);
  AttentionParams params;
  params.causal = true;
  Plan plan;
  EXPECT_TRUE(MakePlan(params, ShapeOf(batch.args()), {}, &plan).ok());
  const WorkspaceBuffer workspace(WorkspaceBytes(plan, kWorkers));
  AttentionRun run;
  const Status status =
      BeginRun(plan, batch.args(), workspace.get(), kWorkers, {}, &run);
  EXPECT_TRUE(status.ok()) << ToString(status);
  double all = 0, time = 0;
  for (const std::vector<double>& phase : TasksOf(run)) {
    for (const double task : phase) all += task;
    time += Schedule(phase);
  }
  return all / kWorkers / time;
}

// A batch as a server has it.
std::vector<SequenceLengths> Mixed(uint64_t seed) {
  eval::Random random(seed);
  std::vector<SequenceLengths> lengths;
  for (int i = 0; i < 64; ++i) {
    if (i % 8 == 0) {
      const int64_t prompt = 100 + random.Below(4000);
      lengths.push_back({prompt, prompt});
    } else if (i % 8 == 1) {
      const int64_t chunk = 256 + random.Below(257);
      lengths.push_back({chunk, chunk + random.Below(8000)});
    } else {
      lengths.push_back({1, 1 + random.Below(16000)});
    }
  }
  return lengths;
}

TEST(RaggedBalance, MixedLengthsFillTheWorkers) {
  for (const uint64_t seed : {1, 2, 3, 4, 5}) {
    SCOPED_TRACE(seed);
    const double eight = Efficiency(Mixed(seed), 8);
    const double one = Efficiency(Mixed(seed), 1);
    EXPECT_GE(eight, 0.97);
    EXPECT_GE(one, 0.93);
  }
}

// Prompts alone, and single tokens alone, whose keys come in spans: with one
// key head there are two or three of these a worker.
TEST(RaggedBalance, PromptsAndTokens) {
  for (const uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE(seed);
    eval::Random random(seed);
    std::vector<SequenceLengths> tokens, prompts;
    for (int i = 0; i < 64; ++i) {
      tokens.push_back({1, 1 + random.Below(16000)});
      const int64_t prompt = 1 + random.Below(2000);
      prompts.push_back({prompt, prompt});
    }
    EXPECT_GE(Efficiency(prompts, 8), 0.98);
    EXPECT_GE(Efficiency(prompts, 1), 0.98);
    EXPECT_GE(Efficiency(tokens, 8), 0.94);
    EXPECT_GE(Efficiency(tokens, 1), 0.7);
  }
}

}  // namespace
}  // namespace heed::test
