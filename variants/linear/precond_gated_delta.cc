// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Preconditioned Gated DeltaNet (Tumma et al. 2026, arXiv:2604.21100): the
// gated delta rule written along keys whose channels count the less the more
// they have been written, a diagonal in place of the inverse of what keys'
// squares sum to.
//
//   A <- exp(g'_t) A + beta'_t k_t^2,  r = log(A + 1e-6) - log_atk_scale
//   p_t = k_t squash_x^(-r / (1 + |r|))
//   S <- exp(g_t) S;  S <- S + beta_t p_t (v_t - S^T k_t)^T
//   out_t = scale * q_t^T S
//
// Keys and queries are brought to unit length, x / sqrt(|x|^2 + 1e-6). Gates
// and betas of the state, and of A, are inputs. log_atk_scale, in the model a
// number a head, is a knob; with squash_x 1 this is Gated DeltaNet.
#include <heed/linear_ops.h>
#include <heed/linear_state.h>
#include <heed/portable_math.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {"squash_x", "The most that a channel counts, and one over the least.", 1.5,
     1, 2, false},
    {"log_atk_scale", "Logarithm of the A at which a channel counts one.", -0.2,
     -16, 16, false},
    kChunkKnob,
};
constexpr Input kInputs[] = {
    {"gate", "Logarithm of what is left of the state.", false, -0.2, 0.0},
    {"beta", "How far the value under the key is moved.", false, 0.0, 1.0},
    {"atk_gate", "Logarithm of what is left of A.", false, -0.2, 0.0},
    {"atk_beta", "The weight of a token in A.", false, 0.0, 1.0}};

// What a channel counts of which A is so much; log_x is that of squash_x.
double Squashed(double sum, double log_x, double log_atk_scale) {
  const double r = portable::Log(sum + 1e-6) - log_atk_scale;
  return portable::Exp(-log_x * r / (1 + std::fabs(r)));
}

// Keys come as they are written; queries at unit length.
void Map(const void* /*self*/, const FeatureRows& rows) {
  const int64_t dim = rows.x.cols;
  if (!rows.key) {
    const FeatureMap unit = UnitRows(dim);
    return unit.map(unit.self, rows);
  }
  for (int64_t i = 0; i < rows.x.rows; ++i) {
    std::copy(rows.x.row(i), rows.x.row(i) + dim, rows.phi.row(i));
  }
}

struct Keys {
  TensorView unit, written;
};

Status MakeKeys(const VariantArgs& a, const ConstTensorView& gate,
                const ConstTensorView& beta, Keys* keys) {
  const ConstTensorView& key = a.args.key;
  const int64_t dim = key.head_dim();
  for (TensorView* view : {&keys->unit, &keys->written}) {
    float* at =
        a.scratch.Array<float>(key.batch() * key.seqlen(), key.heads(), dim);
    if (at == nullptr) {
      return Status(StatusCode::kOutOfMemory, "scratch",
                    "keys could not be allocated");
    }
    *view = Bshd(at, key.batch(), key.seqlen(), key.heads(), dim);
  }
  const double log_x = portable::Log(a.knobs[0]);
  return ForEachState(a, dim, [&](int64_t b, int64_t h, float* sum) {
    for (int64_t t = 0; t < key.seqlen(); ++t) {
      float* k = RowAt(keys->unit, b, t, h);
      ops::L2Norm(RowAt(key, b, t, h), 1e-6f, k, dim);
      float decay;
      ops::Exp(RowAt(gate, b, t, h), &decay, 1);
      for (int64_t c = 0; c < dim; ++c) {
        sum[c] = decay * sum[c] + *RowAt(beta, b, t, h) * (k[c] * k[c]);
        RowAt(keys->written, b, t, h)[c] = static_cast<float>(
            static_cast<double>(k[c]) *
            Squashed(static_cast<double>(sum[c]), log_x, a.knobs[1]));
      }
    }
  });
}

Status RunVariant(const VariantArgs& a) {
  const int64_t dim = a.args.key.head_dim();
  ConstTensorView atk_gate, atk_beta;
  LinearCall call;
  Status status = CheckLinearCall(a);
  if (status.ok()) {
    status = InputOrDrawn(a, kInputs, 0, kLogDecays, &call.log_decay);
  }
  if (status.ok()) status = InputOrDrawn(a, kInputs, 1, kBetas, &call.beta);
  if (status.ok()) status = InputOrDrawn(a, kInputs, 2, kLogDecays, &atk_gate);
  if (status.ok()) status = InputOrDrawn(a, kInputs, 3, kBetas, &atk_beta);
  Keys keys;
  if (status.ok()) status = MakeKeys(a, atk_gate, atk_beta, &keys);
  if (!status.ok()) return status;
  call.params.scale = ops::SoftmaxScale(a.params, dim);
  call.map = {dim, nullptr, &Map};
  call.erase_key = keys.unit;
  call.chunk = static_cast<int>(a.knobs[2]);
  VariantArgs written = a;
  written.args.key = keys.written;
  return AttendLinear(written, call);
}

struct Law : LinearLaw {
  const VariantArgs& a;
  std::vector<double> counts;  // of each channel of each key

  explicit Law(const VariantArgs& args) : a(args) {
    const ConstTensorView& key = a.args.key;
    features = key.head_dim();
    scale = static_cast<double>(ops::SoftmaxScale(a.params, features));
    delta = true;
    std::vector<double> k(static_cast<size_t>(features));
    std::vector<double> sums(
        static_cast<size_t>(key.batch() * key.heads() * features));
    for (int64_t t = 0; t < key.seqlen(); ++t) {
      double* sum = sums.data();
      for (int64_t b = 0; b < key.batch(); ++b) {
        for (int64_t h = 0; h < key.heads(); ++h) {
          UnitLength(RowAt(key, b, t, h), features, k.data());
          for (const double x : k) {
            *sum = std::exp(InputAt(a, kInputs, 2, b, t, h, 0)) * *sum +
                   InputAt(a, kInputs, 3, b, t, h, 0) * x * x;
            const double r = std::log(*sum++ + 1e-6) - a.knobs[1];
            counts.push_back(std::pow(a.knobs[0], -r / (1 + std::fabs(r))));
          }
        }
      }
    }
  }
  void Phi(const LinearRow& row, double* phi) const {
    UnitLength(row.x, features, phi);
    const ConstTensorView& key = a.args.key;
    for (int64_t c = 0; row.key && c < features; ++c) {
      phi[c] *= counts[static_cast<size_t>(
          ((row.position * key.batch() + row.batch) * key.heads() + row.head) *
              features +
          c)];
    }
  }
  void EraseKey(const LinearRow& row, double* key) const {
    UnitLength(row.x, features, key);
  }
  double LogDecay(int64_t b, int64_t token, int64_t head,
                  int64_t /*channel*/) const {
    return InputAt(a, kInputs, 0, b, token, head, 0);
  }
  double Beta(int64_t b, int64_t token, int64_t head) const {
    return InputAt(a, kInputs, 1, b, token, head, 0);
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return LinearCost(shape, params, shape.head_dim, static_cast<int>(knobs[2]),
                    true);
}

}  // namespace

Variant precond_gated_delta() {
  return {.summary = "Gated DeltaNet along keys that much writing shortens.",
          .paper = "Tumma et al. 2026, arXiv:2604.21100",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 3,
          .inputs = kInputs,
          .num_inputs = 4,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = ReferenceOf<Law>};
}

}  // namespace heed::variants
