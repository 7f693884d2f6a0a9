// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The structs of the C door as those of C++. Each conversion names all fields
// of the C++ struct, so that one that is added there does not compile here
// until it has its place.
#ifndef HEED_LIB_C_CONVERT_H_
#define HEED_LIB_C_CONVERT_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "heed/attention.h"
#include "heed/heed_c.h"
#include "lib/c/structs.h"

namespace heed::internal {

// What a hook in C++ calls: the caller's, which must outlive the run.
struct HookOfC {
  heed_score_hook hook = nullptr;
  void* self = nullptr;
};

inline void CallHookOfC(void* self, const ScoreTile& tile) {
  const auto& [batch, num_keys, num_rows, key_position, row_index, row_head,
               key_stride, row_stride, score] = tile;
  heed_score_tile to = {};
  to.struct_size = sizeof(to);
  to.batch = batch;
  to.num_keys = num_keys;
  to.num_rows = num_rows;
  to.key_position = key_position;
  to.row_index = row_index;
  to.row_head = row_head;
  to.key_stride = key_stride;
  to.row_stride = row_stride;
  to.score = score;
  const HookOfC& hook = *static_cast<const HookOfC*>(self);
  hook.hook(hook.self, &to);
}

inline Status Convert(const heed_attention_params* params,
                      AttentionParams* to) {
  heed_attention_params from;
  const Status status = ReadStruct(params, "params", &from);
  if (!status.ok()) return status;
  auto& [softmax_scale, softcap, causal, causal_offset, window_left,
         window_right, sink_size] = *to;
  softmax_scale = from.softmax_scale;
  softcap = from.softcap;
  causal_offset = from.causal_offset;
  window_left = from.window_left;
  window_right = from.window_right;
  sink_size = from.sink_size;
  return FieldReader()
      .Bool(from.causal, "causal", &causal)
      .Reserved(from.reserved, "params")
      .status();
}

inline Status Convert(const heed_attention_shape* shape, AttentionShape* to) {
  heed_attention_shape from;
  const Status status = ReadStruct(shape, "shape", &from);
  if (!status.ok()) return status;
  auto& [query_dtype, key_dtype, value_dtype, out_dtype, batch, seqlen_q,
         seqlen_k, num_heads, num_kv_heads, head_dim, head_dim_v, key_rotated,
         value_rotated, num_sequences, scores, shared_prefixes] = *to;
  query_dtype = static_cast<DType>(from.query_dtype);
  key_dtype = static_cast<DType>(from.key_dtype);
  value_dtype = static_cast<DType>(from.value_dtype);
  out_dtype = static_cast<DType>(from.out_dtype);
  batch = from.batch;
  seqlen_q = from.seqlen_q;
  seqlen_k = from.seqlen_k;
  num_heads = from.num_heads;
  num_kv_heads = from.num_kv_heads;
  head_dim = from.head_dim;
  head_dim_v = from.head_dim_v;
  num_sequences = from.num_sequences;
  return FieldReader()
      .Bool(from.key_rotated, "key_rotated", &key_rotated)
      .Bool(from.value_rotated, "value_rotated", &value_rotated)
      .Bool(from.scores, "scores", &scores)
      .Bool(from.shared_prefixes, "shared_prefixes", &shared_prefixes)
      .status();
}

inline heed_attention_shape ConvertBack(const AttentionShape& from) {
  const auto& [query_dtype, key_dtype, value_dtype, out_dtype, batch, seqlen_q,
               seqlen_k, num_heads, num_kv_heads, head_dim, head_dim_v,
               key_rotated, value_rotated, num_sequences, scores,
               shared_prefixes] = from;
  heed_attention_shape to = {};
  to.query_dtype = static_cast<int32_t>(query_dtype);
  to.key_dtype = static_cast<int32_t>(key_dtype);
  to.value_dtype = static_cast<int32_t>(value_dtype);
  to.out_dtype = static_cast<int32_t>(out_dtype);
  to.batch = batch;
  to.seqlen_q = seqlen_q;
  to.seqlen_k = seqlen_k;
  to.num_heads = num_heads;
  to.num_kv_heads = num_kv_heads;
  to.head_dim = head_dim;
  to.head_dim_v = head_dim_v;
  to.num_sequences = num_sequences;
  to.key_rotated = key_rotated;
  to.value_rotated = value_rotated;
  to.scores = scores;
  to.shared_prefixes = shared_prefixes;
  return to;
}

inline Status Convert(const heed_plan_options* options, PlanOptions* to) {
  if (options == nullptr) return Status();
  heed_plan_options from;
  const Status status = ReadStruct(options, "options", &from);
  if (!status.ok()) return status;
  auto& [target, lane_groups, decode_rows, numerics, unit] = *to;
  target = from.target;
  lane_groups = from.lane_groups;
  decode_rows = from.decode_rows;
  unit = from.unit;
  if (from.numerics != HEED_NUMERICS_SAME &&
      from.numerics != HEED_NUMERICS_FAST) {
    return Status(StatusCode::kUnsupported, "numerics", "is not known")
        .WithValue(from.numerics);
  }
  numerics = static_cast<Numerics>(from.numerics);
  return FieldReader().Reserved(from.reserved, "options").status();
}

static_assert(sizeof(heed_key_interval) == sizeof(KeyInterval) &&
              offsetof(heed_key_interval, end) == offsetof(KeyInterval, end));

inline Status Convert(const heed_key_intervals* intervals_in_c,
                      KeyIntervals* to) {
  if (intervals_in_c == nullptr) return Status();
  heed_key_intervals from;
  const Status status = ReadStruct(intervals_in_c, "key_intervals", &from);
  if (!status.ok()) return status;
  auto& [query_block_size, num_offsets, num_intervals, offsets, intervals] =
      *to;
  query_block_size = from.query_block_size;
  num_offsets = from.num_offsets;
  num_intervals = from.num_intervals;
  offsets = from.offsets;
  intervals = reinterpret_cast<const KeyInterval*>(from.intervals);
  return Status();
}

inline Status Convert(const heed_kv_scales* scales, KvScales* to) {
  if (scales == nullptr) return Status();
  heed_kv_scales from;
  const Status status = ReadStruct(scales, "kv_scales", &from);
  if (!status.ok()) return status;
  auto& [key_scale, value_scale, key_minimum, value_minimum, key_rotated,
         value_rotated] = *to;
  return FieldReader()
      .Tensor(from.key_scale, "key_scale", &key_scale)
      .Tensor(from.value_scale, "value_scale", &value_scale)
      .Tensor(from.key_minimum, "key_minimum", &key_minimum)
      .Tensor(from.value_minimum, "value_minimum", &value_minimum)
      .Bool(from.key_rotated, "key_rotated", &key_rotated)
      .Bool(from.value_rotated, "value_rotated", &value_rotated)
      .status();
}

static_assert(sizeof(heed_shared_prefix) == sizeof(SharedPrefix) &&
              offsetof(heed_shared_prefix, num_sequences) ==
                  offsetof(SharedPrefix, num_sequences) &&
              offsetof(heed_shared_prefix, num_keys) ==
                  offsetof(SharedPrefix, num_keys));

inline Status Convert(const heed_ragged* ragged, Ragged* to) {
  if (ragged == nullptr) return Status();
  heed_ragged from;
  const Status status = ReadStruct(ragged, "ragged", &from);
  if (!status.ok()) return status;
  auto& [num_sequences, cu_seqlens_q, seqlens_k, cu_seqlens_k, causal_offset,
         shared_prefixes, num_shared_prefixes] = *to;
  num_sequences = from.num_sequences;
  cu_seqlens_q = from.cu_seqlens_q;
  seqlens_k = from.seqlens_k;
  cu_seqlens_k = from.cu_seqlens_k;
  causal_offset = from.causal_offset;
  shared_prefixes = reinterpret_cast<const SharedPrefix*>(from.shared_prefixes);
  num_shared_prefixes = from.num_shared_prefixes;
  return Status();
}

inline Status Convert(const heed_pages* pages, Pages* to) {
  if (pages == nullptr) return Status();
  heed_pages from;
  const Status status = ReadStruct(pages, "pages", &from);
  if (!status.ok()) return status;
  auto& [page_table, num_sequences, pages_per_sequence, table_stride, key_pages,
         value_pages, key_scale_pages, value_scale_pages, key_minimum_pages,
         value_minimum_pages] = *to;
  page_table = from.page_table;
  num_sequences = from.num_sequences;
  pages_per_sequence = from.pages_per_sequence;
  table_stride = from.table_stride;
  key_pages = from.key_pages;
  value_pages = from.value_pages;
  key_scale_pages = from.key_scale_pages;
  value_scale_pages = from.value_scale_pages;
  key_minimum_pages = from.key_minimum_pages;
  value_minimum_pages = from.value_minimum_pages;
  return Status();
}

inline Status Convert(const heed_score_inputs* scores, HookOfC* hook_of_c,
                      ScoreInputs* to) {
  if (scores == nullptr) return Status();
  heed_score_inputs from;
  const Status status = ReadStruct(scores, "scores", &from);
  if (!status.ok()) return status;
  auto& [bias, mask, alibi_slopes, relative_bias, query_decay, key_decay,
         sink_logits, prefix_lengths, row_lengths, query_documents,
         key_documents, tree_mask, hook, hook_self] = *to;
  if (from.hook != nullptr) {
    *hook_of_c = {from.hook, from.hook_self};
    hook = &CallHookOfC;
    hook_self = hook_of_c;
  }
  return FieldReader()
      .Tensor(from.bias, "bias", &bias)
      .Tensor(from.mask, "mask", &mask)
      .Tensor(from.alibi_slopes, "alibi_slopes", &alibi_slopes)
      .Tensor(from.relative_bias, "relative_bias", &relative_bias)
      .Tensor(from.query_decay, "query_decay", &query_decay)
      .Tensor(from.key_decay, "key_decay", &key_decay)
      .Tensor(from.sink_logits, "sink_logits", &sink_logits)
      .Tensor(from.prefix_lengths, "prefix_lengths", &prefix_lengths)
      .Tensor(from.row_lengths, "row_lengths", &row_lengths)
      .Tensor(from.query_documents, "query_documents", &query_documents)
      .Tensor(from.key_documents, "key_documents", &key_documents)
      .Tensor(from.tree_mask, "tree_mask", &tree_mask)
      .status();
}

inline Status Convert(const heed_attention_args* args, HookOfC* hook_of_c,
                      AttentionArgs* to) {
  heed_attention_args from;
  const Status status = ReadStruct(args, "args", &from);
  if (!status.ok()) return status;
  auto& [query, key, value, out, lse, key_intervals, kv_scales, ragged, pages,
         scores] = *to;
  return FieldReader()
      .Tensor(from.query, "query", &query)
      .Tensor(from.key, "key", &key)
      .Tensor(from.value, "value", &value)
      .Tensor(from.out, "out", &out)
      .Tensor(from.lse, "lse", &lse)
      .Keep(Convert(from.key_intervals, &key_intervals))
      .Keep(Convert(from.kv_scales, &kv_scales))
      .Keep(Convert(from.ragged, &ragged))
      .Keep(Convert(from.pages, &pages))
      .Keep(Convert(from.scores, hook_of_c, &scores))
      .status();
}

static_assert(
    std::is_same<heed_task, decltype(static_cast<void (*)(void*, int64_t, int)>(
                                nullptr))>());

inline Status Convert(const heed_executor* executor, Executor* to) {
  if (executor == nullptr) {
    *to = SerialExecutor();
    return Status();
  }
  heed_executor from;
  const Status status = ReadStruct(executor, "executor", &from);
  if (!status.ok()) return status;
  auto& [self, parallel_for, max_workers] = *to;
  self = from.self;
  parallel_for = from.parallel_for;
  max_workers = from.max_workers;
  return FieldReader().Reserved(from.reserved, "executor").status();
}

inline Status Convert(const heed_run_options* options, RunOptions* to) {
  if (options == nullptr) return Status();
  heed_run_options from;
  const Status status = ReadStruct(options, "options", &from);
  if (!status.ok()) return status;
  auto& [barriers] = *to;
  bool no_barriers = false;
  FieldReader reader;
  reader.Bool(from.no_barriers, "no_barriers", &no_barriers)
      .Reserved(from.reserved, "options");
  barriers = !no_barriers;
  return reader.status();
}

inline Status Convert(const heed_quantize_options* options,
                      QuantizeOptions* to) {
  if (options == nullptr) return Status();
  heed_quantize_options from;
  const Status status = ReadStruct(options, "options", &from);
  if (!status.ok()) return status;
  auto& [rotate, given_scale] = *to;
  return FieldReader()
      .Bool(from.rotate, "rotate", &rotate)
      .Bool(from.given_scale, "given_scale", &given_scale)
      .status();
}

}  // namespace heed::internal

#endif  // HEED_LIB_C_CONVERT_H_
