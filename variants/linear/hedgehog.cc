// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Hedgehog (Zhang et al. 2024, arXiv:2402.04347): softmax attention mimicked by
// features that are softmaxes themselves, of a learnt map of each head.
//
//   0  phi(x) = [softmax(W x), softmax(-W x)]    the authors', and LoLCATs'
//   1  phi(x) = softmax([2 W x, -2 W x])         flash-linear-attention's
//
// W is an input for queries and one for keys, [1, head_dim, num_kv_heads,
// head_dim]; where a host has none it is the identity, where the authors begin,
// and small numbers beside it. There is no bias. Weights are normalised;
// softmax_scale has no part in it.
#include <heed/linear_features.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {"convention", "0: two softmaxes; 1: one over both.", 0, 0, 1, true},
    kChunkKnob,
};
constexpr Input kInputs[] = {
    {"query_map", "W of queries.", true, -0.05, 0.05, true},
    {"key_map", "W of keys.", true, -0.05, 0.05, true}};

double Weight(const VariantArgs& a, bool key, int64_t head, int64_t row,
              int64_t c) {
  const double drawn = a.inputs == nullptr && row == c ? 1 : 0;
  return drawn + InputAt(a, kInputs, key ? 1 : 0, 0, row, head, c);
}

struct Maps {
  HeadWeights of_query, of_key;
  bool one;  // softmax over both halves
};

void Map(const void* self, const FeatureRows& rows) {
  const Maps& maps = *static_cast<const Maps*>(self);
  const int64_t n = rows.x.cols;
  ops::Matrix half = rows.phi;
  half.cols = n;
  const HeadWeights& weights = rows.key ? maps.of_key : maps.of_query;
  ops::MatMul(rows.x, ops::Transposed(weights.Of(rows)), half);
  for (int64_t i = 0; i < rows.x.rows; ++i) {
    float* phi = rows.phi.row(i);
    if (maps.one) ops::Scale(2.0f, phi, n);
    for (int64_t c = 0; c < n; ++c) phi[n + c] = -phi[c];
    ops::Softmax(phi, maps.one ? 2 * n : n);
    if (!maps.one) ops::Softmax(phi + n, n);
  }
}

Status RunVariant(const VariantArgs& a) {
  const int64_t dim = a.args.key.head_dim();
  const Status wide = CheckMapWidth(a, 2);
  if (!wide.ok()) return wide;
  Maps maps;
  maps.one = a.knobs[0] != 0;
  for (const bool key : {false, true}) {
    Status status = CheckWeights(a, kInputs, key ? 1 : 0, dim);
    if (status.ok()) {
      status = MakeWeights(
          a, dim,
          [&](int64_t head, int64_t row, int64_t c) {
            return Weight(a, key, head, row, c);
          },
          key ? &maps.of_key : &maps.of_query);
    }
    if (!status.ok()) return status;
  }
  LinearCall call;
  call.params.normalise = true;
  call.map = {2 * dim, &maps, &Map};
  call.chunk = static_cast<int>(a.knobs[1]);
  return AttendLinear(a, call);
}

struct Law : LinearLaw {
  const VariantArgs& a;

  explicit Law(const VariantArgs& args) : a(args) {
    features = 2 * a.args.query.head_dim();
    normalise = true;
  }
  void Phi(const LinearRow& row, double* phi) const {
    const int64_t n = features / 2;
    const int64_t group = a.args.query.heads() / a.args.key.heads();
    const int64_t head = row.key ? row.head : row.head / group;
    double most = -INFINITY, least = INFINITY;
    for (int64_t r = 0; r < n; ++r) {
      double y = 0;
      for (int64_t c = 0; c < n; ++c) {
        y += Weight(a, row.key, head, r, c) * static_cast<double>(row.x[c]);
      }
      phi[r] = a.knobs[0] != 0 ? 2 * y : y;
      most = std::max(most, phi[r]);
      least = std::min(least, phi[r]);
    }
    if (a.knobs[0] != 0) {
      most = std::max(most, -least);
      least = -most;
    }
    double up = 0, down = 0;
    for (int64_t r = 0; r < n; ++r) {
      const double y = phi[r];
      phi[r] = std::exp(y - most);
      phi[n + r] = std::exp(least - y);
      up += phi[r];
      down += phi[n + r];
    }
    if (a.knobs[0] != 0) up = down = up + down;
    for (int64_t r = 0; r < n; ++r) {
      phi[r] /= up;
      phi[n + r] /= down;
    }
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  Cost cost = LinearCost(shape, params, 2 * shape.head_dim,
                         static_cast<int>(knobs[1]), false);
  cost.flops += MapFlops(shape, shape.head_dim);
  return cost;
}

}  // namespace

Variant hedgehog() {
  return {.summary = "Softmaxes of a learnt map as features, W given.",
          .paper = "Zhang et al. 2024, arXiv:2402.04347",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 2,
          .inputs = kInputs,
          .num_inputs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = ReferenceOf<Law>};
}

}  // namespace heed::variants
