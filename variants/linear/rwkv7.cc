// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// RWKV-7, Goose (Peng et al. 2025, arXiv:2503.14456): what the state holds
// under one key is taken away along another, channel by channel.
//
//   S <- diag(w_t) S - (a_t * c_t) (c_t^T S) + k_t v_t^T,   out_t = scale *
//   r_t^T S
//
// Inputs are log w, in the model -exp(-1/2) sigmoid(x); the removal key,
// brought to unit length, c = x / sqrt(|x|^2 + 1e-6); and a, the rate in
// context. c meets the state before it fades, as in the paper. The replacement
// key is the key as it comes. There is no scale unless softmax_scale asks for
// one. The bonus of the own token stands behind the model's norm and is the
// model's.
#include <heed/linear_variant.h>

#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {kChunkKnob};
constexpr Input kInputs[] = {
    {"gate", "Logarithm of what is left of a state's row.", true, -0.6, 0.0},
    {"removal", "Direction under which the state is erased.", true, -1.0, 1.0},
    {"rate", "a, how far each channel of it is erased.", true, 0.0, 1.0}};

// Removal keys at unit length, and times their rate.
Status MakeKeys(const VariantArgs& a, LinearCall* call) {
  const int64_t dim = a.args.key.head_dim();
  ConstTensorView removal, rate;
  Status status = InputOrDrawn(a, kInputs, 1, kAnyNumber, &removal);
  if (status.ok()) status = InputOrDrawn(a, kInputs, 2, kAnyNumber, &rate);
  if (!status.ok()) return status;
  const auto unit = [&](int64_t b, int64_t token, int64_t head,
                        int64_t channel) {
    const float* x = RowAt(removal, b, token, head);
    return x[channel] / std::sqrt(ops::Dot(x, x, dim) + 1e-6f);
  };
  status = MakeInput(a, dim, unit, &call->erase_key);
  if (!status.ok()) return status;
  return MakeInput(
      a, dim,
      [&](int64_t b, int64_t token, int64_t head, int64_t channel) {
        return RowAt(rate, b, token, head)[channel] *
               RowAt(call->erase_key, b, token, head)[channel];
      },
      &call->remove_key);
}

Status RunVariant(const VariantArgs& a) {
  LinearCall call;
  call.params.scale = ScaleOrOne(a.params);
  call.params.erase_unfaded = true;
  call.chunk = static_cast<int>(a.knobs[0]);
  Status status = InputOrDrawn(a, kInputs, 0, kLogDecays, &call.log_decay);
  if (status.ok()) status = MakeKeys(a, &call);
  return status.ok() ? AttendLinear(a, call) : status;
}

struct Law : LinearLaw {
  const VariantArgs& a;

  explicit Law(const VariantArgs& args) : a(args) {
    features = a.args.query.head_dim();
    scale = static_cast<double>(ScaleOrOne(a.params));
    delta = erase_unfaded = true;
  }
  double LogDecay(int64_t b, int64_t token, int64_t head,
                  int64_t channel) const {
    return InputAt(a, kInputs, 0, b, token, head, channel);
  }
  void EraseKey(const LinearRow& row, double* key) const {
    double square = 1e-6;
    for (int64_t c = 0; c < features; ++c) {
      key[c] = InputAt(a, kInputs, 1, row.batch, row.position, row.head, c);
      square += key[c] * key[c];
    }
    for (int64_t c = 0; c < features; ++c) key[c] /= std::sqrt(square);
  }
  void RemoveKey(const LinearRow& row, double* key) const {
    EraseKey(row, key);
    for (int64_t c = 0; c < features; ++c) {
      key[c] *= InputAt(a, kInputs, 2, row.batch, row.position, row.head, c);
    }
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return LinearCost(shape, params, shape.head_dim, static_cast<int>(knobs[0]),
                    true, true);
}

}  // namespace

Variant rwkv7() {
  return {.summary = "RWKV-7: erases under one key along another.",
          .paper = "Peng et al. 2025, arXiv:2503.14456",
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
