// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Gated DeltaProduct with two steps a token (Siems et al. 2025,
// arXiv:2502.10297): the state fades, then two delta rules follow, each with a
// key, a value and a beta of its own, and the token reads after both.
//
//   S <- exp(g_t) S
//   S <- S + beta_ti k_ti (v_ti - S^T k_ti)^T   for i = 1, 2
//   out_t = scale * q_t^T S
//
// The first key and value are those of the call, the second are inputs. Keys
// are brought to unit length, x / sqrt(|x|^2 + 1e-6). It is the gated delta
// rule over twice as many tokens, of which every other has a query and a gate.
#include <heed/linear_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace heed::variants {
namespace {

constexpr int64_t kSteps = 2;
constexpr Knob kKnobs[] = {kChunkKnob};
constexpr Input kInputs[] = {
    {"gate", "Logarithm of what is left of the state.", false, -0.2, 0.0},
    {"beta", "How far the value under the key is moved.", false, 0.0, 1.0},
    {"second_key", "The key of the second step.", true, -1.0, 1.0},
    {.name = "second_value",
     .summary = "The value of the second step.",
     .per_channel = true,
     .low = -1.0,
     .high = 1.0,
     .values = true},
    {"second_beta", "The beta of the second step.", false, 0.0, 1.0}};

// A tensor of the scratch with twice as many tokens.
Status Allocate(const VariantArgs& a, const ConstTensorView& like,
                TensorView* steps) {
  const int64_t tokens = kSteps * like.seqlen();
  float* at = a.scratch.Array<float>(like.batch() * tokens * like.heads() *
                                     like.head_dim());
  if (at == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "steps could not be allocated");
  }
  *steps = Bshd(at, like.batch(), tokens, like.heads(), like.head_dim());
  return Status();
}

// Steps as tokens: the rows of two tensors in turn, zeros for one absent.
Status Interleave(const VariantArgs& a, const ConstTensorView& first,
                  const ConstTensorView& second, TensorView* both) {
  const ConstTensorView& like = second.absent() ? first : second;
  const int64_t dim = like.head_dim();
  const Status status = Allocate(a, like, both);
  for (int64_t b = 0; status.ok() && b < like.batch(); ++b) {
    for (int64_t t = 0; t < both->seqlen(); ++t) {
      const ConstTensorView& from = t % kSteps == 0 ? first : second;
      for (int64_t h = 0; h < like.heads(); ++h) {
        float* to = RowAt(*both, b, t, h);
        std::fill(to, to + dim, 0.0f);
        if (from.absent()) continue;
        const float* row = RowAt(from, b, t / kSteps, h);
        std::copy(row, row + dim, to);
      }
    }
  }
  return status;
}

// Sets a call's tensors to steps; the second key has no gate, the first no row.
Status MakeSteps(const VariantArgs& a, AttentionArgs* t, LinearCall* call) {
  ConstTensorView gate, beta, key, value, beta2;
  Status status = InputOrDrawn(a, kInputs, 0, kLogDecays, &gate);
  if (status.ok()) status = InputOrDrawn(a, kInputs, 1, kBetas, &beta);
  if (status.ok()) status = InputOrDrawn(a, kInputs, 2, kAnyNumber, &key);
  if (status.ok()) status = InputOrDrawn(a, kInputs, 3, kAnyNumber, &value);
  if (status.ok()) status = InputOrDrawn(a, kInputs, 4, kBetas, &beta2);
  const auto join = [&](const ConstTensorView& first,
                        const ConstTensorView& second, ConstTensorView* to) {
    TensorView both;
    if (status.ok()) status = Interleave(a, first, second, &both);
    if (status.ok()) *to = both;
  };
  join(gate, {}, &call->log_decay);
  join(beta, beta2, &call->beta);
  join(a.args.key, key, &t->key);
  join(a.args.value, value, &t->value);
  join({}, a.args.query, &t->query);
  if (status.ok()) status = Allocate(a, a.args.out, &t->out);
  return status;
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t dim = t.query.head_dim();
  LinearCall call;
  call.params.scale = ops::SoftmaxScale(a.params, dim);
  call.map = UnitKeys(dim);
  call.chunk = static_cast<int>(a.knobs[0]);
  VariantArgs steps = a;
  Status status = MakeSteps(a, &steps.args, &call);
  if (!status.ok()) return status;
  steps.params.causal_offset =
      kSteps * FirstPosition(a.params, t.query.seqlen(), t.key.seqlen());
  status = AttendLinear(steps, call);
  if (!status.ok()) return status;
  for (int64_t b = 0; b < t.out.batch(); ++b) {
    for (int64_t i = 0; i < t.out.seqlen(); ++i) {
      for (int64_t h = 0; h < t.out.heads(); ++h) {
        const float* row = RowAt(steps.args.out, b, kSteps * i + 1, h);
        std::copy(row, row + t.out.head_dim(), RowAt(t.out, b, i, h));
      }
    }
  }
  return Status();
}

// One delta rule on a state [head_dim][head_dim_v].
void Delta(const float* key, const float* value, double beta, int64_t dim,
           int64_t dim_v, double* state) {
  std::vector<double> unit(static_cast<size_t>(dim));
  UnitLength(key, dim, unit.data());
  for (int64_t x = 0; x < dim_v; ++x) {
    double miss = static_cast<double>(value[x]);
    for (int64_t m = 0; m < dim; ++m) {
      miss -= unit[static_cast<size_t>(m)] * state[m * dim_v + x];
    }
    for (int64_t m = 0; m < dim; ++m) {
      state[m * dim_v + x] += beta * unit[static_cast<size_t>(m)] * miss;
    }
  }
}

// A key token's two steps.
void Write(const VariantArgs& a, int64_t b, int64_t j, int64_t h,
           std::vector<double>* state) {
  const int64_t dim = a.args.key.head_dim(), dim_v = a.args.value.head_dim();
  const double decay = std::exp(InputAt(a, kInputs, 0, b, j, h, 0));
  for (double& s : *state) s *= decay;
  Delta(RowAt(a.args.key, b, j, h), RowAt(a.args.value, b, j, h),
        InputAt(a, kInputs, 1, b, j, h, 0), dim, dim_v, state->data());
  std::vector<float> key, value;
  for (int64_t c = 0; c < dim; ++c) {
    key.push_back(static_cast<float>(InputAt(a, kInputs, 2, b, j, h, c)));
  }
  for (int64_t x = 0; x < dim_v; ++x) {
    value.push_back(static_cast<float>(InputAt(a, kInputs, 3, b, j, h, x)));
  }
  Delta(key.data(), value.data(), InputAt(a, kInputs, 4, b, j, h, 0), dim,
        dim_v, state->data());
}

void Reference(const VariantArgs& a, double* out) {
  const AttentionArgs& t = a.args;
  const int64_t rows = t.query.seqlen(), heads = t.query.heads();
  const int64_t dim = t.query.head_dim(), dim_v = t.value.head_dim();
  const double scale = static_cast<double>(ops::SoftmaxScale(a.params, dim));
  for (int64_t b = 0; b < t.query.batch(); ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t kv = h / (heads / t.key.heads());
      std::vector<double> state(static_cast<size_t>(dim * dim_v), 0.0);
      int64_t keys = 0;
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t end =
            ops::VisibleTo(a.params, rows, t.key.seqlen(), i).end;
        for (; keys < end; ++keys) Write(a, b, keys, kv, &state);
        const float* q = RowAt(t.query, b, i, h);
        double* row = out + ((b * rows + i) * heads + h) * dim_v;
        for (int64_t x = 0; x < dim_v; ++x) {
          row[x] = 0;
          for (int64_t m = 0; m < dim; ++m) {
            row[x] += scale * static_cast<double>(q[m]) *
                      state[static_cast<size_t>(m * dim_v + x)];
          }
        }
      }
    }
  }
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  AttentionShape steps = shape;
  steps.seqlen_q *= kSteps;
  steps.seqlen_k *= kSteps;
  return LinearCost(steps, params, shape.head_dim, static_cast<int>(knobs[0]),
                    true);
}

}  // namespace

Variant delta_product() {
  return {.summary = "Gated DeltaProduct: two delta rules a token.",
          .paper = "Siems et al. 2025, arXiv:2502.10297",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 1,
          .inputs = kInputs,
          .num_inputs = 5,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
