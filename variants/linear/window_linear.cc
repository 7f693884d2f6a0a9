// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// An exact window and a linear far field (Zhang et al. 2024, LoLCATs,
// arXiv:2410.10254): the last `window` keys have softmax's weights, those
// before them weights by random features, and both share one sum.
//
//   out_i = (sum_near exp(s_ij) v_j + sum_far phi(q_i).phi(k_j) v_j) / the same
//   phi(x)_r = exp(w_r . x' - |x'|^2 / 2) / sqrt(m),  x' = sqrt(scale) x
//
// FAVOR+'s features (performer.cc) estimate exp(s) itself, so that near and far
// have one scale; LoLCATs learns its features and a factor instead. Of a call
// that is not causal the last keys are near for all rows. lse is the logarithm
// of the shared sum. Where the window covers everything, this is exact
// attention.
#include <heed/linear_features.h>
#include <heed/portable_math.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "window",
     .summary = "Keys with exact weights, a row's own among them.",
     .default_value = 64,
     .min = 1,
     .max = 1 << 20,
     .integer = true,
     .has_exact = true,
     .exact_value = 1 << 20},
    {"features", "Random features of the far field.", 64, 1, 1024, true},
    {"seed", "Of the features.", 1, 0, 1e6, true},
    kChunkKnob,
};

int64_t Window(const double* knobs) { return static_cast<int64_t>(knobs[0]); }
int64_t Features(const double* knobs) { return static_cast<int64_t>(knobs[1]); }

// Rows [features][dim] times sqrt(|scale|).
void DrawRows(const VariantArgs& a, int64_t dim, float* w) {
  const double root = std::sqrt(
      std::fabs(static_cast<double>(ops::SoftmaxScale(a.params, dim))));
  DrawOrthogonalRows(static_cast<int>(a.knobs[2]), Features(a.knobs), dim, true,
                     root, w);
}

struct Rows {
  ops::ConstMatrix w;  // [head_dim][features]
  float scale;
};

void Map(const void* self, const FeatureRows& rows) {
  const Rows& f = *static_cast<const Rows*>(self);
  const int64_t m = rows.phi.cols;
  const float factor = 1.0f / std::sqrt(static_cast<float>(m));
  ops::MatMul(rows.x, f.w, rows.phi);
  for (int64_t i = 0; i < rows.x.rows; ++i) {
    const float* x = rows.x.row(i);
    float* phi = rows.phi.row(i);
    if (!rows.key && f.scale < 0) ops::Scale(-1.0f, phi, m);
    const float off = 0.5f * std::fabs(f.scale) * ops::Dot(x, x, rows.x.cols);
    for (int64_t r = 0; r < m; ++r) phi[r] -= off;
    ops::Exp(phi, phi, m);
    ops::Scale(factor, phi, m);
  }
}

// Values with a one behind them, whose far sum is that of the weights.
void CopyWithOnes(const ConstTensorView& value, float* to) {
  const int64_t n = value.head_dim();
  for (int64_t b = 0; b < value.batch(); ++b) {
    for (int64_t j = 0; j < value.seqlen(); ++j) {
      for (int64_t h = 0; h < value.heads(); ++h) {
        const float* v = n > 0 ? RowAt(value, b, j, h) : nullptr;
        to = std::copy(v, v + n, to);
        *to++ = 1.0f;
      }
    }
  }
}

// Adds a far row to a near one: its sum of weights stands behind it.
float Merge(const float* far, float lse, float* out, int64_t n) {
  if (far[n] == 0) return lse;
  const double near = static_cast<double>(lse);
  const double sum = static_cast<double>(far[n]);
  const double most = std::max(near, portable::Log(sum));
  const double total = portable::Exp(near - most) + sum * portable::Exp(-most);
  // In double: of a sum near the smallest floats the inverse is none.
  const double of_near = portable::Exp(near - most) / total;
  const double of_far = portable::Exp(-most) / total;
  for (int64_t c = 0; c < n; ++c) {
    out[c] = static_cast<float>(of_near * static_cast<double>(out[c]) +
                                of_far * static_cast<double>(far[c]));
  }
  return static_cast<float>(most + portable::Log(total));
}

// The far field of all rows, with the sums of its weights, into scratch.
Status AttendFar(const VariantArgs& a, const ConstTensorView& values,
                 const TensorView& far) {
  const int64_t dim = a.args.query.head_dim(), window = Window(a.knobs);
  const int64_t keys = a.args.key.seqlen();
  Rows rows;
  rows.scale = ops::SoftmaxScale(a.params, dim);
  const Status status = MakeColumns(
      a, Features(a.knobs), [&](float* w) { DrawRows(a, dim, w); }, &rows.w);
  if (!status.ok()) return status;
  VariantArgs host = a;
  host.args.value = values;
  host.args.out = far;
  host.args.lse = TensorView();
  if (a.params.causal) {
    host.params.causal_offset =
        FirstPosition(a.params, a.args.query.seqlen(), keys) - window;
  } else {
    const int64_t count = std::max<int64_t>(keys - window, 0);
    host.args.key = TokensOf(host.args.key, 0, count);
    host.args.value = TokensOf(values, 0, count);
  }
  LinearCall call;
  call.map = {Features(a.knobs), &rows, &Map};
  call.chunk = static_cast<int>(a.knobs[3]);
  return AttendLinear(host, call);
}

Status AttendNear(const VariantArgs& a, const TensorView& lse) {
  AttentionParams params = a.params;
  AttentionArgs args = a.args;
  const int64_t window = Window(a.knobs), keys = args.key.seqlen();
  params.sink_size = 0;
  args.lse = lse;
  if (params.causal) {
    params.window_left = window - 1;
  } else {
    const int64_t first = std::max<int64_t>(keys - window, 0);
    args.key = TokensOf(args.key, first, keys - first);
    args.value = TokensOf(args.value, first, keys - first);
  }
  return ops::Attend(params, args, a);
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t batch = t.query.batch(), rows = t.query.seqlen();
  const int64_t heads = t.query.heads(), n = t.value.head_dim();
  const int64_t kv = t.key.batch() * t.key.seqlen() * t.key.heads();
  float* values = a.scratch.Array<float>(kv * (n + 1));
  float* far = a.scratch.Array<float>(batch * rows * heads * (n + 1));
  float* lse = a.scratch.Array<float>(batch * rows * heads);
  if (values == nullptr || far == nullptr || lse == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "the far field could not be allocated");
  }
  CopyWithOnes(t.value, values);
  const TensorView far_view = Bshd(far, batch, rows, heads, n + 1);
  const TensorView lse_view = Bhs(lse, batch, heads, rows);
  Status status =
      AttendFar(a,
                Bshd(static_cast<const float*>(values), t.key.batch(),
                     t.key.seqlen(), t.key.heads(), n + 1),
                far_view);
  if (status.ok()) status = AttendNear(a, lse_view);
  if (!status.ok()) return status;
  ops::ParallelFor(a.executor, batch * rows, [&](int64_t i, int) {
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t b = i / rows, row = i % rows;
      const float merged =
          Merge(RowAt(far_view, b, row, h), *RowAt(lse_view, b, row, h),
                RowAt(t.out, b, row, h), n);
      if (!t.lse.absent()) *RowAt(t.lse, b, row, h) = merged;
    }
  });
  return Status();
}

// Weights pair by pair.
class Truth {
 public:
  explicit Truth(const VariantArgs& a)
      : a_(a),
        dim_(a.args.query.head_dim()),
        scale_(static_cast<double>(ops::SoftmaxScale(a.params, dim_))),
        w_(static_cast<size_t>(Features(a.knobs) * dim_)) {
    DrawRows(a, dim_, w_.data());
  }

  void Compute(double* out) const {
    const AttentionArgs& t = a_.args;
    const int64_t rows = t.query.seqlen(), keys = t.key.seqlen();
    const int64_t heads = t.query.heads();
    if (t.key.heads() == 0) return;
    const int64_t group = heads / t.key.heads();
    for (int64_t b = 0; b < t.query.batch(); ++b) {
      for (int64_t h = 0; h < heads; ++h) {
        std::vector<std::vector<double>> phi;
        for (int64_t j = 0; j < keys; ++j) {
          phi.push_back(Phi(RowAt(t.key, b, j, h / group), 1));
        }
        for (int64_t i = 0; i < rows; ++i) {
          const int64_t at = a_.params.causal
                                 ? i + FirstPosition(a_.params, rows, keys)
                                 : keys - 1;
          ComputeRow(b, i, h, at, phi,
                     out + ((b * rows + i) * heads + h) * t.value.head_dim());
        }
      }
    }
  }

 private:
  std::vector<double> Phi(const float* x, double sign) const {
    std::vector<double> phi;
    double square = 0;
    for (int64_t c = 0; c < dim_; ++c) {
      square += static_cast<double>(x[c]) * static_cast<double>(x[c]);
    }
    const int64_t m = Features(a_.knobs);
    for (int64_t r = 0; r < m; ++r) {
      double dot = 0;
      for (int64_t c = 0; c < dim_; ++c) {
        dot += static_cast<double>(w_[static_cast<size_t>(r * dim_ + c)]) *
               static_cast<double>(x[c]);
      }
      phi.push_back(std::exp(sign * dot - 0.5 * std::fabs(scale_) * square) /
                    std::sqrt(static_cast<double>(m)));
    }
    return phi;
  }

  // A row that stands at key `at`.
  void ComputeRow(int64_t b, int64_t i, int64_t head, int64_t at,
                  const std::vector<std::vector<double>>& keys,
                  double* out) const {
    const AttentionArgs& t = a_.args;
    const float* q = RowAt(t.query, b, i, head);
    const int64_t kv = head / (t.query.heads() / t.key.heads());
    const std::vector<double> phi = Phi(q, scale_ < 0 ? -1 : 1);
    const int64_t end = std::clamp<int64_t>(at + 1, 0, t.key.seqlen());
    const int64_t n = t.value.head_dim();
    double total = 0;
    std::fill(out, out + n, 0.0);
    for (int64_t j = 0; j < end; ++j) {
      double weight = 0;
      if (j > at - Window(a_.knobs)) {
        const float* k = RowAt(t.key, b, j, kv);
        for (int64_t c = 0; c < dim_; ++c) {
          weight += static_cast<double>(q[c]) * static_cast<double>(k[c]);
        }
        weight = std::exp(scale_ * weight);
      } else {
        const std::vector<double>& key = keys[static_cast<size_t>(j)];
        for (size_t r = 0; r < phi.size(); ++r) weight += phi[r] * key[r];
      }
      total += weight;
      for (int64_t x = 0; x < n; ++x) {
        out[x] += weight * static_cast<double>(RowAt(t.value, b, j, kv)[x]);
      }
    }
    for (int64_t x = 0; x < n && total > 0; ++x) out[x] /= total;
  }

  const VariantArgs& a_;
  const int64_t dim_;
  const double scale_;
  std::vector<float> w_;
};

void Reference(const VariantArgs& a, double* out) { Truth(a).Compute(out); }

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  double pairs = static_cast<double>(shape.seqlen_q) *
                 static_cast<double>(std::min(Window(knobs), shape.seqlen_k));
  if (params.causal) {
    AttentionParams near = params;
    near.window_left = Window(knobs) - 1;
    near.sink_size = 0;
    pairs = ops::VisiblePairs(shape, near);
  }
  Cost cost = LinearCost(shape, params, Features(knobs),
                         static_cast<int>(knobs[3]), false);
  cost.flops += MapFlops(shape, Features(knobs));
  cost.flops += ops::SoftmaxCost(shape, pairs).flops;
  return cost;
}

}  // namespace

Variant window_linear() {
  return {.summary = "Softmax near, random features far, one sum for both.",
          .paper = "Zhang et al. 2024, arXiv:2410.10254",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 4,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
