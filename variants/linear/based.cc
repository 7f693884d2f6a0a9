// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Based (Arora et al. 2024, arXiv:2402.18668): the first three terms of the
// exponential's series as weights, over narrow queries and keys.
//
//   weight_ij = 1 + s + s^2 / 2,  s = scale q'_i . k'_j
//
// which is at least 1/2. The model learns to project queries and keys to
// feature_dim numbers; here projections are inputs, [1, min(feature_dim,
// head_dim), num_kv_heads, head_dim], and where a host has none random
// orthogonal rows that keep scalar products on average (the identity where
// head_dim is small enough), so that s estimates softmax's score. Pairs are
// kept once: 1 + n + n (n + 1) / 2 features. scale is softmax_scale, by default
// that of the rows which the projections were made for: Based's 1/sqrt(n) where
// the host gives them, softmax's 1/sqrt(head_dim) where they are drawn. It
// counts once, all of it in the query. (fla's parallel form leaves it out, its
// chunked form has it.) The window that Based sets beside it is not here.
#include <heed/linear_features.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {"feature_dim", "Numbers of a projected row.", 16, 1, kMaxPairedDim, true},
    {"seed", "Of the projection.", 1, 0, 1e6, true},
    kChunkKnob,
};
constexpr Input kInputs[] = {
    {"query_map", "Projection of queries.", true, 0.0, 0.0, true},
    {"key_map", "Projection of keys.", true, 0.0, 0.0, true}};

int64_t Width(int64_t head_dim, const double* knobs) {
  return std::min(static_cast<int64_t>(knobs[0]), head_dim);
}

float ScaleOf(const VariantArgs& a) {
  const int64_t dim = a.args.query.head_dim();
  return ops::SoftmaxScale(a.params,
                           a.inputs == nullptr ? dim : Width(dim, a.knobs));
}

struct Maps {
  Projections projections;
  float scale;
};

void Map(const void* self, const FeatureRows& rows) {
  const Maps& maps = *static_cast<const Maps*>(self);
  const auto write = [&](int64_t i, float* narrow, int64_t n) {
    float* phi = rows.phi.row(i);
    if (!rows.key) ops::Scale(maps.scale, narrow, n);
    phi[0] = 1;
    std::copy(narrow, narrow + n, phi + 1);
    WritePairs(narrow, n, rows.key, phi + 1 + n);
    if (!rows.key) ops::Scale(0.5f, phi + 1 + n, PairFeatures(n));
  };
  maps.projections.ForEachRow(rows, write);
}

Status RunVariant(const VariantArgs& a) {
  const int64_t dim = a.args.key.head_dim(), n = Width(dim, a.knobs);
  Maps maps;
  maps.scale = ScaleOf(a);
  const Status status = MakeProjections(
      a, kInputs, static_cast<int>(a.knobs[1]), n, &maps.projections);
  if (!status.ok()) return status;
  LinearCall call;
  call.params.normalise = true;
  call.map = {1 + n + PairFeatures(n), &maps, &Map};
  call.chunk = static_cast<int>(a.knobs[2]);
  return AttendLinear(a, call);
}

struct Law : LinearLaw {
  const ProjectionTruth projection;
  double query_scale;

  explicit Law(const VariantArgs& a)
      : projection(a, kInputs, static_cast<int>(a.knobs[1]),
                   Width(a.args.query.head_dim(), a.knobs)),
        query_scale(static_cast<double>(ScaleOf(a))) {
    const int64_t n = projection.width();
    features = 1 + n + n * n;
    normalise = true;
  }
  // The outer product as it is.
  void Phi(const LinearRow& row, double* phi) const {
    const std::vector<double> x = projection.Project(row);
    const double times = row.key ? 1 : query_scale;
    const double half = row.key ? 1 : 0.5;
    *phi++ = 1;
    for (const double first : x) *phi++ = times * first;
    for (const double first : x) {
      for (const double second : x) {
        *phi++ = half * times * first * times * second;
      }
    }
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const int64_t n = Width(shape.head_dim, knobs);
  Cost cost = LinearCost(shape, params, 1 + n + PairFeatures(n),
                         static_cast<int>(knobs[2]), false);
  cost.flops += MapFlops(shape, n);
  return cost;
}

}  // namespace

Variant based() {
  return {
      .summary = "1 + s + s^2 / 2 as weights, over narrow queries and keys.",
      .paper = "Arora et al. 2024, arXiv:2402.18668",
      .semantics = Semantics::kOwnReference,
      .knobs = kKnobs,
      .num_knobs = 3,
      .inputs = kInputs,
      .num_inputs = 2,
      .cost = EstimateCost,
      .run = RunVariant,
      .reference = ReferenceOf<Law>};
}

}  // namespace heed::variants
