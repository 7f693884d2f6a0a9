// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Log-linear attention (Guo et al. 2025, arXiv:2506.04761): simple GLA whose
// past is cut, as a Fenwick tree cuts it, into one span for each bit of the
// row's position, and each span's state has a weight of the row's own.
//
//   out_t = scale * sum_j level_t[l(t, j)] exp(gate_{j+1} + .. + gate_t)
//                   (q_t . k_j) v_j
//   l(t, j) = 0 for j = t, else 1 + the highest bit in which t and j differ
//
// Spans of 16 tokens and more are states: after each 16 tokens those of equal
// length become one, as a binary counter carries, so that a row reads as many
// as its position has bits. Within 16 tokens pairs are weighed one by one. The
// gate and the weights of levels are inputs; level l is channel l, the last
// channel where there are fewer. A row beyond the last key stands at it. There
// is no scale unless softmax_scale asks for one.
#include <heed/linear_state.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Input kInputs[] = {
    {"gate", "Logarithm of what is left of the state.", false, -0.2, 0.0},
    {"level_scale", "The weight of a row's spans, by level.", true, 0.0, 1.0}};
constexpr int64_t kSpan = 16;  // tokens of the shortest span with a state
constexpr int64_t kFirst = 5;  // its level

int64_t LevelOf(int64_t t, int64_t j) {
  return std::bit_width(static_cast<uint64_t>(t ^ j));
}
int64_t LevelsOf(int64_t keys) {
  return std::bit_width(static_cast<uint64_t>(keys / kSpan));
}

// The spans of a head.
class Spans {
 public:
  static int64_t Floats(int64_t keys, int64_t dim, int64_t dim_v) {
    return LevelsOf(keys) * dim * dim_v + (kSpan + 1) * dim;
  }

  Spans(const VariantArgs& a, const ConstTensorView& gate,
        const ConstTensorView& level_scale, int64_t batch, int64_t kv_head,
        float* memory)
      : a_(a),
        gate_(gate),
        level_scale_(level_scale),
        batch_(batch),
        kv_head_(kv_head),
        keys_(ops::Head(a.args.key, batch, kv_head)),
        values_(ops::Head(a.args.value, batch, kv_head)),
        rows_(ops::Dense(memory, kSpan + 1, keys_.cols)),
        states_(memory + rows_.rows * rows_.cols) {}

  void Write(int64_t token) {
    if (token > 0 && token % kSpan == 0) CloseSpan();
    float decay;
    ops::Exp(RowAt(gate_, batch_, token, kv_head_), &decay, 1);
    kept_ = (token % kSpan == 0 ? 1.0f : kept_) * decay;
    for (int64_t u = 0; u < token % kSpan; ++u) faded_[u] *= decay;
    faded_[token % kSpan] = 1.0f;
    last_ = token;
  }

  void Read(int64_t row, int64_t head, float scale) const {
    float* out = RowAt(a_.args.out, batch_, row, head);
    const int64_t dim = keys_.cols, dim_v = values_.cols;
    std::fill(out, out + dim_v, 0.0f);
    if (last_ < 0) return;
    const float* q = RowAt(a_.args.query, batch_, row, head);
    const int64_t first = last_ - last_ % kSpan;
    float* scaled = rows_.row(kSpan);
    for (int64_t level = 0; first >> (level + kFirst - 1) != 0; ++level) {
      if ((first >> (level + kFirst - 1)) % 2 == 0) continue;
      std::fill(scaled, scaled + dim, 0.0f);
      ops::Axpy(scale * kept_ * LevelScale(level + kFirst), q, scaled, dim);
      ops::MatMulAdd(ops::Dense(scaled, 1, dim), State(level),
                     ops::Dense(out, 1, dim_v));
    }
    for (int64_t j = first; j <= last_; ++j) {
      const float weight = scale * faded_[j - first] *
                           LevelScale(LevelOf(last_, j)) *
                           ops::Dot(q, keys_.row(j), dim);
      ops::Axpy(weight, values_.row(j), out, dim_v);
    }
  }

 private:
  ops::Matrix State(int64_t level) const {
    return ops::Dense(states_ + level * keys_.cols * values_.cols, keys_.cols,
                      values_.cols);
  }
  float LevelScale(int64_t level) const {
    const int64_t channel = std::min(level, level_scale_.head_dim() - 1);
    return RowAt(level_scale_, batch_, last_, kv_head_)[channel];
  }

  // Makes a state of the last kSpan tokens and of those that carry into it.
  void CloseSpan() {
    const int64_t size = keys_.cols * values_.cols;
    const int64_t before = last_ / kSpan;  // spans closed so far
    for (int64_t level = 0; before >> level != 0; ++level) {
      if ((before >> level) % 2 != 0) {
        ops::Scale(kept_, State(level).data, size);
      }
    }
    const int64_t first = before * kSpan;
    for (int64_t u = 0; u < kSpan; ++u) {
      float* row = rows_.row(u);
      for (int64_t c = 0; c < keys_.cols; ++c) {
        row[c] = faded_[u] * keys_.row(first + u)[c];
      }
    }
    const int64_t carry = std::countr_one(static_cast<uint64_t>(before));
    ops::MatMul(ops::Transposed(ops::RowRange(rows_, 0, kSpan)),
                ops::RowRange(values_, first, first + kSpan), State(carry));
    for (int64_t level = 0; level < carry; ++level) {
      ops::Axpy(1.0f, State(level).data, State(carry).data, size);
    }
  }

  const VariantArgs& a_;
  const ConstTensorView &gate_, &level_scale_;
  const int64_t batch_, kv_head_;
  const ops::ConstMatrix keys_, values_;
  const ops::Matrix rows_;  // kSpan faded keys, and a query
  float* const states_;     // of spans of kSpan, 2 kSpan, ... tokens
  float faded_[kSpan];      // what is left of a token of the open span
  float kept_ = 1.0f;       // what is left of states since it began
  int64_t last_ = -1;       // token
};

Status RunVariant(const VariantArgs& a) {
  ConstTensorView gate, level_scale;
  Status status = CheckLinearCall(a);
  if (status.ok()) status = InputOrDrawn(a, kInputs, 0, kLogDecays, &gate);
  if (status.ok()) {
    status = InputOrDrawn(a, kInputs, 1, kAnyNumber, &level_scale);
  }
  if (!status.ok()) return status;
  const AttentionArgs& t = a.args;
  status = ForEachState(
      a, Spans::Floats(t.key.seqlen(), t.key.head_dim(), t.value.head_dim()),
      [&](int64_t b, int64_t kv, float* memory) {
        Spans spans(a, gate, level_scale, b, kv, memory);
        InTokenOrder(
            a, kv, [&](int64_t j) { spans.Write(j); },
            [&](int64_t i, int64_t h) {
              spans.Read(i, h, ScaleOrOne(a.params));
            });
      });
  if (status.ok()) WriteNoLse(a);
  return status;
}

// Pair by pair.
void Reference(const VariantArgs& a, double* out) {
  const AttentionArgs& t = a.args;
  const int64_t heads = t.query.heads(), rows = t.query.seqlen();
  const int64_t dim = t.key.head_dim(), dim_v = t.value.head_dim();
  for (int64_t at = 0; at < t.query.batch() * rows * heads; ++at) {
    const int64_t b = at / (rows * heads), i = at / heads % rows;
    const int64_t h = at % heads, kv = h / (heads / t.key.heads());
    const int64_t stands = StandsAt(a, i);
    double* row = out + at * dim_v;
    std::fill(row, row + dim_v, 0.0);
    double gates = 0;
    for (int64_t j = stands; j >= 0; --j) {
      const int64_t level = std::min(LevelOf(stands, j), dim - 1);
      double weight = static_cast<double>(ScaleOrOne(a.params)) *
                      std::exp(gates) *
                      InputAt(a, kInputs, 1, b, stands, kv, level);
      double dot = 0;
      for (int64_t c = 0; c < dim; ++c) {
        dot += static_cast<double>(RowAt(t.query, b, i, h)[c]) *
               static_cast<double>(RowAt(t.key, b, j, kv)[c]);
      }
      weight *= dot;
      for (int64_t x = 0; x < dim_v; ++x) {
        row[x] += weight * static_cast<double>(RowAt(t.value, b, j, kv)[x]);
      }
      gates += InputAt(a, kInputs, 0, b, j, kv, 0);
    }
  }
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* /*knobs*/) {
  Cost cost =
      LinearCost(shape, params, shape.head_dim, static_cast<int>(kSpan), false);
  // On average half of the levels beyond the first are read; each is faded and
  // may be carried once in kSpan tokens.
  const double levels = static_cast<double>(LevelsOf(shape.seqlen_k));
  const double state =
      static_cast<double>(shape.batch * shape.head_dim * shape.head_dim_v);
  cost.flops +=
      levels * state *
      (static_cast<double>(shape.seqlen_q * shape.num_heads) +
       2.0 * static_cast<double>(shape.seqlen_k * shape.num_kv_heads) /
           static_cast<double>(kSpan));
  return cost;
}

}  // namespace

Variant log_linear() {
  return {.summary = "Simple GLA with a weight for each power of two of past.",
          .paper = "Guo et al. 2025, arXiv:2506.04761",
          .semantics = Semantics::kOwnReference,
          .inputs = kInputs,
          .num_inputs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
