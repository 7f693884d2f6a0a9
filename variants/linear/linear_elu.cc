// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Linear attention with the feature map elu + 1 (Katharopoulos et al. 2020,
// arXiv:2006.16236): a weighted mean of the values as softmax attention is, but
// with weights phi(q) . phi(k), which factor, so that all keys so far fit one
// state of head_dim x head_dim_v numbers.
//
//   phi(x) = x + 1 for x > 0, exp(x) otherwise
//   out_i  = sum_j phi(q_i).phi(k_j) v_j / sum_j phi(q_i).phi(k_j)
//
// softmax_scale has no part in it, as in the paper: it would cancel. Nothing is
// added to the denominator (others add 1e-6 or 1e-10), so that weights sum to
// one; a row without keys, or whose weights all vanish, is zero. `lse` is NaN,
// as no sum of exp(score) exists. Causal masks of any offset are served;
// windows, softcap and key intervals are not.
#include <heed/linear_variant.h>

#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {kChunkKnob};

int Chunk(const double* knobs) { return static_cast<int>(knobs[0]); }

Status RunVariant(const VariantArgs& a) {
  LinearCall call;
  call.params.normalise = true;
  call.map = EluPlusOne(a.args.query.head_dim());
  call.chunk = Chunk(a.knobs);
  return AttendLinear(a, call);
}

struct Law : LinearLaw {
  void Phi(const LinearRow& row, double* phi) const {
    for (int64_t c = 0; c < features; ++c) {
      const double x = static_cast<double>(row.x[c]);
      phi[c] = x > 0 ? x + 1 : std::exp(x);
    }
  }
};

void Reference(const VariantArgs& a, double* out) {
  Law law;
  law.features = a.args.query.head_dim();
  law.normalise = true;
  LinearReference(a, law).Compute(out);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return LinearCost(shape, params, shape.head_dim, Chunk(knobs), false);
}

}  // namespace

Variant linear_elu() {
  return {.summary =
              "Linear attention with the feature map elu + 1, "
              "normalised.",
          .paper = "Katharopoulos et al. 2020, arXiv:2006.16236",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 1,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
