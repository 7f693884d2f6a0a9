// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The layouts and numbers of heed_c.h, which hosts have compiled in: they
// change only by a field at the end of a struct. Holes are the compiler's to
// find
// (-Wpadded).
#include <heed/heed_c.h>
#include <stddef.h>
#include <stdio.h>

static int failed = 0;

static void expect(const char* what, size_t got, size_t recorded) {
  if (got == recorded) return;
  printf("%s is %lu, recorded is %lu\n", what, (unsigned long)got,
         (unsigned long)recorded);
  failed = 1;
}

#define SIZE(type, bytes) expect("sizeof " #type, sizeof(type), bytes)
#define NUMBER(name, number) expect(#name, (size_t)(name), number)
#define FIELD(type, field, at) \
  expect(#type "." #field, offsetof(type, field), at)

static void numbers(void) {
  NUMBER(HEED_OK, 0);
  NUMBER(HEED_INVALID_ARGUMENT, 1);
  NUMBER(HEED_UNSUPPORTED, 2);
  NUMBER(HEED_OVERFLOW, 3);
  NUMBER(HEED_WORKSPACE, 4);
  NUMBER(HEED_OUT_OF_MEMORY, 5);
  NUMBER(HEED_INTERNAL, 6);
  NUMBER(HEED_BOUND_AT_MOST, 0);
  NUMBER(HEED_BOUND_AT_LEAST, 1);
  NUMBER(HEED_BOUND_NEEDS, 2);
  NUMBER(HEED_BOUND_OVER, 3);
  NUMBER(HEED_BOUND_OF, 4);
  NUMBER(HEED_BOUND_SAID, 5);
  NUMBER(HEED_F32, 0);
  NUMBER(HEED_BF16, 1);
  NUMBER(HEED_F16, 2);
  NUMBER(HEED_I8, 3);
  NUMBER(HEED_F8_E4M3, 4);
  NUMBER(HEED_F8_E5M2, 5);
  NUMBER(HEED_U4, 6);
  NUMBER(HEED_BOOL, 7);
  NUMBER(HEED_I32, 8);
  NUMBER(HEED_U64, 9);
  NUMBER(HEED_NUMERICS_SAME, 0);
  NUMBER(HEED_NUMERICS_FAST, 1);
  NUMBER(HEED_MASK_ALL, 0);
  NUMBER(HEED_MASK_RULE, 1);
  NUMBER(HEED_MASK_LENGTHS, 2);
  NUMBER(HEED_MASK_RANGES, 3);
  NUMBER(HEED_MASK_OTHER, 4);
}

static void results(void) {
  SIZE(heed_status, 80);
  FIELD(heed_status, struct_size, 0);
  FIELD(heed_status, code, 8);
  FIELD(heed_status, bound_kind, 12);
  FIELD(heed_status, argument, 16);
  FIELD(heed_status, message, 24);
  FIELD(heed_status, unit, 32);
  FIELD(heed_status, index, 40);
  FIELD(heed_status, value, 48);
  FIELD(heed_status, bound, 56);
  FIELD(heed_status, has_index, 64);
  FIELD(heed_status, has_value, 68);
  FIELD(heed_status, has_bound, 72);
  FIELD(heed_status, reserved, 76);
  SIZE(heed_target_info, 48);
  FIELD(heed_target_info, name, 8);
  FIELD(heed_target_info, needs, 16);
  FIELD(heed_target_info, reason, 24);
  FIELD(heed_target_info, usable, 32);
  FIELD(heed_target_info, vector_bytes, 36);
  FIELD(heed_target_info, same_bits, 40);
  SIZE(heed_unit_info, 56);
  FIELD(heed_unit_info, name, 8);
  FIELD(heed_unit_info, target, 16);
  FIELD(heed_unit_info, serves, 24);
  FIELD(heed_unit_info, needs, 32);
  FIELD(heed_unit_info, reason, 40);
  FIELD(heed_unit_info, usable, 48);
  FIELD(heed_unit_info, used, 52);
}

static void tensors(void) {
  SIZE(heed_tensor, 88);
  FIELD(heed_tensor, data, 8);
  FIELD(heed_tensor, dtype, 16);
  FIELD(heed_tensor, reserved, 20);
  FIELD(heed_tensor, extent, 24);
  FIELD(heed_tensor, stride, 56);
  SIZE(heed_attention_args, 488);
  FIELD(heed_attention_args, query, 8);
  FIELD(heed_attention_args, key, 96);
  FIELD(heed_attention_args, value, 184);
  FIELD(heed_attention_args, out, 272);
  FIELD(heed_attention_args, lse, 360);
  FIELD(heed_attention_args, key_intervals, 448);
  FIELD(heed_attention_args, kv_scales, 456);
  FIELD(heed_attention_args, ragged, 464);
  FIELD(heed_attention_args, pages, 472);
  FIELD(heed_attention_args, scores, 480);
}

static void groups(void) {
  SIZE(heed_key_interval, 8);
  FIELD(heed_key_interval, end, 4);
  SIZE(heed_key_intervals, 48);
  FIELD(heed_key_intervals, query_block_size, 8);
  FIELD(heed_key_intervals, num_offsets, 16);
  FIELD(heed_key_intervals, num_intervals, 24);
  FIELD(heed_key_intervals, offsets, 32);
  FIELD(heed_key_intervals, intervals, 40);
  SIZE(heed_kv_scales, 368);
  FIELD(heed_kv_scales, key_scale, 8);
  FIELD(heed_kv_scales, value_scale, 96);
  FIELD(heed_kv_scales, key_minimum, 184);
  FIELD(heed_kv_scales, value_minimum, 272);
  FIELD(heed_kv_scales, key_rotated, 360);
  FIELD(heed_kv_scales, value_rotated, 364);
  SIZE(heed_shared_prefix, 12);
  FIELD(heed_shared_prefix, first_sequence, 0);
  FIELD(heed_shared_prefix, num_sequences, 4);
  FIELD(heed_shared_prefix, num_keys, 8);
  SIZE(heed_ragged, 64);
  FIELD(heed_ragged, num_sequences, 8);
  FIELD(heed_ragged, cu_seqlens_q, 16);
  FIELD(heed_ragged, seqlens_k, 24);
  FIELD(heed_ragged, cu_seqlens_k, 32);
  FIELD(heed_ragged, causal_offset, 40);
  FIELD(heed_ragged, shared_prefixes, 48);
  FIELD(heed_ragged, num_shared_prefixes, 56);
  SIZE(heed_pages, 88);
  FIELD(heed_pages, page_table, 8);
  FIELD(heed_pages, num_sequences, 16);
  FIELD(heed_pages, pages_per_sequence, 24);
  FIELD(heed_pages, table_stride, 32);
  FIELD(heed_pages, key_pages, 40);
  FIELD(heed_pages, value_pages, 48);
  FIELD(heed_pages, key_scale_pages, 56);
  FIELD(heed_pages, value_scale_pages, 64);
  FIELD(heed_pages, key_minimum_pages, 72);
  FIELD(heed_pages, value_minimum_pages, 80);
}

static void scores(void) {
  SIZE(heed_score_tile, 72);
  FIELD(heed_score_tile, batch, 8);
  FIELD(heed_score_tile, num_keys, 16);
  FIELD(heed_score_tile, num_rows, 20);
  FIELD(heed_score_tile, key_position, 24);
  FIELD(heed_score_tile, row_index, 32);
  FIELD(heed_score_tile, row_head, 40);
  FIELD(heed_score_tile, key_stride, 48);
  FIELD(heed_score_tile, row_stride, 56);
  FIELD(heed_score_tile, score, 64);
  SIZE(heed_score_inputs, 1080);
  FIELD(heed_score_inputs, bias, 8);
  FIELD(heed_score_inputs, mask, 96);
  FIELD(heed_score_inputs, alibi_slopes, 184);
  FIELD(heed_score_inputs, relative_bias, 272);
  FIELD(heed_score_inputs, query_decay, 360);
  FIELD(heed_score_inputs, key_decay, 448);
  FIELD(heed_score_inputs, sink_logits, 536);
  FIELD(heed_score_inputs, prefix_lengths, 624);
  FIELD(heed_score_inputs, row_lengths, 712);
  FIELD(heed_score_inputs, query_documents, 800);
  FIELD(heed_score_inputs, key_documents, 888);
  FIELD(heed_score_inputs, tree_mask, 976);
  FIELD(heed_score_inputs, hook, 1064);
  FIELD(heed_score_inputs, hook_self, 1072);
}

static void plans(void) {
  SIZE(heed_attention_params, 56);
  FIELD(heed_attention_params, softmax_scale, 8);
  FIELD(heed_attention_params, softcap, 12);
  FIELD(heed_attention_params, causal, 16);
  FIELD(heed_attention_params, causal_offset, 24);
  FIELD(heed_attention_params, window_left, 32);
  FIELD(heed_attention_params, window_right, 40);
  FIELD(heed_attention_params, sink_size, 48);
  SIZE(heed_attention_shape, 104);
  FIELD(heed_attention_shape, query_dtype, 8);
  FIELD(heed_attention_shape, key_dtype, 12);
  FIELD(heed_attention_shape, value_dtype, 16);
  FIELD(heed_attention_shape, out_dtype, 20);
  FIELD(heed_attention_shape, batch, 24);
  FIELD(heed_attention_shape, seqlen_q, 32);
  FIELD(heed_attention_shape, seqlen_k, 40);
  FIELD(heed_attention_shape, num_heads, 48);
  FIELD(heed_attention_shape, num_kv_heads, 56);
  FIELD(heed_attention_shape, head_dim, 64);
  FIELD(heed_attention_shape, head_dim_v, 72);
  FIELD(heed_attention_shape, num_sequences, 80);
  FIELD(heed_attention_shape, key_rotated, 88);
  FIELD(heed_attention_shape, value_rotated, 92);
  FIELD(heed_attention_shape, scores, 96);
  FIELD(heed_attention_shape, shared_prefixes, 100);
  SIZE(heed_plan_options, 40);
  FIELD(heed_plan_options, target, 8);
  FIELD(heed_plan_options, unit, 16);
  FIELD(heed_plan_options, lane_groups, 24);
  FIELD(heed_plan_options, decode_rows, 28);
  FIELD(heed_plan_options, numerics, 32);
  SIZE(heed_executor, 32);
  FIELD(heed_executor, self, 8);
  FIELD(heed_executor, parallel_for, 16);
  FIELD(heed_executor, max_workers, 24);
  SIZE(heed_run_options, 16);
  FIELD(heed_run_options, no_barriers, 8);
  SIZE(heed_quantize_options, 16);
  FIELD(heed_quantize_options, rotate, 8);
  FIELD(heed_quantize_options, given_scale, 12);
}

static void caches(void) {
  SIZE(heed_rope, 48);
  FIELD(heed_rope, rotary_dim, 8);
  FIELD(heed_rope, num_positions, 16);
  FIELD(heed_rope, cos, 24);
  FIELD(heed_rope, sin, 32);
  FIELD(heed_rope, interleaved, 40);
  SIZE(heed_append_args, 776);
  FIELD(heed_append_args, key, 8);
  FIELD(heed_append_args, value, 96);
  FIELD(heed_append_args, key_cache, 184);
  FIELD(heed_append_args, value_cache, 272);
  FIELD(heed_append_args, key_scale, 360);
  FIELD(heed_append_args, value_scale, 448);
  FIELD(heed_append_args, key_minimum, 536);
  FIELD(heed_append_args, value_minimum, 624);
  FIELD(heed_append_args, num_sequences, 712);
  FIELD(heed_append_args, past_lengths, 720);
  FIELD(heed_append_args, cu_seqlens, 728);
  FIELD(heed_append_args, rope_positions, 736);
  FIELD(heed_append_args, pages, 744);
  FIELD(heed_append_args, rope, 752);
  FIELD(heed_append_args, given_scales, 760);
  FIELD(heed_append_args, key_rotated, 764);
  FIELD(heed_append_args, value_rotated, 768);
  SIZE(heed_shard, 24);
  FIELD(heed_shard, first_key, 8);
  FIELD(heed_shard, whole_groups, 16);
  SIZE(heed_running_states, 104);
  FIELD(heed_running_states, memory, 8);
  FIELD(heed_running_states, next_key, 96);
}

static void masks(void) {
  SIZE(heed_mask_options, 40);
  FIELD(heed_mask_options, begin, 8);
  FIELD(heed_mask_options, end, 16);
  FIELD(heed_mask_options, seqlens_k, 24);
  FIELD(heed_mask_options, lowest_hides_rows, 32);
  SIZE(heed_recognised_mask, 32);
  FIELD(heed_recognised_mask, form, 8);
  FIELD(heed_recognised_mask, causal, 12);
  FIELD(heed_recognised_mask, causal_offset, 16);
  FIELD(heed_recognised_mask, window_left, 24);
}

int main(void) {
  if (sizeof(void*) != 8) return 0;
  numbers();
  results();
  tensors();
  groups();
  scores();
  plans();
  caches();
  masks();
  return failed;
}
