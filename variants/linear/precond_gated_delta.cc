// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Preconditioned Gated DeltaNet (Tumma et al. 2026, arXiv:2604.21100): the rule
// of heed/linear_precond.h with a gate a token. With squash_x 1 this is Gated
// DeltaNet.
#include <heed/linear_precond.h>

#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {precond::kSquashKnob, precond::kAtkScaleKnob,
                           kChunkKnob};
constexpr Input kInputs[] = {
    {"gate", "Logarithm of what is left of the state.", false, -0.2, 0.0},
    precond::kBetaInput,
    precond::kAtkGateInput,
    precond::kAtkBetaInput};

Status RunVariant(const VariantArgs& a) {
  LinearCall call;
  call.chunk = static_cast<int>(a.knobs[2]);
  Status status = CheckLinearCall(a);
  if (status.ok()) {
    status = InputOrDrawn(a, kInputs, 0, kLogDecays, &call.log_decay);
  }
  return status.ok() ? precond::Attend(a, kInputs, call) : status;
}

struct Law : precond::Law {
  explicit Law(const VariantArgs& args) : precond::Law(args, kInputs) {}
  double LogDecay(int64_t b, int64_t token, int64_t head,
                  int64_t /*channel*/) const {
    return InputAt(a, kInputs, 0, b, token, head, 0);
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return LinearCost(shape, params, shape.head_dim, static_cast<int>(knobs[2]),
                    true);
}

}  // namespace

Variant precond_gated_delta() {
  return {.summary = "Gated DeltaNet along keys that much writing shortens.",
          .paper = "Tumma et al. 2026, arXiv:2604.21100",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 3,
          .inputs = kInputs,
          .num_inputs = 4,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = ReferenceOf<Law>};
}

}  // namespace heed::variants
