// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Preconditioned Kimi delta attention (Tumma et al. 2026, arXiv:2604.21100):
// the rule of heed/linear_precond.h with the gates of heed/kda_gate.h, one for
// each channel of the key. With squash_x 1 this is KDA; with gates alike in all
// channels it is precond_gated_delta.
#include <heed/kda_gate.h>
#include <heed/linear_precond.h>

#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {precond::kSquashKnob, precond::kAtkScaleKnob,
                           kLowerBoundKnob, kChunkKnob};
constexpr Input kInputs[] = {
    {"gate", "What is left of a state's row.", true, -0.2, 0.0},
    precond::kBetaInput,
    precond::kAtkGateInput,
    precond::kAtkBetaInput};

Status RunVariant(const VariantArgs& a) {
  LinearCall call;
  call.chunk = static_cast<int>(a.knobs[3]);
  Status status = CheckLinearCall(a);
  if (status.ok()) {
    status = KdaGateOrDrawn(a, kInputs, 0, a.knobs[2], &call.log_decay);
  }
  return status.ok() ? precond::Attend(a, kInputs, call) : status;
}

struct Law : precond::Law {
  explicit Law(const VariantArgs& args) : precond::Law(args, kInputs) {}
  double LogDecay(int64_t b, int64_t token, int64_t head,
                  int64_t channel) const {
    return KdaGateAt(a, kInputs, 0, a.knobs[2], b, token, head, channel);
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return LinearCost(shape, params, shape.head_dim, static_cast<int>(knobs[3]),
                    true);
}

}  // namespace

Variant precond_kda() {
  return {.summary = "Kimi delta attention along keys that writing shortens.",
          .paper = "Tumma et al. 2026, arXiv:2604.21100",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 4,
          .inputs = kInputs,
          .num_inputs = 4,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = ReferenceOf<Law>};
}

}  // namespace heed::variants
