// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// FAVOR+ (Performer, Choromanski et al. 2020, arXiv:2009.14794): softmax
// attention estimated by random features, positive and orthogonal.
//
//   phi(x)_r = exp(w_r . x' - |x'|^2 / 2),  x' = sqrt(scale) x
//   E phi(q) . phi(k) = m exp(scale q . k)  over rows w_r of a Gaussian
//
// Rows of w come in blocks of head_dim that are orthogonal to one another, each
// as long as a Gaussian row is. The relative variance of a weight is at most
// (exp |q' + k'|^2 - 1) / m, which is small only where q' and k' are short:
// about 0.46^2 for entries of sigma 0.5 with 256 features and head_dim 64, and
// far beyond 1 for sigma 1. The largest exponent of a query's row is taken off,
// which cancels; keys are left as they are, so that no key knows of others.
#include <heed/linear_features.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "features",
     .summary = "Random features.",
     .default_value = 256,
     .min = 1,
     .max = 1024,
     .integer = true},
    {.name = "seed",
     .summary = "Of the features.",
     .default_value = 1,
     .min = 0,
     .max = 1e6,
     .integer = true},
    kChunkKnob,
};

// Rows [features][dim] times sqrt(|scale|).
void DrawRows(const VariantArgs& a, int64_t features, int64_t dim, float* w) {
  const double root = std::sqrt(
      std::fabs(static_cast<double>(ops::SoftmaxScale(a.params, dim))));
  DrawOrthogonalRows(static_cast<int>(a.knobs[1]), features, dim, true, root,
                     w);
}

// The features as a map: w, and the scale whose root is in it.
struct Features {
  ops::ConstMatrix w;  // [head_dim][features]
  float scale;
};

void Map(const void* self, const FeatureRows& rows) {
  const Features& f = *static_cast<const Features*>(self);
  ops::MatMul(rows.x, f.w, rows.phi);
  for (int64_t i = 0; i < rows.x.rows; ++i) {
    const float* x = rows.x.row(i);
    float* phi = rows.phi.row(i);
    const int64_t m = rows.phi.cols;
    // A negative scale turns the queries.
    if (!rows.key && f.scale < 0) ops::Scale(-1.0f, phi, m);
    const float off =
        rows.key ? 0.5f * std::fabs(f.scale) * ops::Dot(x, x, rows.x.cols)
                 : ops::Largest(phi, m);
    for (int64_t r = 0; r < m; ++r) phi[r] -= off;
    ops::Exp(phi, phi, m);
  }
}

Status RunVariant(const VariantArgs& a) {
  const int64_t dim = a.args.query.head_dim();
  const int64_t features = static_cast<int64_t>(a.knobs[0]);
  Features map;
  map.scale = ops::SoftmaxScale(a.params, dim);
  const Status status = MakeColumns(
      a, features, [&](float* w) { DrawRows(a, features, dim, w); }, &map.w);
  if (!status.ok()) return status;
  LinearCall call;
  call.params.normalise = true;
  call.map = {features, &map, &Map};
  call.chunk = static_cast<int>(a.knobs[2]);
  return AttendLinear(a, call);
}

struct Law : LinearLaw {
  int64_t dim;
  double half_scale;
  bool turned;
  std::vector<float> w;

  void Phi(const LinearRow& from, double* phi) const {
    const float* x = from.x;
    double square = 0;
    for (int64_t c = 0; c < dim; ++c) {
      square += static_cast<double>(x[c]) * static_cast<double>(x[c]);
    }
    double largest = -INFINITY;
    for (int64_t r = 0; r < features; ++r) {
      const float* row = w.data() + r * dim;
      phi[r] = 0;
      for (int64_t c = 0; c < dim; ++c) {
        phi[r] += static_cast<double>(row[c]) * static_cast<double>(x[c]);
      }
      if (!from.key && turned) phi[r] = -phi[r];
      largest = std::max(largest, phi[r]);
    }
    const double off = from.key ? half_scale * square : largest;
    for (int64_t r = 0; r < features; ++r) phi[r] = std::exp(phi[r] - off);
  }
};

void Reference(const VariantArgs& a, double* out) {
  Law law;
  law.dim = a.args.query.head_dim();
  law.features = static_cast<int64_t>(a.knobs[0]);
  law.normalise = true;
  const float scale = ops::SoftmaxScale(a.params, law.dim);
  law.half_scale = 0.5 * std::fabs(static_cast<double>(scale));
  law.turned = scale < 0;
  law.w.resize(static_cast<size_t>(law.features * law.dim));
  DrawRows(a, law.features, law.dim, law.w.data());
  LinearReference(a, law).Compute(out);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const int64_t m = static_cast<int64_t>(knobs[0]);
  Cost cost = LinearCost(shape, params, m, static_cast<int>(knobs[2]), false);
  cost.flops += MapFlops(shape, m);
  return cost;
}

}  // namespace

Variant performer() {
  return {.summary = "FAVOR+: softmax estimated by orthogonal random features.",
          .paper = "Choromanski et al. 2020, arXiv:2009.14794",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 3,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
