// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Mamba-2's state space duality (Dao and Gu 2024, arXiv:2405.21060): queries,
// keys and values are its C, B and x.
//
//   S <- exp(-A_h dt_t) S + dt_t k_t v_t^T;  out_t = q_t^T S + D v_t
//
// The step dt is an input, behind softplus and bias, which are the model's. A
// is a number a head: where the model draws it evenly from a_min to a_max, here
// it rises evenly. There is no scale unless softmax_scale asks for one. D v_t
// is for rows with a key of their own, which only causal calls have.
#include <heed/linear_variant.h>

#include <cstdint>
#include <limits>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {"a_min", "A of the first head.", 1, 0, 64, false},
    {"a_max", "A of the last head.", 16, 0, 64, false},
    {"skip", "D, what of a token's value passes by the state.", 1, -8, 8,
     false},
    kChunkKnob,
};
constexpr Input kInputs[] = {{"dt", "Step, not negative.", false, 0.001, 0.1}};
constexpr InputRange kSteps = {0.0f, std::numeric_limits<float>::max(),
                               "must be at least 0 and finite"};

double A(const VariantArgs& a, int64_t head) {
  const int64_t last = a.args.key.heads() - 1;
  const double at =
      last > 0 ? static_cast<double>(head) / static_cast<double>(last) : 0.0;
  return a.knobs[0] + (a.knobs[1] - a.knobs[0]) * at;
}

// Keys times their step; self is dt.
void Map(const void* self, const FeatureRows& rows) {
  const ConstTensorView& dt = *static_cast<const ConstTensorView*>(self);
  for (int64_t i = 0; i < rows.x.rows; ++i) {
    const float step =
        rows.key ? *RowAt(dt, rows.batch, rows.position + i, rows.head) : 1.0f;
    for (int64_t c = 0; c < rows.x.cols; ++c) {
      rows.phi.row(i)[c] = step * rows.x.row(i)[c];
    }
  }
}

Status RunVariant(const VariantArgs& a) {
  ConstTensorView dt;
  LinearCall call;
  Status status = InputOrDrawn(a, kInputs, 0, kSteps, &dt);
  if (!status.ok()) return status;
  status = MakeInput(
      a, 1,
      [&](int64_t b, int64_t token, int64_t head, int64_t /*channel*/) {
        return -A(a, head) * static_cast<double>(*RowAt(dt, b, token, head));
      },
      &call.log_decay);
  if (!status.ok()) return status;
  call.params.scale = ScaleOrOne(a.params);
  call.map = {a.args.key.head_dim(), &dt, &Map};
  call.chunk = static_cast<int>(a.knobs[3]);
  status = AttendLinear(a, call);
  if (!status.ok()) return status;
  const float skip = static_cast<float>(a.knobs[2]);
  ForEachOwnKey(a, [&](int64_t b, int64_t row, int64_t head, int64_t key,
                       int64_t kv_head) {
    ops::Axpy(skip, RowAt(a.args.value, b, key, kv_head),
              RowAt(a.args.out, b, row, head), a.args.out.head_dim());
  });
  return Status();
}

struct Law : LinearLaw {
  const VariantArgs& a;

  explicit Law(const VariantArgs& args) : a(args) {
    features = a.args.query.head_dim();
    scale = static_cast<double>(ScaleOrOne(a.params));
  }
  double Step(int64_t b, int64_t token, int64_t head) const {
    return InputAt(a, kInputs, 0, b, token, head, 0);
  }
  void Phi(const LinearRow& row, double* phi) const {
    LinearLaw::Phi(row, phi);
    for (int64_t c = 0; row.key && c < features; ++c) {
      phi[c] *= Step(row.batch, row.position, row.head);
    }
  }
  double LogDecay(int64_t b, int64_t token, int64_t head,
                  int64_t /*channel*/) const {
    return -A(a, head) * Step(b, token, head);
  }
};

void Reference(const VariantArgs& a, double* out) {
  ReferenceOf<Law>(a, out);
  const int64_t dim_v = a.args.value.head_dim();
  ForEachOwnKey(a, [&](int64_t b, int64_t row, int64_t head, int64_t key,
                       int64_t kv_head) {
    const float* v = RowAt(a.args.value, b, key, kv_head);
    const ConstTensorView& q = a.args.query;
    double* to = out + ((b * q.seqlen() + row) * q.heads() + head) * dim_v;
    for (int64_t x = 0; x < dim_v; ++x) {
      to[x] += a.knobs[2] * static_cast<double>(v[x]);
    }
  });
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return LinearCost(shape, params, shape.head_dim, static_cast<int>(knobs[3]),
                    false);
}

}  // namespace

Variant mamba2() {
  return {.summary = "Mamba-2: a step a token, which fades and writes at once.",
          .paper = "Dao and Gu 2024, arXiv:2405.21060",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 4,
          .inputs = kInputs,
          .num_inputs = 1,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
