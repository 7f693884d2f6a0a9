// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attention in double by xsimd, for sizes where plain double takes too long.
// Shares the mask and the reading of elements with the other oracles and
// nothing else.
#include <cmath>
#include <cstdint>
#include <vector>
#include <xsimd/xsimd.hpp>

#include "lib/oracle/element.h"
#include "lib/oracle/oracle.h"
#include "lib/oracle/sequences.h"

namespace heed::oracle {
namespace {

using Batch = xsimd::batch<double>;
constexpr size_t kLanes = Batch::size;

size_t RoundUp(size_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// The rows of one (batch, head) in double, padded with zeros to whole batches.
struct Matrix {
  size_t columns = 0;
  std::vector<double> data;

  Matrix(const ScaledTensor& tensor, int64_t b, int64_t h)
      : columns(RoundUp(static_cast<size_t>(tensor.view.head_dim()))),
        data(static_cast<size_t>(tensor.view.seqlen()) * columns) {
    for (int64_t s = 0; s < tensor.view.seqlen(); ++s) {
      ReadRow(tensor, b, s, h, data.data() + static_cast<size_t>(s) * columns);
    }
  }
  const double* Row(size_t s) const { return data.data() + s * columns; }
};

double Dot(const double* a, const double* b, size_t columns) {
  // Four sums, so that the additions' latency is hidden.
  Batch sum0(0.0), sum1(0.0), sum2(0.0), sum3(0.0);
  const auto product = [&](size_t c) {
    return Batch::load_unaligned(a + c) * Batch::load_unaligned(b + c);
  };
  size_t c = 0;
  for (; c + 4 * kLanes <= columns; c += 4 * kLanes) {
    sum0 += product(c);
    sum1 += product(c + kLanes);
    sum2 += product(c + 2 * kLanes);
    sum3 += product(c + 3 * kLanes);
  }
  for (; c < columns; c += kLanes) sum0 += product(c);
  double lanes[kLanes];
  ((sum0 + sum1) + (sum2 + sum3)).store_unaligned(lanes);
  double sum = 0.0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

template <typename Function>
void Map(std::vector<double>& values, Function function) {
  for (size_t i = 0; i < values.size(); i += kLanes) {
    function(Batch::load_unaligned(&values[i])).store_unaligned(&values[i]);
  }
}

struct Row {
  std::vector<size_t> keys;
  std::vector<double> scores;  // padded to whole batches
  double max = -INFINITY;
  bool poisoned = false;
};

void ScoreRow(const AttentionParams& params, const double* query,
              const Matrix& key, double scale, Row& row) {
  row.scores.assign(RoundUp(row.keys.size()), 0.0);
  for (size_t i = 0; i < row.keys.size(); ++i) {
    row.scores[i] = Dot(query, key.Row(row.keys[i]), key.columns) * scale;
  }
  if (params.softcap != 0.0f) {
    const double cap = params.softcap;
    Map(row.scores, [cap](const Batch& score) {
      return Batch(cap) * xsimd::tanh(score / Batch(cap));
    });
  }
  row.max = -INFINITY;
  row.poisoned = false;
  for (size_t i = 0; i < row.keys.size(); ++i) {
    const double score = row.scores[i];
    if (score > row.max) row.max = score;
    if (std::isnan(score) || score == INFINITY) row.poisoned = true;
  }
}

// Turns scores into weights and adds up value rows; returns lse.
double FinishRow(const Matrix& value, Row& row, std::vector<double>& out) {
  out.assign(value.columns, row.poisoned ? NAN : 0.0);
  if (row.poisoned) return NAN;
  if (row.max == -INFINITY) return -INFINITY;
  const Batch max(row.max);
  Map(row.scores,
      [max](const Batch& score) { return xsimd::exp(score - max); });
  double sum = 0.0;
  for (size_t i = 0; i < row.keys.size(); ++i) {
    sum += row.scores[i];
    const Batch weight(row.scores[i]);
    const double* v = value.Row(row.keys[i]);
    for (size_t c = 0; c < value.columns; c += kLanes) {
      (Batch::load_unaligned(&out[c]) + weight * Batch::load_unaligned(v + c))
          .store_unaligned(&out[c]);
    }
  }
  for (double& c : out) c /= sum;
  return row.max + std::log(sum);
}

void AttendDense(const AttentionParams& params, const AttentionArgs& args,
                 double* out, double* lse) {
  const int64_t heads = args.query.heads();
  const int64_t seqlen_q = args.query.seqlen();
  const int64_t dim = args.query.head_dim();
  const int64_t dim_v = args.value.head_dim();
  const double scale = params.softmax_scale != 0.0f
                           ? static_cast<double>(params.softmax_scale)
                           : 1.0 / std::sqrt(static_cast<double>(dim));
  Row row;
  std::vector<double> row_out;
  std::vector<double> query(RoundUp(static_cast<size_t>(dim)));
  for (int64_t b = 0; b < args.query.batch(); ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t kv_head = h / (heads / args.key.heads());
      const Matrix key(KeyOf(args), b, kv_head);
      const Matrix value(ValueOf(args), b, kv_head);
      for (int64_t q = 0; q < seqlen_q; ++q) {
        row.keys.clear();
        for (int64_t k = 0; k < args.key.seqlen(); ++k) {
          if (Visible(params, args, b, h, q, k)) {
            row.keys.push_back(static_cast<size_t>(k));
          }
        }
        ReadQuery(args, b, q, h, query.data());
        ScoreRow(params, query.data(), key, scale, row);
        const double row_lse = FinishRow(value, row, row_out);
        RotateBack(args, row_out.data());
        const int64_t at = (b * seqlen_q + q) * heads + h;
        if (lse != nullptr) lse[at] = row_lse;
        if (out == nullptr) continue;
        for (int64_t c = 0; c < dim_v; ++c) {
          out[at * dim_v + c] = row_out[static_cast<size_t>(c)];
        }
      }
    }
  }
}

}  // namespace

void AttentionFast(const AttentionParams& params, const AttentionArgs& args,
                   double* out, double* lse) {
  ForEachSequence(params, args, out, lse, AttendDense);
}

}  // namespace heed::oracle
