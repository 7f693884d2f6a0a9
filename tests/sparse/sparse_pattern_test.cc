// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Patterns: what plans of them keep is what Keep says, pair by pair, and what
// is attended to.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "heed/ops.h"
#include "heed/sparse.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/workload.h"
#include "tests/support/compare.h"
#include "tests/support/intervals.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

using patterns::Band;
using patterns::Documents;
using patterns::EveryNth;
using patterns::KeepIf;
using patterns::Queries;
using patterns::Segments;
using patterns::Sinks;
using patterns::Window;

const std::vector<int32_t>& DocumentIds() {
  static const std::vector<int32_t> ids = [] {
    std::vector<int32_t> of;
    for (int i = 0; i < 400; ++i) of.push_back(i / 37);
    return of;
  }();
  return ids;
}

auto Scattered() {
  return KeepIf([](int64_t head, int64_t query, int64_t key) {
    return (query * 31 + key * 17 + head * 5) % 7 < 2;
  });
}

// What one row sees by the masks and a predicate.
using Row = std::vector<bool>;

template <typename P>
Row Want(const AttentionParams& params, const AttentionShape& shape,
         const P& pattern, int64_t head, int64_t row) {
  const int64_t position =
      row + ops::CausalOffset(params, shape.seqlen_q, shape.seqlen_k);
  const ops::VisibleKeys see =
      ops::VisibleTo(params, shape.seqlen_q, shape.seqlen_k, row);
  Row keep(static_cast<size_t>(shape.seqlen_k));
  for (int64_t key = 0; key < shape.seqlen_k; ++key) {
    const bool seen = key < see.sink_end || (key >= see.begin && key < see.end);
    keep[static_cast<size_t>(key)] = seen && pattern.Keep(head, position, key);
  }
  return keep;
}

// The lists of every row, by a predicate alone: what the oracle is given.
template <typename P>
IntervalLists ListsOf(const AttentionParams& params,
                      const AttentionShape& shape, const P& pattern,
                      bool complement = false) {
  IntervalLists lists;
  lists.query_block_size = 1;
  for (int64_t list = 0; list < NumLists(shape, 1); ++list) {
    const Row keep =
        Want(params, shape, pattern, list / shape.seqlen_q % shape.num_heads,
             list % shape.seqlen_q);
    for (size_t key = 0; key < keep.size(); ++key) {
      if (keep[key] != complement) {
        lists.Add(static_cast<int64_t>(key), static_cast<int64_t>(key) + 1);
      }
    }
    lists.EndList();
  }
  return lists;
}

const char* const kProblems[] = {
    "b1_h2_kv1_d16_q150_causal",        "b2_h3_d8_q33_k200_causal",
    "b1_h2_d16_q70_k40_causal",         "b1_h1_d8_q65_k130",
    "b1_h2_d16_q130_causal_wl50_sink3", "b1_h2_d8_q1_k300_causal",
    "b1_h2_d8_q20_k30_causal_off25",    "b1_h2_d8_q90_k97_wl9_wr30_sink4",
};

// Runs `pattern` at every block size and holds it to the oracle, given the
// pairs that Keep names.
template <typename P>
void CheckPattern(const P& pattern, bool per_head = false) {
  for (const char* text : kProblems) {
    const io::Problem problem = ProblemOf(text);
    const eval::Tensors tensors = eval::MakeTensors(problem, {});
    AttentionArgs reference = tensors.Args();
    const IntervalLists lists = ListsOf(problem.params, problem.shape, pattern);
    reference.key_intervals = lists.View();
    const Truth truth(problem.params, reference);
    for (const int64_t block :
         std::initializer_list<int64_t>{0, 1, 7, 16, 64, INT64_MAX}) {
      SCOPED_TRACE(std::string(text) + " in blocks of " +
                   std::to_string(block));
      eval::ScratchPool memory, scratch;
      SparsePlan plan;
      SparseOptions options;
      options.query_block_size = block;
      options.per_head = per_head;
      Status status =
          MakeSparsePlan(problem.params, problem.shape, pattern, options,
                         memory.Begin(), SerialExecutor(), &plan);
      ASSERT_TRUE(status.ok()) << ToString(status);
      status = CheckSparsePlan(plan);
      ASSERT_TRUE(status.ok()) << ToString(status);
      tensors.ClearOutput();
      status = AttendSparse(plan, problem.params, tensors.Args(),
                            scratch.Begin(), SerialExecutor());
      ASSERT_TRUE(status.ok()) << ToString(status);
      EXPECT_TRUE(truth.Near(tensors.out, tensors.lse));
      double kept = 0;
      for (int64_t i = 0; i < plan.num_heads * problem.shape.seqlen_q; ++i) {
        const Row row =
            Want(problem.params, problem.shape, pattern,
                 i / problem.shape.seqlen_q, i % problem.shape.seqlen_q);
        kept += static_cast<double>(std::count(row.begin(), row.end(), true));
      }
      EXPECT_EQ(StatsOf(plan).kept_pairs, kept);
    }
  }
}

TEST(Pattern, WindowAndSinks) { CheckPattern(Window(20) | Sinks(3)); }
TEST(Pattern, BandAndGlobalQueries) {
  CheckPattern(Band(9) | Sinks(2) | Queries(0, 5));
}
TEST(Pattern, Strided) { CheckPattern(Window(6) | EveryNth(6)); }
// Lengths below 1 count as 1.
TEST(Pattern, LengthsBelowOne) {
  CheckPattern(Window(6) & EveryNth(-3));
  CheckPattern(patterns::Segments(0) | Sinks(2));
}
// More intervals than there is room for, out of order: they are joined on the
// way.
TEST(Pattern, MoreIntervalsThanKeysCanHave) {
  CheckPattern(EveryNth(2) | EveryNth(3));
  CheckPattern(EveryNth(2) | EveryNth(2) | EveryNth(5) | Sinks(3));
}
TEST(Pattern, SegmentsOnly) { CheckPattern(Segments(24)); }
TEST(Pattern, DocumentsAndWindow) {
  CheckPattern((Window(50) | Sinks(4)) & Documents(DocumentIds().data(), 400));
}
TEST(Pattern, Complement) { CheckPattern(~(Window(20) | Sinks(3))); }
TEST(Pattern, AnyPredicate) { CheckPattern(Scattered(), true); }
TEST(Pattern, PredicateWithinAWindow) {
  CheckPattern(Window(30) & Scattered(), true);
}
TEST(Pattern, NothingAtAll) {
  CheckPattern(KeepIf([](int64_t, int64_t, int64_t) { return false; }));
}

// Keys that move in ways that windows do not: with holes between rows, wider
// from row to row, and for some rows only.
struct Steps : patterns::Pattern {
  int64_t step, width, more, every;

  Steps(int64_t keys, int64_t first, int64_t wider, int64_t rows)
      : step(keys), width(first), more(wider), every(rows) {}
  bool Keep(int64_t, int64_t query, int64_t key) const {
    const int64_t begin = query * step;
    return query % every != 0 && key >= begin &&
           key < begin + width + query * more;
  }
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    if (row.query % every == 0) return;
    const int64_t begin = row.query * step;
    f(begin, begin + width + row.query * more);
  }
};

// Ends that move by one key for some rows and stay for others.
struct Stairs : patterns::Pattern {
  static constexpr bool kSteps = true;
  int64_t long_stair, shorter;

  Stairs(int64_t rows, int64_t other) : long_stair(rows), shorter(other) {}
  int64_t Begin(int64_t query) const { return query / long_stair; }
  int64_t End(int64_t query) const { return 40 + query / shorter; }
  bool Keep(int64_t, int64_t query, int64_t key) const {
    return key >= Begin(query) && key < End(query);
  }
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    f(Begin(row.query), End(row.query));
  }
};

// Lists are what the rows of a block keep, in the fewest pieces: a key is
// listed that some row keeps, and partial where some row sees it and does not.
template <typename P>
void CheckLists(const P& pattern, const char* text) {
  SCOPED_TRACE(text);
  const io::Problem problem = ProblemOf(text);
  const AttentionShape& shape = problem.shape;
  for (const int64_t block : {64, 16, 7}) {
    eval::ScratchPool memory;
    SparseOptions options;
    options.query_block_size = block;
    SparsePlan plan;
    ASSERT_TRUE(MakeSparsePlan(problem.params, shape, pattern, options,
                               memory.Begin(), SerialExecutor(), &plan)
                    .ok());
    int64_t at = 0;  // interval
    for (int64_t first = 0; first < shape.seqlen_q; first += block) {
      std::vector<Row> kept;
      Row some(static_cast<size_t>(shape.seqlen_k)), missing = some;
      for (int64_t row = first; row < std::min(first + block, shape.seqlen_q);
           ++row) {
        kept.push_back(Want(problem.params, shape, pattern, 0, row));
        const Row sees = Want(problem.params, shape,
                              KeepIf([](auto...) { return true; }), 0, row);
        for (size_t key = 0; key < some.size(); ++key) {
          some[key] = some[key] || kept.back()[key];
          missing[key] = missing[key] || (sees[key] && !kept.back()[key]);
        }
      }
      for (size_t key = 0; key < some.size();) {
        const size_t begin = key;
        while (key < some.size() && some[key] == some[begin] &&
               (!some[key] || missing[key] == missing[begin])) {
          ++key;
        }
        if (!some[begin]) continue;
        ASSERT_LT(at, plan.num_intervals);
        EXPECT_EQ(plan.intervals[at].begin, static_cast<int64_t>(begin));
        EXPECT_EQ(plan.intervals[at].end, static_cast<int64_t>(key));
        const bool partial = plan.bits != nullptr && plan.bits[at] >= 0;
        ASSERT_EQ(partial, missing[begin]) << "row " << first;
        const size_t words = (key - begin + 63) / 64;
        for (size_t i = 0; partial && i < kept.size(); ++i) {
          for (size_t k = 0; k < words * 64; ++k) {
            const uint64_t word =
                plan.words[plan.bits[at] +
                           static_cast<int64_t>(i * words + k / 64)];
            ASSERT_EQ((word >> (k % 64) & 1) != 0,
                      begin + k < key && kept[i][begin + k])
                << "row " << first + static_cast<int64_t>(i);
          }
        }
        ++at;
      }
    }
    EXPECT_EQ(at, plan.num_intervals);
  }
}

TEST(Pattern, ListsAreWhatRowsKeepTogether) {
  for (const char* text :
       {"b1_h1_d4_q300_causal", "b1_h1_d4_q150_k300", "b1_h1_d4_q200_k70",
        "b1_h1_d4_q130_k260_causal_off40"}) {
    CheckLists(Window(90) | Sinks(4), text);
    CheckLists(Window(5) | Band(40) | Sinks(64), text);
    CheckLists(Band(20) & Documents(DocumentIds().data(), 400), text);
    CheckLists(Window(40) & ~Sinks(30), text);
    CheckLists(Window(16) | Band(3) | Sinks(20), text);
    CheckLists(Window(1) | Sinks(1), text);
    CheckLists(Stairs(100, 9) | Window(8), text);
    CheckLists(Stairs(1, 5), text);
    CheckLists(Sinks(6) | Sinks(3) | Sinks(9) | Window(7) | Band(2), text);
    CheckLists(Steps(3, 2, 0, 1000), text);  // holes
    CheckLists(Steps(0, 5, 1, 1000), text);  // wider
    CheckLists(Steps(1, 30, 0, 41), text);   // a row in between keeps nothing
    CheckLists(Steps(2, 1, 1, 19) | Sinks(7), text);
    CheckLists(Window(20) | EveryNth(30), text);
  }
}

// Intervals and Keep are two ways to say one thing.
template <typename P>
void ExpectTheSame(const P& pattern) {
  for (int64_t query = -5; query < 130; ++query) {
    for (const int64_t end : {int64_t{0}, int64_t{1}, int64_t{100}}) {
      std::vector<bool> kept(100);
      PatternRow row;
      row.head = 1;
      row.query = query;
      row.end = end;
      ForEachKept(pattern, row, [&](int64_t begin, int64_t stop) {
        begin = std::max<int64_t>(begin, 0);
        stop = std::min(stop, end);
        for (int64_t key = begin; key < stop; ++key) {
          kept[static_cast<size_t>(key)] = true;
        }
      });
      for (int64_t key = 0; key < end; ++key) {
        ASSERT_EQ(kept[static_cast<size_t>(key)], pattern.Keep(1, query, key))
            << "query " << query << " key " << key << " end " << end;
      }
    }
  }
}

TEST(Pattern, IntervalsAreWhatKeepKeeps) {
  ExpectTheSame(Window(7));
  ExpectTheSame(Band(5));
  ExpectTheSame(Sinks(3));
  ExpectTheSame(Queries(10, 20));
  ExpectTheSame(Segments(16));
  ExpectTheSame(EveryNth(5));
  ExpectTheSame(EveryNth(1));
  ExpectTheSame(Documents(DocumentIds().data(), 90));
  ExpectTheSame((Window(7) | Sinks(2)) & ~EveryNth(3));
  ExpectTheSame(Scattered() & Band(9));
  std::vector<uint8_t> map(2 * 9 * 7);
  for (size_t i = 0; i < map.size(); ++i) map[i] = i % 3 == 0;
  ExpectTheSame(patterns::BlockMap(map.data(), 13, 16, 9, 7));
}

// Memory of exactly the sizes that are asked for, with a guard behind each.
class ExactScratch {
 public:
  ~ExactScratch() {
    for (const auto& [data, bytes] : pieces_) std::free(data);
  }
  Scratch get() { return {this, &Allocate}; }
  bool GuardsIntact() const {
    return std::all_of(pieces_.begin(), pieces_.end(), [](const auto& piece) {
      const char* guard = piece.first + piece.second;
      return std::all_of(guard, guard + Room(piece.second) - piece.second,
                         [](char c) { return c == kGuard; });
    });
  }

 private:
  static constexpr char kGuard = 0x5a;
  static size_t Room(size_t bytes) { return (bytes + 63) / 64 * 64 + 256; }
  static void* Allocate(void* self, size_t bytes) {
    char* data = static_cast<char*>(std::aligned_alloc(64, Room(bytes)));
    std::memset(data, kGuard, Room(bytes));
    static_cast<ExactScratch*>(self)->pieces_.emplace_back(data, bytes);
    return data;
  }

  std::vector<std::pair<char*, size_t>> pieces_;
};

// Whether a row's list of a plan of one head, with its bits, has a key.
bool Keeps(const SparsePlan& plan, int64_t row, int64_t key) {
  const int64_t list = row / plan.query_block_size;
  for (int64_t i = plan.offsets[list]; i < plan.offsets[list + 1]; ++i) {
    const KeyInterval at = plan.intervals[i];
    if (key < at.begin || key >= at.end) continue;
    if (plan.bits == nullptr || plan.bits[i] < 0) return true;
    const int64_t words = (at.end - at.begin + 63) / 64, bit = key - at.begin;
    const uint64_t word =
        plan.words[plan.bits[i] + row % plan.query_block_size * words +
                   bit / 64];
    return (word >> (bit % 64) & 1) != 0;
  }
  return false;
}

// Few keys that rows keep by turns: a block's list has more pieces than its
// keys have gaps, as pieces may touch.
TEST(Pattern, PlansOfFewKeysKeepToTheirMemory) {
  std::mt19937 draw(1);
  for (int i = 0; i < 3000; ++i) {
    AttentionShape shape;
    shape.batch = shape.num_heads = shape.num_kv_heads = 1;
    shape.seqlen_q = 2 + draw() % 6;
    shape.seqlen_k = 1 + draw() % 40;
    shape.head_dim = shape.head_dim_v = 4;
    const int kind = static_cast<int>(draw() % 3);
    std::vector<bool> keep;
    for (int64_t at = 0; at < shape.seqlen_q * shape.seqlen_k; ++at) {
      const int64_t row = at / shape.seqlen_k, key = at % shape.seqlen_k;
      keep.push_back(kind == 0   ? draw() % 2 == 0
                     : kind == 1 ? row % 2 == 0 || key % 2 == 0
                                 : draw() % 4 != 0);
    }
    const KeepIf pattern([&](int64_t, int64_t row, int64_t key) {
      return bool{keep[static_cast<size_t>(row * shape.seqlen_k + key)]};
    });
    AttentionParams params;
    params.causal_offset = 0;
    SparseOptions options;
    options.query_block_size = draw() % 2 == 0 ? shape.seqlen_q : 0;
    ExactScratch memory;
    SparsePlan plan;
    SCOPED_TRACE(std::to_string(shape.seqlen_q) + " rows, " +
                 std::to_string(shape.seqlen_k) + " keys, kind " +
                 std::to_string(kind));
    ASSERT_TRUE(MakeSparsePlan(params, shape, pattern, options, memory.get(),
                               SerialExecutor(), &plan)
                    .ok());
    ASSERT_TRUE(memory.GuardsIntact());
    ASSERT_TRUE(CheckSparsePlan(plan).ok());
    for (int64_t row = 0; row < shape.seqlen_q; ++row) {
      for (int64_t key = 0; key < shape.seqlen_k; ++key) {
        ASSERT_EQ(Keeps(plan, row, key), pattern.Keep(0, row, key))
            << "row " << row << " key " << key;
      }
    }
  }
}

}  // namespace
}  // namespace heed::test
