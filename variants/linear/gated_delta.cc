// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Gated DeltaNet (Yang et al. 2024, arXiv:2412.06464): the state fades, then
// what it holds under the token's key is moved towards the token's value.
//
//   S <- exp(gate_t) S;  S <- S + beta_t k_t (v_t - S^T k_t)^T
//   out_t = scale * q_t^T S
//
// Keys count by their direction, as in the paper: they are brought to unit
// length, x / sqrt(|x|^2 + 1e-6). Queries come as they are. Gates and beta are
// inputs.
#include <heed/linear_variant.h>

#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {kChunkKnob};
constexpr Input kInputs[] = {
    {"gate", "Logarithm of what is left of the state.", false, -0.2, 0.0},
    {"beta", "How far the value under the key is moved.", false, 0.0, 1.0}};

Status RunVariant(const VariantArgs& a) {
  LinearCall call;
  call.params.scale = ops::SoftmaxScale(a.params, a.args.query.head_dim());
  call.map = UnitKeys(a.args.query.head_dim());
  call.chunk = static_cast<int>(a.knobs[0]);
  Status status = InputOrDrawn(a, kInputs, 0, kLogDecays, &call.log_decay);
  if (status.ok()) status = InputOrDrawn(a, kInputs, 1, kBetas, &call.beta);
  return status.ok() ? AttendLinear(a, call) : status;
}

struct Law : LinearLaw {
  const VariantArgs* a;

  void Phi(const LinearRow& row, double* phi) const {
    if (row.key) return UnitLength(row.x, features, phi);
    LinearLaw::Phi(row, phi);
  }
  double LogDecay(int64_t b, int64_t token, int64_t head,
                  int64_t /*channel*/) const {
    return InputAt(*a, kInputs, 0, b, token, head, 0);
  }
  double Beta(int64_t b, int64_t token, int64_t head) const {
    return InputAt(*a, kInputs, 1, b, token, head, 0);
  }
};

void Reference(const VariantArgs& a, double* out) {
  Law law;
  law.a = &a;
  law.delta = true;
  law.features = a.args.query.head_dim();
  law.scale = static_cast<double>(ops::SoftmaxScale(a.params, law.features));
  LinearReference(a, law).Compute(out);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return LinearCost(shape, params, shape.head_dim, static_cast<int>(knobs[0]),
                    true);
}

}  // namespace

Variant gated_delta() {
  return {.summary = "Gated DeltaNet: the delta rule on a state that fades.",
          .paper = "Yang et al. 2024, arXiv:2412.06464",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 1,
          .inputs = kInputs,
          .num_inputs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
