// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Kimi delta attention (KDA, Kimi Team 2025, arXiv:2510.26692): Gated DeltaNet
// with a gate for each channel of the key.
//
//   S <- diag(exp(g_t)) S;  S <- S + beta_t k_t (v_t - S^T k_t)^T
//   out_t = scale * q_t^T S
//
// Gates are those of heed/kda_gate.h. Keys and queries are brought to unit
// length, x / sqrt(|x|^2 + 1e-6).
#include <heed/kda_gate.h>

#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {kLowerBoundKnob, kChunkKnob};
constexpr Input kInputs[] = {
    {"gate", "What is left of a state's row.", true, -0.2, 0.0},
    {"beta", "How far the value under the key is moved.", false, 0.0, 1.0}};

Status RunVariant(const VariantArgs& a) {
  const int64_t dim = a.args.query.head_dim();
  LinearCall call;
  call.params.scale = ops::SoftmaxScale(a.params, dim);
  call.map = UnitRows(dim);
  call.chunk = static_cast<int>(a.knobs[1]);
  Status status = KdaGateOrDrawn(a, kInputs, 0, a.knobs[0], &call.log_decay);
  if (status.ok()) status = InputOrDrawn(a, kInputs, 1, kBetas, &call.beta);
  return status.ok() ? AttendLinear(a, call) : status;
}

struct Law : LinearLaw {
  const VariantArgs& a;

  explicit Law(const VariantArgs& args) : a(args) {
    delta = true;
    features = a.args.query.head_dim();
    scale = static_cast<double>(ops::SoftmaxScale(a.params, features));
  }
  void Phi(const LinearRow& row, double* phi) const {
    UnitLength(row.x, features, phi);
  }
  double LogDecay(int64_t b, int64_t token, int64_t head,
                  int64_t channel) const {
    return KdaGateAt(a, kInputs, 0, a.knobs[0], b, token, head, channel);
  }
  double Beta(int64_t b, int64_t token, int64_t head) const {
    return InputAt(a, kInputs, 1, b, token, head, 0);
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return LinearCost(shape, params, shape.head_dim, static_cast<int>(knobs[1]),
                    true);
}

}  // namespace

Variant kda() {
  return {.summary = "Kimi delta attention: the delta rule, a gate a channel.",
          .paper = "Kimi Team 2025, arXiv:2510.26692",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 2,
          .inputs = kInputs,
          .num_inputs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = ReferenceOf<Law>};
}

}  // namespace heed::variants
