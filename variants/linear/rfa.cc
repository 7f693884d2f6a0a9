// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Random feature attention (RFA, Peng et al. 2021, arXiv:2103.02143): the
// Gaussian kernel of queries and keys of unit length by random sines and
// cosines, which is softmax but for a factor that cancels.
//
//   phi(x) = [sin(w_r . x'), cos(w_r . x')],  x' = sqrt(scale) x / |x|
//   S <- g_t S + (1 - g_t) phi(k_t) v_t^T;  z alike;  out_t = phi^T S / phi^T z
//
// Without `gated` nothing fades and all is written. Rows of w come in blocks of
// head_dim that are orthogonal to one another, as performer's. scale is
// softmax_scale, by default 1, one over the paper's variance. Weights may be
// negative and their sum next to nothing where features are few: it divides as
// it is. The gate is an input, the logarithm of the model's sigmoid.
#include <heed/linear_features.h>
#include <heed/portable_math.h>

#include <cmath>
#include <cstdint>
#include <vector>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {"features", "Random rows; each makes a sine and a cosine.", 128, 64, 512,
     true},
    {"gated", "Whether the state fades.", 0, 0, 1, true},
    {"seed", "Of the features.", 1, 0, 1e6, true},
    kChunkKnob,
};
constexpr Input kInputs[] = {
    {"gate", "Logarithm of what is left of the state.", false, -0.2, 0.0}};

bool Gated(const VariantArgs& a) { return a.knobs[1] != 0; }
int64_t Rows(const VariantArgs& a) { return static_cast<int64_t>(a.knobs[0]); }

// Rows [features][head_dim] times sqrt(|scale|).
void DrawRows(const VariantArgs& a, float* w) {
  const double root =
      std::sqrt(std::fabs(static_cast<double>(ScaleOrOne(a.params))));
  DrawOrthogonalRows(static_cast<int>(a.knobs[2]), Rows(a),
                     a.args.key.head_dim(), true, root, w);
}

struct Features {
  ops::ConstMatrix w;     // [head_dim][features]
  float query_sign;       // a negative scale turns the queries
  ConstTensorView write;  // by key; absent: 1
};

void Map(const void* self, const FeatureRows& rows) {
  const Features& f = *static_cast<const Features*>(self);
  const int64_t m = f.w.cols, dim = rows.x.cols;
  ops::MatMul(rows.x, f.w,
              {rows.phi.data, rows.phi.rows, m, rows.phi.row_stride});
  for (int64_t i = 0; i < rows.x.rows; ++i) {
    const float* x = rows.x.row(i);
    float* phi = rows.phi.row(i);
    const float length = std::sqrt(ops::Dot(x, x, dim) + 1e-6f);
    const float weight =
        rows.key && !f.write.absent()
            ? *RowAt(f.write, rows.batch, rows.position + i, rows.head)
            : 1.0f;
    for (int64_t r = 0; r < m; ++r) {
      const float angle = (rows.key ? 1.0f : f.query_sign) * phi[r] / length;
      const portable::SineAndCosine of =
          portable::SinCos(static_cast<double>(angle));
      phi[m + r] = weight * static_cast<float>(of.cosine);
      phi[r] = weight * static_cast<float>(of.sine);
    }
  }
}

Status RunVariant(const VariantArgs& a) {
  Features map = {{}, ScaleOrOne(a.params) < 0 ? -1.0f : 1.0f, {}};
  LinearCall call;
  ConstTensorView gate;
  Status status = InputOrDrawn(a, kInputs, 0, kLogDecays, &gate);
  if (status.ok()) {
    status = MakeColumns(
        a, Rows(a), [&](float* w) { DrawRows(a, w); }, &map.w);
  }
  if (status.ok() && Gated(a)) {
    call.log_decay = gate;
    status = MakeInput(
        a, 1,
        [&](int64_t b, int64_t token, int64_t head, int64_t /*channel*/) {
          return portable::OneMinusExp(
              static_cast<double>(*RowAt(gate, b, token, head)));
        },
        &map.write);
  }
  if (!status.ok()) return status;
  call.params.normalise = true;
  call.map = {2 * Rows(a), &map, &Map};
  call.chunk = static_cast<int>(a.knobs[3]);
  return AttendLinear(a, call);
}

struct Law : LinearLaw {
  const VariantArgs& a;
  std::vector<float> w;

  explicit Law(const VariantArgs& args)
      : a(args), w(static_cast<size_t>(Rows(a) * a.args.key.head_dim())) {
    features = 2 * Rows(a);
    normalise = true;
    DrawRows(a, w.data());
  }
  double LogDecay(int64_t b, int64_t token, int64_t head,
                  int64_t /*channel*/) const {
    return Gated(a) ? InputAt(a, kInputs, 0, b, token, head, 0) : 0.0;
  }
  void Phi(const LinearRow& row, double* phi) const {
    const int64_t dim = a.args.key.head_dim(), m = Rows(a);
    std::vector<double> unit(static_cast<size_t>(dim));
    UnitLength(row.x, dim, unit.data());
    double weight = 1;
    if (row.key && Gated(a)) {
      weight = 1 - std::exp(LogDecay(row.batch, row.position, row.head, 0));
    }
    const double sign = !row.key && ScaleOrOne(a.params) < 0 ? -1 : 1;
    for (int64_t r = 0; r < m; ++r) {
      double angle = 0;
      for (int64_t c = 0; c < dim; ++c) {
        angle += sign *
                 static_cast<double>(w[static_cast<size_t>(r * dim + c)]) *
                 unit[static_cast<size_t>(c)];
      }
      phi[r] = weight * std::sin(angle);
      phi[m + r] = weight * std::cos(angle);
    }
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const int64_t m = static_cast<int64_t>(knobs[0]);
  Cost cost =
      LinearCost(shape, params, 2 * m, static_cast<int>(knobs[3]), false);
  cost.flops += MapFlops(shape, m);
  return cost;
}

}  // namespace

Variant rfa() {
  return {.summary = "Random sines and cosines of unit rows; may fade.",
          .paper = "Peng et al. 2021, arXiv:2103.02143",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 4,
          .inputs = kInputs,
          .num_inputs = 1,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = ReferenceOf<Law>};
}

}  // namespace heed::variants
