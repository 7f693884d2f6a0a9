// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Textbook attention in float: scores, softmax, weighted sum. What an ordinary
// implementation in the same type loses to rounding.
#include <cmath>
#include <cstdint>
#include <vector>

#include "lib/oracle/element.h"
#include "lib/oracle/oracle.h"
#include "lib/oracle/sequences.h"

namespace heed::oracle {
namespace {

// Replaces scores by their softmax; returns the natural log of its divisor. The
// masked hold -inf.
float Softmax(std::vector<float>& scores) {
  float max = -INFINITY;
  for (const float score : scores) max = std::fmax(max, score);
  if (max == -INFINITY) {
    scores.assign(scores.size(), 0.0f);
    return -INFINITY;
  }
  float sum = 0.0f;
  for (float& score : scores) {
    score = std::exp(score - max);
    sum += score;
  }
  for (float& score : scores) score /= sum;
  return max + std::log(sum);
}

void AttendDense(const AttentionParams& params, const AttentionArgs& args,
                 float* out, float* lse) {
  const int64_t dim = args.query.head_dim();
  const int64_t dim_v = args.value.head_dim();
  const float scale = params.softmax_scale != 0.0f
                          ? params.softmax_scale
                          : 1.0f / std::sqrt(static_cast<float>(dim));
  std::vector<float> scores(static_cast<size_t>(args.key.seqlen()));
  std::vector<float> q(static_cast<size_t>(dim)), k(q);
  std::vector<float> v(static_cast<size_t>(dim_v));
  for (int64_t b = 0; b < args.query.batch(); ++b) {
    for (int64_t row = 0; row < args.query.seqlen(); ++row) {
      for (int64_t h = 0; h < args.query.heads(); ++h) {
        const int64_t kv_head = h / (args.query.heads() / args.key.heads());
        ReadQuery(args, b, row, h, q.data());
        for (int64_t key = 0; key < args.key.seqlen(); ++key) {
          float score = 0.0f;
          ReadRow(KeyOf(args), b, key, kv_head, k.data());
          for (size_t c = 0; c < k.size(); ++c) score += q[c] * k[c];
          score *= scale;
          if (params.softcap != 0.0f) {
            score = params.softcap * std::tanh(score / params.softcap);
          }
          scores[static_cast<size_t>(key)] =
              Visible(params, args, b, h, row, key) ? score : -INFINITY;
        }
        const float row_lse = Softmax(scores);
        if (lse != nullptr) *lse++ = row_lse;
        if (out == nullptr) continue;
        for (int64_t c = 0; c < dim_v; ++c) out[c] = 0.0f;
        for (int64_t key = 0; key < args.key.seqlen(); ++key) {
          const float weight = scores[static_cast<size_t>(key)];
          ReadRow(ValueOf(args), b, key, kv_head, v.data());
          for (size_t c = 0; c < v.size(); ++c) out[c] += weight * v[c];
        }
        RotateBack(args, out);
        for (int64_t c = 0; c < dim_v; ++c) {
          out[c] = RoundTo(args.out.dtype, out[c]);
        }
        out += dim_v;
      }
    }
  }
}

}  // namespace

void AttentionPlainFloat(const AttentionParams& params,
                         const AttentionArgs& args, float* out, float* lse) {
  ForEachSequence(params, args, out, lse, AttendDense);
}

}  // namespace heed::oracle
