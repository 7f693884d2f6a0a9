// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What ragged and paged calls refuse: each index array by name and index, with
// nothing written and nothing read through it.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "tests/support/compare.h"
#include "tests/support/ragged_case.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

const std::vector<SequenceLengths> kLengths = {{1, 7}, {4, 20}, {0, 3}, {2, 9}};
constexpr char kProblem[] = "h4_kv2_d8_q1_k1_causal";

struct Spoiled {
  RaggedCase& ragged;
  AttentionArgs& args;
};

class RaggedStatusTest : public ::testing::Test {
 protected:
  enum Place { kPadded, kPackedKeys, kPaged, kPointers };

  static RaggedLayout LayoutOf(Place place) {
    RaggedLayout layout;
    layout.packed_keys = place == kPackedKeys;
    layout.page_size = place == kPaged || place == kPointers ? 4 : 0;
    layout.pointers = place == kPointers;
    return layout;
  }

  // The arguments, spoiled, are refused for `argument` (at `index`, if not
  // negative); the plan is that of sound ones.
  void ExpectRefused(Place place, const std::function<void(Spoiled)>& spoil,
                     StatusCode code, const std::string& argument,
                     int64_t index = -1) {
    RaggedCase ragged(kProblem, kLengths, LayoutOf(place));
    Plan plan;
    ASSERT_TRUE(
        MakePlan(ragged.params(), ShapeOf(ragged.Args()), {}, &plan).ok());
    ExpectRefusedBy(plan, ragged, spoil, code, argument, index);
  }

  void ExpectRefusedBy(const Plan& plan, RaggedCase& ragged,
                       const std::function<void(Spoiled)>& spoil,
                       StatusCode code, const std::string& argument,
                       int64_t index = -1) {
    AttentionArgs args = ragged.Args();
    spoil({ragged, args});
    const WorkspaceBuffer workspace(WorkspaceBytes(plan, 2));
    AttentionRun run;
    const Status begun = BeginRun(plan, args, workspace.get(), 2, {}, &run);
    const Status status =
        heed::Run(plan, args, workspace.get(), SerialExecutor());
    SCOPED_TRACE(argument + ": " + ToString(status));
    EXPECT_EQ(status.code(), code);
    EXPECT_EQ(std::string(status.argument()), argument);
    EXPECT_EQ(begun.code(), code);
    EXPECT_EQ(std::string(begun.argument()), argument);
    EXPECT_EQ(NumPhases(run), 0);
    if (index >= 0) {
      EXPECT_TRUE(status.has_index());
      EXPECT_EQ(status.index(), index);
    }
    EXPECT_TRUE(Untouched(ragged.out));
    EXPECT_TRUE(Untouched(ragged.lse));
  }

  void ExpectInvalid(Place place, const std::function<void(Spoiled)>& spoil,
                     const std::string& argument, int64_t index = -1) {
    ExpectRefused(place, spoil, StatusCode::kInvalidArgument, argument, index);
  }
};

TEST_F(RaggedStatusTest, SoundOnesAreAccepted) {
  for (const Place place : {kPadded, kPackedKeys, kPaged, kPointers}) {
    const RaggedCase ragged(kProblem, kLengths, LayoutOf(place));
    const Status status = Attention(ragged.params(), ragged.Args());
    EXPECT_TRUE(status.ok()) << ToString(status);
  }
}

TEST_F(RaggedStatusTest, SumsOfRows) {
  const auto set = [](size_t at, int32_t value) {
    return [=](Spoiled s) { s.ragged.cu_seqlens_q[at] = value; };
  };
  ExpectInvalid(kPadded, set(0, 1), "cu_seqlens_q", 0);
  ExpectInvalid(kPadded, set(0, -1), "cu_seqlens_q", 0);
  ExpectInvalid(kPadded, set(2, 0), "cu_seqlens_q", 2);
  ExpectInvalid(kPadded, set(3, -7), "cu_seqlens_q", 3);
  ExpectInvalid(kPadded, set(4, 6), "cu_seqlens_q", 4);
  ExpectInvalid(kPadded, set(4, 8), "cu_seqlens_q", 4);
  ExpectInvalid(kPadded, set(2, INT32_MAX), "cu_seqlens_q", 2);
  ExpectInvalid(kPadded, set(1, INT32_MIN), "cu_seqlens_q", 1);
}

TEST_F(RaggedStatusTest, SumsOfKeys) {
  const auto set = [](size_t at, int32_t value) {
    return [=](Spoiled s) { s.ragged.cu_seqlens_k[at] = value; };
  };
  ExpectInvalid(kPackedKeys, set(0, 2), "cu_seqlens_k", 0);
  ExpectInvalid(kPackedKeys, set(2, 6), "cu_seqlens_k", 2);
  ExpectInvalid(kPackedKeys, set(4, 38), "cu_seqlens_k", 4);
  ExpectInvalid(kPackedKeys, set(4, 40), "cu_seqlens_k", 4);
  ExpectInvalid(kPackedKeys, set(3, INT32_MAX), "cu_seqlens_k", 3);
}

TEST_F(RaggedStatusTest, Lengths) {
  for (const Place place : {kPadded, kPaged, kPointers}) {
    const auto set = [](size_t at, int32_t value) {
      return [=](Spoiled s) { s.ragged.seqlens_k[at] = value; };
    };
    ExpectInvalid(place, set(0, -1), "seqlens_k", 0);
    ExpectInvalid(place, set(3, INT32_MIN), "seqlens_k", 3);
    ExpectInvalid(place, set(1, 25), "seqlens_k", 1);
    ExpectInvalid(place, set(2, INT32_MAX), "seqlens_k", 2);
  }
}

TEST_F(RaggedStatusTest, PageTables) {
  const auto set = [](int64_t s, int64_t page, int32_t value) {
    return [=](Spoiled spoiled) {
      RaggedCase& r = spoiled.ragged;
      r.page_table[static_cast<size_t>(s * r.table_stride + page)] = value;
    };
  };
  // 2 + 5 + 1 + 3 pages and 3 more; a row of 6 entries every 8.
  ExpectInvalid(kPaged, set(0, 0, 14), "page_table", 0);
  ExpectInvalid(kPaged, set(0, 1, -1), "page_table", 1);
  ExpectInvalid(kPaged, set(1, 4, INT32_MAX), "page_table", 12);
  ExpectInvalid(kPaged, set(3, 2, INT32_MIN), "page_table", 26);
}

TEST_F(RaggedStatusTest, EntriesThatAreNotNeededMayBeAnything) {
  RaggedCase paged(kProblem, kLengths, LayoutOf(kPaged));
  for (int64_t s = 0; s < paged.num_sequences(); ++s) {
    const int64_t used = (paged.seqlens_k[static_cast<size_t>(s)] + 3) / 4;
    for (int64_t page = used; page < paged.table_stride; ++page) {
      EXPECT_EQ(
          paged.page_table[static_cast<size_t>(s * paged.table_stride + page)],
          INT32_MIN);
    }
  }
  EXPECT_TRUE(Attention(paged.params(), paged.Args()).ok());
}

TEST_F(RaggedStatusTest, GroupsThatDoNotFit) {
  ExpectInvalid(
      kPadded, [](Spoiled s) { s.args.ragged.num_sequences = -1; },
      "num_sequences");
  ExpectInvalid(
      kPadded, [](Spoiled s) { s.args.ragged.num_sequences = 5; },
      "num_sequences");
  ExpectInvalid(
      kPadded,
      [](Spoiled s) {
        s.args.ragged.cu_seqlens_k = s.ragged.cu_seqlens_k.data();
      },
      "cu_seqlens_k");
  ExpectInvalid(
      kPaged,
      [](Spoiled s) {
        s.args.ragged.cu_seqlens_k = s.ragged.cu_seqlens_k.data();
      },
      "cu_seqlens_k");
  ExpectInvalid(
      kPaged, [](Spoiled s) { s.args.ragged.seqlens_k = nullptr; },
      "seqlens_k");
  ExpectInvalid(
      kPaged, [](Spoiled s) { s.args.pages.page_table = nullptr; },
      "page_table");
  ExpectInvalid(
      kPaged, [](Spoiled s) { s.args.pages.num_sequences = 3; }, "page_table");
  ExpectInvalid(
      kPaged, [](Spoiled s) { s.args.pages.pages_per_sequence = 4; },
      "seqlens_k", 1);
  ExpectInvalid(
      kPaged, [](Spoiled s) { s.args.pages.pages_per_sequence = -1; },
      "pages_per_sequence");
  ExpectInvalid(
      kPaged, [](Spoiled s) { s.args.pages.table_stride = -1; },
      "table_stride");
  ExpectRefused(
      kPaged, [](Spoiled s) { s.args.pages.table_stride = INT64_MAX; },
      StatusCode::kOverflow, "table_stride");
  ExpectInvalid(
      kPaged, [](Spoiled s) { s.args.ragged.num_sequences = 0; },
      "num_sequences");
  // Pages of no rows.
  ExpectInvalid(
      kPaged,
      [](Spoiled s) { s.args.key.extent[1] = s.args.value.extent[1] = 0; },
      "key", 1);
}

TEST_F(RaggedStatusTest, PagePointers) {
  // Entry `page` of sequence 1, which has 5 pages and a row of 8 entries.
  const auto set = [](size_t array, size_t page, auto at) {
    return [=](Spoiled s) {
      void*& entry = s.ragged.pointers[array][8 + page];
      entry = at(entry);
    };
  };
  const auto null = [](void*) -> void* { return nullptr; };
  const auto odd = [](void* at) -> void* { return static_cast<char*>(at) + 2; };
  const auto last = [](void*) {
    return reinterpret_cast<void*>(UINTPTR_MAX - 15);
  };
  ExpectInvalid(kPointers, set(0, 0, null), "key_pages", 8);
  ExpectInvalid(kPointers, set(0, 4, odd), "key_pages", 12);
  ExpectInvalid(kPointers, set(1, 4, null), "value_pages", 12);
  ExpectInvalid(kPointers, set(1, 2, last), "value_pages", 10);
  // Pages that are written, by their first byte and by their last.
  for (const bool lse : {false, true}) {
    const auto over = [lse](size_t array, int64_t bytes) {
      return [=](Spoiled s) {
        const TensorView& to = lse ? s.args.lse : s.args.out;
        s.ragged.pointers[array][11] = static_cast<char*>(to.data) + bytes;
      };
    };
    ExpectInvalid(kPointers, over(0, 0), "key_pages", 11);
    ExpectInvalid(kPointers, over(1, 0), "value_pages", 11);
    ExpectInvalid(kPointers, over(0, -4 * 4 * 8 * 2 + 4), "key_pages", 11);
  }
  // An entry behind the last key is nobody's.
  RaggedCase pages(kProblem, kLengths, LayoutOf(kPointers));
  pages.pointers[0][8 + 5] = nullptr;
  EXPECT_TRUE(Attention(pages.params(), pages.Args()).ok());
}

TEST_F(RaggedStatusTest, PagePointersAndTheirTensors) {
  static const int32_t table[64] = {};
  ExpectInvalid(
      kPointers, [](Spoiled s) { s.args.pages.page_table = table; },
      "key_pages");
  ExpectInvalid(
      kPointers, [](Spoiled s) { s.args.pages.key_pages = nullptr; }, "key");
  ExpectInvalid(
      kPointers, [](Spoiled s) { s.args.pages.value_pages = nullptr; },
      "value");
  ExpectInvalid(
      kPointers, [](Spoiled s) { s.args.key.data = s.args.query.data; }, "key");
  ExpectInvalid(
      kPointers, [](Spoiled s) { s.args.key.extent[0] = 2; }, "key", 0);
  ExpectInvalid(
      kPointers, [](Spoiled s) { s.args.value.extent[1] = 5; }, "value", 1);
  ExpectInvalid(
      kPointers,
      [](Spoiled s) { s.args.pages.key_scale_pages = s.args.pages.key_pages; },
      "key_scale_pages");
  static void* const none[64] = {};
  ExpectInvalid(
      kPaged, [](Spoiled s) { s.args.pages.key_scale_pages = none; },
      "key_scale_pages");
  ExpectInvalid(
      kPadded, [](Spoiled s) { s.args.pages.value_minimum_pages = none; },
      "value_minimum_pages");
  ExpectInvalid(
      kPointers, [](Spoiled s) { s.args.pages.num_sequences = 3; },
      "key_pages");
  ExpectRefused(
      kPointers, [](Spoiled s) { s.args.pages.table_stride = INT64_MAX; },
      StatusCode::kOverflow, "table_stride");
  ExpectRefused(
      kPointers, [](Spoiled s) { s.args.pages.pages_per_sequence = INT64_MAX; },
      StatusCode::kOverflow, "table_stride");
  ExpectInvalid(
      kPointers, [](Spoiled s) { s.args.ragged.seqlens_k = nullptr; },
      "seqlens_k");
}

TEST_F(RaggedStatusTest, TensorsOfOtherBatches) {
  ExpectInvalid(
      kPadded, [](Spoiled s) { s.args.ragged.cu_seqlens_q = nullptr; }, "query",
      0);
  ExpectInvalid(
      kPadded, [](Spoiled s) { s.args.key.extent[0] = 3; }, "key", 0);
  ExpectInvalid(
      kPackedKeys,
      [](Spoiled s) {
        s.args.ragged.cu_seqlens_k = nullptr;
        s.args.ragged.seqlens_k = s.ragged.seqlens_k.data();
      },
      "key", 0);
  ExpectInvalid(
      kPaged, [](Spoiled s) { s.args.value.extent[0] = 3; }, "value", 0);
  ExpectInvalid(
      kPaged, [](Spoiled s) { s.args.value.extent[1] = 3; }, "value", 1);
}

TEST_F(RaggedStatusTest, KeyIntervals) {
  ExpectRefused(
      kPaged, [](Spoiled s) { s.args.key_intervals.query_block_size = 4; },
      StatusCode::kUnsupported, "key_intervals");
}

TEST_F(RaggedStatusTest, PlansThatAreTooSmall) {
  RaggedCase ragged(kProblem, kLengths, LayoutOf(kPaged));
  const AttentionShape shape = ShapeOf(ragged.Args());
  EXPECT_EQ(shape.num_sequences, 4);
  EXPECT_EQ(shape.seqlen_k, 24);
  struct {
    int64_t AttentionShape::*field;
    int64_t value;
    const char* argument;
  } const cases[] = {{&AttentionShape::num_sequences, 3, "num_sequences"},
                     {&AttentionShape::seqlen_q, 3, "cu_seqlens_q"},
                     {&AttentionShape::seqlen_k, 19, "seqlens_k"}};
  for (const auto& c : cases) {
    AttentionShape small = shape;
    small.*c.field = c.value;
    Plan plan;
    ASSERT_TRUE(MakePlan(ragged.params(), small, {}, &plan).ok());
    ExpectRefusedBy(
        plan, ragged, [](Spoiled) {}, StatusCode::kInvalidArgument, c.argument);
  }
  // The most of one sequence is enough.
  AttentionShape exact = shape;
  exact.seqlen_q = 4;
  exact.seqlen_k = 20;
  exact.batch = 0;
  Plan plan;
  ASSERT_TRUE(MakePlan(ragged.params(), exact, {}, &plan).ok());
  const WorkspaceBuffer workspace(WorkspaceBytes(plan, 1));
  const Status status =
      heed::Run(plan, ragged.Args(), workspace.get(), SerialExecutor());
  EXPECT_TRUE(status.ok()) << ToString(status);
}

TEST_F(RaggedStatusTest, ShapesOfPlans) {
  AttentionShape shape;
  shape.head_dim = 8;
  Plan plan;
  shape.num_sequences = -1;
  EXPECT_EQ(MakePlan({}, shape, {}, &plan).code(),
            StatusCode::kInvalidArgument);
  shape.num_sequences = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(MakePlan({}, shape, {}, &plan).code(), StatusCode::kOverflow);
}

TEST_F(RaggedStatusTest, WorkspaceGrowsWithSequences) {
  AttentionShape shape;
  shape.head_dim = 8;
  shape.num_heads = shape.num_kv_heads = 1;
  Plan one, many;
  ASSERT_TRUE(MakePlan({}, shape, {}, &one).ok());
  shape.num_sequences = 1000;
  ASSERT_TRUE(MakePlan({}, shape, {}, &many).ok());
  for (const int workers : {1, 3}) {
    EXPECT_LE(WorkspaceBytes(many, workers),
              WorkspaceBytes(one, workers) + 128 * 1000);
    EXPECT_GT(WorkspaceBytes(many, workers), WorkspaceBytes(one, workers));
  }
}

// Tasks read the arrays while others write.
TEST_F(RaggedStatusTest, OutputsOverArrays) {
  const auto says = [](const RaggedCase& c, AttentionArgs args) {
    return ToString(Attention(c.params(), args));
  };
  const RaggedCase c(kProblem, kLengths, LayoutOf(kPaged));
  const auto over = [](const TensorView& view, const auto& array) {
    std::memcpy(view.data, array.data(), array.size() * sizeof(array[0]));
    return static_cast<decltype(array.data())>(view.data);
  };
  AttentionArgs args = c.Args();
  args.ragged.cu_seqlens_q = over(c.out.view, c.cu_seqlens_q);
  EXPECT_EQ(says(c, args), "invalid argument: out: overlaps cu_seqlens_q");
  args = c.Args();
  args.ragged.seqlens_k = over(c.lse.view, c.seqlens_k);
  EXPECT_EQ(says(c, args), "invalid argument: lse: overlaps seqlens_k");
  args = c.Args();
  args.ragged.causal_offset = over(c.out.view, c.offsets);
  EXPECT_EQ(says(c, args), "invalid argument: out: overlaps causal_offset");
  args = c.Args();
  args.pages.page_table = over(c.out.view, c.page_table);
  EXPECT_EQ(says(c, args), "invalid argument: out: overlaps page_table");
  args.pages.page_table = c.page_table.data();
  const RaggedCase p(kProblem, kLengths, LayoutOf(kPointers));
  AttentionArgs pointed = p.Args();
  pointed.pages.key_pages = over(p.out.view, p.pointers[0]);
  EXPECT_EQ(says(p, pointed), "invalid argument: out: overlaps key_pages");

  Plan plan;
  ASSERT_TRUE(MakePlan(c.params(), ShapeOf(args), {}, &plan).ok());
  const WorkspaceBuffer workspace(WorkspaceBytes(plan, 1));
  TensorView memory;
  memory.data = workspace.get().data;
  args.pages.page_table = over(memory, c.page_table);
  EXPECT_EQ(ToString(heed::Run(plan, args, workspace.get(), SerialExecutor())),
            "invalid argument: workspace: overlaps page_table");
}

// Nothing to write is no error.
TEST_F(RaggedStatusTest, NoRows) {
  const RaggedCase none(kProblem, {{0, 3}, {0, 0}}, LayoutOf(kPaged));
  EXPECT_TRUE(Attention(none.params(), none.Args()).ok());
}

}  // namespace
}  // namespace heed::test
