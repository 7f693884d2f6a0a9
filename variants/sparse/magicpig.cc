// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to the first and the latest keys exactly, and to others that hashes
// sample: MagicPIG (Chen et al. 2024, arXiv:2410.16179). Keys, less their mean
// over the call, and queries are hashed by the signs of k random products, in l
// tables; a key is sampled where at least two tables agree in all k. With
// p = 1 - angle / pi, that has probability
//
//   u = 1 - (1 - p^k)^l - l p^k (1 - p^k)^(l - 1),
//
// and a sampled key counts 1 / u times: its score is lowered by log u. Hashes
// are the same for all heads and rows; draws of one row are thereby not
// independent of another's.
//
// The paper finds keys by look-up; here the codes of all keys are compared. It
// takes the mean over the prompt, and keeps some layers dense.
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

constexpr double kPi = 3.14159265358979323846;

constexpr Knob kKnobs[] = {
    {.name = "k",
     .summary = "Bits of a hash.",
     .default_value = 10,
     .min = 1,
     .max = 16,
     .integer = true},
    {.name = "l",
     .summary = "Tables of hashes.",
     .default_value = 150,
     .min = 2,
     .max = 1024,
     .integer = true},
    {.name = "sink_size",
     .summary = "First keys, kept exactly.",
     .default_value = 4,
     .min = 0,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "window_size",
     .summary = "Latest keys, the row's own among them, kept exactly.",
     .default_value = 64,
     .min = 0,
     .max = sparse::kAll,
     .integer = true},
    sparse::kSeedKnob,
};

// The planes of all bits, [head_dim][planes], numbers drawn from the normal
// distribution (Box and Muller 1958), two at a time.
void FillPlanes(const double* knobs, int64_t dim, float* planes) {
  const int64_t seed = static_cast<int64_t>(knobs[4]);
  const int64_t all = static_cast<int64_t>(knobs[0] * knobs[1]);
  for (int64_t plane = 0; plane < all; ++plane) {
    for (int64_t c = 0; c < dim; c += 2) {
      const double u = static_cast<double>(sparse::DrawOf(seed, plane, c, 0));
      const double v = static_cast<double>(sparse::DrawOf(seed, plane, c, 1));
      const double length = std::sqrt(-2 * std::log(1 - u));
      float* const to = planes + c * all + plane;
      to[0] = static_cast<float>(length * std::cos(2 * kPi * v));
      if (c + 1 < dim) {
        to[all] = static_cast<float>(length * std::sin(2 * kPi * v));
      }
    }
  }
}

// The log of the probability that a pair of this cosine is sampled.
double LogProbability(const double* knobs, double cosine) {
  // Where a cosine is rounded to -1, hashes may agree all the same: no key
  // weighs infinitely.
  const double p = 1 - std::acos(std::clamp(cosine, -1 + 0x1p-23, 1.0)) / kPi;
  const double x = std::pow(p, knobs[0]), tables = knobs[1];
  // The difference of nearly equal numbers where x is small.
  if (tables * x < 1e-4) return std::log(tables * (tables - 1) / 2 * x * x);
  const double none = (tables - 1) * std::log1p(-x);
  return std::log(1 - std::exp(none) * (1 - x) - tables * x * std::exp(none));
}

bool IsKept(const double* knobs, int64_t position, int64_t key) {
  const double at = static_cast<double>(key);
  return at < knobs[2] || static_cast<double>(position) - at < knobs[3];
}

// Rows whose products with all planes are held at a time.
constexpr int64_t kRowsAtOnce = 16;

// The codes of up to so many rows: a bit for each plane, k to a table.
void HashRows(const double* knobs, const ops::ConstMatrix& planes,
              const ops::ConstMatrix& x, float* product, uint16_t* code) {
  const int64_t bits = static_cast<int64_t>(knobs[0]);
  ops::MatMul(x, planes, ops::Dense(product, x.rows, planes.cols));
  for (int64_t i = 0; i < x.rows * planes.cols; i += bits, ++code) {
    uint32_t of_table = 0;
    for (int64_t bit = 0; bit < bits; ++bit) {
      of_table = 2 * of_table + (product[i + bit] > 0 ? 1 : 0);
    }
    *code = static_cast<uint16_t>(of_table);
  }
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t keys = t.key.seqlen(), dim = t.key.head_dim();
  const int64_t tables = static_cast<int64_t>(a.knobs[1]);
  const int64_t all = tables * static_cast<int64_t>(a.knobs[0]);
  const int64_t heads = t.key.batch() * t.key.heads();
  const int64_t workers = a.executor.max_workers;
  float* planes = a.scratch.Array<float>(all, dim);
  float* products = a.scratch.Array<float>(workers, kRowsAtOnce, all);
  float* centred = a.scratch.Array<float>(heads, keys, dim);
  float* norms = a.scratch.Array<float>(heads, keys);
  uint16_t* codes = a.scratch.Array<uint16_t>(heads, keys, tables);
  uint16_t* of_rows = a.scratch.Array<uint16_t>(workers, tables);
  const float* means = sparse::KeyMeans(a, std::max<int64_t>(keys, 1));
  if (!planes || !products || !centred || !norms || !codes || !of_rows ||
      !means) {
    return sparse::OutOfMemory();
  }
  a.phases.Enter(Phase::kEstimate);
  FillPlanes(a.knobs, dim, planes);
  const ops::ConstMatrix all_planes = ops::Dense(planes, dim, all);
  const int64_t runs = (keys + kRowsAtOnce - 1) / kRowsAtOnce;
  ops::ParallelFor(a.executor, heads * runs, [&](int64_t i, int worker) {
    const int64_t head = i / runs, first = i % runs * kRowsAtOnce;
    const int64_t count = std::min(kRowsAtOnce, keys - first);
    const int64_t at = head * keys + first;
    for (int64_t k = 0; k < count; ++k) {
      const float* key =
          RowAt(t.key, head / t.key.heads(), first + k, head % t.key.heads());
      float* to = centred + (at + k) * dim;
      for (int64_t c = 0; c < dim; ++c) to[c] = key[c] - means[head * dim + c];
      norms[at + k] = sparse::NormOf(to, dim);
    }
    HashRows(a.knobs, all_planes, ops::Dense(centred + at * dim, count, dim),
             products + worker * kRowsAtOnce * all, codes + at * tables);
  });
  const auto choose = [&](const sparse::QueryRow& row, sparse::RowDraw* draw) {
    const float* query = RowAt(t.query, row.batch, row.index, row.head);
    const float norm = sparse::NormOf(query, dim);
    uint16_t* code = of_rows + row.worker * tables;
    HashRows(a.knobs, all_planes, ops::Dense(query, 1, dim),
             products + row.worker * kRowsAtOnce * all, code);
    for (int64_t key = 0; key < row.end(); ++key) {
      if (!row.Touches(key, key + 1)) continue;
      if (IsKept(a.knobs, row.position, key)) {
        draw->Keep(key, 0);
        continue;
      }
      const int64_t at = (row.batch * t.key.heads() + row.kv_head) * keys + key;
      const float product = norm * norms[at];
      if (!std::isfinite(product)) {  // has no angle
        draw->Keep(key, 0);
        continue;
      }
      int64_t agree = 0;
      const uint16_t* of_key = codes + at * tables;
      for (int64_t i = 0; i < tables; ++i) agree += code[i] == of_key[i];
      if (agree < 2) continue;
      const double cosine =
          product > 0 ? static_cast<double>(
                            ops::Dot(query, centred + at * dim, dim) / product)
                      : 0.0;
      draw->Keep(key, static_cast<float>(-LogProbability(a.knobs, cosine)));
    }
  };
  return sparse::AttendDraws(a, sparse::ListOf::kHead, choose);
}

// The codes of a row in plain double.
std::vector<uint32_t> PlainCodes(int64_t bits, const std::vector<float>& planes,
                                 const std::vector<double>& x) {
  std::vector<uint32_t> codes;
  std::vector<double> sum(planes.size() / x.size());
  for (size_t c = 0; c < x.size(); ++c) {
    const float* const of_channel = &planes[c * sum.size()];
    for (size_t i = 0; i < sum.size(); ++i) {
      sum[i] += x[c] * static_cast<double>(of_channel[i]);
    }
  }
  for (size_t i = 0; i < sum.size(); ++i) {
    if (i % static_cast<size_t>(bits) == 0) codes.push_back(0);
    codes.back() = 2 * codes.back() + (sum[i] > 0 ? 1 : 0);
  }
  return codes;
}

double PlainProduct(const std::vector<double>& x,
                    const std::vector<double>& y) {
  return std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
}

void Reference(const VariantArgs& a, double* out) {
  const AttentionArgs& t = a.args;
  const int64_t rows = t.query.seqlen(), keys = t.key.seqlen();
  const int64_t offset = sparse::OffsetOf(a.params, rows, keys);
  struct Hashed {
    std::vector<double> x;
    std::vector<uint32_t> codes;
  };
  const int64_t bits = static_cast<int64_t>(a.knobs[0]);
  const int64_t dim = t.key.head_dim();
  std::vector<float> planes(
      static_cast<size_t>(bits * static_cast<int64_t>(a.knobs[1]) * dim));
  FillPlanes(a.knobs, dim, planes.data());
  std::vector<std::vector<double>> means;  // [batch][kv heads]
  for (int64_t i = 0; i < t.key.batch() * t.key.heads(); ++i) {
    means.push_back(sparse::PlainMean(t.key, i / t.key.heads(), 0, keys,
                                      i % t.key.heads()));
  }
  std::vector<Hashed> hashed;  // [batch][kv heads][keys]
  for (int64_t i = 0; i < t.key.batch() * t.key.heads() * keys; ++i) {
    const int64_t b = i / keys / t.key.heads(), kv = i / keys % t.key.heads();
    std::vector<double> x =
        sparse::PlainMean(t.key, b, i % keys, i % keys + 1, kv);
    const std::vector<double>& mean = means[static_cast<size_t>(i / keys)];
    for (size_t c = 0; c < x.size(); ++c) x[c] -= mean[c];
    hashed.push_back({x, PlainCodes(bits, planes, x)});
  }
  sparse::ForEachPlainRow(
      a, out, [&](int64_t b, int64_t h, int64_t kv, int64_t row, double* to) {
        const float* query = RowAt(t.query, b, row, h);
        const std::vector<double> x =
            sparse::PlainMean(t.query, b, row, row + 1, h);
        const std::vector<uint32_t> codes = PlainCodes(bits, planes, x);
        sparse::PlainSoftmax softmax(t.value.head_dim());
        ops::ForEachVisible(
            a.params, t, b, h, row, [&](int64_t begin, int64_t end) {
              for (int64_t key = begin; key < end; ++key) {
                const Hashed& other = hashed[static_cast<size_t>(
                    (b * t.key.heads() + kv) * keys + key)];
                double lift = 0;
                const double norms =
                    PlainProduct(x, x) * PlainProduct(other.x, other.x);
                if (!IsKept(a.knobs, row + offset, key) &&
                    std::isfinite(norms)) {
                  int agree = 0;
                  for (size_t i = 0; i < codes.size(); ++i) {
                    agree += codes[i] == other.codes[i];
                  }
                  if (agree < 2) continue;
                  lift = -LogProbability(
                      a.knobs, norms > 0
                                   ? PlainProduct(x, other.x) / std::sqrt(norms)
                                   : 0.0);
                }
                softmax.Add(lift + sparse::PlainScore(a.params, query,
                                                      RowAt(t.key, b, key, kv),
                                                      t.key.head_dim()),
                            RowAt(t.value, b, key, kv));
              }
            });
        softmax.AddTo(1, to);
      });
}

// At most all keys are sampled.
Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const double rows =
      static_cast<double>(shape.batch * (shape.num_heads * shape.seqlen_q +
                                         shape.num_kv_heads * shape.seqlen_k));
  Cost cost = ops::SoftmaxCost(shape, ops::VisiblePairs(shape, params));
  cost.at_most = true;
  cost.AddSelecting(
      2 * rows * static_cast<double>(shape.head_dim) * knobs[0] * knobs[1],
      2 *
          static_cast<double>(shape.batch * shape.num_kv_heads *
                              shape.seqlen_k) *
          (knobs[1] + 2 * static_cast<double>(shape.head_dim)));
  return cost;
}

}  // namespace

Variant magicpig() {
  return {.summary =
              "First and latest keys exactly, others as hashes sample them, "
              "weighed by their probability.",
          .paper = "Chen et al. 2024, arXiv:2410.16179",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 5,
          .cost = EstimateCost,
          .run = RunVariant,
          .selects_ahead = true,
          .reference = Reference};
}

}  // namespace heed::variants
