// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What stands beside attention, by the C door: appending with RoPE, states of
// shards, dense masks.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "heed/heed_c.h"
#include "lib/c/convert_cache.h"

namespace heed::test {
namespace {

std::vector<float> Waves(size_t count, float step) {
  std::vector<float> numbers(count);
  for (size_t i = 0; i < count; ++i) {
    numbers[i] = std::sin(step * static_cast<float>(i));
  }
  return numbers;
}

class CCache : public testing::Test {
 protected:
  CCache() { status.struct_size = sizeof(status); }
  std::string Text() const {
    char text[256];
    heed_status_text(&status, text, sizeof(text));
    return text;
  }
  heed_status status = {};
};

// Every view is told from the others by its extents.
TEST_F(CCache, AppendArgsArriveInTheFieldsOfTheirNames) {
  int64_t last = 0;
  float memory[4] = {};
  int32_t numbers[4] = {};
  heed_append_args from = {};
  from.struct_size = sizeof(from);
  const auto draw = [&] {
    heed_tensor view = heed_bshd(memory, HEED_F32, 1, 1, 1, ++last);
    return view;
  };
  for (heed_tensor* tensor :
       {&from.key, &from.value, &from.key_cache, &from.value_cache,
        &from.key_scale, &from.value_scale, &from.key_minimum,
        &from.value_minimum}) {
    *tensor = draw();
  }
  heed_pages pages = {};
  pages.struct_size = sizeof(pages);
  pages.table_stride = 5;
  const heed_rope rope = {sizeof(rope), 6, 7, memory, memory + 1, 1, 0};
  from.num_sequences = 9;
  from.past_lengths = numbers;
  from.cu_seqlens = numbers + 1;
  from.rope_positions = numbers + 2;
  from.pages = &pages;
  from.rope = &rope;
  for (int set = 0; set < 3; ++set) {
    from.given_scales = set == 0;
    from.key_rotated = set == 1;
    from.value_rotated = set == 2;
    AppendArgs to;
    ASSERT_TRUE(internal::Convert(&from, &to).ok());
    EXPECT_EQ(set == 0, to.given_scales);
    EXPECT_EQ(set == 1, to.key_rotated);
    EXPECT_EQ(set == 2, to.value_rotated);
    int64_t expected = 0;
    EXPECT_EQ(++expected, to.key.head_dim());
    EXPECT_EQ(++expected, to.value.head_dim());
    EXPECT_EQ(++expected, to.key_cache.head_dim());
    EXPECT_EQ(++expected, to.value_cache.head_dim());
    EXPECT_EQ(++expected, to.key_scale.head_dim());
    EXPECT_EQ(++expected, to.value_scale.head_dim());
    EXPECT_EQ(++expected, to.key_minimum.head_dim());
    EXPECT_EQ(++expected, to.value_minimum.head_dim());
    EXPECT_EQ(9, to.num_sequences);
    EXPECT_EQ(numbers, to.past_lengths);
    EXPECT_EQ(numbers + 1, to.cu_seqlens);
    EXPECT_EQ(numbers + 2, to.rope_positions);
    EXPECT_EQ(5, to.pages.table_stride);
    EXPECT_EQ(6, to.rope.rotary_dim);
    EXPECT_EQ(7, to.rope.num_positions);
    EXPECT_EQ(memory, to.rope.cos);
    EXPECT_EQ(memory + 1, to.rope.sin);
    EXPECT_TRUE(to.rope.interleaved);
  }
}

TEST_F(CCache, AppendsToPagesWithRope) {
  constexpr int64_t kTokens = 5, kDim = 8, kPageSize = 4;
  const std::vector<float> rows = Waves(kTokens * kDim, 0.37f);
  std::vector<double> frequency(kDim / 2);
  std::vector<float> cos(16 * kDim / 2), sin(16 * kDim / 2);
  ASSERT_EQ(HEED_OK,
            heed_rope_frequencies(1e4, kDim, frequency.data(), &status));
  ASSERT_EQ(HEED_OK, heed_fill_rope_tables(frequency.data(), kDim, 0, 16,
                                           cos.data(), sin.data(), &status));
  const heed_rope rope = {sizeof(rope), kDim, 16, cos.data(), sin.data(), 0, 0};
  const int32_t positions[kTokens] = {6, 7, 8, 9, 10};
  std::vector<float> turned(rows.size());
  const heed_tensor key = heed_bshd(rows.data(), HEED_F32, 1, kTokens, 1, kDim);
  const heed_tensor to =
      heed_bshd(turned.data(), HEED_F32, 1, kTokens, 1, kDim);
  ASSERT_EQ(HEED_OK,
            heed_apply_rope(&key, positions, &rope, &to, nullptr, &status))
      << Text();
  EXPECT_NE(rows, turned);

  std::vector<float> pool(3 * kPageSize * kDim, -7.0f);
  const int32_t table[3] = {99, 2, 0}, past[1] = {6};
  heed_pages pages = {};
  pages.struct_size = sizeof(pages);
  pages.page_table = table;
  pages.num_sequences = 1;
  pages.pages_per_sequence = pages.table_stride = 3;
  heed_append_args args = {};
  args.struct_size = sizeof(args);
  args.key = key;
  args.key_cache = heed_bshd(pool.data(), HEED_F32, 3, kPageSize, 1, kDim);
  args.num_sequences = 1;
  args.past_lengths = past;
  args.pages = &pages;
  args.rope = &rope;
  ASSERT_EQ(HEED_OK, heed_append_kv(&args, nullptr, &status)) << Text();
  for (int64_t i = 0; i < kTokens; ++i) {
    const int64_t position = past[0] + i;
    const int64_t row =
        table[position / kPageSize] * kPageSize + position % kPageSize;
    for (int64_t c = 0; c < kDim; ++c) {
      EXPECT_EQ(turned[static_cast<size_t>(i * kDim + c)],
                pool[static_cast<size_t>(row * kDim + c)]);
    }
  }
  const int32_t outside[3] = {99, 3, 0};
  pages.page_table = outside;
  EXPECT_EQ(HEED_INVALID_ARGUMENT, heed_append_kv(&args, nullptr, &status));
  EXPECT_STREQ("page_table", status.argument) << Text();
  EXPECT_EQ(1, status.index);
  // The same with pointers to pages.
  const std::vector<float> want = pool;
  std::fill(pool.begin(), pool.end(), -7.0f);
  void* pointers[3] = {nullptr, pool.data() + 2 * kPageSize * kDim,
                       pool.data()};
  pages.page_table = nullptr;
  pages.key_pages = pointers;
  args.key_cache = heed_bshd(nullptr, HEED_F32, 1, kPageSize, 1, kDim);
  ASSERT_EQ(HEED_OK, heed_append_kv(&args, nullptr, &status)) << Text();
  EXPECT_EQ(want, pool);
  pointers[1] = nullptr;
  EXPECT_EQ(HEED_INVALID_ARGUMENT, heed_append_kv(&args, nullptr, &status));
  EXPECT_STREQ("key_pages", status.argument) << Text();
  EXPECT_EQ(1, status.index);
}

TEST_F(CCache, StatesOfShards) {
  constexpr int64_t kQueries = 3, kKeys = 9000, kDim = 8, kFirst = 4096;
  const std::vector<float> q = Waves(kQueries * kDim, 0.9f);
  const std::vector<float> k = Waves(kKeys * kDim, 0.77f);
  const std::vector<float> v = Waves(kKeys * kDim, 0.55f);
  std::vector<float> whole(q.size()), merged(q.size());
  heed_attention_params params;
  heed_attention_params_init(&params, sizeof(params));
  heed_attention_args args = {};
  args.struct_size = sizeof(args);
  args.query = heed_thd(q.data(), HEED_F32, kQueries, 1, kDim);
  args.key = heed_thd(k.data(), HEED_F32, kKeys, 1, kDim);
  args.value = heed_thd(v.data(), HEED_F32, kKeys, 1, kDim);
  args.out = heed_thd(whole.data(), HEED_F32, kQueries, 1, kDim);
  ASSERT_EQ(HEED_OK, heed_attention(&params, &args, nullptr, &status));

  heed_attention_shape shape = {};
  shape.struct_size = sizeof(shape);
  ASSERT_EQ(HEED_OK, heed_shape_of(&args, &shape, &status));
  std::vector<uint64_t> plan_memory(heed_plan_bytes() / 8 + 1);
  heed_plan* const plan = reinterpret_cast<heed_plan*>(plan_memory.data());
  ASSERT_EQ(HEED_OK, heed_make_plan(&params, &shape, nullptr, plan,
                                    heed_plan_bytes(), &status));
  uint64_t bytes = 0;
  ASSERT_EQ(HEED_OK, heed_workspace_bytes(plan, 1, &bytes, &status));
  std::vector<char> memory(bytes + 64);
  char* workspace = memory.data();
  workspace += 64 - reinterpret_cast<uintptr_t>(workspace) % 64;

  std::vector<float> total_memory(2 * kQueries * (2 + kDim));
  const heed_tensor total_view =
      heed_bshd(total_memory.data(), HEED_F32, 2, kQueries, 1, 2 + kDim);
  heed_running_states total = {};
  total.struct_size = sizeof(total);
  ASSERT_EQ(HEED_OK, heed_init_states(&total_view, &total, &status)) << Text();
  for (const int64_t first : {int64_t{0}, kFirst}) {
    const int64_t keys = first == 0 ? kFirst : kKeys - kFirst;
    const heed_shard shard = {sizeof(shard), first, 0, 0};
    int64_t count = 0;
    ASSERT_EQ(HEED_OK, heed_num_states(&shard, keys, &count, &status));
    EXPECT_EQ(first == 0 ? 1 : 2, count);
    std::vector<float> state_memory(count * kQueries * (2 + kDim));
    const heed_tensor states =
        heed_bshd(state_memory.data(), HEED_F32, count, kQueries, 1, 2 + kDim);
    heed_attention_args part = args;
    part.key = heed_tokens_of(args.key, first, keys);
    part.value = heed_tokens_of(args.value, first, keys);
    part.out = {};
    ASSERT_EQ(HEED_OK, heed_run_states(plan, &part, &shard, workspace, bytes,
                                       nullptr, &states, &status))
        << Text();
    ASSERT_EQ(HEED_OK,
              heed_append_states(&states, &shard, keys, &total, &status))
        << Text();
  }
  EXPECT_LE(kKeys, total.next_key);
  const heed_tensor out = heed_thd(merged.data(), HEED_F32, kQueries, 1, kDim);
  ASSERT_EQ(HEED_OK, heed_finish_states(&total, 0, &out, nullptr, &status))
      << Text();
  EXPECT_EQ(whole, merged);
}

TEST_F(CCache, RecognisesAMask) {
  const float hidden = -std::numeric_limits<float>::infinity();
  std::vector<float> mask(4 * 6, 0.0f);
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 6; ++j) {
      if (j > i + 2) mask[static_cast<size_t>(i * 6 + j)] = hidden;
    }
  }
  const heed_tensor view = heed_bhsd(mask.data(), HEED_F32, 1, 1, 4, 6);
  heed_recognised_mask found = {};
  found.struct_size = sizeof(found);
  ASSERT_EQ(HEED_OK, heed_recognise_mask(&view, nullptr, &found, &status))
      << Text();
  EXPECT_EQ(HEED_MASK_RULE, found.form);
  EXPECT_EQ(1, found.causal);
  EXPECT_EQ(2, found.causal_offset);
  EXPECT_EQ(-1, found.window_left);
  mask[0] = hidden;  // a hole
  std::vector<int32_t> begin(4), end(4), lengths(1);
  const heed_mask_options options = {
      sizeof(options), begin.data(), end.data(), lengths.data(), 0, 0};
  ASSERT_EQ(HEED_OK, heed_recognise_mask(&view, &options, &found, &status));
  EXPECT_EQ(HEED_MASK_RANGES, found.form);
  EXPECT_EQ((std::vector<int32_t>{1, 0, 0, 0}), begin);
  EXPECT_EQ((std::vector<int32_t>{3, 4, 5, 6}), end);
}

TEST_F(CCache, NullPointers) {
  float memory[64] = {};
  const heed_tensor t = heed_bshd(memory, HEED_F32, 1, 1, 1, 4);
  const heed_shard shard = {sizeof(shard), 0, 0, 0};
  heed_running_states total = {};
  total.struct_size = sizeof(total);
  const auto expect = [&](int32_t code, const char* argument) {
    EXPECT_EQ(HEED_INVALID_ARGUMENT, code) << argument;
    EXPECT_STREQ(argument, status.argument) << Text();
  };
  expect(heed_append_kv(nullptr, nullptr, &status), "args");
  expect(heed_apply_rope(nullptr, nullptr, nullptr, &t, nullptr, &status),
         "source");
  expect(heed_apply_rope(&t, nullptr, nullptr, nullptr, nullptr, &status),
         "to");
  int64_t count = 0;
  expect(heed_num_states(nullptr, 1, &count, &status), "shard");
  expect(heed_num_states(&shard, 1, nullptr, &status), "count");
  expect(heed_num_states(&shard, -1, &count, &status), "num_keys");
  expect(heed_run_states(nullptr, nullptr, nullptr, nullptr, 0, nullptr,
                         nullptr, &status),
         "plan");
  expect(heed_init_states(nullptr, &total, &status), "memory");
  expect(heed_init_states(&t, nullptr, &status), "total");
  expect(heed_append_states(nullptr, &shard, 1, &total, &status), "states");
  expect(heed_append_states(&t, nullptr, 1, &total, &status), "shard");
  expect(heed_append_states(&t, &shard, 1, nullptr, &status), "total");
  expect(heed_finish_states(nullptr, 0, &t, nullptr, &status), "total");
  expect(heed_finish_states(&total, 2, &t, nullptr, &status), "value_rotated");
  expect(heed_finish_states(&total, 0, nullptr, nullptr, &status), "out");
  heed_recognised_mask found = {};
  found.struct_size = sizeof(found);
  expect(heed_recognise_mask(nullptr, nullptr, &found, &status), "mask");
  expect(heed_recognise_mask(&t, nullptr, nullptr, &status), "recognised");
  expect(heed_rope_frequencies(1e4, 4, nullptr, &status), "frequency");
}

}  // namespace
}  // namespace heed::test
