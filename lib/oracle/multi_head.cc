// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/oracle/multi_head.h"

#include <cmath>
#include <cstddef>

#include "lib/oracle/oracle.h"
#include "lib/oracle/scores.h"

namespace heed::oracle {
namespace {

size_t Size(int64_t n) { return static_cast<size_t>(n); }

void Turn(const RopeTruth& rope, double position, double* row) {
  const size_t half = rope.frequency.size();
  for (size_t i = 0; i < half; ++i) {
    const double angle = position * rope.frequency[i];
    const double cos = std::cos(angle) * rope.stretch;
    const double sin = std::sin(angle) * rope.stretch;
    double& a = row[rope.interleaved ? 2 * i : i];
    double& b = row[rope.interleaved ? 2 * i + 1 : half + i];
    const double turned = a * cos - b * sin;
    b = b * cos + a * sin;
    a = turned;
  }
}

// Turns rows [batch][rows][heads][dim], the first of a batch at `first`.
void TurnRows(const RopeTruth& rope, int64_t rows, int64_t heads, int64_t dim,
              int64_t first, std::vector<double>* x) {
  if (rope.frequency.empty()) return;
  for (size_t i = 0; i * Size(dim) < x->size(); ++i) {
    const int64_t row = static_cast<int64_t>(i) / heads % rows;
    Turn(rope, static_cast<double>(first + row), x->data() + i * Size(dim));
  }
}

// Extents alone, for what says which keys a row sees.
AttentionArgs ExtentsOf(const MultiHeadTruth& t) {
  AttentionArgs args;
  const auto set = [](auto* view, int64_t b, int64_t s, int64_t h, int64_t d) {
    const int64_t extents[] = {b, s, h, d};
    for (int i = 0; i < 4; ++i) view->extent[i] = extents[i];
  };
  set(&args.query, t.batch, t.seqlen_q, t.num_heads, t.head_dim);
  set(&args.key, t.batch, t.seqlen_k, t.num_kv_heads, t.head_dim);
  set(&args.value, t.batch, t.seqlen_k, t.num_kv_heads, t.head_dim_v);
  args.scores = t.scores;
  return args;
}

}  // namespace

std::vector<double> LinearDouble(const LinearTruth& linear,
                                 const std::vector<double>& x, int64_t rows) {
  const size_t in = x.size() / Size(rows);
  const size_t out = linear.weight.size() / in;
  std::vector<double> y(Size(rows) * out);
  for (size_t r = 0; r < Size(rows); ++r) {
    for (size_t o = 0; o < out; ++o) {
      double sum = linear.bias.empty() ? 0.0 : linear.bias[o];
      for (size_t i = 0; i < in; ++i) {
        sum += linear.weight[o * in + i] * x[r * in + i];
      }
      y[r * out + o] = sum;
    }
  }
  return y;
}

std::vector<double> MultiHeadDouble(const MultiHeadTruth& t) {
  std::vector<double> q =
      LinearDouble(t.query_linear, t.query, t.batch * t.seqlen_q);
  std::vector<double> k =
      LinearDouble(t.key_linear, t.key, t.batch * t.seqlen_k);
  const std::vector<double> v =
      LinearDouble(t.value_linear, t.value, t.batch * t.seqlen_k);
  TurnRows(t.rope, t.seqlen_q, t.num_heads, t.head_dim, t.query_position, &q);
  TurnRows(t.rope, t.seqlen_k, t.num_kv_heads, t.head_dim, t.key_position, &k);
  const AttentionArgs extents = ExtentsOf(t);
  const double scale = t.params.softmax_scale != 0.0f
                           ? static_cast<double>(t.params.softmax_scale)
                           : 1 / std::sqrt(static_cast<double>(t.head_dim));
  std::vector<double> attended(
      Size(t.batch * t.seqlen_q * t.num_heads * t.head_dim_v));
  std::vector<double> weight(Size(t.seqlen_k));
  for (int64_t b = 0; b < t.batch; ++b) {
    for (int64_t i = 0; i < t.seqlen_q; ++i) {
      for (int64_t h = 0; h < t.num_heads; ++h) {
        const int64_t kv_head = h / (t.num_heads / t.num_kv_heads);
        const double* row =
            &q[Size(((b * t.seqlen_q + i) * t.num_heads + h) * t.head_dim)];
        double max = -INFINITY;
        for (int64_t j = 0; j < t.seqlen_k; ++j) {
          double& score = weight[Size(j)];
          score = -INFINITY;
          if (!Visible(t.params, extents, b, h, i, j)) continue;
          const double* key = &k[Size(
              ((b * t.seqlen_k + j) * t.num_kv_heads + kv_head) * t.head_dim)];
          score = 0;
          for (int64_t c = 0; c < t.head_dim; ++c) score += row[c] * key[c];
          score *= scale;
          if (t.params.softcap != 0.0f) {
            const double cap = t.params.softcap;
            score = cap * std::tanh(score / cap);
          }
          score += WholeAddend<double>(t.params, extents, b, h, i, j);
          if (score > max) max = score;
        }
        double sum = 0;
        for (double& w : weight) {
          w = max == -INFINITY ? 0 : std::exp(w - max);
          sum += w;
        }
        double* out = &attended[Size(((b * t.seqlen_q + i) * t.num_heads + h) *
                                     t.head_dim_v)];
        for (int64_t j = 0; j < t.seqlen_k && sum > 0; ++j) {
          const double* value =
              &v[Size(((b * t.seqlen_k + j) * t.num_kv_heads + kv_head) *
                      t.head_dim_v)];
          for (int64_t c = 0; c < t.head_dim_v; ++c) {
            out[c] += weight[Size(j)] / sum * value[c];
          }
        }
      }
    }
  }
  return LinearDouble(t.out_linear, attended, t.batch * t.seqlen_q);
}

}  // namespace heed::oracle
