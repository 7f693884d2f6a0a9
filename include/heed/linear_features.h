// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// For authors of feature maps: rows of weights a head, random rows,
// projections.
#ifndef HEED_LINEAR_FEATURES_H_
#define HEED_LINEAR_FEATURES_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "heed/linear_variant.h"
#include "heed/portable_math.h"

namespace heed {

// Rows of weights for each key head, stored as columns,
// [num_kv_heads][head_dim][rows]: so products with rows need not pack them.
struct HeadWeights {
  const float* data = nullptr;
  int64_t rows = 0;
  int64_t dim = 0;
  int64_t group = 1;  // query heads of a key head

  // Those that act on such rows: queries share their key head's.
  ops::ConstMatrix Of(const FeatureRows& at) const {
    const int64_t head = at.key ? at.head : at.head / group;
    return ops::Transposed(ops::Dense(data + head * rows * dim, dim, rows));
  }
};

// Sets *weights to f(head, row, channel), in the host's scratch.
template <class F>
Status MakeWeights(const VariantArgs& host, int64_t rows, F f,
                   HeadWeights* weights) {
  const ConstTensorView& key = host.args.key;
  const int64_t heads = key.heads(), dim = key.head_dim();
  float* at = host.scratch.Array<float>(heads * rows * dim);
  if (at == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "weights could not be allocated");
  }
  *weights = {at, rows, dim, heads > 0 ? host.args.query.heads() / heads : 1};
  for (int64_t h = 0; h < heads; ++h, at += rows * dim) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < dim; ++c) {
        at[c * rows + r] = static_cast<float>(f(h, r, c));
      }
    }
  }
  return Status();
}

// Sets *columns to rows [rows][head_dim], which `draw` writes, as a matrix
// [head_dim][rows] in the host's scratch: products with few rows, as maps make
// them, take it without packing it each time.
template <class F>
Status MakeColumns(const VariantArgs& host, int64_t rows, F draw,
                   ops::ConstMatrix* columns) {
  const int64_t dim = host.args.key.head_dim();
  float* drawn = host.scratch.Array<float>(rows, dim);
  float* at = host.scratch.Array<float>(rows, dim);
  if (drawn == nullptr || at == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "the features could not be allocated");
  }
  draw(drawn);
  for (int64_t i = 0; i < rows * dim; ++i) {
    at[i % dim * rows + i / dim] = drawn[i];
  }
  *columns = ops::Dense(static_cast<const float*>(at), dim, rows);
  return Status();
}

// Returns a Gaussian number for each place, by Box and Muller.
inline double GaussianAt(int seed, int64_t row, int64_t c) {
  constexpr Input kUnit = {"", "", false, 0x1p-53, 1.0};
  const double u = DrawnAt(kUnit, seed, row, c, 0, 0);
  const double v = DrawnAt(kUnit, seed, row, c, 1, 0);
  return std::sqrt(-2 * portable::Log(u)) *
         portable::SinCos(6.283185307179586 * v).cosine;
}

// Sets w[rows][dim] to random rows times `scale`, orthogonal to one another
// within each dim of them, by Gram and Schmidt: each as long as a Gaussian row,
// or of unit length. The same for a seed, always.
inline void DrawOrthogonalRows(int seed, int64_t rows, int64_t dim,
                               bool gaussian_lengths, double scale, float* w) {
  std::vector<double> block(static_cast<size_t>(dim * dim));
  for (int64_t r = 0; r < rows; ++r) {
    double* row = block.data() + r % dim * dim;
    double length = 0, left = 0;
    for (int64_t c = 0; c < dim; ++c) {
      row[c] = GaussianAt(seed, r, c);
      length += row[c] * row[c];
    }
    for (const double* other = block.data(); other != row; other += dim) {
      double along = 0;
      for (int64_t c = 0; c < dim; ++c) along += row[c] * other[c];
      for (int64_t c = 0; c < dim; ++c) row[c] -= along * other[c];
    }
    for (int64_t c = 0; c < dim; ++c) left += row[c] * row[c];
    const double to = gaussian_lengths ? scale * std::sqrt(length) : scale;
    for (int64_t c = 0; c < dim; ++c) {
      row[c] /= std::sqrt(left);
      w[r * dim + c] = static_cast<float>(to * row[c]);
    }
  }
}

// Sets w[rows][dim], of at most dim rows, to a projection that keeps scalar
// products on average: random orthogonal rows of length sqrt(dim / rows), or
// the identity where rows is dim. Stands in for one that a model has learnt.
inline void DrawProjection(int seed, int64_t rows, int64_t dim, float* w) {
  if (rows < dim) {
    const double scale =
        std::sqrt(static_cast<double>(dim) / static_cast<double>(rows));
    return DrawOrthogonalRows(seed, rows, dim, false, scale, w);
  }
  for (int64_t i = 0; i < rows * dim; ++i) {
    w[i] = i / dim == i % dim ? 1.0f : 0.0f;
  }
}

// The widest rows whose pairs, with themselves and a one beside them, are no
// more features than a map may have.
inline constexpr int64_t kMaxPairedDim = 43;

// Projections of queries and keys to narrower rows, of at most kMaxPairedDim.
struct Projections {
  HeadWeights of_query, of_key;

  // Calls f(i, narrow, n) for each such row, with its n numbers.
  template <class F>
  void ForEachRow(const FeatureRows& rows, F f) const {
    constexpr int64_t kRows = 16;
    const ops::ConstMatrix w =
        ops::Transposed((rows.key ? of_key : of_query).Of(rows));
    float memory[kRows * kMaxPairedDim];
    for (int64_t first = 0; first < rows.x.rows; first += kRows) {
      const int64_t end = std::min(first + kRows, rows.x.rows);
      const ops::Matrix narrow = ops::Dense(memory, end - first, w.cols);
      ops::MatMul(ops::RowRange(rows.x, first, end), w, narrow);
      for (int64_t i = first; i < end; ++i) f(i, narrow.row(i - first), w.cols);
    }
  }
};

// Sets *made to inputs 0 and 1 of the host, which are weights of `width` rows,
// or to the same DrawProjection for both.
inline Status MakeProjections(const VariantArgs& host, const Input* inputs,
                              int seed, int64_t width, Projections* made) {
  const int64_t dim = host.args.key.head_dim();
  float* drawn = host.scratch.Array<float>(width * dim);
  if (drawn == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "a projection could not be allocated");
  }
  DrawProjection(seed, width, dim, drawn);
  for (int index = 0; index < 2; ++index) {
    Status status = CheckWeights(host, inputs, index, width);
    if (!status.ok()) return status;
    status = MakeWeights(
        host, width,
        [&](int64_t head, int64_t row, int64_t c) {
          return host.inputs == nullptr
                     ? static_cast<double>(drawn[row * dim + c])
                     : InputAt(host, inputs, index, 0, row, head, c);
        },
        index == 0 ? &made->of_query : &made->of_key);
    if (!status.ok()) return status;
  }
  return Status();
}

// The same in double, for references.
class ProjectionTruth {
 public:
  ProjectionTruth(const VariantArgs& host, const Input* inputs, int seed,
                  int64_t width)
      : host_(host),
        inputs_(inputs),
        width_(width),
        drawn_(static_cast<size_t>(width * host.args.key.head_dim())) {
    DrawProjection(seed, width, host.args.key.head_dim(), drawn_.data());
  }

  int64_t width() const { return width_; }
  std::vector<double> Project(const LinearRow& row) const {
    const int64_t dim = host_.args.key.head_dim();
    const int64_t group = host_.args.query.heads() / host_.args.key.heads();
    const int64_t head = row.key ? row.head : row.head / group;
    std::vector<double> narrow(static_cast<size_t>(width_));
    for (int64_t r = 0; r < width_; ++r) {
      for (int64_t c = 0; c < dim; ++c) {
        const double w =
            host_.inputs == nullptr
                ? static_cast<double>(drawn_[static_cast<size_t>(r * dim + c)])
                : InputAt(host_, inputs_, row.key ? 1 : 0, 0, r, head, c);
        narrow[static_cast<size_t>(r)] += w * static_cast<double>(row.x[c]);
      }
    }
    return narrow;
  }

 private:
  const VariantArgs& host_;
  const Input* inputs_;
  int64_t width_;
  std::vector<float> drawn_;
};

// Returns what a map of all rows to `rows` numbers by a matrix costs.
inline double MapFlops(const AttentionShape& shape, int64_t rows) {
  return 2.0 * static_cast<double>(shape.batch * rows * shape.head_dim) *
         static_cast<double>(shape.seqlen_q * shape.num_heads +
                             shape.seqlen_k * shape.num_kv_heads);
}

// Writes the products of a row's numbers, each pair once, twice as large for
// queries where the two differ: those of q and k multiply to (q . k)^2 with
// half as many features as the outer product has.
inline constexpr int64_t PairFeatures(int64_t dim) {
  return dim * (dim + 1) / 2;
}
inline void WritePairs(const float* x, int64_t dim, bool key, float* phi) {
  const float twice = key ? 1.0f : 2.0f;
  for (int64_t i = 0; i < dim; ++i) {
    *phi++ = x[i] * x[i];
    for (int64_t j = i + 1; j < dim; ++j) *phi++ = twice * x[i] * x[j];
  }
}

}  // namespace heed

#endif  // HEED_LINEAR_FEATURES_H_
