// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What stands where in the workspace of a layer.
#ifndef HEED_LIB_LAYERS_MULTI_HEAD_MEMORY_H_
#define HEED_LIB_LAYERS_MULTI_HEAD_MEMORY_H_

#include <cstdint>

#include "heed/layers.h"
#include "lib/kernels/carver.h"

namespace heed::internal {

struct MultiHeadMemory {
  float* query;  // projected: rows of all heads
  float* key;    // of new keys
  float* value;
  float* attended;  // what attention gives
  // Inputs and out as f32, where they are not.
  float* query_rows;
  float* key_rows;
  float* value_rows;
  float* out_rows;
  int32_t* query_positions;
  int32_t* key_positions;
  int32_t* seqlens_k;
  char* attention;  // the workspace of attention
};

// Lays it out, its last part being as large as `workers` ask.
inline MultiHeadMemory CarveMultiHead(Carver& carver, const MultiHeadPlan& plan,
                                      int workers) {
  const MultiHeadParams& p = plan.params;
  const MultiHeadShape& s = plan.shape;
  const bool packed = s.total_q > 0;
  const int64_t new_keys = s.cache ? s.seqlen_new : s.seqlen_k;
  const int64_t rows = packed ? s.total_q : s.batch * s.seqlen_q;
  const int64_t keys = packed ? s.total_new : s.batch * new_keys;
  const bool narrow = s.input_dtype != DType::kF32;
  MultiHeadMemory m;
  m.query = carver.Take<float>(rows * p.num_heads * p.head_dim);
  m.key = carver.Take<float>(keys * p.num_kv_heads * p.head_dim);
  m.value = carver.Take<float>(keys * p.num_kv_heads * p.head_dim_v);
  m.attended = carver.Take<float>(rows * p.num_heads * p.head_dim_v);
  m.query_rows = carver.Take<float>(narrow ? rows * p.model_dim : 0);
  m.key_rows = carver.Take<float>(narrow ? keys * p.key_dim : 0);
  m.value_rows = carver.Take<float>(narrow ? keys * p.value_dim : 0);
  m.out_rows =
      carver.Take<float>(s.out_dtype != DType::kF32 ? rows * p.out_dim : 0);
  m.query_positions = carver.Take<int32_t>(rows);
  m.key_positions = carver.Take<int32_t>(keys);
  m.seqlens_k = carver.Take<int32_t>(s.batch);
  m.attention = carver.Take<char>(
      static_cast<int64_t>(WorkspaceBytes(plan.attention, workers)));
  return m;
}

}  // namespace heed::internal

#endif  // HEED_LIB_LAYERS_MULTI_HEAD_MEMORY_H_
