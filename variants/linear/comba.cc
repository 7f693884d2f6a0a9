// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Comba (Hu et al. 2025, arXiv:2506.02475): a gated delta rule with feedback of
// its own strength, and of the output too.
//
//   p_t = b k_t;  S <- exp(g_t) S + beta_t k_t (v_t - S^T p_t)^T
//   out_t = scale * (q_t - d p_t)^T S
//
// p meets the state before it fades, as in the paper and in fla's recurrence.
// Keys and queries are brought to unit length, x / sqrt(|x|^2 + 1e-6); p is
// not, as with fla's norm in the kernel, under which b would have no part. b
// and d, in the model a number a head, are knobs. A row corrects by p where it
// has a key of its own: in causal calls.
#include <heed/linear_variant.h>

#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {"feedback", "b, what of the key erases.", 0.73, 0, 2, false},
    {"correction", "d, what of p is taken from the query.", 0.02, -4, 4, false},
    kChunkKnob,
};
constexpr Input kInputs[] = {
    {"gate", "Logarithm of what is left of the state.", false, -0.2, 0.0},
    {"beta", "How far the value under the key is moved.", false, 0.0, 1.0}};

// Keys at unit length, and queries less what is theirs of p.
void Map(const void* self, const FeatureRows& rows) {
  const VariantArgs& a = *static_cast<const VariantArgs*>(self);
  const FeatureMap unit = UnitRows(rows.x.cols);
  unit.map(unit.self, rows);
  const ConstTensorView& key = a.args.key;
  if (rows.key || !a.params.causal) return;
  const int64_t dim = rows.x.cols;
  const int64_t head = rows.head / (a.args.query.heads() / key.heads());
  const float factor = static_cast<float>(a.knobs[0] * a.knobs[1]);
  for (int64_t i = 0; i < rows.x.rows; ++i) {
    const int64_t token = rows.position + i;
    if (token < 0 || token >= key.seqlen()) continue;
    const float* k = RowAt(key, rows.batch, token, head);
    ops::Axpy(-factor / std::sqrt(ops::Dot(k, k, dim) + 1e-6f), k,
              rows.phi.row(i), dim);
  }
}

Status RunVariant(const VariantArgs& a) {
  const int64_t dim = a.args.query.head_dim();
  LinearCall call;
  call.params.scale = ops::SoftmaxScale(a.params, dim);
  call.params.erase_unfaded = true;
  call.map = {dim, &a, &Map};
  call.chunk = static_cast<int>(a.knobs[2]);
  Status status = InputOrDrawn(a, kInputs, 0, kLogDecays, &call.log_decay);
  if (status.ok()) status = InputOrDrawn(a, kInputs, 1, kBetas, &call.beta);
  if (!status.ok()) return status;
  const float feedback = static_cast<float>(a.knobs[0]);
  status = MakeInput(
      a, dim,
      [&](int64_t b, int64_t token, int64_t head, int64_t channel) {
        const float* k = RowAt(a.args.key, b, token, head);
        return feedback * k[channel] / std::sqrt(ops::Dot(k, k, dim) + 1e-6f);
      },
      &call.erase_key);
  return status.ok() ? AttendLinear(a, call) : status;
}

struct Law : LinearLaw {
  const VariantArgs& a;

  explicit Law(const VariantArgs& args) : a(args) {
    features = a.args.query.head_dim();
    scale = static_cast<double>(ops::SoftmaxScale(a.params, features));
    delta = erase_unfaded = true;
  }
  void Phi(const LinearRow& row, double* phi) const {
    UnitLength(row.x, features, phi);
    const ConstTensorView& key = a.args.key;
    if (row.key || !a.params.causal || row.position < 0 ||
        row.position >= key.seqlen()) {
      return;
    }
    const int64_t head = row.head / (a.args.query.heads() / key.heads());
    const float* k = RowAt(key, row.batch, row.position, head);
    double square = 1e-6;
    for (int64_t c = 0; c < features; ++c) {
      square += static_cast<double>(k[c]) * static_cast<double>(k[c]);
    }
    for (int64_t c = 0; c < features; ++c) {
      phi[c] -= a.knobs[0] * a.knobs[1] * static_cast<double>(k[c]) /
                std::sqrt(square);
    }
  }
  double LogDecay(int64_t b, int64_t token, int64_t head,
                  int64_t /*channel*/) const {
    return InputAt(a, kInputs, 0, b, token, head, 0);
  }
  double Beta(int64_t b, int64_t token, int64_t head) const {
    return InputAt(a, kInputs, 1, b, token, head, 0);
  }
  void EraseKey(const LinearRow& /*row*/, double* key) const {
    for (int64_t c = 0; c < features; ++c) key[c] *= a.knobs[0];
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return LinearCost(shape, params, shape.head_dim, static_cast<int>(knobs[2]),
                    true);
}

}  // namespace

Variant comba() {
  return {.summary = "Comba: a gated delta rule in a closed loop.",
          .paper = "Hu et al. 2025, arXiv:2506.02475",
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
