// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Retention (RetNet, Sun et al. 2023, arXiv:2307.08621): linear attention whose
// state fades by a fixed factor a token, another one for each head.
//
//   decay_h = 1 - 2^(-5 - h);  out_i = scale * sum_j decay^(i - j) q_i.k_j v_j
//
// h is the key head. Queries and keys come as they are: the paper's rotation is
// the model's, as are its normalisers, which agree only after a norm per head.
#include <heed/linear_variant.h>
#include <heed/portable_math.h>

#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "first_decay",
     .summary = "Head h fades by 1 - 2^(-first_decay - h) a token.",
     .default_value = 5,
     .min = 0.1,
     .max = 20,
     .integer = false},
    kChunkKnob,
};

double Gate(const VariantArgs& a, int64_t head) {
  return portable::Log1p(
      -portable::Exp2(-a.knobs[0] - static_cast<double>(head)));
}

Status RunVariant(const VariantArgs& a) {
  LinearCall call;
  call.params.scale = ops::SoftmaxScale(a.params, a.args.query.head_dim());
  call.chunk = static_cast<int>(a.knobs[1]);
  const Status status = MakeHeadInput(
      a, [&](int64_t head) { return Gate(a, head); }, &call.log_decay);
  return status.ok() ? AttendLinear(a, call) : status;
}

struct Law : LinearLaw {
  const VariantArgs* a;

  double LogDecay(int64_t /*batch*/, int64_t /*token*/, int64_t head,
                  int64_t /*channel*/) const {
    return Gate(*a, head);
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
  return LinearCost(shape, params, shape.head_dim, static_cast<int>(knobs[1]),
                    false);
}

}  // namespace

Variant retnet() {
  return {.summary = "Linear attention that fades by a fixed factor per head.",
          .paper = "Sun et al. 2023, arXiv:2307.08621",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
