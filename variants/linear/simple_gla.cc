// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Simple GLA (Yang et al. 2023, arXiv:2312.06635, section 4): a state that
// fades as a whole by a gate that the token decides, as in Mamba-2 without its
// dt, the gated RFA and xLSTM's matrix memory.
//
//   S <- exp(gate_t) S + k_t v_t^T;  out_t = scale * q_t^T S
//
// The gate is an input, a number a token and head. scale is softmax_scale, by
// default 1/sqrt(head_dim), as in flash-linear-attention.
#include <heed/linear_variant.h>

#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {kChunkKnob};
constexpr Input kInputs[] = {
    {"gate", "Logarithm of what is left of the state.", false, -0.2, 0.0}};

Status RunVariant(const VariantArgs& a) {
  LinearCall call;
  call.params.scale = ops::SoftmaxScale(a.params, a.args.query.head_dim());
  call.chunk = static_cast<int>(a.knobs[0]);
  const Status status =
      InputOrDrawn(a, kInputs, 0, kLogDecays, &call.log_decay);
  return status.ok() ? AttendLinear(a, call) : status;
}

struct Law : LinearLaw {
  const VariantArgs& a;

  explicit Law(const VariantArgs& args) : a(args) {
    features = a.args.query.head_dim();
    scale = static_cast<double>(ops::SoftmaxScale(a.params, features));
  }
  double LogDecay(int64_t b, int64_t token, int64_t head,
                  int64_t /*channel*/) const {
    return InputAt(a, kInputs, 0, b, token, head, 0);
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return LinearCost(shape, params, shape.head_dim, static_cast<int>(knobs[0]),
                    false);
}

}  // namespace

Variant simple_gla() {
  return {.summary = "Linear attention with a gate per token and head.",
          .paper = "Yang et al. 2023, arXiv:2312.06635",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 1,
          .inputs = kInputs,
          .num_inputs = 1,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = ReferenceOf<Law>};
}

}  // namespace heed::variants
