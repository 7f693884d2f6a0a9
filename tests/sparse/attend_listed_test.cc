// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attention to listed keys: the bits of the same keys as intervals with a bias,
// and dense attention with a bias that is -inf where a key is not listed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "heed/gather.h"
#include "heed/ops.h"
#include "heed/sparse.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/workload.h"
#include "tests/support/compare.h"
#include "tests/support/intervals.h"
#include "tests/support/run.h"
#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

// Owns random lists: a third of the entries are empty, none rises.
struct Lists {
  Lists(const AttentionShape& shape, int64_t batch, int64_t heads,
        int64_t block, int64_t width, bool weighted)
      : rows(shape.seqlen_q), keys(shape.seqlen_k) {
    eval::Random random(static_cast<uint64_t>(width + 7 * block));
    view.batch = batch;
    view.num_heads = heads;
    view.query_block_size = block;
    view.width = width;
    for (int64_t i = 0; i < batch * heads * ((rows + block - 1) / block); ++i) {
      std::vector<int32_t> order(static_cast<size_t>(keys));
      for (size_t k = 0; k < order.size(); ++k) {
        order[k] = static_cast<int32_t>(k);
        std::swap(order[k], order[static_cast<size_t>(
                                random.Below(static_cast<int64_t>(k) + 1))]);
      }
      order.resize(static_cast<size_t>(width), -1);
      for (const int32_t key : order) {
        indices.push_back(random.Below(3) == 0 ? -1 : key);
        const float weight = static_cast<float>(random.Below(9) - 4) / 3;
        weights.push_back(random.Below(8) == 0 ? -INFINITY : weight);
      }
    }
    view.indices = indices.data();
    if (weighted) view.log_weights = weights.data();
  }
  Lists(const Lists&) = delete;
  Lists& operator=(const Lists&) = delete;

  // The first entry of the list of a row.
  size_t ListOf(int64_t b, int64_t h, int64_t heads, int64_t row) const {
    const int64_t blocks =
        (rows + view.query_block_size - 1) / view.query_block_size;
    const int64_t of_batch = view.batch == 1 ? 0 : b;
    const int64_t of_head = h * view.num_heads / heads;
    return static_cast<size_t>(((of_batch * view.num_heads + of_head) * blocks +
                                row / view.query_block_size) *
                               view.width);
  }

  int64_t rows, keys;
  std::vector<int32_t> indices;
  std::vector<float> weights;
  KeyLists view;
};

// What the kernel is told of the same: [batch][rows][heads][keys].
struct DenseInputs {
  DenseInputs(const Lists& lists, const AttentionShape& shape) {
    const size_t all = static_cast<size_t>(shape.batch * shape.seqlen_q *
                                           shape.num_heads * shape.seqlen_k);
    bias.resize(all, -INFINITY);
    mask.reset(new bool[all]());
    for (int64_t i = 0; i < static_cast<int64_t>(all) / shape.seqlen_k; ++i) {
      const int64_t h = i % shape.num_heads;
      const int64_t row = i / shape.num_heads % shape.seqlen_q;
      const int64_t b = i / shape.num_heads / shape.seqlen_q;
      const size_t first = lists.ListOf(b, h, shape.num_heads, row);
      for (size_t e = 0; e < static_cast<size_t>(lists.view.width); ++e) {
        if (lists.indices[first + e] < 0) continue;
        const size_t at =
            static_cast<size_t>(i * shape.seqlen_k + lists.indices[first + e]);
        bias[at] = lists.weights[first + e];
        mask[at] = true;
      }
    }
    bias_view = Bshd(static_cast<const float*>(bias.data()), shape.batch,
                     shape.seqlen_q, shape.num_heads, shape.seqlen_k);
    mask_view = Bshd(static_cast<const bool*>(mask.get()), shape.batch,
                     shape.seqlen_q, shape.num_heads, shape.seqlen_k);
  }
  std::vector<float> bias;
  std::unique_ptr<bool[]> mask;
  ConstTensorView bias_view, mask_view;
};

// The listed keys that some row of a block sees, as intervals of one key.
IntervalLists IntervalsOf(const Lists& lists, const AttentionParams& params,
                          const AttentionShape& shape) {
  const int64_t block = lists.view.query_block_size;
  IntervalLists intervals;
  intervals.query_block_size = block;
  for (int64_t i = 0; i < NumLists(shape, block); ++i) {
    const int64_t blocks = (shape.seqlen_q + block - 1) / block;
    const int64_t first = i % blocks * block;
    const int64_t end = std::min(first + block, shape.seqlen_q);
    const size_t list =
        lists.ListOf(i / blocks / shape.num_heads, i / blocks % shape.num_heads,
                     shape.num_heads, first);
    std::vector<bool> listed(static_cast<size_t>(shape.seqlen_k));
    for (size_t e = list; e < list + static_cast<size_t>(lists.view.width);
         ++e) {
      if (lists.indices[e] < 0) continue;
      if (lists.view.log_weights != nullptr && std::isinf(lists.weights[e])) {
        continue;
      }
      listed[static_cast<size_t>(lists.indices[e])] = true;
    }
    for (int64_t key = 0; key < shape.seqlen_k; ++key) {
      bool seen = false;
      for (int64_t row = first; row < end; ++row) {
        const ops::VisibleKeys see =
            ops::VisibleTo(params, shape.seqlen_q, shape.seqlen_k, row);
        seen |= key < see.sink_end || (key >= see.begin && key < see.end);
      }
      if (seen && listed[static_cast<size_t>(key)]) {
        intervals.Add(key, key + 1);
      }
    }
    intervals.EndList();
  }
  return intervals;
}

// To rounding.
void ExpectNear(const eval::Tensor& got, const eval::Tensor& want) {
  const std::vector<float> a = got.Dense(), b = want.Dense();
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;  // -inf too
    const bool coarse = got.view.dtype != DType::kF32;
    ASSERT_NEAR(a[i], b[i], coarse ? 2e-2f : 1e-5f) << "element " << i;
  }
}

Status RunLists(const KeyLists& lists, const AttentionParams& params,
                const AttentionArgs& args,
                const Executor& executor = SerialExecutor()) {
  eval::ScratchPool pool;
  return AttendListed(lists, params, args, pool.Begin(), executor);
}

const char* const kProblems[] = {
    "b2_h6_kv2_d16_dv24_q33_k90_causal",
    "b3_h4_kv2_d8_q1_k150_causal",
    "b1_h2_d16_q40_k40",
    "b1_h4_kv1_d8_q50_k70_causal_wl20_sink3_cap5",
    "b1_h2_d8_q30_k20_causal",
    "b2_h2_d16_q20_k64_bf16_causal_scale-0.4",
};

void CheckLists(bool weighted) {
  for (const char* text : kProblems) {
    const io::Problem problem = ProblemOf(text);
    const AttentionShape& shape = problem.shape;
    const eval::Tensors dense = eval::MakeTensors(problem, {});
    const eval::Tensors intervals = eval::MakeTensors(problem, {});
    const eval::Tensors listed = eval::MakeTensors(problem, {});
    for (const int64_t block : std::initializer_list<int64_t>{1, 8, 1000}) {
      for (const int64_t heads :
           {int64_t{1}, shape.num_kv_heads, shape.num_heads}) {
        SCOPED_TRACE(std::string(text) + ", blocks of " +
                     std::to_string(block) + ", heads " +
                     std::to_string(heads));
        const Lists lists(shape, block == 8 ? 1 : shape.batch, heads, block,
                          15 + heads, weighted);
        const DenseInputs inputs(lists, shape);
        AttentionArgs args = dense.Args();
        (weighted ? args.scores.bias : args.scores.mask) =
            weighted ? inputs.bias_view : inputs.mask_view;
        ASSERT_TRUE(Attention(problem.params, args).ok());
        args = intervals.Args();
        if (weighted) args.scores.bias = inputs.bias_view;
        const IntervalLists keys = IntervalsOf(lists, problem.params, shape);
        args.key_intervals = keys.View();
        ASSERT_TRUE(Attention(problem.params, args).ok());
        listed.ClearOutput();
        const Status status =
            RunLists(lists.view, problem.params, listed.Args());
        ASSERT_TRUE(status.ok()) << ToString(status);
        ASSERT_TRUE(SameBits(listed.out, intervals.out));
        ASSERT_TRUE(SameBits(listed.lse, intervals.lse));
        ExpectNear(listed.out, dense.out);
        ExpectNear(listed.lse, dense.lse);
        EXPECT_TRUE(listed.out.PaddingIntact());
      }
    }
  }
}

TEST(Listed, AreAMask) { CheckLists(false); }
TEST(Listed, WithWeightsAreABias) { CheckLists(true); }

TEST(Listed, HaveTheSameBitsForAnyWorkers) {
  const io::Problem problem = ProblemOf(kProblems[0]);
  ThreadExecutor three(3);
  BackwardExecutor backward(2);
  for (const int64_t block : {1, 8, 1000}) {
    const Lists lists(problem.shape, 2, 2, block, 30, true);
    const eval::Tensors one = eval::MakeTensors(problem, {});
    const eval::Tensors other = eval::MakeTensors(problem, {});
    ASSERT_TRUE(RunLists(lists.view, problem.params, one.Args()).ok());
    for (const Executor& executor : {Executor(three), Executor(backward)}) {
      other.ClearOutput();
      ASSERT_TRUE(
          RunLists(lists.view, problem.params, other.Args(), executor).ok());
      EXPECT_TRUE(SameBits(other.out, one.out));
      EXPECT_TRUE(SameBits(other.lse, one.lse));
    }
  }
}

// All keys of each row, a few lists at a time: exact attention, to the bit.
TEST(Listed, RunsInPartsAndAllAreExact) {
  const io::Problem problem = ProblemOf("b1_h2_d4_q300_k3000_causal");
  const eval::Tensors exact = eval::MakeTensors(problem, {});
  const eval::Tensors listed = eval::MakeTensors(problem, {});
  ASSERT_TRUE(Attention(problem.params, exact.Args()).ok());
  std::vector<int32_t> indices;
  for (int32_t i = 0; i < 300 * 3000; ++i) indices.push_back(i % 3000);
  KeyLists lists;
  lists.width = 3000;
  lists.indices = indices.data();
  eval::ScratchPool pool;
  ASSERT_TRUE(AttendListed(lists, problem.params, listed.Args(), pool.Begin(),
                           SerialExecutor())
                  .ok());
  EXPECT_LT(pool.HighWater(), size_t{20} << 20);
  EXPECT_TRUE(SameBits(listed.out, exact.out));
  EXPECT_TRUE(SameBits(listed.lse, exact.lse));
}

// The same keys in pages of five rows, by a table or by pointers, and sequences
// of different lengths.
TEST(Listed, ReadsPages) {
  const io::Problem problem = ProblemOf("b2_h4_kv2_d8_q3_k32_causal");
  const AttentionShape& shape = problem.shape;
  const eval::Tensors whole = eval::MakeTensors(problem, {});
  const eval::Tensors paged = eval::MakeTensors(problem, {});
  constexpr int64_t kSize = 5, kPages = 7, kRow = 2 * 8;
  std::vector<float> pool[2];
  std::vector<int32_t> table;
  for (auto& numbers : pool) numbers.resize(2 * kPages * kSize * kRow, NAN);
  const int32_t lengths[] = {32, 21};
  for (int32_t b = 0; b < 2; ++b) {
    for (int32_t p = 0; p < kPages; ++p) table.push_back((p * 3 + b * 5) % 14);
  }
  // Pages of the two sequences are apart.
  for (int32_t i = 0; i < 2 * kPages; ++i) {
    table[static_cast<size_t>(i)] = (i * 5 + 3) % (2 * kPages);
  }
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t key = 0; key < lengths[b]; ++key) {
      const int64_t page = table[static_cast<size_t>(b * kPages + key / kSize)];
      float* to = pool[0].data() + (page * kSize + key % kSize) * kRow;
      float* to_value = pool[1].data() + (page * kSize + key % kSize) * kRow;
      for (int64_t h = 0; h < 2; ++h) {
        std::copy_n(whole.key.At(b, key, h, 0), 8, to + h * 8);
        std::copy_n(whole.value.At(b, key, h, 0), 8, to_value + h * 8);
      }
    }
  }
  std::vector<void*> pages[2];
  for (int i = 0; i < 2; ++i) {
    for (const int32_t page : table) {
      pages[i].push_back(pool[i].data() + page * kSize * kRow);
    }
  }
  Lists lists(shape, 2, 2, 1, 12, true);
  for (int32_t& index : lists.indices) index = std::min(index, 20);
  for (size_t i = 0; i < lists.indices.size(); i += 12) {
    int32_t seen = -1;  // key 20, once a list
    for (size_t e = i; e < i + 12; ++e) {
      if (lists.indices[e] == 20) {
        lists.indices[e] = seen == 20 ? -1 : 20;
        seen = 20;
      }
    }
  }
  for (int64_t b = 0; b < 2; ++b) {
    AttentionArgs args = whole.Args();
    for (ConstTensorView* view : {&args.query, &args.key, &args.value}) {
      view->data = internal::BytesAt(*view, b, 0, 0);
      view->extent[0] = 1;
    }
    for (TensorView* view : {&args.out, &args.lse}) {
      view->data = internal::BytesAt(*view, b, 0, 0);
      view->extent[0] = 1;
    }
    args.key = TokensOf(args.key, 0, lengths[b]);
    args.value = TokensOf(args.value, 0, lengths[b]);
    KeyLists own = lists.view;
    own.batch = 1;
    own.indices += b * 2 * 3 * 12;
    own.log_weights += b * 2 * 3 * 12;
    ASSERT_TRUE(RunLists(own, problem.params, args).ok());
  }
  for (const bool pointers : {false, true}) {
    AttentionArgs args = paged.Args();
    args.ragged.num_sequences = args.pages.num_sequences = 2;
    args.ragged.seqlens_k = lengths;
    args.pages.pages_per_sequence = args.pages.table_stride = kPages;
    const float* const none = nullptr;
    args.key =
        Bshd(pointers ? none : pool[0].data(), pointers ? 1 : 14, kSize, 2, 8);
    args.value =
        Bshd(pointers ? none : pool[1].data(), pointers ? 1 : 14, kSize, 2, 8);
    if (pointers) {
      args.pages.key_pages = pages[0].data();
      args.pages.value_pages = pages[1].data();
    } else {
      args.pages.page_table = table.data();
    }
    paged.ClearOutput();
    const Status status = RunLists(lists.view, problem.params, args);
    ASSERT_TRUE(status.ok()) << ToString(status);
    EXPECT_TRUE(SameBits(paged.out, whole.out));
    EXPECT_TRUE(SameBits(paged.lse, whole.lse));
  }
}

// Keys that no list of a head has are never read.
TEST(Listed, ReadsNothingElse) {
  const io::Problem problem = ProblemOf("b1_h4_kv2_d8_q9_k60_causal");
  const eval::Tensors clean = eval::MakeTensors(problem, {});
  const eval::Tensors poisoned = eval::MakeTensors(problem, {});
  const Lists lists(problem.shape, 1, 2, 4, 9, true);
  for (int64_t kv_head = 0; kv_head < 2; ++kv_head) {
    const auto begin = lists.indices.begin() + kv_head * 3 * 9;
    for (int32_t key = 0; key < 60; ++key) {
      if (std::find(begin, begin + 27, key) != begin + 27) continue;
      for (int64_t c = 0; c < 8; ++c) {
        *poisoned.key.At(0, key, kv_head, c) = NAN;
        *poisoned.value.At(0, key, kv_head, c) = INFINITY;
      }
    }
  }
  ASSERT_TRUE(RunLists(lists.view, problem.params, clean.Args()).ok());
  ASSERT_TRUE(RunLists(lists.view, problem.params, poisoned.Args()).ok());
  EXPECT_TRUE(SameBits(poisoned.out, clean.out));
  EXPECT_TRUE(SameBits(poisoned.lse, clean.lse));
}

// Columns beside a window, in one softmax.
TEST(Listed, AreAPatternToo) {
  const io::Problem problem = ProblemOf("b1_h2_d8_q70_k90_causal");
  const std::vector<int32_t> columns = {0, 3, 4, 5, 40, 77, 89};
  const patterns::Listed listed(columns.data(), 7);
  const auto asked = patterns::Window(9) | listed;
  const auto kept = patterns::KeepIf([&](int64_t, int64_t query, int64_t key) {
    return query - key < 9 ||
           std::count(columns.begin(), columns.end(), key) != 0;
  });
  const eval::Tensors by_list = eval::MakeTensors(problem, {});
  const eval::Tensors by_rule = eval::MakeTensors(problem, {});
  eval::ScratchPool memory, scratch;
  const Scratch lent = memory.Begin();
  const auto attend = [&](const auto& pattern, const eval::Tensors& tensors) {
    SparsePlan plan;
    ASSERT_TRUE(MakeSparsePlan(problem.params, problem.shape, pattern, {}, lent,
                               SerialExecutor(), &plan)
                    .ok());
    ASSERT_TRUE(AttendSparse(plan, problem.params, tensors.Args(),
                             scratch.Begin(), SerialExecutor())
                    .ok());
  };
  attend(asked, by_list);
  attend(kept, by_rule);
  EXPECT_TRUE(SameBits(by_list.out, by_rule.out));
}

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
