// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// More structs of the C door as those of C++: of what stands beside attention.
#ifndef HEED_LIB_C_CONVERT_CACHE_H_
#define HEED_LIB_C_CONVERT_CACHE_H_

#include <algorithm>
#include <cstdint>

#include "heed/append.h"
#include "heed/heed_c.h"
#include "heed/recognise_mask.h"
#include "heed/rope.h"
#include "heed/states.h"
#include "lib/c/convert.h"
#include "lib/c/structs.h"

namespace heed::internal {

inline Status Convert(const heed_rope* rope, Rope* to) {
  if (rope == nullptr) return Status();
  heed_rope from;
  const Status status = ReadStruct(rope, "rope", &from);
  if (!status.ok()) return status;
  auto& [rotary_dim, interleaved, num_positions, cos, sin] = *to;
  rotary_dim = from.rotary_dim;
  num_positions = from.num_positions;
  cos = from.cos;
  sin = from.sin;
  return FieldReader()
      .Bool(from.interleaved, "interleaved", &interleaved)
      .Reserved(from.reserved, "rope")
      .status();
}

inline Status Convert(const heed_append_args* args, AppendArgs* to) {
  heed_append_args from;
  const Status status = ReadStruct(args, "args", &from);
  if (!status.ok()) return status;
  auto& [key, value, key_cache, value_cache, past_lengths, num_sequences,
         cu_seqlens, pages, key_scale, value_scale, key_minimum, value_minimum,
         given_scales, key_rotated, value_rotated, rope, rope_positions] = *to;
  past_lengths = from.past_lengths;
  num_sequences = from.num_sequences;
  cu_seqlens = from.cu_seqlens;
  rope_positions = from.rope_positions;
  return FieldReader()
      .Tensor(from.key, "key", &key)
      .Tensor(from.value, "value", &value)
      .Tensor(from.key_cache, "key_cache", &key_cache)
      .Tensor(from.value_cache, "value_cache", &value_cache)
      .Tensor(from.key_scale, "key_scale", &key_scale)
      .Tensor(from.value_scale, "value_scale", &value_scale)
      .Tensor(from.key_minimum, "key_minimum", &key_minimum)
      .Tensor(from.value_minimum, "value_minimum", &value_minimum)
      .Bool(from.given_scales, "given_scales", &given_scales)
      .Bool(from.key_rotated, "key_rotated", &key_rotated)
      .Bool(from.value_rotated, "value_rotated", &value_rotated)
      .Keep(Convert(from.pages, &pages))
      .Keep(Convert(from.rope, &rope))
      .Reserved(from.reserved, "args")
      .status();
}

inline Status Convert(const heed_shard* shard, Shard* to) {
  heed_shard from;
  const Status status = ReadStruct(shard, "shard", &from);
  if (!status.ok()) return status;
  auto& [first_key, whole_groups] = *to;
  first_key = from.first_key;
  return FieldReader()
      .Bool(from.whole_groups, "whole_groups", &whole_groups)
      .Reserved(from.reserved, "shard")
      .status();
}

inline Status Convert(const heed_running_states* total, RunningStates* to) {
  heed_running_states from;
  const Status status = ReadStruct(total, "total", &from);
  if (!status.ok()) return status;
  auto& [memory, next_key] = *to;
  next_key = from.next_key;
  return FieldReader().Tensor(from.memory, "total", &memory).status();
}

inline heed_running_states ConvertBack(const RunningStates& from) {
  const auto& [memory, next_key] = from;
  heed_running_states to = {};
  to.memory = TensorOfC(memory);
  to.next_key = next_key;
  return to;
}

inline Status Convert(const heed_mask_options* options, MaskOptions* to) {
  if (options == nullptr) return Status();
  heed_mask_options from;
  const Status status = ReadStruct(options, "options", &from);
  if (!status.ok()) return status;
  auto& [lowest_hides_rows, begin, end, seqlens_k] = *to;
  begin = from.begin;
  end = from.end;
  seqlens_k = from.seqlens_k;
  return FieldReader()
      .Bool(from.lowest_hides_rows, "lowest_hides_rows", &lowest_hides_rows)
      .Reserved(from.reserved, "options")
      .status();
}

inline heed_recognised_mask ConvertBack(const RecognisedMask& from) {
  const auto& [form, causal, causal_offset, window_left] = from;
  heed_recognised_mask to = {};
  to.form = static_cast<int32_t>(form);
  to.causal = causal;
  to.causal_offset = causal_offset;
  to.window_left = window_left;
  return to;
}

}  // namespace heed::internal

#endif  // HEED_LIB_C_CONVERT_CACHE_H_
