// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Linear attention as it is, without gates (Katharopoulos et al. 2020,
// arXiv:2006.16236, and its kin): with any of the simple feature maps,
// normalised or not.
//
//   out_i = scale * sum_j phi(q_i).phi(k_j) v_j, over the same without v_j
//
//   map 0  phi(x) = elu(x) + 1    1  relu(x)    2  x
//
// What is normalised has no scale, as it cancels; what is not has
// softmax_scale, by default 1/sqrt(head_dim) as in flash-linear-attention. The
// identity is never normalised: its weights have both signs, and their sum
// means nothing.
#include <heed/linear_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {"map", "0: elu + 1; 1: relu; 2: none.", 1, 0, 2, true},
    {"normalise", "1: weights sum to one, where there is a map.", 1, 0, 1,
     true},
    kChunkKnob,
};

bool Normalised(const VariantArgs& a) {
  return a.knobs[0] != 2 && a.knobs[1] != 0;
}

Status RunVariant(const VariantArgs& a) {
  const int64_t dim = a.args.query.head_dim();
  LinearCall call;
  call.params.normalise = Normalised(a);
  if (!Normalised(a)) call.params.scale = ops::SoftmaxScale(a.params, dim);
  if (a.knobs[0] == 0) call.map = EluPlusOne(dim);
  if (a.knobs[0] == 1) call.map = Relu(dim);
  call.chunk = static_cast<int>(a.knobs[2]);
  return AttendLinear(a, call);
}

struct Law : LinearLaw {
  int map;

  explicit Law(const VariantArgs& a) : map(static_cast<int>(a.knobs[0])) {
    features = a.args.query.head_dim();
    normalise = Normalised(a);
    if (!normalise) {
      scale = static_cast<double>(ops::SoftmaxScale(a.params, features));
    }
  }
  void Phi(const LinearRow& row, double* phi) const {
    for (int64_t c = 0; c < features; ++c) {
      const double x = static_cast<double>(row.x[c]);
      phi[c] = map == 0   ? (x > 0 ? x + 1 : std::exp(x))
               : map == 1 ? std::max(x, 0.0)
                          : x;
    }
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return LinearCost(shape, params, shape.head_dim, static_cast<int>(knobs[2]),
                    false);
}

}  // namespace

Variant linear() {
  return {.summary = "Linear attention with elu + 1, relu or no map.",
          .paper = "Katharopoulos et al. 2020, arXiv:2006.16236",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 3,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = ReferenceOf<Law>};
}

}  // namespace heed::variants
