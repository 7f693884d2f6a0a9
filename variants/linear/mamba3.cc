// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Mamba-3 (Lahoti et al. 2026, arXiv:2603.15569), one input and one output a
// head: queries, keys and values are its C, B and x, turned by angles that add
// up, and a step is a trapezoid that writes the last token too.
//
//   k'_t = R(phi_t) k_t,  q'_t = R(phi_t) q_t,  phi_t = sum to t of dt theta
//   S <- a_t (S + (1 - l_t) dt_t k'_{t-1} v_{t-1}^T) + l_t dt_t k'_t v_t^T
//   out_t = q'_t^T S + D v_t,  a_t = exp(gate_t)
//
// gate is the model's A dt, dt its step behind softplus and bias, trapezoid l
// behind its sigmoid, theta the angle a unit of time of each pair of channels
// (2i, 2i+1), given at the first of them, behind pi tanh. Norms, biases and the
// gate of the output are the model's too. What the next token writes of this
// one is known once it is there, so that one scan has both: rows read it before
// their own token, which they add. There is no scale unless softmax_scale asks
// for one. Rows without a key of their own turn as the last key does.
#include <heed/linear_state.h>
#include <heed/portable_math.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {"skip", "D, what of a token's value passes by the state.", 1, -8, 8,
     false},
    kChunkKnob,
};
constexpr Input kInputs[] = {
    {"gate", "A dt, the logarithm of what is left of the state.", false, -0.2,
     0.0},
    {"dt", "Step, 0 to 65536.", false, 0.001, 0.1},
    {"trapezoid", "What of a step is its own token's.", false, 0.0, 1.0},
    {"theta", "Angle a unit of time, at the first channel of a pair.", true,
     -3.0, 3.0}};
constexpr float kMost = std::numeric_limits<float>::max();
// A step of any model is far below it, and no weight overflows up to it.
constexpr InputRange kSteps = {0.0f, 65536.0f,
                               "must be 0 to 65536 and not NaN"};
constexpr InputRange kShares = {0.0f, 1.0f, "must be 0 to 1 and not NaN"};
constexpr InputRange kAngles = {-kMost, kMost, "must be finite"};

// What maps are made of.
struct Turning {
  const VariantArgs& a;
  ConstTensorView gate, dt, trapezoid, theta;
  TensorView turn;  // cosine and sine of each pair, by key

  // The key of a row that AttendLinear has standing one earlier; seqlen where
  // it has none.
  int64_t OwnKey(int64_t position) const {
    const int64_t keys = a.args.key.seqlen();
    return a.params.causal && position + 1 < keys ? position + 1 : keys;
  }
  // What a token writes: its own share, and that of the next step in it.
  float Weight(int64_t b, int64_t token, int64_t head) const {
    const float own =
        *RowAt(trapezoid, b, token, head) * *RowAt(dt, b, token, head);
    if (token + 1 == a.args.key.seqlen()) return own;
    return own + (1.0f - *RowAt(trapezoid, b, token + 1, head)) *
                     *RowAt(dt, b, token + 1, head);
  }
};

void Map(const void* self, const FeatureRows& rows) {
  const Turning& t = *static_cast<const Turning*>(self);
  const int64_t n = rows.x.cols, keys = t.a.args.key.seqlen();
  const int64_t group =
      rows.key ? 1 : t.a.args.query.heads() / t.a.args.key.heads();
  for (int64_t i = 0; i < rows.x.rows; ++i) {
    const int64_t head = rows.head / group;
    int64_t token = rows.position + i;
    float factor = 1.0f;
    if (rows.key) {
      factor = t.Weight(rows.batch, token, head);
    } else {
      token = t.OwnKey(token);
      if (token < keys) {
        ops::Exp(RowAt(t.gate, rows.batch, token, head), &factor, 1);
      } else {
        token = keys - 1;
      }
    }
    const float* turn = RowAt(t.turn, rows.batch, token, head);
    const float* x = rows.x.row(i);
    float* phi = rows.phi.row(i);
    for (int64_t c = 0; c + 1 < n; c += 2) {
      phi[c] = factor * (x[c] * turn[c] - x[c + 1] * turn[c + 1]);
      phi[c + 1] = factor * (x[c] * turn[c + 1] + x[c + 1] * turn[c]);
    }
    if (n % 2 != 0) phi[n - 1] = factor * x[n - 1];
  }
}

// Sums of angles in double, whole turns taken off (which fmod does exactly).
Status MakeTurns(const VariantArgs& a, Turning* t) {
  const ConstTensorView& key = a.args.key;
  const int64_t dim = key.head_dim();
  float* turn =
      a.scratch.Array<float>(key.batch() * key.seqlen(), key.heads(), dim);
  const int64_t each = (dim + 7) / 8 * 8;  // so that workers share no line
  double* angles = a.scratch.Array<double>(each, a.executor.max_workers);
  if (turn == nullptr || angles == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "angles could not be allocated");
  }
  t->turn = Bshd(turn, key.batch(), key.seqlen(), key.heads(), dim);
  const int64_t tasks = key.batch() * key.heads();
  if (tasks == 0) return Status();
  ops::ParallelFor(a.executor, tasks, [&](int64_t i, int worker) {
    const int64_t b = i / key.heads(), h = i % key.heads();
    double* angle = angles + worker * each;
    std::fill(angle, angle + dim, 0.0);
    for (int64_t j = 0; j < key.seqlen(); ++j) {
      const double dt = static_cast<double>(*RowAt(t->dt, b, j, h));
      const float* theta = RowAt(t->theta, b, j, h);
      float* to = RowAt(t->turn, b, j, h);
      for (int64_t c = 0; c + 1 < dim; c += 2) {
        angle[c] = std::fmod(angle[c] + dt * static_cast<double>(theta[c]),
                             6.283185307179586);
        const portable::SineAndCosine of = portable::SinCos(angle[c]);
        to[c] = static_cast<float>(of.cosine);
        to[c + 1] = static_cast<float>(of.sine);
      }
    }
  });
  return Status();
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t dim = t.key.head_dim();
  Turning turning{a, {}, {}, {}, {}, {}};
  Status status = InputOrDrawn(a, kInputs, 0, kLogDecays, &turning.gate);
  if (status.ok()) status = InputOrDrawn(a, kInputs, 1, kSteps, &turning.dt);
  if (status.ok()) {
    status = InputOrDrawn(a, kInputs, 2, kShares, &turning.trapezoid);
  }
  if (status.ok()) {
    status = InputOrDrawn(a, kInputs, 3, kAngles, &turning.theta);
  }
  if (status.ok()) status = MakeTurns(a, &turning);
  if (!status.ok()) return status;
  LinearCall call;
  call.params.scale = ScaleOrOne(a.params);
  call.map = {dim, &turning, &Map};
  call.log_decay = turning.gate;
  call.chunk = static_cast<int>(a.knobs[1]);
  VariantArgs earlier = a;
  earlier.params.causal_offset =
      FirstPosition(a.params, t.query.seqlen(), t.key.seqlen()) - 1;
  status = AttendLinear(earlier, call);
  if (!status.ok()) return status;
  const float skip = static_cast<float>(a.knobs[0]);
  ForEachOwnKey(a, [&](int64_t b, int64_t row, int64_t head, int64_t key,
                       int64_t kv_head) {
    const float own = *RowAt(turning.trapezoid, b, key, kv_head) *
                      *RowAt(turning.dt, b, key, kv_head);
    const float score = ops::Dot(RowAt(t.query, b, row, head),
                                 RowAt(t.key, b, key, kv_head), dim);
    ops::Axpy(call.params.scale * own * score + skip,
              RowAt(t.value, b, key, kv_head), RowAt(t.out, b, row, head),
              t.out.head_dim());
  });
  return Status();
}

// The recurrence as it is above, with the last token's key and value.
class Truth {
 public:
  Truth(const VariantArgs& a, int64_t batch, int64_t kv_head)
      : a_(a),
        b_(batch),
        h_(kv_head),
        dim_(a.args.key.head_dim()),
        dim_v_(a.args.value.head_dim()),
        state_(static_cast<size_t>(dim_ * dim_v_)),
        angle_(static_cast<size_t>(dim_)) {}

  void Write(int64_t j) {
    const double gate = In(0, j, 0), dt = In(1, j, 0), share = In(2, j, 0);
    const float* v = RowAt(a_.args.value, b_, j, h_);
    if (j > 0) Add((1 - share) * dt, RowAt(a_.args.value, b_, j - 1, h_));
    for (double& s : state_) s *= std::exp(gate);
    for (int64_t c = 0; c < dim_; ++c) {
      angle_[static_cast<size_t>(c)] += dt * In(3, j, c - c % 2);
    }
    last_ = Turned(RowAt(a_.args.key, b_, j, h_));
    Add(share * dt, v);
  }

  void Read(int64_t i, int64_t head, double* out) const {
    const std::vector<double> q = Turned(RowAt(a_.args.query, b_, i, head));
    const double scale = static_cast<double>(ScaleOrOne(a_.params));
    for (int64_t x = 0; x < dim_v_; ++x) {
      out[x] = 0;
      for (int64_t c = 0; c < dim_; ++c) {
        out[x] += scale * q[static_cast<size_t>(c)] *
                  state_[static_cast<size_t>(c * dim_v_ + x)];
      }
    }
  }

 private:
  double In(int index, int64_t token, int64_t channel) const {
    return InputAt(a_, kInputs, index, b_, token, h_, channel);
  }
  std::vector<double> Turned(const float* x) const {
    std::vector<double> y(x, x + dim_);
    for (size_t c = 0; c + 1 < y.size(); c += 2) {
      const double cosine = std::cos(angle_[c]), sine = std::sin(angle_[c]);
      const double even = y[c];
      y[c] = even * cosine - y[c + 1] * sine;
      y[c + 1] = even * sine + y[c + 1] * cosine;
    }
    return y;
  }
  // Writes the last key.
  void Add(double weight, const float* v) {
    for (int64_t c = 0; c < dim_; ++c) {
      for (int64_t x = 0; x < dim_v_; ++x) {
        state_[static_cast<size_t>(c * dim_v_ + x)] +=
            weight * last_[static_cast<size_t>(c)] * static_cast<double>(v[x]);
      }
    }
  }

  const VariantArgs& a_;
  const int64_t b_, h_, dim_, dim_v_;
  std::vector<double> state_, angle_, last_;
};

void Reference(const VariantArgs& a, double* out) {
  const ConstTensorView& q = a.args.query;
  const int64_t dim_v = a.args.value.head_dim();
  const auto at = [&](int64_t b, int64_t row, int64_t head) {
    return out + ((b * q.seqlen() + row) * q.heads() + head) * dim_v;
  };
  for (int64_t b = 0; b < q.batch(); ++b) {
    for (int64_t kv = 0; kv < a.args.key.heads(); ++kv) {
      Truth truth(a, b, kv);
      InTokenOrder(
          a, kv, [&](int64_t j) { truth.Write(j); },
          [&](int64_t i, int64_t h) { truth.Read(i, h, at(b, i, h)); });
    }
  }
  ForEachOwnKey(a, [&](int64_t b, int64_t row, int64_t head, int64_t key,
                       int64_t kv_head) {
    const float* v = RowAt(a.args.value, b, key, kv_head);
    for (int64_t x = 0; x < dim_v; ++x) {
      at(b, row, head)[x] += a.knobs[0] * static_cast<double>(v[x]);
    }
  });
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return LinearCost(shape, params, shape.head_dim, static_cast<int>(knobs[1]),
                    false);
}

}  // namespace

Variant mamba3() {
  return {.summary = "Mamba-3: keys that turn, steps that are trapezoids.",
          .paper = "Lahoti et al. 2026, arXiv:2603.15569",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 2,
          .inputs = kInputs,
          .num_inputs = 4,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
