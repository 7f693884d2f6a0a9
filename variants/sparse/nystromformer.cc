// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The matrix of attention by the Nystrom method (Nystromformer, Xiong et al.
// 2021, arXiv:2102.03902):
//
//   out = softmax(scale Q K~^T) Z softmax(scale Q~ K^T) V,
//   Z ~ pseudo-inverse of softmax(scale Q~ K~^T) =: A
//
// with landmarks Q~ and K~ that are means of num_landmarks equal stretches of
// queries and of keys, and Z of n_iter rounds of
//
//   Z <- Z (13 I - A Z (15 I - A Z (7 I - A Z))) / 4,  Z = A^T / |A|_1 at first
//
// (rows of A sum to 1). Both outer factors are softmax attention, which the
// exact kernel computes. Where there are as many landmarks as rows and keys it
// is exact attention, as in the paper's code. Landmarks mix all positions, so
// there is no causal form. The paper's convolution of the values, a trained
// addition, is left out.
//
// reference_quirks: the paper's code divides by the largest |A|_1 of all heads
// and sequences, so that one changes another's result; asks that the landmarks
// divide the length; and reads its option for the former under two names.
#include <heed/estimators.h>
#include <heed/parts_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "num_landmarks",
     .summary = "Means of queries, and of keys.",
     .default_value = 64,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "n_iter",
     .summary = "Rounds of the pseudo-inverse.",
     .default_value = 6,
     .min = 1,
     .max = 64,
     .integer = true},
};

int64_t Landmarks(const double* knobs, int64_t rows, int64_t keys) {
  return std::min({static_cast<int64_t>(knobs[0]), rows, keys});
}

// As many landmarks as rows and keys, or nothing to take means of.
bool IsExact(const double* knobs, int64_t rows, int64_t keys) {
  return knobs[0] >= static_cast<double>(std::max(rows, keys)) ||
         std::min(rows, keys) == 0;
}

// Means of to.rows equal stretches.
void TakeMeans(const ops::ConstMatrix& x, const ops::Matrix& to) {
  for (int64_t i = 0; i < to.rows; ++i) {
    const ops::ConstMatrix of =
        ops::RowRange(x, i * x.rows / to.rows, (i + 1) * x.rows / to.rows);
    ops::MeanPool(of, of.rows, ops::RowRange(to, i, i + 1));
  }
}

// x = diagonal I - x.
void TakeFrom(float diagonal, const ops::Matrix& x) {
  for (int64_t i = 0; i < x.rows; ++i) {
    ops::Scale(-1.0f, x.row(i), x.cols);
    x.row(i)[i] += diagonal;
  }
}

// Sets z to the pseudo-inverse of a, with room for three more of its size.
void Invert(const ops::Matrix& a, int64_t rounds, float* room,
            const ops::Matrix& z) {
  const int64_t m = a.rows;
  const ops::Matrix az = ops::Dense(room, m, m);
  ops::Matrix inner = ops::Dense(room + m * m, m, m);
  ops::Matrix outer = ops::Dense(room + 2 * m * m, m, m);
  float most = 0;
  for (int64_t j = 0; j < m; ++j) {
    float sum = 0;
    for (int64_t i = 0; i < m; ++i) sum += a.row(i)[j];
    most = sum > most ? sum : most;
  }
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < m; ++j) z.row(i)[j] = a.row(j)[i] / most;
  }
  for (int64_t round = 0; round < rounds; ++round) {
    ops::MatMul(a, z, az);
    std::copy(az.data, az.data + m * m, inner.data);
    for (const float diagonal : {7.0f, 15.0f}) {
      TakeFrom(diagonal, inner);
      ops::MatMul(az, inner, outer);
      std::swap(inner, outer);
    }
    TakeFrom(13.0f, inner);
    ops::Scale(0.25f, z.data, m * m);
    ops::MatMul(z, inner, outer);
    std::copy(outer.data, outer.data + m * m, z.data);
  }
}

// What the heads share: landmarks, and what rows attend to by them.
struct Middle {
  int64_t count;
  float* queries;  // [batch * heads][count][head_dim]
  float* keys;     // the same, of each query head
  float* values;   // [batch * heads][count][head_dim_v]
  float* folded;   // the same
  float* room;     // [workers][5][count][count]
};

// Sets `folded` to Z softmax(scale Q~ K^T) V, of which `values` has the latter.
void Fold(const VariantArgs& a, const Middle& at, int64_t head, int worker) {
  const int64_t m = at.count, dim = a.args.key.head_dim();
  const int64_t dim_v = a.args.value.head_dim();
  float* const room = at.room + worker * 5 * m * m;
  const ops::Matrix scores = ops::Dense(room, m, m);
  const ops::Matrix inverse = ops::Dense(room + m * m, m, m);
  const ops::Matrix queries = ops::Dense(at.queries + head * m * dim, m, dim);
  const ops::Matrix keys = ops::Dense(at.keys + head * m * dim, m, dim);
  ops::MatMul(queries, ops::Transposed(ops::ConstMatrix(keys)), scores);
  ops::Scale(ops::SoftmaxScale(a.params, dim), scores.data, m * m);
  for (int64_t i = 0; i < m; ++i) ops::Softmax(scores.row(i), m);
  Invert(scores, static_cast<int64_t>(a.knobs[1]), room + 2 * m * m, inverse);
  ops::MatMul(inverse, ops::Dense(at.values + head * m * dim_v, m, dim_v),
              ops::Dense(at.folded + head * m * dim_v, m, dim_v));
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t batch = t.query.batch(), heads = t.query.heads();
  const int64_t dim = t.key.head_dim(), dim_v = t.value.head_dim();
  Status status = sparse::CheckParts(a, /*sinks=*/false);
  if (status.ok() && a.params.softcap != 0) {
    status = Status(StatusCode::kUnsupported, "softcap",
                    "must be 0: the factors are of products as they are");
  }
  if (!status.ok()) return status;
  if (IsExact(a.knobs, t.query.seqlen(), t.key.seqlen())) {
    return ops::Attend(a.params, t, a);
  }
  const int64_t m = Landmarks(a.knobs, t.query.seqlen(), t.key.seqlen());
  const int64_t all = batch * heads;
  const Middle at = {m,
                     a.scratch.Array<float>(all, m, dim),
                     a.scratch.Array<float>(all, m, dim),
                     a.scratch.Array<float>(all, m, dim_v),
                     a.scratch.Array<float>(all, m, dim_v),
                     a.scratch.Array<float>(a.executor.max_workers * 5, m, m)};
  if (!at.queries || !at.keys || !at.values || !at.folded || !at.room) {
    return sparse::OutOfMemory();
  }
  a.phases.Enter(Phase::kEstimate);
  ops::ParallelFor(a.executor, all, [&](int64_t i, int /*worker*/) {
    TakeMeans(ops::Head(t.query, i / heads, i % heads),
              ops::Dense(at.queries + i * m * dim, m, dim));
    TakeMeans(ops::Head(t.key, i / heads, i % heads / (heads / t.key.heads())),
              ops::Dense(at.keys + i * m * dim, m, dim));
  });
  a.phases.Enter(Phase::kAttend);
  AttentionArgs call = t;
  call.query =
      Bhsd(static_cast<const float*>(at.queries), batch, heads, m, dim);
  call.out = Bhsd(at.values, batch, heads, m, dim_v);
  call.lse = TensorView();
  status = ops::Attend(a.params, call, a);
  if (!status.ok()) return status;
  ops::ParallelFor(a.executor, all,
                   [&](int64_t i, int worker) { Fold(a, at, i, worker); });
  call.query = t.query;
  call.key = Bhsd(static_cast<const float*>(at.keys), batch, heads, m, dim);
  call.value =
      Bhsd(static_cast<const float*>(at.folded), batch, heads, m, dim_v);
  call.out = t.out;
  status = ops::Attend(a.params, call, a);
  if (!status.ok() || t.lse.absent()) return status;
  for (int64_t i = 0; i < all * t.query.seqlen(); ++i) {
    *RowAt(t.lse, i / heads / t.query.seqlen(), i / heads % t.query.seqlen(),
           i % heads) = NAN;
  }
  return status;
}

// Dense matrices of numbers in double.
struct Plain {
  int64_t rows, cols;
  std::vector<double> data;

  Plain(int64_t r, int64_t c)
      : rows(r), cols(c), data(static_cast<size_t>(r * c)) {}
  double& At(int64_t i, int64_t j) {
    return data[static_cast<size_t>(i * cols + j)];
  }
  double At(int64_t i, int64_t j) const {
    return data[static_cast<size_t>(i * cols + j)];
  }
};

Plain Times(const Plain& a, const Plain& b) {
  Plain c(a.rows, b.cols);
  for (int64_t i = 0; i < a.rows; ++i) {
    for (int64_t k = 0; k < a.cols; ++k) {
      for (int64_t j = 0; j < b.cols; ++j) {
        c.At(i, j) += a.At(i, k) * b.At(k, j);
      }
    }
  }
  return c;
}

// diagonal I - x.
Plain Less(double diagonal, const Plain& x) {
  Plain made(x.rows, x.cols);
  for (int64_t i = 0; i < x.rows; ++i) {
    for (int64_t j = 0; j < x.cols; ++j) {
      made.At(i, j) = (i == j ? diagonal : 0) - x.At(i, j);
    }
  }
  return made;
}

// softmax(scale a b^T), row by row.
Plain Weights(double scale, const Plain& a, const Plain& b) {
  Plain made(a.rows, b.rows);
  for (int64_t i = 0; i < a.rows; ++i) {
    double most = -INFINITY, sum = 0;
    for (int64_t j = 0; j < b.rows; ++j) {
      for (int64_t c = 0; c < a.cols; ++c) {
        made.At(i, j) += scale * a.At(i, c) * b.At(j, c);
      }
      most = std::max(most, made.At(i, j));
    }
    for (int64_t j = 0; j < b.rows; ++j) {
      made.At(i, j) = std::exp(made.At(i, j) - most);
      sum += made.At(i, j);
    }
    for (int64_t j = 0; j < b.rows; ++j) made.At(i, j) /= sum;
  }
  return made;
}

Plain RowsOf(const ConstTensorView& x, int64_t batch, int64_t head,
             int64_t rows) {
  Plain made(rows, x.head_dim());
  for (int64_t i = 0; i < rows; ++i) {
    const std::vector<double> mean = sparse::PlainMean(
        x, batch, i * x.seqlen() / rows, (i + 1) * x.seqlen() / rows, head);
    std::copy(mean.begin(), mean.end(), made.data.begin() + i * made.cols);
  }
  return made;
}

Plain PlainInverse(const Plain& a, int64_t rounds) {
  double most = 0;
  Plain z(a.cols, a.rows);
  for (int64_t j = 0; j < a.cols; ++j) {
    double sum = 0;
    for (int64_t i = 0; i < a.rows; ++i) sum += a.At(i, j);
    most = std::max(most, sum);
  }
  for (int64_t i = 0; i < z.rows; ++i) {
    for (int64_t j = 0; j < z.cols; ++j) z.At(i, j) = a.At(j, i) / most;
  }
  for (int64_t round = 0; round < rounds; ++round) {
    const Plain az = Times(a, z);
    z = Times(z, Less(13, Times(az, Less(15, Times(az, Less(7, az))))));
    for (double& x : z.data) x /= 4;
  }
  return z;
}

void Reference(const VariantArgs& a, double* out) {
  const AttentionArgs& t = a.args;
  const int64_t rows = t.query.seqlen(), keys = t.key.seqlen();
  const double scale =
      static_cast<double>(ops::SoftmaxScale(a.params, t.query.head_dim()));
  const bool exact = IsExact(a.knobs, rows, keys);
  const int64_t m = Landmarks(a.knobs, rows, keys);
  sparse::ForEachPlainHead(
      a, out, [&](int64_t b, int64_t h, int64_t kv, double* to) {
        if (std::min(rows, keys) == 0) return;
        const Plain query = RowsOf(t.query, b, h, rows);
        const Plain key = RowsOf(t.key, b, kv, keys);
        const Plain value = RowsOf(t.value, b, kv, keys);
        const Plain queries = RowsOf(t.query, b, h, m);
        const Plain means = RowsOf(t.key, b, kv, m);
        const Plain made =
            exact ? Times(Weights(scale, query, key), value)
                  : Times(Times(Weights(scale, query, means),
                                PlainInverse(Weights(scale, queries, means),
                                             static_cast<int64_t>(a.knobs[1]))),
                          Times(Weights(scale, queries, key), value));
        for (int64_t row = 0; row < rows; ++row) {
          double* const of_row =
              to + row * t.query.heads() * t.value.head_dim();
          for (int64_t c = 0; c < t.value.head_dim(); ++c) {
            of_row[c] = made.At(row, c);
          }
        }
      });
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  if (IsExact(knobs, shape.seqlen_q, shape.seqlen_k)) {
    return ops::SoftmaxCost(shape, ops::VisiblePairs(shape, params));
  }
  const double m =
      static_cast<double>(Landmarks(knobs, shape.seqlen_q, shape.seqlen_k));
  const double all = static_cast<double>(shape.batch * shape.num_heads);
  const double rows = static_cast<double>(shape.seqlen_q);
  const double keys = static_cast<double>(shape.seqlen_k);
  const double dim = static_cast<double>(shape.head_dim);
  const double dim_v = static_cast<double>(shape.head_dim_v);
  Cost cost = ops::SoftmaxCost(shape, m * (rows + keys));
  cost.flops += 2 * all * m * m * (dim + dim_v + 4 * knobs[1] * m);
  // Landmarks: queries and keys once more.
  cost.AddSelecting(all * (rows + keys) * dim,
                    4 * all * (rows + keys + 2 * m) * dim);
  return cost;
}

}  // namespace

Variant nystromformer() {
  return {.summary = "Attention by way of landmarks, and a pseudo-inverse.",
          .paper = "Xiong et al. 2021, arXiv:2102.03902",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference,
          .non_causal = true,
          .reference_of_all_rows = true};
}

}  // namespace heed::variants
