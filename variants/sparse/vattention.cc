// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to the first, the latest and the heaviest keys exactly, and to a
// sample of the others: verified sparse attention (Desai et al. 2025,
// arXiv:2510.05688). Of the n keys that are left, each is drawn with the same
// probability and counts by its inverse. How many are drawn is what a base
// sample says of the weights' spread, so that the sum of all weights is within
// epsilon of the true one with probability 1 - delta, as the central limit
// theorem has it:
//
//   budget = (z n deviation / (epsilon (exact sum + n mean)))^2,
//
// z being the normal quantile at 1 - delta / 2, between the base sample's size
// and n. The sample is drawn anew, so that what it estimates has no bias.
//
// The heaviest keys are those of the true weights, which the paper leaves to
// any method that finds them: what is saved is the softmax and the values, not
// the scores. The authors' code takes the one-sided quantile at 1 - delta and
// draws with repeats.
#include <heed/estimators.h>
#include <heed/parts_variant.h>
#include <heed/row_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "sink_size",
     .summary = "First keys, kept exactly.",
     .default_value = 128,
     .min = 0,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "window_size",
     .summary = "Latest keys, the row's own among them, kept exactly.",
     .default_value = 128,
     .min = 0,
     .max = sparse::kAll,
     .integer = true},
    {.name = "heavy_size",
     .summary = "Share of the row's keys that are kept as the heaviest others.",
     .default_value = 0.025,
     .min = 0,
     .max = 1,
     .integer = false},
    {.name = "base_rate_sampling",
     .summary = "Share of the rest by which the budget is set.",
     .default_value = 0.025,
     .min = 0,
     .max = 1,
     .integer = false},
    {.name = "epsilon",
     .summary = "Relative error of the sum of weights.",
     .default_value = 0.05,
     .min = 1e-6,
     .max = 1,
     .integer = false},
    {.name = "delta",
     .summary = "Probability that the error is larger.",
     .default_value = 0.05,
     .min = 1e-9,
     .max = 0.5,
     .integer = false},
    sparse::kSeedKnob,
};

// The point that a normal number exceeds with probability `tail`.
double NormalTail(double tail) {
  double low = 0, high = 40;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2;
    const double beyond = std::erfc(middle / std::sqrt(2.0)) / 2;
    (beyond > tail ? low : high) = middle;
  }
  return low;
}

// Sums over the base sample, of weights relative to the largest.
struct Spread {
  double count = 0, sum = 0, squares = 0;

  void Add(double weight) {
    count += 1;
    sum += weight;
    squares += weight * weight;
  }
  // Keys to draw of n, where those that are kept exactly weigh `exact`; all of
  // them where the sample says nothing.
  int64_t Budget(const double* knobs, double quantile, double exact,
                 int64_t n) const {
    if (count < 2) return n;
    const double all = static_cast<double>(n);
    const double mean = sum / count;
    const double variance =
        std::max((squares - count * mean * mean) / (count - 1), 0.0);
    const double error = knobs[4] * (exact + all * mean);
    const double budget = quantile * quantile * variance * all * all /
                          std::max(error * error, 1e-300);
    // NaN takes all.
    return budget < all ? static_cast<int64_t>(std::max(budget, count)) : n;
  }
};

// What decides which of the rest are drawn: the base sample and the sample.
bool InBase(const double* knobs, int64_t head, int64_t position, int64_t key) {
  return static_cast<double>(sparse::DrawOf(-1 - static_cast<int64_t>(knobs[6]),
                                            head, position, key)) < knobs[3];
}
bool InSample(const double* knobs, int64_t head, int64_t position, int64_t key,
              double probability) {
  return static_cast<double>(sparse::DrawOf(static_cast<int64_t>(knobs[6]),
                                            head, position, key)) < probability;
}

bool IsKept(const double* knobs, int64_t position, int64_t key) {
  const double at = static_cast<double>(key);
  return at < knobs[0] || static_cast<double>(position) - at < knobs[1];
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t keys = t.key.seqlen(), dim = t.query.head_dim();
  const int64_t workers = a.executor.max_workers;
  float* floats = a.scratch.Array<float>(workers, 2, keys);
  int32_t* indices = a.scratch.Array<int32_t>(workers, 2, keys);
  if (floats == nullptr || indices == nullptr) return sparse::OutOfMemory();
  const float scale = ops::SoftmaxScale(a.params, dim);
  const double quantile = NormalTail(a.knobs[5] / 2);
  const auto choose = [&](const sparse::QueryRow& row, sparse::RowDraw* draw) {
    float* score = floats + row.worker * 2 * keys;
    float* rest = score + keys;
    int32_t* place = indices + row.worker * 2 * keys;  // of the rest
    int32_t* heavy = place + keys;
    const float* query = RowAt(t.query, row.batch, row.index, row.head);
    int64_t seen = 0, left = 0;
    float most = -INFINITY;
    for (int64_t key = 0; key < row.end(); ++key) {
      if (!row.Touches(key, key + 1)) continue;
      ++seen;
      score[key] =
          scale *
          ops::Dot(query, RowAt(t.key, row.batch, key, row.kv_head), dim);
      if (a.params.softcap > 0) {
        sparse::CapScores(a.params.softcap, score + key, 1);
      }
      most = std::max(most, score[key]);
      if (IsKept(a.knobs, row.position, key)) continue;
      place[left] = static_cast<int32_t>(key);
      rest[left++] = score[key];
    }
    const int64_t heaviest = ops::TopK(
        rest, left,
        std::llround(std::ceil(a.knobs[2] * static_cast<double>(seen))), heavy);
    // From here on the rest are those that are not heavy.
    for (int64_t i = 0; i < heaviest; ++i) {
      draw->Keep(place[heavy[i]], 0);
      place[heavy[i]] = -1;
    }
    Spread spread;
    double exact = 0;
    int64_t n = 0;
    int64_t next = 0;
    for (int64_t key = 0; key < row.end(); ++key) {
      if (!row.Touches(key, key + 1)) continue;
      const double weight = std::exp(static_cast<double>(score[key] - most));
      if (IsKept(a.knobs, row.position, key)) {
        draw->Keep(key, 0);
        exact += weight;
      } else if (place[next++] < 0) {
        exact += weight;
      } else {
        ++n;
        if (InBase(a.knobs, row.head, row.position, key)) spread.Add(weight);
      }
    }
    const int64_t budget = spread.Budget(a.knobs, quantile, exact, n);
    const double probability = static_cast<double>(budget) /
                               static_cast<double>(std::max<int64_t>(n, 1));
    const float log_weight = static_cast<float>(-std::log(probability));
    for (int64_t i = 0; i < left; ++i) {
      if (place[i] >= 0 &&
          (budget == n ||
           InSample(a.knobs, row.head, row.position, place[i], probability))) {
        draw->Keep(place[i], budget == n ? 0 : log_weight);
      }
    }
  };
  return sparse::AttendDraws(a, sparse::ListOf::kHead, choose);
}

void Reference(const VariantArgs& a, double* out) {
  const AttentionArgs& t = a.args;
  const int64_t rows = t.query.seqlen(), keys = t.key.seqlen();
  const int64_t offset = sparse::OffsetOf(a.params, rows, keys);
  sparse::ForEachPlainRow(
      a, out, [&](int64_t b, int64_t h, int64_t kv, int64_t row, double* to) {
        std::vector<int64_t> seen, rest;
        std::vector<double> score(static_cast<size_t>(keys));
        const auto of = [&](int64_t key) {
          return score[static_cast<size_t>(key)];
        };
        double most = -INFINITY;
        ops::ForEachVisible(
            a.params, t, b, h, row, [&](int64_t begin, int64_t end) {
              for (int64_t key = begin; key < end; ++key) {
                score[static_cast<size_t>(key)] = sparse::PlainScore(
                    a.params, RowAt(t.query, b, row, h),
                    RowAt(t.key, b, key, kv), t.key.head_dim());
                most = std::max(most, of(key));
                seen.push_back(key);
                if (!IsKept(a.knobs, row + offset, key)) rest.push_back(key);
              }
            });
        std::stable_sort(rest.begin(), rest.end(),
                         [&](int64_t x, int64_t y) { return of(x) > of(y); });
        const size_t heavy = std::min(
            rest.size(), static_cast<size_t>(std::ceil(
                             a.knobs[2] * static_cast<double>(seen.size()))));
        rest.erase(rest.begin(),
                   rest.begin() + static_cast<std::ptrdiff_t>(heavy));
        std::sort(rest.begin(), rest.end());
        double exact = 0;
        sparse::PlainSoftmax softmax(t.value.head_dim());
        Spread spread;
        for (const int64_t key : seen) {
          const double weight = std::exp(of(key) - most);
          if (!std::binary_search(rest.begin(), rest.end(), key)) {
            exact += weight;
            softmax.Add(of(key), RowAt(t.value, b, key, kv));
          } else if (InBase(a.knobs, h, row + offset, key)) {
            spread.Add(weight);
          }
        }
        const int64_t n = static_cast<int64_t>(rest.size());
        const int64_t budget =
            spread.Budget(a.knobs, NormalTail(a.knobs[5] / 2), exact, n);
        for (const int64_t key : rest) {
          const double p = static_cast<double>(budget) / static_cast<double>(n);
          if (budget < n && !InSample(a.knobs, h, row + offset, key, p))
            continue;
          softmax.Add(of(key) - std::log(p), RowAt(t.value, b, key, kv));
        }
        softmax.AddTo(1, to);
      });
}

// Scores of all, and at most values of all.
Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* /*knobs*/) {
  const double pairs = ops::VisiblePairs(shape, params);
  Cost cost = ops::SoftmaxCost(shape, pairs);
  cost.at_most = true;
  cost.AddSelecting(
      2 * pairs *
          static_cast<double>(shape.batch * shape.num_heads * shape.head_dim),
      4 *
          static_cast<double>(shape.batch * shape.num_kv_heads *
                              shape.head_dim) *
          ops::VisibleKeyRows(shape, params));
  return cost;
}

}  // namespace

Variant vattention() {
  return {.summary =
              "First, latest and heaviest keys exactly, of the others a "
              "sample as large as their spread asks.",
          .paper = "Desai et al. 2025, arXiv:2510.05688",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 7,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
