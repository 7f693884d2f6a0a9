// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// ReBased (Aksenov et al. 2024, arXiv:2402.10644): squares as weights, of
// narrow queries and keys behind a normalisation whose gain and offset are
// learnt.
//
//   weight_ij = (q~_i . k~_j)^2,  x~ = gamma (x' - mean) / sqrt(var + 1e-5) +
//   beta
//
// x' is projected to feature_dim numbers as in based.cc. gamma and beta are
// numbers here, where the model has a vector of each. Any scale cancels. A
// weight may be zero, as no constant is in it: a row whose weights all vanish
// is zero. Pairs are kept once: n (n + 1) / 2 features. A row of one number is
// its own mean, so that feature_dim is at least 2; with head_dim 1 all rows are
// beta, all weights the same.
#include <heed/linear_features.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {"feature_dim", "Numbers of a projected row.", 16, 2, kMaxPairedDim, true},
    {"gamma", "Gain behind the normalisation.", 1, 0.01, 8, false},
    {"beta", "Offset behind the normalisation.", 0, -8, 8, false},
    {"seed", "Of the projection.", 1, 0, 1e6, true},
    kChunkKnob,
};
constexpr Input kInputs[] = {
    {"query_map", "Projection of queries.", true, 0.0, 0.0, true},
    {"key_map", "Projection of keys.", true, 0.0, 0.0, true}};

int64_t Width(int64_t head_dim, const double* knobs) {
  return std::min(static_cast<int64_t>(knobs[0]), head_dim);
}

// x~ in place.
template <class Number>
void Normalise(double gamma, double beta, Number* x, int64_t n) {
  Number mean = 0, square = 0;
  for (int64_t c = 0; c < n; ++c) mean += x[c];
  mean /= static_cast<Number>(n);
  for (int64_t c = 0; c < n; ++c) square += (x[c] - mean) * (x[c] - mean);
  const Number gain =
      static_cast<Number>(gamma) /
      std::sqrt(square / static_cast<Number>(n) + static_cast<Number>(1e-5));
  for (int64_t c = 0; c < n; ++c) {
    x[c] = gain * (x[c] - mean) + static_cast<Number>(beta);
  }
}

struct Maps {
  Projections projections;
  const double* knobs;
};

void Map(const void* self, const FeatureRows& rows) {
  const Maps& maps = *static_cast<const Maps*>(self);
  const auto write = [&](int64_t i, float* narrow, int64_t n) {
    Normalise(maps.knobs[1], maps.knobs[2], narrow, n);
    WritePairs(narrow, n, rows.key, rows.phi.row(i));
  };
  maps.projections.ForEachRow(rows, write);
}

Status RunVariant(const VariantArgs& a) {
  const int64_t n = Width(a.args.key.head_dim(), a.knobs);
  Maps maps;
  maps.knobs = a.knobs;
  const Status status = MakeProjections(
      a, kInputs, static_cast<int>(a.knobs[3]), n, &maps.projections);
  if (!status.ok()) return status;
  LinearCall call;
  call.params.normalise = true;
  call.map = {PairFeatures(n), &maps, &Map};
  call.chunk = static_cast<int>(a.knobs[4]);
  return AttendLinear(a, call);
}

struct Law : LinearLaw {
  const ProjectionTruth projection;
  double gamma, beta;

  explicit Law(const VariantArgs& a)
      : projection(a, kInputs, static_cast<int>(a.knobs[3]),
                   Width(a.args.query.head_dim(), a.knobs)),
        gamma(a.knobs[1]),
        beta(a.knobs[2]) {
    features = projection.width() * projection.width();
    normalise = true;
  }
  // The outer product as it is.
  void Phi(const LinearRow& row, double* phi) const {
    std::vector<double> x = projection.Project(row);
    Normalise(gamma, beta, x.data(), projection.width());
    for (const double first : x) {
      for (const double second : x) *phi++ = first * second;
    }
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const int64_t n = Width(shape.head_dim, knobs);
  Cost cost = LinearCost(shape, params, PairFeatures(n),
                         static_cast<int>(knobs[4]), false);
  cost.flops += MapFlops(shape, n);
  return cost;
}

}  // namespace

Variant rebased() {
  return {.summary = "Squares as weights, of normalised narrow rows.",
          .paper = "Aksenov et al. 2024, arXiv:2402.10644",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 5,
          .inputs = kInputs,
          .num_inputs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = ReferenceOf<Law>};
}

}  // namespace heed::variants
