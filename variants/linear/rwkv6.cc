// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// RWKV-6, Finch (Peng et al. 2024, arXiv:2404.05892): a row reads the state
// before its own token is written, and that token by a bonus of its own.
//
//   out_t = scale * r_t^T (S + diag(u) k_t v_t^T)
//   S    <- diag(w_t) S + k_t v_t^T
//
// Gates are an input, log w, in the model -exp(x). So is the bonus u, by token;
// the model has one u a head, a view whose stride along seqlen is 0. There is
// no scale unless softmax_scale asks for one, as in RWKV's own layers. A row
// reads before its key where it has one of its own: in causal calls.
#include <heed/linear_variant.h>

#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {kChunkKnob};
constexpr Input kInputs[] = {
    {"gate", "Logarithm of what is left of a state's row.", true, -0.5, 0.0},
    {"bonus", "u, the weight of a row's own token by channel.", true, -1.0,
     1.0}};

// The same call, each row standing one key earlier.
VariantArgs Earlier(const VariantArgs& a) {
  VariantArgs earlier = a;
  earlier.params.causal_offset =
      FirstPosition(a.params, a.args.query.seqlen(), a.args.key.seqlen()) - 1;
  return earlier;
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t dim = t.query.head_dim();
  LinearCall call;
  call.params.scale = ScaleOrOne(a.params);
  call.chunk = static_cast<int>(a.knobs[0]);
  ConstTensorView bonus;
  Status status = InputOrDrawn(a, kInputs, 0, kLogDecays, &call.log_decay);
  if (status.ok()) status = InputOrDrawn(a, kInputs, 1, &bonus);
  float* weighted = a.scratch.Array<float>(dim);
  if (status.ok() && weighted == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "a row could not be allocated");
  }
  if (status.ok()) status = AttendLinear(Earlier(a), call);
  if (!status.ok()) return status;
  ForEachOwnKey(a, [&](int64_t b, int64_t row, int64_t head, int64_t key,
                       int64_t kv_head) {
    const float* k = RowAt(t.key, b, key, kv_head);
    const float* u = RowAt(bonus, b, key, kv_head);
    for (int64_t c = 0; c < dim; ++c) weighted[c] = u[c] * k[c];
    const float weight = call.params.scale *
                         ops::Dot(RowAt(t.query, b, row, head), weighted, dim);
    ops::Axpy(weight, RowAt(t.value, b, key, kv_head),
              RowAt(t.out, b, row, head), t.out.head_dim());
  });
  return Status();
}

struct Law : LinearLaw {
  const VariantArgs& a;

  explicit Law(const VariantArgs& args) : a(args) {
    features = a.args.query.head_dim();
    scale = static_cast<double>(ScaleOrOne(a.params));
  }
  double LogDecay(int64_t b, int64_t token, int64_t head,
                  int64_t channel) const {
    return InputAt(a, kInputs, 0, b, token, head, channel);
  }
};

void Reference(const VariantArgs& a, double* out) {
  const AttentionArgs& t = a.args;
  ReferenceOf<Law>(Earlier(a), out);
  const Law law(a);
  ForEachOwnKey(a, [&](int64_t b, int64_t row, int64_t head, int64_t key,
                       int64_t kv_head) {
    double weight = 0;
    for (int64_t c = 0; c < law.features; ++c) {
      weight += InputAt(a, kInputs, 1, b, key, kv_head, c) *
                static_cast<double>(RowAt(t.query, b, row, head)[c]) *
                static_cast<double>(RowAt(t.key, b, key, kv_head)[c]);
    }
    const int64_t dim_v = t.value.head_dim();
    for (int64_t x = 0; x < dim_v; ++x) {
      out[((b * t.query.seqlen() + row) * t.query.heads() + head) * dim_v +
          x] += law.scale * weight *
                static_cast<double>(RowAt(t.value, b, key, kv_head)[x]);
    }
  });
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return LinearCost(shape, params, shape.head_dim, static_cast<int>(knobs[0]),
                    false);
}

}  // namespace

Variant rwkv6() {
  return {.summary = "RWKV-6: a gate a channel, a bonus for the own token.",
          .paper = "Peng et al. 2024, arXiv:2404.05892",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 1,
          .inputs = kInputs,
          .num_inputs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
