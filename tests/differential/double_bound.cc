// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/differential/double_bound.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <vector>

#include "lib/oracle/element.h"

namespace heed::test {
namespace {

constexpr double kUnit = 0x1p-24;  // the rounding of one operation

template <class Number>
double Largest(const std::vector<Number>& numbers) {
  double largest = 0;
  for (const Number x : numbers) {
    if (std::isfinite(x)) largest = std::max<double>(largest, std::fabs(x));
  }
  return largest;
}

// Relative, in the chain over keys: where numbers are all equal, each step
// rounds the same way, in the sum of values and in that of weights.
double LostInKeys(const FuzzCase& c) {
  return kUnit * static_cast<double>(std::min<int64_t>(c.keys, 4096));
}

std::vector<float> NumbersOf(const oracle::ScaledTensor& tensor) {
  std::vector<float> numbers;
  ForEachElement(tensor.view, [&](int64_t b, int64_t s, int64_t h, int64_t i) {
    numbers.push_back(
        static_cast<float>(oracle::ElementAt(tensor, b, s, h, i)));
  });
  return numbers;
}

// Absolute, in an element of u4, which is rounded twice without FMA.
double LostInElements(const FuzzTensor& scale, const FuzzTensor& minimum) {
  return minimum.view.absent() ? 0 : 15 * kUnit * Largest(scale.Numbers());
}

// Of a rotation: the largest power of two that divides the extent.
int64_t BlockOf(int64_t dim) { return std::max<int64_t>(dim & -dim, 1); }

// What a rotation adds to the roundings of a channel, of the sum of its block's
// magnitudes over the root of the block: one a level and the factor.
double LevelsOf(int64_t dim) {
  return 1 + std::log2(static_cast<double>(BlockOf(dim)));
}

// What the channels of a query may be off by before they meet keys, for each
// unit of rounding: nothing but where they are rotated.
std::vector<double> LostInRotation(const std::vector<float>& row) {
  const int64_t dim = std::ssize(row);
  const int64_t block = BlockOf(dim);
  std::vector<double> lost(row.size());
  for (int64_t first = 0; first < dim; first += block) {
    double sum = 0;
    for (int64_t i = first; i < first + block; ++i) {
      sum += std::fabs(static_cast<double>(row[static_cast<size_t>(i)]));
    }
    for (int64_t i = first; i < first + block; ++i) {
      lost[static_cast<size_t>(i)] =
          LevelsOf(dim) * sum / std::sqrt(static_cast<double>(block));
    }
  }
  return lost;
}

// Absolute, in a score: large products may cancel. So much is in an lse, and
// relatively in a weight.
double LostInScores(const FuzzCase& c, const FuzzTensors& tensors) {
  const std::vector<float> key = NumbersOf(oracle::KeyOf(tensors.pooled));
  const double element = LostInElements(tensors.key_scale, tensors.key_minimum);
  const double dim = static_cast<double>(c.dim);
  const double chain = 4 + std::sqrt(dim);
  // Of sequences that share a pool or packed rows any key may be a row's.
  const bool shared = tensors.args.ragged.num_sequences != 0;
  const int64_t all = std::ssize(key) / (c.kv_heads * c.dim);
  std::vector<float> q(static_cast<size_t>(c.dim));
  std::vector<double> rotation(q.size());
  double largest = 0;
  ForEachElement(tensors.query.view, [&](int64_t b, int64_t s, int64_t h,
                                         int64_t channel) {
    if (channel != 0) return;
    oracle::ReadRow(tensors.query.view, b, s, h, q.data());
    if (c.key_rotated != 0) rotation = LostInRotation(q);
    oracle::ReadQuery(tensors.args, b, s, h, q.data());
    const int64_t first = shared ? 0 : b * c.keys;
    const int64_t last = shared ? all : first + c.keys;
    for (int64_t at = first; at < last; ++at) {
      const float* const k =
          key.data() + (at * c.kv_heads + h / c.group) * c.dim;
      double sum = 0;
      for (size_t i = 0; i < q.size(); ++i) {
        const double x = std::fabs(static_cast<double>(q[i]));
        const double y = std::fabs(static_cast<double>(k[i]));
        sum += kUnit * y * (chain * x + rotation[i]) + element * x;
      }
      if (std::isfinite(sum)) largest = std::max(largest, sum);
    }
  });
  const double scale = c.scale != 0
                           ? std::fabs(static_cast<double>(c.scale)) / 1024
                           : 1 / std::sqrt(dim);
  return scale * largest;
}

// How far a row may stand from a key.
double FarthestOf(const FuzzCase& c, const AttentionArgs& args) {
  double offset = c.placed != 0 ? std::fabs(static_cast<double>(c.offset)) : 0;
  for (int64_t s = 0;
       args.ragged.causal_offset != nullptr && s < args.ragged.num_sequences;
       ++s) {
    const int64_t own = args.ragged.causal_offset[s];
    if (own == kBottomRight) continue;
    offset = std::max(offset, std::fabs(static_cast<double>(own)));
  }
  return offset + static_cast<double>(c.rows + c.keys);
}

// Absolute, of what is added to scores: a few roundings of the largest.
double LostInAddends(const FuzzCase& c, const FuzzTensors& tensors) {
  const AttentionArgs& args = tensors.args;
  const ScoreInputs& in = args.scores;
  double sum = 0;
  for (const ConstTensorView* view :
       {&in.bias, &in.relative_bias, &in.query_decay, &in.key_decay,
        &in.alibi_slopes}) {
    double largest = 0;
    ForEachElement(*view, [&](int64_t b, int64_t s, int64_t h, int64_t i) {
      const double x = std::fabs(oracle::ElementAt(*view, b, s, h, i));
      if (std::isfinite(x)) largest = std::max(largest, x);
    });
    if (view == &in.alibi_slopes) largest *= FarthestOf(c, args);
    sum += largest;
  }
  return 4 * kUnit * sum;
}

}  // namespace

DoubleBound BoundOf(const FuzzCase& c, const FuzzTensors& tensors,
                    const Truth& truth) {
  const double scores = LostInScores(c, tensors) + LostInAddends(c, tensors);
  const double keys = LostInKeys(c);
  const double value = Largest(NumbersOf(oracle::ValueOf(tensors.pooled)));
  double out = truth.out_bound() + keys * std::max(1.0, Largest(truth.out())) +
               2 * scores * value +
               LostInElements(tensors.value_scale, tensors.value_minimum);
  if (c.value_rotated != 0) {
    // A channel is made of all those of its block, off by as much each.
    out += keys * value + kUnit * LevelsOf(c.dim_v) * value;
    out *= std::sqrt(static_cast<double>(BlockOf(c.dim_v)));
  }
  return {out, truth.lse_bound() + keys * std::max(1.0, Largest(truth.lse())) +
                   scores};
}

DoubleBound UnitBoundOf(const FuzzCase& c, const FuzzTensors& tensors,
                        const Truth& truth) {
  const double scores = LostInScores(c, tensors) + LostInAddends(c, tensors);
  const double keys = LostInKeys(c);
  const double value = Largest(NumbersOf(oracle::ValueOf(tensors.pooled)));
  return {(0x1.08p-7 + 2 * scores) * value +
              keys * std::max(1.0, Largest(truth.out())),
          0x1.08p-8 + scores + keys * std::max(1.0, Largest(truth.lse()))};
}

bool FitForDouble(const FuzzCase& c) {
  constexpr int64_t kInfinite = 2 | 4 | 16 | 128;
  // Where positions share memory, what no row sees is seen elsewhere.
  const bool spreads =
      c.poison != 0 && (c.key.repeat != 0 || c.value.repeat != 0);
  return (c.specials == 0 || (c.kinds & kInfinite) == 0) && !spreads;
}

}  // namespace heed::test
