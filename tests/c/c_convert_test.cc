// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Every field of the C door's structs arrives in the C++ field of its name.
// That none is forgotten is what lib/c/convert.h does not compile without.
#include <gtest/gtest.h>

#include <cstdint>

#include "heed/heed.h"
#include "heed/heed_c.h"
#include "lib/c/convert.h"

namespace heed::test {
namespace {

using internal::Convert;
using internal::HookOfC;

// Numbers, booleans, pointers and views that no other field has.
class Distinct {
 public:
  int32_t Number() { return ++last_; }
  template <typename T>
  const T* Pointer() {
    return reinterpret_cast<const T*>(static_cast<uintptr_t>(64 * Number()));
  }
  heed_tensor Tensor() {
    heed_tensor view = {};
    view.struct_size = sizeof(view);
    view.data = const_cast<char*>(Pointer<char>());
    view.dtype = Number() % 10;
    for (int i = 0; i < 4; ++i) view.extent[i] = Number();
    for (int i = 0; i < 4; ++i) view.stride[i] = Number();
    return view;
  }

 private:
  int32_t last_ = 0;
};

void ExpectSame(const heed_tensor& c, const ConstTensorView& view) {
  EXPECT_EQ(c.data, view.data);
  EXPECT_EQ(c.dtype, static_cast<int32_t>(view.dtype));
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(c.extent[i], view.extent[i]);
    EXPECT_EQ(c.stride[i], view.stride[i]);
  }
}

TEST(CConvert, Params) {
  heed_attention_params from = {sizeof(from), 0.5f, 30.0f, 1, 0, -3, 128, 7, 4};
  AttentionParams to;
  ASSERT_TRUE(Convert(&from, &to).ok());
  EXPECT_EQ(0.5f, to.softmax_scale);
  EXPECT_EQ(30.0f, to.softcap);
  EXPECT_TRUE(to.causal);
  EXPECT_EQ(-3, to.causal_offset);
  EXPECT_EQ(128, to.window_left);
  EXPECT_EQ(7, to.window_right);
  EXPECT_EQ(4, to.sink_size);
}

TEST(CConvert, ShapeThereAndBack) {
  for (int set = 0; set < 4; ++set) {
    Distinct draw;
    heed_attention_shape from = {};
    from.struct_size = sizeof(from);
    from.query_dtype = HEED_BF16;
    from.key_dtype = HEED_I8;
    from.value_dtype = HEED_U4;
    from.out_dtype = HEED_F16;
    for (int64_t* field : {&from.batch, &from.seqlen_q, &from.seqlen_k,
                           &from.num_heads, &from.num_kv_heads, &from.head_dim,
                           &from.head_dim_v, &from.num_sequences}) {
      *field = draw.Number();
    }
    from.key_rotated = set == 0;
    from.value_rotated = set == 1;
    from.scores = set == 2;
    from.shared_prefixes = set == 3;
    AttentionShape to;
    ASSERT_TRUE(Convert(&from, &to).ok());
    EXPECT_EQ(DType::kBF16, to.query_dtype);
    EXPECT_EQ(DType::kI8, to.key_dtype);
    EXPECT_EQ(DType::kU4, to.value_dtype);
    EXPECT_EQ(DType::kF16, to.out_dtype);
    EXPECT_EQ(from.batch, to.batch);
    EXPECT_EQ(from.seqlen_q, to.seqlen_q);
    EXPECT_EQ(from.seqlen_k, to.seqlen_k);
    EXPECT_EQ(from.num_heads, to.num_heads);
    EXPECT_EQ(from.num_kv_heads, to.num_kv_heads);
    EXPECT_EQ(from.head_dim, to.head_dim);
    EXPECT_EQ(from.head_dim_v, to.head_dim_v);
    EXPECT_EQ(from.num_sequences, to.num_sequences);
    EXPECT_EQ(set == 0, to.key_rotated);
    EXPECT_EQ(set == 1, to.value_rotated);
    EXPECT_EQ(set == 2, to.scores);
    EXPECT_EQ(set == 3, to.shared_prefixes);
    heed_attention_shape back = internal::ConvertBack(to);
    back.struct_size = sizeof(back);
    EXPECT_EQ(0, std::memcmp(&from, &back, sizeof(from)));
  }
}

TEST(CConvert, Options) {
  heed_plan_options from = {sizeof(from),       "a", "b", 3, 5,
                            HEED_NUMERICS_SAME, 0};
  PlanOptions to;
  ASSERT_TRUE(Convert(&from, &to).ok());
  EXPECT_STREQ("a", to.target);
  EXPECT_STREQ("b", to.unit);
  EXPECT_EQ(3, to.lane_groups);
  EXPECT_EQ(5, to.decode_rows);
  EXPECT_EQ(Numerics::kSame, to.numerics);

  heed_run_options run = {sizeof(run), 1, 0};
  RunOptions run_to;
  ASSERT_TRUE(Convert(&run, &run_to).ok());
  EXPECT_FALSE(run_to.barriers);
  for (int set = 0; set < 2; ++set) {
    heed_quantize_options quantize = {sizeof(quantize), set, 1 - set};
    QuantizeOptions quantize_to;
    ASSERT_TRUE(Convert(&quantize, &quantize_to).ok());
    EXPECT_EQ(set == 1, quantize_to.rotate);
    EXPECT_EQ(set == 0, quantize_to.given_scale);
  }
}

TEST(CConvert, Executor) {
  int self = 0;
  const auto parallel_for = [](void*, int64_t, void*, heed_task) {};
  heed_executor from = {sizeof(from), &self, parallel_for, 7, 0};
  Executor to = SerialExecutor();
  ASSERT_TRUE(Convert(&from, &to).ok());
  EXPECT_EQ(&self, to.self);
  EXPECT_EQ(from.parallel_for, to.parallel_for);
  EXPECT_EQ(7, to.max_workers);
}

TEST(CConvert, ScoreInputsAndTheirHook) {
  Distinct draw;
  heed_score_inputs from = {};
  from.struct_size = sizeof(from);
  for (heed_tensor* tensor :
       {&from.bias, &from.mask, &from.alibi_slopes, &from.relative_bias,
        &from.query_decay, &from.key_decay, &from.sink_logits,
        &from.prefix_lengths, &from.row_lengths, &from.query_documents,
        &from.key_documents, &from.tree_mask}) {
    *tensor = draw.Tensor();
  }
  heed_score_tile seen = {};
  from.hook = [](void* self, const heed_score_tile* tile) {
    *static_cast<heed_score_tile*>(self) = *tile;
  };
  from.hook_self = &seen;
  HookOfC hook;
  ScoreInputs to;
  ASSERT_TRUE(Convert(&from, &hook, &to).ok());
  ExpectSame(from.bias, to.bias);
  ExpectSame(from.mask, to.mask);
  ExpectSame(from.alibi_slopes, to.alibi_slopes);
  ExpectSame(from.relative_bias, to.relative_bias);
  ExpectSame(from.query_decay, to.query_decay);
  ExpectSame(from.key_decay, to.key_decay);
  ExpectSame(from.sink_logits, to.sink_logits);
  ExpectSame(from.prefix_lengths, to.prefix_lengths);
  ExpectSame(from.row_lengths, to.row_lengths);
  ExpectSame(from.query_documents, to.query_documents);
  ExpectSame(from.key_documents, to.key_documents);
  ExpectSame(from.tree_mask, to.tree_mask);

  ScoreTile tile;
  tile.batch = draw.Number();
  tile.num_keys = draw.Number();
  tile.num_rows = draw.Number();
  tile.key_position = draw.Pointer<int32_t>();
  tile.row_index = draw.Pointer<int32_t>();
  tile.row_head = draw.Pointer<int32_t>();
  tile.key_stride = draw.Number();
  tile.row_stride = draw.Number();
  tile.score = const_cast<float*>(draw.Pointer<float>());
  ASSERT_NE(nullptr, to.hook);
  to.hook(to.hook_self, tile);
  EXPECT_EQ(sizeof(seen), seen.struct_size);
  EXPECT_EQ(tile.batch, seen.batch);
  EXPECT_EQ(tile.num_keys, seen.num_keys);
  EXPECT_EQ(tile.num_rows, seen.num_rows);
  EXPECT_EQ(tile.key_position, seen.key_position);
  EXPECT_EQ(tile.row_index, seen.row_index);
  EXPECT_EQ(tile.row_head, seen.row_head);
  EXPECT_EQ(tile.key_stride, seen.key_stride);
  EXPECT_EQ(tile.row_stride, seen.row_stride);
  EXPECT_EQ(tile.score, seen.score);
}

TEST(CConvert, Args) {
  Distinct draw;
  const heed_key_intervals intervals = {
      sizeof(intervals),       draw.Number(),
      draw.Number(),           draw.Number(),
      draw.Pointer<int64_t>(), draw.Pointer<heed_key_interval>()};
  const heed_kv_scales scales = {sizeof(scales),
                                 draw.Tensor(),
                                 draw.Tensor(),
                                 draw.Tensor(),
                                 draw.Tensor(),
                                 1,
                                 0};
  const heed_ragged ragged = {sizeof(ragged),
                              draw.Number(),
                              draw.Pointer<int32_t>(),
                              draw.Pointer<int32_t>(),
                              draw.Pointer<int32_t>(),
                              draw.Pointer<int64_t>(),
                              draw.Pointer<heed_shared_prefix>(),
                              draw.Number()};
  const heed_pages pages = {
      sizeof(pages),         draw.Pointer<int32_t>(), draw.Number(),
      draw.Number(),         draw.Number(),           draw.Pointer<void*>(),
      draw.Pointer<void*>(), draw.Pointer<void*>(),   draw.Pointer<void*>(),
      draw.Pointer<void*>(), draw.Pointer<void*>()};
  heed_score_inputs scores = {};
  scores.struct_size = sizeof(scores);
  scores.bias = draw.Tensor();
  const heed_attention_args from = {sizeof(from),  draw.Tensor(), draw.Tensor(),
                                    draw.Tensor(), draw.Tensor(), draw.Tensor(),
                                    &intervals,    &scales,       &ragged,
                                    &pages,        &scores};
  HookOfC hook;
  AttentionArgs to;
  ASSERT_TRUE(Convert(&from, &hook, &to).ok());
  ExpectSame(from.query, to.query);
  ExpectSame(from.key, to.key);
  ExpectSame(from.value, to.value);
  ExpectSame(from.out, to.out);
  ExpectSame(from.lse, to.lse);
  EXPECT_EQ(intervals.query_block_size, to.key_intervals.query_block_size);
  EXPECT_EQ(intervals.num_offsets, to.key_intervals.num_offsets);
  EXPECT_EQ(intervals.num_intervals, to.key_intervals.num_intervals);
  EXPECT_EQ(intervals.offsets, to.key_intervals.offsets);
  EXPECT_EQ(static_cast<const void*>(intervals.intervals),
            to.key_intervals.intervals);
  ExpectSame(scales.key_scale, to.kv_scales.key_scale);
  ExpectSame(scales.value_scale, to.kv_scales.value_scale);
  ExpectSame(scales.key_minimum, to.kv_scales.key_minimum);
  ExpectSame(scales.value_minimum, to.kv_scales.value_minimum);
  EXPECT_TRUE(to.kv_scales.key_rotated);
  EXPECT_FALSE(to.kv_scales.value_rotated);
  EXPECT_EQ(ragged.num_sequences, to.ragged.num_sequences);
  EXPECT_EQ(ragged.cu_seqlens_q, to.ragged.cu_seqlens_q);
  EXPECT_EQ(ragged.seqlens_k, to.ragged.seqlens_k);
  EXPECT_EQ(ragged.cu_seqlens_k, to.ragged.cu_seqlens_k);
  EXPECT_EQ(ragged.causal_offset, to.ragged.causal_offset);
  EXPECT_EQ(static_cast<const void*>(ragged.shared_prefixes),
            to.ragged.shared_prefixes);
  EXPECT_EQ(ragged.num_shared_prefixes, to.ragged.num_shared_prefixes);
  EXPECT_EQ(pages.page_table, to.pages.page_table);
  EXPECT_EQ(pages.num_sequences, to.pages.num_sequences);
  EXPECT_EQ(pages.pages_per_sequence, to.pages.pages_per_sequence);
  EXPECT_EQ(pages.table_stride, to.pages.table_stride);
  EXPECT_EQ(pages.key_pages, to.pages.key_pages);
  EXPECT_EQ(pages.value_pages, to.pages.value_pages);
  EXPECT_EQ(pages.key_scale_pages, to.pages.key_scale_pages);
  EXPECT_EQ(pages.value_scale_pages, to.pages.value_scale_pages);
  EXPECT_EQ(pages.key_minimum_pages, to.pages.key_minimum_pages);
  EXPECT_EQ(pages.value_minimum_pages, to.pages.value_minimum_pages);
  ExpectSame(scores.bias, to.scores.bias);
  EXPECT_EQ(nullptr, to.scores.hook);
}

TEST(CConvert, DefaultsAreThoseOfCpp) {
  heed_attention_params params;
  ASSERT_EQ(HEED_OK, heed_attention_params_init(&params, sizeof(params)));
  AttentionParams to;
  to = {9, 9, true, 9, 9, 9, 9};
  ASSERT_TRUE(Convert(&params, &to).ok());
  const AttentionParams made;
  EXPECT_EQ(made.softmax_scale, to.softmax_scale);
  EXPECT_EQ(made.softcap, to.softcap);
  EXPECT_EQ(made.causal, to.causal);
  EXPECT_EQ(made.causal_offset, to.causal_offset);
  EXPECT_EQ(HEED_BOTTOM_RIGHT, to.causal_offset);
  EXPECT_EQ(made.window_left, to.window_left);
  EXPECT_EQ(made.window_right, to.window_right);
  EXPECT_EQ(made.sink_size, to.sink_size);
  heed_plan_options options;
  ASSERT_EQ(HEED_OK, heed_plan_options_init(&options, sizeof(options)));
  PlanOptions options_to;
  options_to = {"x", 1, 1, Numerics::kSame, "x"};
  ASSERT_TRUE(Convert(&options, &options_to).ok());
  EXPECT_EQ(nullptr, options_to.target);
  EXPECT_EQ(0, options_to.lane_groups);
  EXPECT_EQ(-1, options_to.decode_rows);
  EXPECT_EQ(Numerics::kFast, options_to.numerics);
  EXPECT_EQ(nullptr, options_to.unit);
}

}  // namespace
}  // namespace heed::test
