// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// MesaNet (von Oswald et al. 2025, arXiv:2506.05233): what a row reads is the
// best linear map from the keys so far to their values, by ridge regression.
//
//   H <- exp(g_t) H + beta_t k_t k_t^T;  S <- exp(g_t) S + beta_t k_t v_t^T
//   out_t = S^T (H + lambda I)^-1 q_t
//
// The system is solved by conjugate gradients, from zero as in
// flash-linear-attention's chunks, at most max_cg_step products with H and
// fewer where what is left is 1e-7 of the query. (Its divisions add 1e-5, these
// nothing.) Queries and keys are brought to unit length, x / sqrt(|x|^2 +
// 1e-6). lambda, in the model a number a channel of at least 0.25, is a knob.
// There is no scale unless softmax_scale asks for one.
#include <heed/linear_ops.h>
#include <heed/linear_state.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {"lambda", "The ridge.", 1, 0.25, 1024, false},
    {"max_cg_step", "Steps of conjugate gradients at most.", 30, 1, 1024, true},
    kChunkKnob,
};
constexpr Input kInputs[] = {
    {"gate", "Logarithm of what is left of the state.", false, -0.2, 0.0},
    {"beta", "The weight of a token.", false, 0.0, 1.0}};
constexpr InputRange kShares = {0.0f, 1.0f, "must be 0 to 1 and not NaN"};
constexpr double kLeft = 1e-14;  // of the square of the query

// H of a head, and what solving takes.
class Normal {
 public:
  static int64_t Floats(int64_t dim) { return (dim + 4) * dim; }

  Normal(const VariantArgs& a, float* memory)
      : dim_(a.args.key.head_dim()),
        ridge_(static_cast<float>(a.knobs[0])),
        steps_(static_cast<int64_t>(a.knobs[1])),
        h_(ops::Dense(memory, dim_, dim_)),
        unit_(h_.row(dim_)),
        left_(unit_ + dim_),
        along_(left_ + dim_),
        image_(along_ + dim_) {}

  void Write(const float* key, float gate, float beta) {
    float decay;
    ops::Exp(&gate, &decay, 1);
    ops::Scale(decay, h_.data, dim_ * dim_);
    ops::L2Norm(key, 1e-6f, unit_, dim_);
    for (int64_t c = 0; c < dim_; ++c) {
      ops::Axpy(beta * unit_[c], unit_, h_.row(c), dim_);
    }
  }

  // Sets x to (H + ridge I)^-1 times the query's direction.
  void Solve(const float* query, float* x) const {
    std::fill(x, x + dim_, 0.0f);
    ops::L2Norm(query, 1e-6f, left_, dim_);
    std::copy(left_, left_ + dim_, along_);
    float square = ops::Dot(left_, left_, dim_);
    const float enough = static_cast<float>(kLeft) * square;
    // A NaN goes on, and into x.
    for (int64_t i = 0; i < steps_ && !(square <= enough); ++i) {
      ops::MatMul(ops::Dense(along_, 1, dim_), h_, ops::Dense(image_, 1, dim_));
      ops::Axpy(ridge_, along_, image_, dim_);
      const float step = square / ops::Dot(along_, image_, dim_);
      ops::Axpy(step, along_, x, dim_);
      ops::Axpy(-step, image_, left_, dim_);
      const float next = ops::Dot(left_, left_, dim_);
      ops::Scale(next / square, along_, dim_);
      ops::Axpy(1.0f, left_, along_, dim_);
      square = next;
    }
  }

 private:
  const int64_t dim_;
  const float ridge_;
  const int64_t steps_;
  const ops::Matrix h_;
  float *const unit_, *const left_, *const along_, *const image_;
};

// Keys of unit length times beta, and queries, which are solved, as they are.
void Map(const void* self, const FeatureRows& rows) {
  const ConstTensorView& beta = *static_cast<const ConstTensorView*>(self);
  const FeatureMap unit = UnitKeys(rows.x.cols);
  unit.map(unit.self, rows);
  for (int64_t i = 0; rows.key && i < rows.x.rows; ++i) {
    ops::Scale(*RowAt(beta, rows.batch, rows.position + i, rows.head),
               rows.phi.row(i), rows.phi.cols);
  }
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t dim = t.key.head_dim(), heads = t.query.heads();
  const int64_t rows = t.query.seqlen();
  LinearCall call;
  ConstTensorView beta;
  Status status = CheckLinearCall(a);
  if (status.ok()) {
    status = InputOrDrawn(a, kInputs, 0, kLogDecays, &call.log_decay);
  }
  if (status.ok()) status = InputOrDrawn(a, kInputs, 1, kShares, &beta);
  if (!status.ok()) return status;
  float* solved = a.scratch.Array<float>(t.query.batch() * rows, heads, dim);
  if (solved == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "solutions could not be allocated");
  }
  status = ForEachState(
      a, Normal::Floats(dim), [&](int64_t b, int64_t kv, float* memory) {
        Normal normal(a, memory);
        InTokenOrder(
            a, kv,
            [&](int64_t j) {
              normal.Write(RowAt(t.key, b, j, kv),
                           *RowAt(call.log_decay, b, j, kv),
                           *RowAt(beta, b, j, kv));
            },
            [&](int64_t i, int64_t h) {
              normal.Solve(RowAt(t.query, b, i, h),
                           solved + ((b * rows + i) * heads + h) * dim);
            });
      });
  if (!status.ok()) return status;
  VariantArgs reading = a;
  reading.args.query = Bshd(static_cast<const float*>(solved), t.query.batch(),
                            rows, heads, dim);
  call.params.scale = ScaleOrOne(a.params);
  call.map = {dim, &beta, &Map};
  call.chunk = static_cast<int>(a.knobs[2]);
  return AttendLinear(reading, call);
}

// The same in double.
class Truth {
 public:
  Truth(const VariantArgs& a, int64_t batch, int64_t kv_head)
      : a_(a),
        b_(batch),
        kv_(kv_head),
        n_(static_cast<size_t>(a.args.key.head_dim())),
        n_v_(static_cast<size_t>(a.args.value.head_dim())),
        h_(n_ * n_),
        s_(n_ * n_v_) {}

  void Write(int64_t j) {
    const double decay = std::exp(InputAt(a_, kInputs, 0, b_, j, kv_, 0));
    const double beta = InputAt(a_, kInputs, 1, b_, j, kv_, 0);
    const Vector k = Unit(RowAt(a_.args.key, b_, j, kv_));
    for (size_t r = 0; r < n_; ++r) {
      for (size_t c = 0; c < n_; ++c) {
        h_[r * n_ + c] = decay * h_[r * n_ + c] + beta * k[r] * k[c];
      }
      for (size_t x = 0; x < n_v_; ++x) {
        const float v = RowAt(a_.args.value, b_, j, kv_)[x];
        s_[r * n_v_ + x] =
            decay * s_[r * n_v_ + x] + beta * k[r] * static_cast<double>(v);
      }
    }
  }

  void Read(int64_t i, int64_t head, double* out) const {
    const Vector x = Solve(Unit(RowAt(a_.args.query, b_, i, head)));
    for (size_t v = 0; v < n_v_; ++v) {
      out[v] = 0;
      for (size_t r = 0; r < n_; ++r) {
        out[v] += static_cast<double>(ScaleOrOne(a_.params)) * x[r] *
                  s_[r * n_v_ + v];
      }
    }
  }

 private:
  using Vector = std::vector<double>;

  Vector Unit(const float* x) const {
    Vector unit(n_);
    UnitLength(x, static_cast<int64_t>(n_), unit.data());
    return unit;
  }
  static double Dot(const Vector& x, const Vector& y) {
    double sum = 0;
    for (size_t c = 0; c < x.size(); ++c) sum += x[c] * y[c];
    return sum;
  }
  Vector Solve(const Vector& q) const {
    Vector x(n_), left = q, along = q, image(n_);
    double square = Dot(left, left);
    const double enough = kLeft * square;
    for (int i = 0; i < a_.knobs[1] && !(square <= enough); ++i) {
      for (size_t r = 0; r < n_; ++r) {
        image[r] = a_.knobs[0] * along[r];
        for (size_t c = 0; c < n_; ++c) image[r] += h_[r * n_ + c] * along[c];
      }
      const double step = square / Dot(along, image);
      for (size_t c = 0; c < n_; ++c) {
        x[c] += step * along[c];
        left[c] -= step * image[c];
      }
      const double next = Dot(left, left);
      for (size_t c = 0; c < n_; ++c) {
        along[c] = left[c] + next / square * along[c];
      }
      square = next;
    }
    return x;
  }

  const VariantArgs& a_;
  const int64_t b_, kv_;
  const size_t n_, n_v_;
  Vector h_, s_;
};

void Reference(const VariantArgs& a, double* out) {
  const ConstTensorView& q = a.args.query;
  for (int64_t b = 0; b < q.batch(); ++b) {
    for (int64_t kv = 0; kv < a.args.key.heads(); ++kv) {
      Truth truth(a, b, kv);
      InTokenOrder(
          a, kv, [&](int64_t j) { truth.Write(j); },
          [&](int64_t i, int64_t h) {
            truth.Read(i, h,
                       out + ((b * q.seqlen() + i) * q.heads() + h) *
                                 a.args.value.head_dim());
          });
    }
  }
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  Cost cost = LinearCost(shape, params, shape.head_dim,
                         static_cast<int>(knobs[2]), false);
  // H is written and faded by each key, and met in each step of each row.
  const double steps =
      knobs[1] * static_cast<double>(shape.seqlen_q * shape.num_heads) +
      1.5 * static_cast<double>(shape.seqlen_k * shape.num_kv_heads);
  cost.flops +=
      2 * steps *
      static_cast<double>(shape.batch * shape.head_dim * shape.head_dim);
  cost.at_most = true;
  return cost;
}

}  // namespace

Variant mesa() {
  return {.summary = "MesaNet: ridge regression from keys to values.",
          .paper = "von Oswald et al. 2025, arXiv:2506.05233",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 3,
          .inputs = kInputs,
          .num_inputs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
