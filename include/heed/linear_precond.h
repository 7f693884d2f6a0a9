// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// For authors of preconditioned delta rules (Tumma et al. 2026,
// arXiv:2604.21100): the rule written along keys whose channels count the less
// the more they have been written, a diagonal in place of the inverse of what
// keys' squares sum to.
//
//   A <- exp(g'_t) A + beta'_t k_t^2,  r = log(A + 1e-6) - log_atk_scale
//   p_t = k_t squash_x^(-r / (1 + |r|))
//   S <- diag(exp(g_t)) S;  S <- S + beta_t p_t (v_t - S^T k_t)^T
//   out_t = scale * q_t^T S
//
// Keys and queries are brought to unit length, x / sqrt(|x|^2 + 1e-6). A fades
// by a number a token and head, whatever the state does. log_atk_scale, in the
// model a number a head, is a knob; with squash_x 1 the keys are not
// conditioned. A variant adds its gates.
#ifndef HEED_LINEAR_PRECOND_H_
#define HEED_LINEAR_PRECOND_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "heed/linear_ops.h"
#include "heed/linear_state.h"
#include "heed/portable_math.h"

namespace heed::precond {

// Knobs 0 and 1 of a variant.
inline constexpr Knob kSquashKnob = {
    "squash_x", "The most that a channel counts, and one over the least.",
    1.5,        1,
    2,          false};
inline constexpr Knob kAtkScaleKnob = {
    "log_atk_scale",
    "Logarithm of the A at which a channel counts one.",
    -0.2,
    -16,
    16,
    false};
// Inputs 1 to 3, behind the gates.
inline constexpr Input kBetaInput = {
    "beta", "How far the value under the key is moved.", false, 0.0, 1.0};
inline constexpr Input kAtkGateInput = {
    "atk_gate", "Logarithm of what is left of A.", false, -0.2, 0.0};
inline constexpr Input kAtkBetaInput = {
    "atk_beta", "The weight of a token in A.", false, 0.0, 1.0};

// What a channel counts of which A is so much; log_x is that of squash_x.
inline double Squashed(double sum, double log_x, double log_atk_scale) {
  const double r = portable::Log(sum + 1e-6) - log_atk_scale;
  return portable::Exp(-log_x * r / (1 + std::fabs(r)));
}

// Keys come as they are written; queries at unit length.
inline void Map(const void* /*self*/, const FeatureRows& rows) {
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

inline Status MakeKeys(const VariantArgs& a, const ConstTensorView& gate,
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

// Computes a variant's call whose gates are in call.log_decay and whose chunk
// is in call.chunk.
inline Status Attend(const VariantArgs& a, const Input* inputs,
                     LinearCall call) {
  const int64_t dim = a.args.key.head_dim();
  ConstTensorView atk_gate, atk_beta;
  Status status = InputOrDrawn(a, inputs, 1, kBetas, &call.beta);
  if (status.ok()) status = InputOrDrawn(a, inputs, 2, kLogDecays, &atk_gate);
  if (status.ok()) status = InputOrDrawn(a, inputs, 3, kBetas, &atk_beta);
  Keys keys;
  if (status.ok()) status = MakeKeys(a, atk_gate, atk_beta, &keys);
  if (!status.ok()) return status;
  call.params.scale = ops::SoftmaxScale(a.params, dim);
  call.map = {dim, nullptr, &Map};
  call.erase_key = keys.unit;
  VariantArgs written = a;
  written.args.key = keys.written;
  return AttendLinear(written, call);
}

// The reference, to which a variant adds LogDecay.
struct Law : LinearLaw {
  const VariantArgs& a;
  const Input* inputs;
  std::vector<double> counts;  // of each channel of each key

  Law(const VariantArgs& args, const Input* its) : a(args), inputs(its) {
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
            *sum = std::exp(InputAt(a, inputs, 2, b, t, h, 0)) * *sum +
                   InputAt(a, inputs, 3, b, t, h, 0) * x * x;
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
  double Beta(int64_t b, int64_t token, int64_t head) const {
    return InputAt(a, inputs, 1, b, token, head, 0);
  }
};

}  // namespace heed::precond

#endif  // HEED_LINEAR_PRECOND_H_
