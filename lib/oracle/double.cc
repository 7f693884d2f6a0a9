// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attention in plain double with libm: the definition, in two passes a row.
#include <cmath>
#include <cstdint>
#include <vector>

#include "lib/oracle/element.h"
#include "lib/oracle/oracle.h"
#include "lib/oracle/scores.h"
#include "lib/oracle/sequences.h"

namespace heed::oracle {
namespace {

double Score(const AttentionParams& params, const AttentionArgs& args,
             const std::vector<double>& query,
             const std::vector<double>& key_row, int64_t b, int64_t h,
             int64_t row, int64_t key) {
  double score = 0.0;
  for (size_t c = 0; c < query.size(); ++c) score += query[c] * key_row[c];
  score *= params.softmax_scale != 0.0f
               ? static_cast<double>(params.softmax_scale)
               : 1.0 / std::sqrt(static_cast<double>(query.size()));
  if (params.softcap != 0.0f) {
    const double cap = params.softcap;
    score = cap * std::tanh(score / cap);
  }
  score += WholeAddend<double>(params, args, b, h, row, key);
  if (args.scores.hook == nullptr) return score;
  return Hooked(args, b, h, row, key, static_cast<float>(score));
}

// Writes out[0 .. head_dim_v) and returns lse.
double AttendRow(const AttentionParams& params, const AttentionArgs& args,
                 int64_t b, int64_t h, int64_t row, std::vector<double>& out) {
  const int64_t kv_head = h / (args.query.heads() / args.key.heads());
  std::vector<double> query(static_cast<size_t>(args.query.head_dim()));
  ReadQuery(args, b, row, h, query.data());
  std::vector<double> key_row(query.size());
  std::vector<double> value_row(static_cast<size_t>(args.value.head_dim()));
  std::vector<int64_t> keys;
  std::vector<double> scores;
  double max = -INFINITY;
  bool poisoned = false;
  for (int64_t key = 0; key < args.key.seqlen(); ++key) {
    if (!Visible(params, args, b, h, row, key)) continue;
    ReadRow(KeyOf(args), b, key, kv_head, key_row.data());
    const double score = Score(params, args, query, key_row, b, h, row, key);
    // As after Visible: a hook hides by -inf, and data alone weighs nothing.
    keys.push_back(key);
    scores.push_back(score);
    if (score > max) max = score;
    if (std::isnan(score) || score == INFINITY) poisoned = true;
  }
  double sink = -INFINITY;
  if (!args.scores.sink_logits.absent()) {
    sink = ElementAt(args.scores.sink_logits, b, 0, h, 0);
    if (std::isnan(sink) || sink == INFINITY) poisoned = true;
    if (sink > max) max = sink;
  }
  out.assign(value_row.size(), poisoned ? NAN : 0.0);
  if (poisoned) return NAN;
  if (max == -INFINITY) return -INFINITY;

  double sum = std::exp(sink - max);
  for (size_t i = 0; i < keys.size(); ++i) {
    const double weight = std::exp(scores[i] - max);
    // Not a weight that is merely too small: that times NaN is NaN.
    if (scores[i] == -INFINITY && args.scores.hook != nullptr) continue;
    sum += weight;
    ReadRow(ValueOf(args), b, keys[i], kv_head, value_row.data());
    for (size_t c = 0; c < out.size(); ++c) out[c] += weight * value_row[c];
  }
  for (double& c : out) c /= sum;
  RotateBack(args, out.data());
  return max + std::log(sum);
}

void AttendDense(const AttentionParams& params, const AttentionArgs& args,
                 double* out, double* lse) {
  std::vector<double> row_out;
  for (int64_t b = 0; b < args.query.batch(); ++b) {
    for (int64_t row = 0; row < args.query.seqlen(); ++row) {
      for (int64_t h = 0; h < args.query.heads(); ++h) {
        const double row_lse = AttendRow(params, args, b, h, row, row_out);
        if (lse != nullptr) *lse++ = row_lse;
        if (out == nullptr) continue;
        for (const double c : row_out) *out++ = c;
      }
    }
  }
}

}  // namespace

void AttentionDouble(const AttentionParams& params, const AttentionArgs& args,
                     double* out, double* lse) {
  ForEachSequence(params, args, out, lse, AttendDense);
}

}  // namespace heed::oracle
