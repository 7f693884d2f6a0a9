// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// HGRN2 (Qin et al. 2024, arXiv:2404.07904): a gate a channel, and what the
// gate lets go of is what the token writes.
//
//   alpha_t = lower_bound + (1 - lower_bound) sigmoid(f_t)
//   S <- diag(alpha_t) S + (1 - alpha_t) v_t^T;  out_t = scale * q_t^T S
//
// The key tensor is f, the forget gate before its sigmoid: there is no other
// key. 1 - alpha is computed as (1 - lower_bound) sigmoid(-f), which keeps its
// digits where alpha is near 1. lower_bound grows with the layer in the model,
// 0 in its first. The scale is softmax_scale, by default 1/sqrt(head_dim) as in
// flash-linear-attention; 1 is the paper's.
#include <heed/linear_variant.h>
#include <heed/portable_math.h>

#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {"lower_bound", "The least that a channel keeps.", 0, 0, 1, false},
    kChunkKnob,
};

// log(lower_bound + (1 - lower_bound) / (1 + exp(-f))).
double LogAlpha(double f, double lower_bound) {
  using portable::Exp, portable::Log1p;
  if (f < -30) {
    return portable::Log(lower_bound + (1 - lower_bound) * Exp(f));
  }
  return Log1p(lower_bound * Exp(-f)) - Log1p(Exp(-f));
}

// self is 1 - lower_bound.
void Map(const void* self, const FeatureRows& rows) {
  const float share = *static_cast<const float*>(self);
  const int64_t n = rows.x.cols;
  for (int64_t i = 0; i < rows.x.rows; ++i) {
    const float* x = rows.x.row(i);
    float* phi = rows.phi.row(i);
    if (rows.key) ops::Exp(x, phi, n);
    for (int64_t c = 0; c < n; ++c) {
      phi[c] = rows.key ? share / (1 + phi[c]) : x[c];
    }
  }
}

Status RunVariant(const VariantArgs& a) {
  const int64_t dim = a.args.query.head_dim();
  const float share = static_cast<float>(1 - a.knobs[0]);
  LinearCall call;
  call.params.scale = ops::SoftmaxScale(a.params, dim);
  call.map = {dim, &share, &Map};
  call.chunk = static_cast<int>(a.knobs[1]);
  const Status status = MakeInput(
      a, dim,
      [&](int64_t b, int64_t token, int64_t head, int64_t channel) {
        const double f =
            static_cast<double>(RowAt(a.args.key, b, token, head)[channel]);
        // What is written makes later rows NaN, and no gate is refused.
        return std::isnan(f) ? 0.0 : LogAlpha(f, a.knobs[0]);
      },
      &call.log_decay);
  return status.ok() ? AttendLinear(a, call) : status;
}

struct Law : LinearLaw {
  const VariantArgs& a;

  explicit Law(const VariantArgs& args) : a(args) {
    features = a.args.query.head_dim();
    scale = static_cast<double>(ops::SoftmaxScale(a.params, features));
  }
  void Phi(const LinearRow& row, double* phi) const {
    LinearLaw::Phi(row, phi);
    for (int64_t c = 0; row.key && c < features; ++c) {
      phi[c] = (1 - a.knobs[0]) / (1 + std::exp(phi[c]));
    }
  }
  double LogDecay(int64_t b, int64_t token, int64_t head,
                  int64_t channel) const {
    const double f =
        static_cast<double>(RowAt(a.args.key, b, token, head)[channel]);
    return std::log(a.knobs[0] + (1 - a.knobs[0]) / (1 + std::exp(-f)));
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return LinearCost(shape, params, shape.head_dim, static_cast<int>(knobs[1]),
                    false);
}

}  // namespace

Variant hgrn2() {
  return {.summary = "HGRN2: a token writes what its gates let go of.",
          .paper = "Qin et al. 2024, arXiv:2404.07904",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = ReferenceOf<Law>};
}

}  // namespace heed::variants
