// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// cosFormer (Qin et al. 2022, arXiv:2202.08791): ReLU features whose weights
// fall with the distance of the two tokens, as a cosine that factors.
//
//   weight_ij = relu(q_i) . relu(k_j) cos(pi (i - j) / (2 m))
//   phi(x_i)  = [relu(x) cos(pi i / (2 m)), relu(x) sin(pi i / (2 m))]
//
// m, past which weights would turn negative, is the length of the call, as in
// the authors' code, where the knob is not larger: only with a knob larger than
// any sequence is it the same for all of them. Weights are normalised; where
// the authors divide by at least 1e-6, here a row whose weights all vanish is
// zero.
#include <heed/linear_variant.h>
#include <heed/portable_math.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {"m", "Distance at which a weight is zero; at least the length.", 0, 0,
     1 << 30, true},
    kChunkKnob,
};

// The angle of one position.
double Angle(const VariantArgs& a) {
  const int64_t rows = a.args.query.seqlen(), keys = a.args.key.seqlen();
  const int64_t end = rows + FirstPosition(a.params, rows, keys);
  const double length = static_cast<double>(std::max({rows, keys, end}));
  return 1.5707963267948966 / std::max({a.knobs[0], length, 1.0});
}

// self is the angle.
void Map(const void* self, const FeatureRows& rows) {
  const double angle = *static_cast<const double*>(self);
  const int64_t n = rows.x.cols;
  for (int64_t i = 0; i < rows.x.rows; ++i) {
    const double at = angle * static_cast<double>(rows.position + i);
    const portable::SineAndCosine of = portable::SinCos(at);
    const float cosine = static_cast<float>(of.cosine);
    const float sine = static_cast<float>(of.sine);
    for (int64_t c = 0; c < n; ++c) {
      const float x = rows.x.row(i)[c];
      const float relu = x < 0 ? 0.0f : x;  // NaN stays NaN
      rows.phi.row(i)[c] = relu * cosine;
      rows.phi.row(i)[n + c] = relu * sine;
    }
  }
}

Status RunVariant(const VariantArgs& a) {
  const Status status = CheckMapWidth(a, 2);
  if (!status.ok()) return status;
  const double angle = Angle(a);
  LinearCall call;
  call.params.normalise = true;
  call.map = {2 * a.args.key.head_dim(), &angle, &Map};
  call.chunk = static_cast<int>(a.knobs[1]);
  return AttendLinear(a, call);
}

struct Law : LinearLaw {
  double angle;

  explicit Law(const VariantArgs& a) : angle(Angle(a)) {
    features = 2 * a.args.query.head_dim();
    normalise = true;
  }
  void Phi(const LinearRow& row, double* phi) const {
    const double at = angle * static_cast<double>(row.position);
    for (int64_t c = 0; c < features; ++c) {
      const double x = static_cast<double>(row.x[c % (features / 2)]);
      const double relu = x < 0 ? 0.0 : x;  // NaN stays NaN
      phi[c] = relu * (c < features / 2 ? std::cos(at) : std::sin(at));
    }
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return LinearCost(shape, params, 2 * shape.head_dim,
                    static_cast<int>(knobs[1]), false);
}

}  // namespace

Variant cosformer() {
  return {.summary = "ReLU features whose weights fall with the distance.",
          .paper = "Qin et al. 2022, arXiv:2202.08791",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = ReferenceOf<Law>,
          // The length that m stands for by default counts them.
          .reference_of_all_rows = true};
}

}  // namespace heed::variants
