// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// For authors of variants with the gates of Kimi Delta Attention (Kimi Team
// 2025, arXiv:2510.26692), a number a channel of the key. Two are in use. Where
// the lower bound is 0 the input is the gate g itself, in the model
// -exp(A_log) softplus(x + dt_bias). Else it is x, with bias and factor, and
// g = lower_bound * sigmoid(x): the bound multiplies, nothing is cut off.
#ifndef HEED_KDA_GATE_H_
#define HEED_KDA_GATE_H_

#include <cmath>
#include <cstdint>

#include "heed/linear_variant.h"
#include "heed/portable_math.h"

namespace heed {

inline constexpr Knob kLowerBoundKnob = {
    "lower_bound",
    "0: gates are logarithms; else it times their sigmoid is.",
    0,
    -60,
    0,
    false};

// Sets *gate to the logarithms of decays that input `index` of the host says,
// or drawn numbers.
inline Status KdaGateOrDrawn(const VariantArgs& host, const Input* inputs,
                             int index, double lower_bound,
                             ConstTensorView* gate) {
  ConstTensorView input;
  const Status status = InputOrDrawn(
      host, inputs, index, lower_bound != 0 ? kAnyNumber : kLogDecays, &input);
  if (!status.ok()) return status;
  if (lower_bound == 0) {
    *gate = input;
    return Status();
  }
  return MakeInput(
      host, host.args.key.head_dim(),
      [&](int64_t b, int64_t token, int64_t head, int64_t channel) {
        const float x = RowAt(input, b, token, head)[channel];
        return lower_bound * portable::Sigmoid(static_cast<double>(x));
      },
      gate);
}

// Returns one of them, for references.
inline double KdaGateAt(const VariantArgs& host, const Input* inputs, int index,
                        double lower_bound, int64_t batch, int64_t token,
                        int64_t head, int64_t channel) {
  const double x = InputAt(host, inputs, index, batch, token, head, channel);
  return lower_bound == 0 ? x : lower_bound / (1 + std::exp(-x));
}

}  // namespace heed

#endif  // HEED_KDA_GATE_H_
