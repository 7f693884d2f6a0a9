// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The operator LinearAttention of ONNX (opset 27), as a call of heed/linear.h.
#ifndef HEED_ONNX_LINEAR_H_
#define HEED_ONNX_LINEAR_H_

#include <cstdint>

#include "heed/executor.h"
#include "heed/export.h"
#include "heed/status.h"
#include "heed/tensor.h"

namespace heed {

enum class OnnxUpdateRule : uint8_t { kLinear, kGated, kDelta, kGatedDelta };

// The operator's attributes. Its chunk_size is a hint, which heed does not
// take.
struct OnnxLinearAttributes {
  int64_t q_num_heads = 0;  // a multiple of kv_num_heads; neighbours share
  int64_t kv_num_heads = 0;
  OnnxUpdateRule update_rule = OnnxUpdateRule::kGatedDelta;
  float scale = 0.0f;  // 0 means 1/sqrt(head_dim)
};

// Its tensors, heads side by side in a row as the operator packs them: a
// tensor of extents (B, T, C) is the view [B, T, 1, C], as Bshd makes it.
// Query, key, value and output are f32, f16 or bf16, the rest f32.
struct OnnxLinearTensors {
  ConstTensorView query;  // (B, T, q_num_heads * head_dim)
  ConstTensorView key;    // (B, T, kv_num_heads * head_dim)
  ConstTensorView value;  // (B, T, kv_num_heads * head_dim_v)
  TensorView output;      // (B, T, q_num_heads * head_dim_v)
  // Optional: (B, kv_num_heads, head_dim, head_dim_v); may be one view.
  ConstTensorView past_state;
  TensorView present_state;
  // Logarithms, of the gated rules: (B, T, kv_num_heads), or a number a channel
  // of the key, (B, T, kv_num_heads * head_dim).
  ConstTensorView decay;
  // Of the delta rules: (B, T, kv_num_heads), or (B, T, 1) for all heads.
  ConstTensorView beta;
};

// Computes the operator in a workspace of its own. Refuses what Scan does, a
// decay or a beta that the rule has not or lacks, and widths that are no
// multiple of their heads; then nothing has been written. With one head,
// (B, T, 1) of decay is the number, not a channel.
HEED_API Status OnnxLinearAttention(
    const OnnxLinearAttributes& attributes, const OnnxLinearTensors& tensors,
    const Executor& executor = SerialExecutor());

}  // namespace heed

#endif  // HEED_ONNX_LINEAR_H_
