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
  for (int64_t m = 0; m < dim; ++m) {
    const double a = std::exp(of.LogDecay(t, m));
    z[m] = a * z[m] + of.Key(t, m);
    for (int64_t x = 0; x < dim_v; ++x) s[m * dim_v + x] *= a;
  }
  for (int64_t x = 0; x < dim_v; ++x) {
    double read = 0;
    for (int64_t m = 0; of.Erases() && m < dim; ++m) {
      read += of.Key(t, m) * s[m * dim_v + x];
    }
    const double write = of.Beta(t) * (of.Value(t, x) - read);
    for (int64_t m = 0; m < dim; ++m) s[m * dim_v + x] += of.Key(t, m) * write;
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

// sum_m x[m] (product of the decays of tokens (j, i]) k_j[m].
template <class X>
double Weight(const ScanView& of, int64_t i, int64_t j, const X& x) {
  double sum = 0;
  for (int64_t m = 0; m < of.dim(); ++m) {
    double decay = 1;
    for (int64_t t = j + 1; t <= i; ++t) decay *= std::exp(of.LogDecay(t, m));
    sum += x(m) * decay * of.Key(j, m);
  }
  return sum;
}

// sum_m x[m] (product of the decays of tokens [0, i]) of(m).
template <class X, class Of>
double WeightOfStart(const ScanView& of, int64_t i, const X& x, const Of& f) {
  double sum = 0;
  for (int64_t m = 0; m < of.dim(); ++m) {
    double decay = 1;
    for (int64_t t = 0; t <= i; ++t) decay *= std::exp(of.LogDecay(t, m));
    sum += x(m) * decay * f(m);
  }
  return sum;
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
    // What each token writes: (I + A) u = beta (v - what the start holds).
    Row u = Zeros(n * dim_v);
    for (int64_t i = 0; i < n; ++i) {
      double* row = u.data() + i * dim_v;
      const auto key = [&](int64_t m) { return of.Key(i, m); };
      for (int64_t x = 0; x < dim_v; ++x) row[x] = of.Beta(i) * of.Value(i, x);
      if (!of.Erases()) continue;
      for (int64_t x = 0; x < dim_v; ++x) {
        row[x] -= of.Beta(i) * WeightOfStart(of, i, key, [&](int64_t m) {
                    return of.InitialState(m, x);
                  });
      }
      for (int64_t j = 0; j < i; ++j) {
        const double a = of.Beta(i) * Weight(of, i, j, key);
        for (int64_t x = 0; x < dim_v; ++x)
          row[x] -= a * u[static_cast<size_t>(j * dim_v + x)];
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
          const double weight = Weight(of, i, j, query);
          total += weight;
          for (int64_t x = 0; x < dim_v; ++x) {
            row[x] += weight * u[static_cast<size_t>(j * dim_v + x)];
          }
        }
        if (params.normalise) Normalise(total, dim_v, row);
      }
    }
  });
}

}  // namespace heed::oracle
