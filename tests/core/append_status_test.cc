// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What AppendKv refuses, in which words, and that nothing is written then.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "tests/support/compare.h"

namespace heed::test {
namespace {

// Two sequences of 3 and 2 new rows into pages of 4, 3 a sequence.
struct Call {
  eval::Tensor key = eval::MakeTensor(1, 5, 2, 8, eval::Layout::kBshd);
  eval::Tensor value = eval::MakeTensor(1, 5, 2, 6, eval::Layout::kBshd);
  eval::Tensor key_cache = eval::MakeTensor(5, 4, 2, 8, eval::Layout::kBshd);
  eval::Tensor value_cache = eval::MakeTensor(5, 4, 2, 6, eval::Layout::kBshd);
  std::vector<int32_t> cu = {0, 3, 5}, past = {2, 9},
                       table = {0, 1, 9, 8, 7, 4};
  std::vector<float> cos = std::vector<float>(64), sin = cos;
  AppendArgs args;

  Call() {
    args.key = key.view;
    args.value = value.view;
    args.key_cache = key_cache.view;
    args.value_cache = value_cache.view;
    args.cu_seqlens = cu.data();
    args.past_lengths = past.data();
    args.num_sequences = 2;
    args.pages = {table.data(), 2, 3, 3};
    args.rope = {8, false, 16, cos.data(), sin.data()};
  }
};

TEST(AppendKvStatus, TakesTheCall) {
  Call call;
  const Status status = AppendKv(call.args);
  EXPECT_TRUE(status.ok()) << ToString(status);
}

std::string Says(const std::function<void(Call&)>& spoil) {
  Call call;
  spoil(call);
  const Status status = AppendKv(call.args);
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(Untouched(call.key_cache));
  EXPECT_TRUE(Untouched(call.value_cache));
  return ToString(status);
}

// Without pages: a cache of 12 positions each.
void Contiguous(Call& c) {
  c.args.pages = Pages();
  c.args.key_cache =
      Bshd(static_cast<float*>(c.key_cache.view.data), 2, 10, 2, 8);
  c.args.value_cache =
      Bshd(static_cast<float*>(c.value_cache.view.data), 2, 10, 2, 6);
  c.past = {2, 8};
}

TEST(AppendKvStatus, IndexArrays) {
  EXPECT_EQ(Says([](Call& c) { c.args.past_lengths = nullptr; }),
            "invalid argument: past_lengths: is null");
  EXPECT_EQ(Says([](Call& c) { c.past[1] = -1; }),
            "invalid argument: past_lengths[1]: is negative (got -1)");
  EXPECT_EQ(Says([](Call& c) { c.past[1] = 11; }),
            "invalid argument: past_lengths[1]: leaves too few pages for the "
            "new rows (got 11, at most 10)");
  EXPECT_EQ(Says([](Call& c) {
              Contiguous(c);
              c.past[0] = INT32_MAX;
            }),
            "invalid argument: past_lengths[0]: leaves no room for the new "
            "rows in the cache (got 2147483647, at most 7)");
  EXPECT_EQ(Says([](Call& c) { c.cu[0] = 1; }),
            "invalid argument: cu_seqlens[0]: must begin with 0 (got 1, needs "
            "0)");
  EXPECT_EQ(Says([](Call& c) { c.cu[1] = 6; }),
            "invalid argument: cu_seqlens[2]: falls (got 5, at least 6)");
  EXPECT_EQ(Says([](Call& c) { c.cu[2] = 4; }),
            "invalid argument: cu_seqlens[2]: must end with the new rows' "
            "seqlen (got 4, needs 5)");
  EXPECT_EQ(Says([](Call& c) { c.table[1] = 5; }),
            "invalid argument: page_table[1]: has a page that the pool does "
            "not (got 5, at most 4)");
  EXPECT_EQ(Says([](Call& c) { c.table[5] = -1; }),
            "invalid argument: page_table[5]: has a page that the pool does "
            "not (got -1, at most 4)");
  EXPECT_EQ(Says([](Call& c) {
              c.past[1] = 8;
              c.table[5] = 1;
            }),
            "invalid argument: page_table[5]: has two new rows in one place "
            "(got 1)");
  EXPECT_EQ(Says([](Call& c) { c.args.pages.num_sequences = 3; }),
            "invalid argument: page_table: must have a row for each sequence "
            "(got 3, needs 2)");
  EXPECT_EQ(Says([](Call& c) { c.args.pages.table_stride = -3; }),
            "invalid argument: table_stride: must not be negative (got -3)");
  EXPECT_EQ(Says([](Call& c) { c.args.pages.pages_per_sequence = -1; }),
            "invalid argument: pages_per_sequence: must not be negative (got "
            "-1)");
  EXPECT_EQ(Says([](Call& c) { c.args.rope.num_positions = 10; }),
            "invalid argument: past_lengths[1]: leads beyond the tables' "
            "positions (got 9, at most 8)");
  EXPECT_EQ(Says([](Call& c) {
              static const int32_t positions[] = {0, 1, 2, 16, 4};
              c.args.rope_positions = positions;
            }),
            "invalid argument: rope_positions[3]: is not among the tables' "
            "positions (got 16, at most 15)");
}

// The same call with pointers to the pages.
struct Pointed : Call {
  std::vector<void*> keys, values;

  Pointed() {
    for (const int32_t page : table) {
      const bool there = page < 5;
      keys.push_back(there ? key_cache.At(page, 0, 0) : nullptr);
      values.push_back(there ? value_cache.At(page, 0, 0) : nullptr);
    }
    args.pages.page_table = nullptr;
    args.pages.key_pages = keys.data();
    args.pages.value_pages = values.data();
    for (TensorView* view : {&args.key_cache, &args.value_cache}) {
      view->data = nullptr;
      view->extent[0] = 1;
    }
  }
};

std::string PointedSays(const std::function<void(Pointed&)>& spoil) {
  Pointed call;
  spoil(call);
  const Status status = AppendKv(call.args);
  EXPECT_FALSE(status.ok());
  EXPECT_TRUE(Untouched(call.key_cache));
  EXPECT_TRUE(Untouched(call.value_cache));
  return ToString(status);
}

// Nothing is written, so no pointer matters, however many there are.
TEST(AppendKvStatus, PagePointersWithoutHeads) {
  constexpr int64_t kTokens = 2000;
  const int32_t past = 0;
  float row = 0;
  for (void* const page :
       {static_cast<void*>(nullptr), static_cast<void*>(&row)}) {
    const std::vector<void*> pages(kTokens, page);
    AppendArgs args;
    args.key = Bshd(static_cast<const float*>(nullptr), 1, kTokens, 0, 8);
    args.key_cache = Bshd(static_cast<float*>(nullptr), 1, 1, 0, 8);
    args.past_lengths = &past;
    args.num_sequences = 1;
    args.pages.num_sequences = 1;
    args.pages.pages_per_sequence = kTokens;
    args.pages.table_stride = kTokens;
    args.pages.key_pages = pages.data();
    const Status status = AppendKv(args);
    EXPECT_TRUE(status.ok()) << ToString(status);
  }
}

TEST(AppendKvStatus, PagePointers) {
  Pointed call;
  const Status status = AppendKv(call.args);
  EXPECT_TRUE(status.ok()) << ToString(status);
  EXPECT_EQ(PointedSays([](Pointed& c) { c.keys[5] = nullptr; }),
            "invalid argument: key_pages[5]: is null");
  EXPECT_EQ(PointedSays([](Pointed& c) {
              c.values[1] = static_cast<char*>(c.values[1]) + 1;
            }),
            "invalid argument: value_pages[1]: is not aligned to its element");
  EXPECT_EQ(PointedSays([](Pointed& c) {
              c.keys[0] = reinterpret_cast<void*>(UINTPTR_MAX - 63);
            }),
            "invalid argument: key_pages[0]: leaves the address space");
  // Sequence 0 has new rows 2 to 4 and sequence 1 rows 9 and 10.
  EXPECT_EQ(PointedSays([](Pointed& c) {
              c.past[1] = 8;
              c.keys[5] = c.keys[1];
            }),
            "invalid argument: key_pages[5]: has two new rows in one place");
  EXPECT_EQ(PointedSays([](Pointed& c) {
              c.values[5] = static_cast<float*>(c.values[1]) - 2 * 6;
            }),
            "invalid argument: value_pages[5]: has two new rows in one place");
  EXPECT_EQ(PointedSays([](Pointed& c) {
              c.values[5] = static_cast<float*>(c.keys[5]) + 3;
            }),
            "invalid argument: value_pages[5]: overlaps key_pages");
  EXPECT_EQ(PointedSays([](Pointed& c) { c.keys[0] = c.key.view.data; }),
            "invalid argument: key_pages[0]: overlaps key");
  EXPECT_EQ(PointedSays([](Pointed& c) { c.keys[1] = c.cos.data(); }),
            "invalid argument: key_pages[1]: overlaps cos");
  EXPECT_EQ(PointedSays([](Pointed& c) {
              static void* array[64];
              std::copy(c.values.begin(), c.values.end(), array);
              array[5] = array;
              c.args.pages.value_pages = array;
            }),
            "invalid argument: value_pages[5]: overlaps value_pages");
  EXPECT_EQ(PointedSays([](Pointed& c) { c.args.key_cache.extent[0] = 5; }),
            "invalid argument: value_cache[0]: has another shape than "
            "key_cache (got 1, needs 5)");
  EXPECT_EQ(PointedSays([](Pointed& c) {
              c.args.key_cache.extent[0] = c.args.value_cache.extent[0] = 5;
            }),
            "invalid argument: key_cache[0]: must be 1, as pages have pointers "
            "(got 5, needs 1)");
  EXPECT_EQ(PointedSays([](Pointed& c) {
              c.args.key_cache.data = c.key_cache.view.data;
            }),
            "invalid argument: key_cache: must have no data, as its pages have "
            "pointers");
  EXPECT_EQ(
      PointedSays([](Pointed& c) { c.args.pages.page_table = c.table.data(); }),
      "invalid argument: key_pages: can not be given with page_table");
}

// One page for all sequences, each with a row of its own; and more new rows
// than are compared at a time.
TEST(AppendKvStatus, ManyRowsByPointers) {
  constexpr int64_t kRows = 5000;
  std::vector<float> cache(kRows), rows(kRows, 1.0f);
  std::vector<int32_t> past;
  std::vector<void*> shared, single;
  for (int32_t i = 0; i < kRows; ++i) {
    past.push_back(i);
    shared.push_back(cache.data());
    single.push_back(cache.data() + kRows - 1 - i);
  }
  AppendArgs args;
  args.num_sequences = kRows;
  args.past_lengths = past.data();
  args.key = Bshd<const float>(rows.data(), kRows, 1, 1, 1);
  args.key_cache = Bshd<float>(nullptr, 1, kRows, 1, 1);
  args.pages.num_sequences = kRows;
  args.pages.pages_per_sequence = args.pages.table_stride = 1;
  args.pages.key_pages = shared.data();
  Status status = AppendKv(args);
  EXPECT_TRUE(status.ok()) << ToString(status);
  EXPECT_EQ(cache, rows);
  past[4321] = 17;
  EXPECT_EQ(ToString(AppendKv(args)),
            "invalid argument: key_pages[4321]: has two new rows in one place");
  // Pages of one row each.
  std::fill(cache.begin(), cache.end(), 0.0f);
  std::fill(past.begin(), past.end(), 0);
  args.key_cache = Bshd<float>(nullptr, 1, 1, 1, 1);
  args.pages.key_pages = single.data();
  status = AppendKv(args);
  EXPECT_TRUE(status.ok()) << ToString(status);
  EXPECT_EQ(cache, rows);
  single[4990] = single[3];
  EXPECT_EQ(ToString(AppendKv(args)),
            "invalid argument: key_pages[4990]: has two new rows in one place");
}

// Without heads a pool has no memory, and may say any extent.
TEST(AppendKvStatus, PagesWithoutBound) {
  Call call;
  call.args.value = ConstTensorView();
  call.args.value_cache = TensorView();
  call.args.rope = Rope();
  call.args.key.extent[2] = call.args.key_cache.extent[2] = 0;
  call.args.key_cache.extent[1] = int64_t{1} << 62;
  EXPECT_EQ(ToString(AppendKv(call.args)),
            "overflow: key_cache[1]: has pages that are too long (got "
            "4611686018427387904)");
}

// Places that meet only in a later window of the marks.
TEST(AppendKvStatus, PlacesFarApart) {
  constexpr int64_t kPages = 200000;
  std::vector<int8_t> pool(kPages);
  std::vector<float> rows(2), scale(kPages);
  std::vector<int32_t> table = {3, 150000, 70000, 199999, 3, 70001};
  const std::vector<int32_t> past = {0, 0};
  AppendArgs args;
  args.past_lengths = past.data();
  args.num_sequences = 2;
  args.pages = {table.data(), 2, 3, 3};
  args.key_cache = Bshd(pool.data(), kPages, 1, 1, 1);
  args.key_scale = Bshd(scale.data(), kPages, 1, 1, 1);
  std::vector<float> new_rows(6, 1.0f);
  args.key = Bshd<const float>(new_rows.data(), 2, 3, 1, 1);
  EXPECT_EQ(ToString(AppendKv(args)),
            "invalid argument: page_table[4]: has two new rows in one place "
            "(got 3)");
  table[4] = 150000;
  EXPECT_EQ(ToString(AppendKv(args)),
            "invalid argument: page_table[4]: has two new rows in one place "
            "(got 150000)");
  table[4] = 199999;
  EXPECT_FALSE(AppendKv(args).ok());
  table[4] = 4;
  EXPECT_TRUE(AppendKv(args).ok());
  for (const int32_t page : table)
    EXPECT_EQ(pool[static_cast<size_t>(page)], 127);
}

TEST(AppendKvStatus, Tensors) {
  EXPECT_EQ(Says([](Call& c) {
              c.args.key = ConstTensorView();
              c.args.value = ConstTensorView();
            }),
            "invalid argument: key: is missing, and so is value");
  EXPECT_EQ(Says([](Call& c) { c.args.value = ConstTensorView(); }),
            "invalid argument: value: is missing: its cache is given");
  EXPECT_EQ(Says([](Call& c) { c.args.key.dtype = DType::kI8; }),
            "unsupported: key: must be f32, bf16 or f16");
  EXPECT_EQ(Says([](Call& c) { c.args.key_cache.dtype = DType::kI32; }),
            "unsupported: key_cache: must be f32, bf16, f16 or a quantised "
            "type");
  EXPECT_EQ(Says([](Call& c) { c.args.key_cache.extent[2] = 1; }),
            "invalid argument: key_cache[2]: has other heads or head_dim than "
            "its new rows (got 1, needs 2)");
  EXPECT_EQ(Says([](Call& c) { c.args.value.extent[1] = 4; }),
            "invalid argument: value[1]: has another shape than key (got 4, "
            "needs 5)");
  EXPECT_EQ(Says([](Call& c) { c.args.value_cache.extent[0] = 4; }),
            "invalid argument: value_cache[0]: has another shape than "
            "key_cache (got 4, needs 5)");
  EXPECT_EQ(Says([](Call& c) { c.args.cu_seqlens = nullptr; }),
            "invalid argument: key[0]: must have a batch of num_sequences (got "
            "1, needs 2)");
  EXPECT_EQ(Says([](Call& c) { c.args.pages.page_table = nullptr; }),
            "invalid argument: key_cache[0]: must have a batch of "
            "num_sequences (got 5, needs 2)");
  EXPECT_EQ(Says([](Call& c) { c.args.given_scales = true; }),
            "unsupported: given_scales: is for float8 alone");
  EXPECT_EQ(Says([](Call& c) { c.args.key_cache.stride[1] = 0; }),
            "invalid argument: key_cache: has two elements that share memory");
  EXPECT_EQ(Says([](Call& c) { c.args.value_cache.data = nullptr; }),
            "invalid argument: value_cache: is null");
  EXPECT_EQ(Says([](Call& c) { c.args.rope.rotary_dim = 10; }),
            "invalid argument: rotary_dim: must be 0 to head_dim (got 10, at "
            "most 8)");
  EXPECT_EQ(Says([](Call& c) {
              c.args.key_cache.dtype = DType::kI8;
              c.args.key_cache.stride[3] = 1;
            }),
            "invalid argument: key_scale: is missing: there is nowhere to "
            "write it");
}

TEST(AppendKvStatus, Overlaps) {
  EXPECT_EQ(Says([](Call& c) {
              c.args.key.data = static_cast<float*>(c.key_cache.view.data) + 8;
            }),
            "invalid argument: key_cache: overlaps key");
  EXPECT_EQ(Says([](Call& c) {
              c.args.value_cache.data =
                  static_cast<float*>(c.key_cache.view.data) + 8;
            }),
            "invalid argument: key_cache: overlaps value_cache");
  EXPECT_EQ(Says([](Call& c) {
              c.args.rope.cos = static_cast<float*>(c.key_cache.view.data);
            }),
            "invalid argument: key_cache: overlaps cos");
}

}  // namespace
}  // namespace heed::test
