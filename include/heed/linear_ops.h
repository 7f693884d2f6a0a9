// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What stands before and behind a scan in models with linear layers: norms,
// gates, and the short causal convolution with its state.
#ifndef HEED_LINEAR_OPS_H_
#define HEED_LINEAR_OPS_H_

#include <cstdint>

#include "heed/executor.h"
#include "heed/export.h"
#include "heed/ops.h"
#include "heed/status.h"
#include "heed/tensor.h"

namespace heed {
namespace ops {

// Rows of n numbers, as the other functions of heed/ops.h take them: y may be
// x, nothing is allocated, and results do not depend on the CPU where it has
// FMA. NaN gives NaN.

// y[i] = 1 / (1 + exp(-x[i])).
HEED_API void Sigmoid(const float* x, float* y, int64_t n);

// y[i] = x[i] / (1 + exp(-x[i])), 0 at -inf.
HEED_API void Silu(const float* x, float* y, int64_t n);

// y = x / sqrt(|x|^2 + eps). flash-linear-attention has eps 1e-6; PyTorch and
// ONNX divide by max(|x|, eps) instead, which differs for rows near zero alone.
HEED_API void L2Norm(const float* x, float eps, float* y, int64_t n);

// How a row is gated.
struct RmsNormGate {
  float eps = 1e-5f;
  // What the gate passes through: silu as in Gated DeltaNet and Mamba-2, or a
  // sigmoid as in KDA.
  enum class Activation : uint8_t { kSilu, kSigmoid };
  Activation activation = Activation::kSilu;
  // Whether the gate multiplies before the norm is taken (Mamba-2's default)
  // instead of after it (flash-linear-attention, Qwen3-Next).
  bool before_norm = false;
};

// y = x / sqrt(mean(x^2) + eps) * weight * activation(gate), or with
// before_norm the same of x * activation(gate) without a gate behind. weight
// may be null, for ones, and so may gate. y may be x or gate.
HEED_API void GatedRmsNorm(const RmsNormGate& how, const float* x,
                           const float* gate, const float* weight, float* y,
                           int64_t n);

}  // namespace ops

// A causal convolution of each channel with a few taps, as stands before the
// scan in Mamba, DeltaNet and their kin (ONNX opset 27: CausalConvWithState):
//
//   out_t[c] = bias[c] + sum_j weight[j][c] x_{t - kernel_size + 1 + j}[c]
//
// and silu of that where asked. The last tap is the token's own; what stands
// before a sequence is its state, or zero.
struct CausalConvArgs {
  ConstTensorView x;  // f32, [batch, seqlen, heads, head_dim]
  TensorView out;     // f32, the same
  // [kernel_size, 1 to 8][heads * head_dim], channels of a head being
  // neighbours. Of PyTorch's [channels][1][kernel_size] this is
  // ops::Transposed(ops::Dense(w, channels, kernel_size)).
  ops::ConstMatrix weight;
  const float* bias = nullptr;  // [heads * head_dim], optional
  bool silu = false;

  // The kernel_size - 1 tokens before the first of each sequence, where absent
  // zeros, and those at its end: [sequences, kernel_size - 1, heads, head_dim],
  // oldest first. Both may be the same view.
  ConstTensorView initial_state;
  TensorView final_state;

  // As in ScanArgs.
  const int32_t* cu_seqlens = nullptr;
  int64_t num_sequences = 0;
};

// Computes `args`, each sum in order: the bias, then the taps, the oldest
// first. Results depend neither on the executor nor on what else is in the
// batch, and, where weights are finite, cutting a sequence anywhere, the state
// handed on, leaves every bit. Refuses kernel sizes outside 1 to 8, shapes that
// do not fit one another, types other than f32, cu_seqlens that fall or do not
// end at seqlen, and outputs that meet an input; then nothing has been written.
// Allocates nothing.
HEED_API Status CausalConv(const CausalConvArgs& args,
                           const Executor& executor = SerialExecutor());

}  // namespace heed

#endif  // HEED_LINEAR_OPS_H_
