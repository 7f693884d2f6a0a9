// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The recurrence and its quadratic form in double.
#include "lib/oracle/recurrence.h"

#include <cmath>
#include <cstdint>
#include <vector>

#include "lib/oracle/scan_view.h"

namespace heed::oracle {
namespace {

using Row = std::vector<double>;

Row Zeros(int64_t n) { return Row(static_cast<size_t>(n), 0.0); }

// One step of the state S [dim][dim_v] and of the sum z [dim].
void Step(const ScanView& of, int64_t t, double* s, double* z) {
  const int64_t dim = of.dim(), dim_v = of.dim_v();
  Row found = Zeros(dim_v);  // of what is erased
  const auto find = [&] {
    for (int64_t x = 0; of.Erases() && x < dim_v; ++x) {
      for (int64_t m = 0; m < dim; ++m) {
        found[static_cast<size_t>(x)] += of.EraseKey(t, m) * s[m * dim_v + x];
      }
    }
  };
  if (of.params.erase_unfaded) find();
  for (int64_t m = 0; m < dim; ++m) {
    const double a = std::exp(of.LogDecay(t, m));
    z[m] = a * z[m] + of.Key(t, m);
    for (int64_t x = 0; x < dim_v; ++x) s[m * dim_v + x] *= a;
  }
  if (!of.params.erase_unfaded) find();
  for (int64_t x = 0; x < dim_v; ++x) {
    for (int64_t m = 0; m < dim; ++m) {
      s[m * dim_v + x] +=
          of.Beta(t) * (of.Key(t, m) * of.Value(t, x) -
                        of.RemoveKey(t, m) * found[static_cast<size_t>(x)]);
    }
  }
}

// Divides a row by its total, 0 of 0 being 0.
void Normalise(double total, int64_t n, double* row) {
  for (int64_t x = 0; x < n; ++x) row[x] = total == 0 ? 0.0 : row[x] / total;
}

void ReadState(const ScanView& of, int64_t t, const double* s, const double* z,
               double* out) {
  const int64_t dim = of.dim(), dim_v = of.dim_v();
  for (int64_t h = 0; h < of.out_heads(); ++h) {
    if (!of.Reads(h)) continue;
    double* row = out + of.OutRow(t, h);
    double total = 0;
    for (int64_t x = 0; x < dim_v; ++x) row[x] = 0;
    for (int64_t m = 0; m < dim; ++m) {
      const double q = of.Scale() * of.Query(t, h, m);
      total += q * z[m];
      for (int64_t x = 0; x < dim_v; ++x) row[x] += q * s[m * dim_v + x];
    }
    if (of.params.normalise) Normalise(total, dim_v, row);
  }
}

// sum_m x[m] (product of the decays of tokens (j, i]) y[m].
template <class X, class Y>
double Weight(const ScanView& of, int64_t i, int64_t j, const X& x,
              const Y& y) {
  double sum = 0;
  for (int64_t m = 0; m < of.dim(); ++m) {
    double decay = 1;
    for (int64_t t = j + 1; t <= i; ++t) decay *= std::exp(of.LogDecay(t, m));
    sum += x(m) * decay * y(m);
  }
  return sum;
}

// The same with y of the state before the first token.
template <class X, class Y>
double WeightOfStart(const ScanView& of, int64_t i, const X& x, const Y& y) {
  return Weight(of, i, -1, x, y);
}

// row[x] += weight with the key of token j times its value - weight with what
// it erases along times what it erases, all faded up to token i. Returns the
// first weight.
template <class X>
double AddToken(const ScanView& of, int64_t i, int64_t j, const X& x,
                const Row& erased, double factor, double* row) {
  const double weight =
      Weight(of, i, j, x, [&](int64_t m) { return of.Key(j, m); });
  const double less =
      of.Untied()
          ? Weight(of, i, j, x, [&](int64_t m) { return of.RemoveKey(j, m); })
          : weight;
  for (int64_t v = 0; v < of.dim_v(); ++v) {
    row[v] += factor * (weight * of.Beta(j) * of.Value(j, v) -
                        less * erased[static_cast<size_t>(j * of.dim_v() + v)]);
  }
  return weight;
}

}  // namespace

void RecurrenceDouble(const ScanParams& params, const ScanArgs& args,
                      double* out, double* state, double* sum) {
  ForEachScan(params, args, [&](const ScanView& of) {
    const int64_t dim = of.dim(), dim_v = of.dim_v();
    Row s = Zeros(dim * dim_v), z = Zeros(dim);
    for (int64_t m = 0; m < dim; ++m) {
      z[static_cast<size_t>(m)] = of.InitialSum(m);
      for (int64_t x = 0; x < dim_v; ++x) {
        s[static_cast<size_t>(m * dim_v + x)] = of.InitialState(m, x);
      }
    }
    for (int64_t t = 0; t < of.tokens(); ++t) {
      if (!args.key.absent()) Step(of, t, s.data(), z.data());
      if (out != nullptr) ReadState(of, t, s.data(), z.data(), out);
    }
    const int64_t index = of.sequence * of.state_heads() + of.head;
    if (state != nullptr) {
      std::copy(s.begin(), s.end(), state + index * dim * dim_v);
    }
    if (sum != nullptr) std::copy(z.begin(), z.end(), sum + index * dim);
  });
}

void QuadraticDouble(const ScanParams& params, const ScanArgs& args,
                     double* out) {
  ForEachScan(params, args, [&](const ScanView& of) {
    const int64_t n = of.tokens(), dim_v = of.dim_v();
    // What each token erases: beta times what it finds of the start and of
    // what tokens before it wrote, without what they erased.
    Row erased = Zeros(n * dim_v);
    for (int64_t i = 0; i < n && of.Erases(); ++i) {
      double* row = erased.data() + i * dim_v;
      const auto key = [&](int64_t m) { return of.EraseKey(i, m); };
      const int64_t faded = of.params.erase_unfaded ? i - 1 : i;
      for (int64_t x = 0; x < dim_v; ++x) {
        row[x] = of.Beta(i) * WeightOfStart(of, faded, key, [&](int64_t m) {
                   return of.InitialState(m, x);
                 });
      }
      for (int64_t j = 0; j < i; ++j) {
        AddToken(of, faded, j, key, erased, of.Beta(i), row);
      }
    }
    for (int64_t h = 0; h < of.out_heads(); ++h) {
      if (!of.Reads(h)) continue;
      for (int64_t i = 0; i < n; ++i) {
        const auto query = [&](int64_t m) {
          return of.Scale() * of.Query(i, h, m);
        };
        double* row = out + of.OutRow(i, h);
        double total = WeightOfStart(
            of, i, query, [&](int64_t m) { return of.InitialSum(m); });
        for (int64_t x = 0; x < dim_v; ++x) {
          row[x] = WeightOfStart(
              of, i, query, [&](int64_t m) { return of.InitialState(m, x); });
        }
        for (int64_t j = 0; j <= i; ++j) {
          total += AddToken(of, i, j, query, erased, 1.0, row);
        }
        if (params.normalise) Normalise(total, dim_v, row);
      }
    }
  });
}

}  // namespace heed::oracle
