// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Transformer to RNN (T2R, Kasai et al. 2021, arXiv:2103.13076): a learnt layer
// with ReLU as the feature map.
//
//   phi(x) = relu(W x + b),  W of feature_dim rows
//
// W and b are inputs, for queries and for keys: [1, feature_dim, num_kv_heads,
// head_dim or 1]. Weights are normalised; a row whose features all vanish is
// zero. softmax_scale has no part in it.
#include <heed/linear_features.h>

#include <algorithm>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {"feature_dim", "Features, k in the paper.", 32, 1, 1024, true},
    kChunkKnob,
};
constexpr Input kInputs[] = {
    {"query_map", "W of queries.", true, -0.3, 0.3, true},
    {"query_bias", "b of queries.", false, 0.0, 0.5, true},
    {"key_map", "W of keys.", true, -0.3, 0.3, true},
    {"key_bias", "b of keys.", false, 0.0, 0.5, true}};

struct Maps {
  const VariantArgs* a;
  HeadWeights of_query, of_key;
};

double Bias(const VariantArgs& a, bool key, int64_t head, int64_t row) {
  return InputAt(a, kInputs, key ? 3 : 1, 0, row, head, 0);
}

void Map(const void* self, const FeatureRows& rows) {
  const Maps& maps = *static_cast<const Maps*>(self);
  const HeadWeights& weights = rows.key ? maps.of_key : maps.of_query;
  const int64_t head = rows.key ? rows.head : rows.head / weights.group;
  for (int64_t r = 0; r < rows.phi.cols; ++r) {
    rows.phi.row(0)[r] = static_cast<float>(Bias(*maps.a, rows.key, head, r));
  }
  for (int64_t i = 1; i < rows.x.rows; ++i) {
    std::copy(rows.phi.row(0), rows.phi.row(0) + rows.phi.cols,
              rows.phi.row(i));
  }
  ops::MatMulAdd(rows.x, ops::Transposed(weights.Of(rows)), rows.phi);
  for (int64_t i = 0; i < rows.x.rows; ++i) {
    float* phi = rows.phi.row(i);
    for (int64_t r = 0; r < rows.phi.cols; ++r) {
      phi[r] = phi[r] < 0 ? 0.0f : phi[r];  // NaN stays NaN
    }
  }
}

Status RunVariant(const VariantArgs& a) {
  const int64_t features = static_cast<int64_t>(a.knobs[0]);
  for (int i = 0; i < 4; ++i) {
    const Status status = CheckWeights(a, kInputs, i, features);
    if (!status.ok()) return status;
  }
  Maps maps;
  maps.a = &a;
  for (const int index : {0, 2}) {
    const Status status = MakeWeights(
        a, features,
        [&](int64_t head, int64_t row, int64_t c) {
          return InputAt(a, kInputs, index, 0, row, head, c);
        },
        index == 0 ? &maps.of_query : &maps.of_key);
    if (!status.ok()) return status;
  }
  LinearCall call;
  call.params.normalise = true;
  call.map = {features, &maps, &Map};
  call.chunk = static_cast<int>(a.knobs[1]);
  return AttendLinear(a, call);
}

struct Law : LinearLaw {
  const VariantArgs& a;

  explicit Law(const VariantArgs& args) : a(args) {
    features = static_cast<int64_t>(a.knobs[0]);
    normalise = true;
  }
  void Phi(const LinearRow& row, double* phi) const {
    const int64_t group = a.args.query.heads() / a.args.key.heads();
    const int64_t head = row.key ? row.head : row.head / group;
    for (int64_t r = 0; r < features; ++r) {
      double y = Bias(a, row.key, head, r);
      for (int64_t c = 0; c < a.args.query.head_dim(); ++c) {
        y += InputAt(a, kInputs, row.key ? 2 : 0, 0, r, head, c) *
             static_cast<double>(row.x[c]);
      }
      phi[r] = std::max(y, 0.0);
    }
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const int64_t features = static_cast<int64_t>(knobs[0]);
  Cost cost =
      LinearCost(shape, params, features, static_cast<int>(knobs[1]), false);
  cost.flops += MapFlops(shape, features);
  return cost;
}

}  // namespace

Variant t2r() {
  return {.summary = "A learnt layer with ReLU as features, W and b given.",
          .paper = "Kasai et al. 2021, arXiv:2103.13076",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 2,
          .inputs = kInputs,
          .num_inputs = 4,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = ReferenceOf<Law>};
}

}  // namespace heed::variants
