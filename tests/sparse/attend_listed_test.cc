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
#include "tests/sparse/listed_case.h"
#include "tests/support/compare.h"
#include "tests/support/intervals.h"
#include "tests/support/run.h"
#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

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

// To rounding: that of 16 bits, where a unit may multiply them and then gives
// lse as coarsely too.
void ExpectNear(const eval::Tensor& got, const eval::Tensor& want,
                bool coarse) {
  const std::vector<float> a = got.Dense(), b = want.Dense();
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;  // -inf too
    ASSERT_NEAR(a[i], b[i], coarse ? 2e-2f : 1e-5f) << "element " << i;
  }
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
  eval::WorkloadOptions options;  // rows evenly apart and not
  int turn = 1;
  for (const char* text : kProblems) {
    const io::Problem problem = ProblemOf(text);
    const AttentionShape& shape = problem.shape;
    const eval::Tensors dense = eval::MakeTensors(problem, {});
    const eval::Tensors intervals = eval::MakeTensors(problem, {});
    options.layout = static_cast<eval::Layout>(turn++ % 4);
    const eval::Tensors listed = eval::MakeTensors(problem, options);
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
        const bool coarse = shape.query_dtype != DType::kF32;
        ExpectNear(listed.out, dense.out, coarse);
        ExpectNear(listed.lse, dense.lse, coarse);
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

}  // namespace
}  // namespace heed::test
