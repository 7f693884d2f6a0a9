// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Gated linear attention (GLA, Yang et al. 2023, arXiv:2312.06635): a state
// whose rows fade each by a gate of its own, which the token decides.
//
//   S <- diag(exp(gate_t)) S + k_t v_t^T;  out_t = scale * q_t^T S
//
// Gates are an input, by key channel: in the paper log sigmoid of a projection,
// divided by 16.
#include <heed/linear_variant.h>

#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {kChunkKnob};
constexpr Input kInputs[] = {
    {"gate", "Logarithm of what is left of a state's row.", true, -0.2, 0.0}};

Status RunVariant(const VariantArgs& a) {
  LinearCall call;
  call.params.scale = ops::SoftmaxScale(a.params, a.args.query.head_dim());
  call.chunk = static_cast<int>(a.knobs[0]);
  const Status status =
      InputOrDrawn(a, kInputs, 0, kLogDecays, &call.log_decay);
  return status.ok() ? AttendLinear(a, call) : status;
}

struct Law : LinearLaw {
  const VariantArgs* a;

  double LogDecay(int64_t b, int64_t token, int64_t head,
                  int64_t channel) const {
    return InputAt(*a, kInputs, 0, b, token, head, channel);
  }
};

void Reference(const VariantArgs& a, double* out) {
  Law law;
  law.a = &a;
  law.features = a.args.query.head_dim();
  law.scale = static_cast<double>(ops::SoftmaxScale(a.params, law.features));
  LinearReference(a, law).Compute(out);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return LinearCost(shape, params, shape.head_dim, static_cast<int>(knobs[0]),
                    false);
}

}  // namespace

Variant gla() {
  return {.summary = "Linear attention with a gate per key channel.",
          .paper = "Yang et al. 2023, arXiv:2312.06635",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 1,
          .inputs = kInputs,
          .num_inputs = 1,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
