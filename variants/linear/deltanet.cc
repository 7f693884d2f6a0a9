// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// DeltaNet (Schlag et al. 2021, arXiv:2102.11174; Yang et al. 2024,
// arXiv:2406.06484): what the state holds under a token's key is moved towards
// the token's value.
//
//   S <- S + beta_t k_t (v_t - S^T k_t)^T;  out_t = scale * q_t^T S
//
// Keys count by their direction: they are brought to unit length,
// x / sqrt(|x|^2 + 1e-6), and queries too unless qk_norm is 0. With
// allow_neg_eigval beta counts twice, so that a key may be turned (Grazzi et
// al. 2024, arXiv:2411.12537). beta is an input; SiLU before the norm is the
// model's.
#include <heed/linear_variant.h>

#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {"qk_norm", "0: keys alone are of unit length; 1: queries too.", 1, 0, 1,
     true},
    {"allow_neg_eigval", "1: beta counts twice.", 0, 0, 1, true},
    kChunkKnob,
};
constexpr Input kInputs[] = {
    {"beta", "How far the value under the key is moved.", false, 0.0, 1.0}};
// Twice as much is beta.
constexpr InputRange kHalfBetas = {
    0.0f, 1.0f, "must be 0 to 1 with allow_neg_eigval, and not NaN"};

Status RunVariant(const VariantArgs& a) {
  const int64_t dim = a.args.query.head_dim();
  LinearCall call;
  call.params.scale = ops::SoftmaxScale(a.params, dim);
  call.map = a.knobs[0] != 0 ? UnitRows(dim) : UnitKeys(dim);
  call.chunk = static_cast<int>(a.knobs[2]);
  ConstTensorView beta;
  Status status =
      InputOrDrawn(a, kInputs, 0, a.knobs[1] != 0 ? kHalfBetas : kBetas, &beta);
  call.beta = beta;
  if (status.ok() && a.knobs[1] != 0) {
    status = MakeInput(
        a, 1,
        [&](int64_t b, int64_t token, int64_t head, int64_t /*channel*/) {
          return 2 * *RowAt(beta, b, token, head);
        },
        &call.beta);
  }
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
    if (row.key || a.knobs[0] != 0) return UnitLength(row.x, features, phi);
    LinearLaw::Phi(row, phi);
  }
  double Beta(int64_t b, int64_t token, int64_t head) const {
    return (1 + a.knobs[1]) * InputAt(a, kInputs, 0, b, token, head, 0);
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return LinearCost(shape, params, shape.head_dim, static_cast<int>(knobs[2]),
                    true);
}

}  // namespace

Variant deltanet() {
  return {.summary = "DeltaNet: a value replaces what its key held before.",
          .paper = "Yang et al. 2024, arXiv:2406.06484",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 3,
          .inputs = kInputs,
          .num_inputs = 1,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = ReferenceOf<Law>};
}

}  // namespace heed::variants
