// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The gated Oja rule (Oja 1982, doi:10.1007/BF00275687, as gated in
// flash-linear-attention): the delta rule with keys and values in each other's
// place. The state fades by channels of the value, and what it holds along the
// token's value is moved towards the token's key.
//
//   S <- S diag(exp(gate_t));  S <- S + beta_t (k_t - S v_t) v_t^T
//   out_t = scale * q_t^T S
//
// Values are brought to unit length, v / sqrt(|v|^2 + 1e-6). Gates, by channel
// of the value, and beta are inputs. A state that is read along its rows and
// erased along its columns is none that a scan has: tokens pass one by one.
#include <heed/linear_ops.h>
#include <heed/linear_state.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace heed::variants {
namespace {

constexpr Input kInputs[] = {
    {.name = "gate",
     .summary = "Logarithm of what is left of a state's column.",
     .per_channel = true,
     .low = -0.2,
     .high = 0.0,
     .values = true},
    {"beta", "How far the key under the value is moved.", false, 0.0, 1.0}};

// A token's value and gates in `memory`, which has room for both, and the state
// in turn: [head_dim][head_dim_v].
void Write(const VariantArgs& a, const float* key, const float* value,
           const float* gate, float beta, float* memory, float* state) {
  const int64_t dim = a.args.key.head_dim(), dim_v = a.args.value.head_dim();
  float *unit = memory, *decay = memory + dim_v;
  ops::L2Norm(value, 1e-6f, unit, dim_v);
  ops::Exp(gate, decay, dim_v);
  for (int64_t c = 0; c < dim; ++c) {
    float* row = state + c * dim_v;
    for (int64_t x = 0; x < dim_v; ++x) row[x] *= decay[x];
    ops::Axpy(beta * (key[c] - ops::Dot(row, unit, dim_v)), unit, row, dim_v);
  }
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t dim = t.key.head_dim(), dim_v = t.value.head_dim();
  ConstTensorView gate, beta;
  Status status = CheckLinearCall(a);
  if (status.ok()) status = InputOrDrawn(a, kInputs, 0, kLogDecays, &gate);
  if (status.ok()) status = InputOrDrawn(a, kInputs, 1, kBetas, &beta);
  if (!status.ok()) return status;
  const float scale = ops::SoftmaxScale(a.params, dim);
  status = ForEachState(
      a, (dim + 2) * dim_v, [&](int64_t b, int64_t kv, float* memory) {
        float* state = memory + 2 * dim_v;
        InTokenOrder(
            a, kv,
            [&](int64_t j) {
              Write(a, RowAt(t.key, b, j, kv), RowAt(t.value, b, j, kv),
                    RowAt(gate, b, j, kv), *RowAt(beta, b, j, kv), memory,
                    state);
            },
            [&](int64_t i, int64_t h) {
              float* out = RowAt(t.out, b, i, h);
              ops::MatMul(ops::Dense(RowAt(t.query, b, i, h), 1, dim),
                          ops::Dense(state, dim, dim_v),
                          ops::Dense(out, 1, dim_v));
              ops::Scale(scale, out, dim_v);
            });
      });
  if (status.ok()) WriteNoLse(a);
  return status;
}

void Reference(const VariantArgs& a, double* out) {
  const AttentionArgs& t = a.args;
  const int64_t dim = t.key.head_dim(), dim_v = t.value.head_dim();
  const double scale = static_cast<double>(ops::SoftmaxScale(a.params, dim));
  const size_t n = static_cast<size_t>(dim), n_v = static_cast<size_t>(dim_v);
  for (int64_t task = 0; task < t.key.batch() * t.key.heads(); ++task) {
    const int64_t b = task / t.key.heads(), kv = task % t.key.heads();
    std::vector<double> state(n * n_v), unit(n_v);
    InTokenOrder(
        a, kv,
        [&](int64_t j) {
          UnitLength(RowAt(t.value, b, j, kv), dim_v, unit.data());
          const double beta = InputAt(a, kInputs, 1, b, j, kv, 0);
          for (size_t c = 0; c < n; ++c) {
            double found = 0;
            for (size_t x = 0; x < n_v; ++x) {
              state[c * n_v + x] *= std::exp(
                  InputAt(a, kInputs, 0, b, j, kv, static_cast<int64_t>(x)));
              found += state[c * n_v + x] * unit[x];
            }
            const double key = static_cast<double>(RowAt(t.key, b, j, kv)[c]);
            for (size_t x = 0; x < n_v; ++x) {
              state[c * n_v + x] += beta * (key - found) * unit[x];
            }
          }
        },
        [&](int64_t i, int64_t h) {
          double* row =
              out + ((b * t.query.seqlen() + i) * t.query.heads() + h) * dim_v;
          for (size_t x = 0; x < n_v; ++x) {
            row[x] = 0;
            for (size_t c = 0; c < n; ++c) {
              row[x] += scale *
                        static_cast<double>(RowAt(t.query, b, i, h)[c]) *
                        state[c * n_v + x];
            }
          }
        });
  }
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* /*knobs*/) {
  // Chunks of no tokens, and a product for what fades.
  Cost cost = LinearCost(shape, params, shape.head_dim, 0, true);
  cost.flops +=
      static_cast<double>(shape.batch * shape.seqlen_k * shape.num_kv_heads *
                          shape.head_dim * shape.head_dim_v);
  return cost;
}

}  // namespace

Variant gated_oja() {
  return {.summary = "The delta rule with keys and values exchanged.",
          .paper = "Oja 1982, doi:10.1007/BF00275687",
          .semantics = Semantics::kOwnReference,
          .inputs = kInputs,
          .num_inputs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
