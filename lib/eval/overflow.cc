// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Adds magnitudes in double, so that no order of a sum in f32 reaches more.
#include "lib/eval/overflow.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "heed/ops.h"

namespace heed::eval {
namespace {

// The largest magnitudes met.
struct Magnitudes {
  double product = 0;  // query times key
  double score = 0;    // the same, scaled
  double values = 0;   // values of the visible keys, a channel
};

double Magnitude(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    sum += std::fabs(static_cast<double>(a[i]) * static_cast<double>(b[i]));
  }
  return sum;
}

void AddRow(const AttentionParams& params, const AttentionArgs& args,
            int64_t batch, int64_t head, int64_t row, Magnitudes* most) {
  const int64_t kv_head = head / (args.query.heads() / args.key.heads());
  const ops::ConstMatrix key = ops::Head(args.key, batch, kv_head);
  const ops::ConstMatrix value = ops::Head(args.value, batch, kv_head);
  const float* query = RowAt(args.query, batch, row, head);
  const double scale =
      std::fabs(double{ops::SoftmaxScale(params, args.query.head_dim())});
  std::vector<double> sums(static_cast<size_t>(value.cols));
  ops::ForEachVisible(
      params, args, batch, head, row, [&](int64_t begin, int64_t end) {
        for (int64_t j = begin; j < end; ++j) {
          const double product = Magnitude(query, key.row(j), key.cols);
          most->product = std::max(most->product, product);
          most->score = std::max(most->score, product * scale);
          for (size_t c = 0; c < sums.size(); ++c) {
            sums[c] += std::fabs(double{value.row(j)[c]});
          }
        }
      });
  for (const double sum : sums) most->values = std::max(most->values, sum);
}

std::string Sentence(const char* what, double reached) {
  char text[128];
  std::snprintf(text, sizeof(text),
                "%s reach %.1e, and f32 holds no more than %.1e", what, reached,
                double{std::numeric_limits<float>::max()});
  return text;
}

}  // namespace

std::string FindOverflow(const AttentionParams& params,
                         const AttentionArgs& args,
                         const std::vector<RowRun>& rows) {
  Magnitudes most;
  for (const RowRun& run : rows) {
    for (int64_t b = 0; b < args.query.batch(); ++b) {
      for (int64_t h = 0; h < args.query.heads(); ++h) {
        for (int64_t row = run.first; row < run.first + run.count; ++row) {
          AddRow(params, args, b, h, row, &most);
        }
      }
    }
  }
  constexpr double kMost = std::numeric_limits<float>::max();
  if (most.product > kMost) {
    return Sentence("products of query and key", most.product);
  }
  if (most.score > kMost) return Sentence("scaled scores", most.score);
  if (most.values > kMost) return Sentence("sums of values", most.values);
  return "";
}

}  // namespace heed::eval
