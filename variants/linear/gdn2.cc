// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Gated DeltaNet-2 (2026, arXiv:2605.22791): Kimi delta attention with a gate
// for each channel of what is erased, and of what is written.
//
//   S <- diag(exp(g_t)) S
//   S <- S + k_t (w_t * v_t - S^T (b_t * k_t))^T,   out_t = scale * q_t^T S
//
// Inputs are g, b by channel of the key, and w by channel of the value; where b
// and w are one number this is KDA with beta. Keys and queries are brought to
// unit length, x / sqrt(|x|^2 + 1e-6).
#include <heed/linear_variant.h>

#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {kChunkKnob};
constexpr Input kInputs[] = {
    {"gate", "Logarithm of what is left of a state's row.", true, -0.2, 0.0},
    {"erase", "b, how far each channel of the key erases.", true, 0.0, 1.0},
    {.name = "write",
     .summary = "w, how much of each channel of the value is written.",
     .per_channel = true,
     .low = 0.0,
     .high = 1.0,
     .values = true}};

Status RunVariant(const VariantArgs& a) {
  const int64_t dim = a.args.query.head_dim();
  LinearCall call;
  call.params.scale = ops::SoftmaxScale(a.params, dim);
  call.map = UnitRows(dim);
  call.chunk = static_cast<int>(a.knobs[0]);
  ConstTensorView erase, write;
  Status status = InputOrDrawn(a, kInputs, 0, kLogDecays, &call.log_decay);
  if (status.ok()) status = InputOrDrawn(a, kInputs, 1, kAnyNumber, &erase);
  if (status.ok()) status = InputOrDrawn(a, kInputs, 2, kAnyNumber, &write);
  if (!status.ok()) return status;
  status = MakeInput(
      a, dim,
      [&](int64_t b, int64_t token, int64_t head, int64_t channel) {
        const float* k = RowAt(a.args.key, b, token, head);
        return RowAt(erase, b, token, head)[channel] * k[channel] /
               std::sqrt(ops::Dot(k, k, dim) + 1e-6f);
      },
      &call.erase_key);
  VariantArgs gated = a;
  if (status.ok()) {
    status = MakeInput(
        a, a.args.value.head_dim(),
        [&](int64_t b, int64_t token, int64_t head, int64_t channel) {
          return RowAt(write, b, token, head)[channel] *
                 RowAt(a.args.value, b, token, head)[channel];
        },
        &gated.args.value);
  }
  return status.ok() ? AttendLinear(gated, call) : status;
}

struct Law : LinearLaw {
  const VariantArgs& a;

  explicit Law(const VariantArgs& args) : a(args) {
    features = a.args.query.head_dim();
    scale = static_cast<double>(ops::SoftmaxScale(a.params, features));
    delta = true;
  }
  void Phi(const LinearRow& row, double* phi) const {
    UnitLength(row.x, features, phi);
  }
  double LogDecay(int64_t b, int64_t token, int64_t head,
                  int64_t channel) const {
    return InputAt(a, kInputs, 0, b, token, head, channel);
  }
  void EraseKey(const LinearRow& row, double* key) const {
    for (int64_t c = 0; c < features; ++c) {
      key[c] *= InputAt(a, kInputs, 1, row.batch, row.position, row.head, c);
    }
  }
  double Value(const VariantArgs& /*call*/, int64_t b, int64_t token,
               int64_t head, int64_t channel) const {
    return InputAt(a, kInputs, 2, b, token, head, channel) *
           static_cast<double>(RowAt(a.args.value, b, token, head)[channel]);
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return LinearCost(shape, params, shape.head_dim, static_cast<int>(knobs[0]),
                    true);
}

}  // namespace

Variant gdn2() {
  return {.summary = "Gated DeltaNet-2: erases and writes channel by channel.",
          .paper = "2026, arXiv:2605.22791",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 1,
          .inputs = kInputs,
          .num_inputs = 3,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = ReferenceOf<Law>};
}

}  // namespace heed::variants
