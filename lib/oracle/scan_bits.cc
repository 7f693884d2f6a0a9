// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The page that defines the output bits of the scan of heed/linear.h in f32.
// Every kernel with FMA, on every CPU, equals it (NaNs as NaNs, and zeros
// whatever their sign). Inputs of 16 bits are widened, which is exact; an
// output of 16 bits is the f32 one, rounded.
#include <cmath>
#include <cstdint>
#include <vector>

#include "lib/oracle/recurrence.h"
#include "lib/oracle/scan_view.h"

namespace heed::oracle {
namespace {

// exp: x = n log 2 + r, 2^n times a polynomial in r; 0 below the smallest
// normal number.
float Exp(float x) {
  if (x != x) return x;
  if (x < -87.3365479f) return 0.0f;
  const float n = std::nearbyint(x * 0x1.715476p+0f);
  float r = std::fma(-n, 0x1.62e4p-1f, x);
  r = std::fma(-n, 0x1.7f7d1cp-20f, r);
  float p = 0.0f;
  for (const float c : {0x1.6a2434p-10f, 0x1.1239e2p-7f, 0x1.5558f2p-5f,
                        0x1.555492p-3f, 0x1.fffffcp-2f, 1.0f, 1.0f}) {
    p = std::fma(p, r, c);
  }
  return std::ldexp(p, static_cast<int>(n));
}

// A running product of decays: no denormal, ever.
float Fade(float product, float a) {
  const float p = product * a;
  return p < 0x1p-100f ? 0.0f : p;
}

// Sixteen sums of products, element i in sum i modulo 16, added as a tree.
float Dot(const float* a, const float* b, int64_t n) {
  float sum[16] = {};
  for (int64_t i = 0; i < n; ++i) {
    sum[i % 16] = std::fma(a[i], b == nullptr ? 1.0f : b[i], sum[i % 16]);
  }
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) sum[i] += sum[i + half];
  }
  return sum[0];
}

class Matrix {
 public:
  Matrix(int64_t rows, int64_t cols)
      : cols_(static_cast<size_t>(cols)),
        at_(static_cast<size_t>(rows) * cols_, 0.0f) {}
  float* operator[](int64_t i) { return &at_[static_cast<size_t>(i) * cols_]; }

 private:
  size_t cols_;
  std::vector<float> at_;
};

// One chunk of tokens from token t0 on, as rows that are written: one a token,
// or two where what it erases has a key of its own to be taken away along. That
// comes first, and with it the token's decay.
class Chunk {
 public:
  Chunk(const ScanView& of, int64_t t0, int64_t tokens, int64_t writes)
      : n_(tokens * writes),
        dim_(of.dim()),
        decay_(n_, dim_),
        key_(n_, dim_),
        vector_(!of.args.log_decay.absent() &&
                of.args.log_decay.head_dim() > 1) {
    for (int64_t r = 0; r < n_; ++r) {
      const int64_t t = t0 + r / writes;
      const bool fades = r % writes == 0 && !of.args.log_decay.absent();
      const bool last = r % writes == writes - 1;
      for (int64_t m = 0; m < dim_; ++m) {
        decay_[r][m] =
            fades ? Exp(static_cast<float>(of.LogDecay(t, m))) : 1.0f;
        key_[r][m] =
            static_cast<float>(last ? of.Key(t, m) : of.RemoveKey(t, m));
      }
    }
  }

  // The decays of rows (j, i], i >= j, multiplied from the left, from the
  // right; 1 for none.
  float Forward(int64_t j, int64_t i, int64_t m) {
    float p = 1.0f;
    for (int64_t t = j + 1; t <= i; ++t) p = Fade(p, decay_[t][m]);
    return p;
  }
  float Backward(int64_t j, int64_t i, int64_t m) {
    float p = 1.0f;
    for (int64_t t = i; t > j; --t) p = Fade(p, decay_[t][m]);
    return p;
  }

  // Row x times `factor` against the state before the chunk, with the decays of
  // the rows up to i.
  std::vector<float> AgainstState(const float* x, float factor, int64_t i) {
    std::vector<float> row(static_cast<size_t>(dim_));
    for (int64_t m = 0; m < dim_; ++m) {
      const float p = Forward(-1, i, m);
      row[static_cast<size_t>(m)] =
          vector_ ? x[m] * factor * p : x[m] * (factor * p);
    }
    return row;
  }

  // Row x of row i times `factor` against the key of row j <= i, with the
  // decays of the rows after j up to `faded`, i or the one before.
  float AgainstKey(const float* x, float factor, int64_t i, int64_t j,
                   int64_t faded) {
    float sum = 0.0f;
    if (!vector_) {
      for (int64_t m = 0; m < dim_; ++m) {
        sum = std::fma(x[m], key_[j][m], sum);
      }
      return sum * (factor * Forward(j, faded, 0));
    }
    // The first row of the right half of the smallest aligned block of 2, 4, 8,
    // ... rows that has both: products meet there.
    int64_t half = 1;
    while (i / (2 * half) != j / (2 * half)) half *= 2;
    const int64_t mid = i / half * half;
    std::vector<float> right(x, x + dim_), left(key_[j], key_[j] + dim_);
    for (int64_t m = 0; m < dim_; ++m) {
      right[static_cast<size_t>(m)] *= factor;
      if (i == j) continue;
      right[static_cast<size_t>(m)] *= Forward(mid - 1, faded, m);
      left[static_cast<size_t>(m)] *= Backward(j, mid - 1, m);
    }
    if (i / 4 == j / 4) return Dot(right.data(), left.data(), dim_);
    for (size_t m = 0; m < right.size(); ++m) {
      sum = std::fma(right[m], left[m], sum);
    }
    return sum;
  }

  // What the key of row j adds to the state after the chunk.
  float Write(int64_t j, int64_t m) {
    return key_[j][m] *
           (vector_ ? Backward(j, n_ - 1, m) : Forward(j, n_ - 1, m));
  }
  float Keep(int64_t m) { return Forward(-1, n_ - 1, m); }
  int64_t rows() const { return n_; }

 private:
  const int64_t n_, dim_;
  Matrix decay_, key_;
  const bool vector_;
};

void RunChunk(const ScanView& of, int64_t t0, int64_t n, Matrix& state,
              std::vector<float>& z) {
  const int64_t dim = of.dim(), dim_v = of.dim_v();
  const float scale = static_cast<float>(of.Scale());
  const int64_t writes = of.Untied() ? 2 : 1;
  Chunk chunk(of, t0, n, writes);
  Matrix u(chunk.rows(), dim_v);
  for (int64_t t = 0; t < n; ++t) {
    const float beta = static_cast<float>(of.Beta(t0 + t));
    float* const written = u[t * writes + writes - 1];
    for (int64_t x = 0; x < dim_v; ++x) {
      written[x] = static_cast<float>(of.Value(t0 + t, x));
      if (of.Erases()) written[x] *= beta;
    }
    if (!of.Erases()) continue;
    const int64_t i = t * writes;
    std::vector<float> key;
    for (int64_t m = 0; m < dim; ++m) {
      key.push_back(static_cast<float>(of.EraseKey(t0 + t, m)));
    }
    const int64_t faded = of.params.erase_unfaded ? i - 1 : i;
    const std::vector<float> erase =
        chunk.AgainstState(key.data(), -beta, faded);
    std::vector<float> solve;
    for (int64_t j = 0; j < i; ++j) {
      solve.push_back(chunk.AgainstKey(key.data(), -beta, i, j, faded));
    }
    for (int64_t x = 0; x < dim_v; ++x) {
      float& sum = u[i][x];
      for (int64_t m = 0; m < dim; ++m) {
        sum = std::fma(erase[static_cast<size_t>(m)], state[m][x], sum);
      }
      for (int64_t j = 0; j < i; ++j) {
        sum = std::fma(solve[static_cast<size_t>(j)], u[j][x], sum);
      }
    }
  }
  for (int64_t h = 0; h < of.out_heads() && !of.args.query.absent(); ++h) {
    if (!of.Reads(h)) continue;
    for (int64_t t = 0; t < n; ++t) {
      const int64_t i = t * writes + writes - 1;
      std::vector<float> q;
      for (int64_t m = 0; m < dim; ++m) {
        q.push_back(static_cast<float>(of.Query(t0 + t, h, m)));
      }
      const std::vector<float> read = chunk.AgainstState(q.data(), scale, i);
      std::vector<float> weight;
      for (int64_t j = 0; j <= i; ++j) {
        weight.push_back(chunk.AgainstKey(q.data(), scale, i, j, i));
      }
      const float total =
          Dot(read.data(), z.data(), dim) + Dot(weight.data(), nullptr, i + 1);
      for (int64_t x = 0; x < dim_v; ++x) {
        float sum = 0.0f;
        for (int64_t m = 0; m < dim; ++m) {
          sum = std::fma(read[static_cast<size_t>(m)], state[m][x], sum);
        }
        for (int64_t j = 0; j <= i; ++j) {
          sum = std::fma(weight[static_cast<size_t>(j)], u[j][x], sum);
        }
        if (of.params.normalise) sum = total == 0.0f ? 0.0f : sum / total;
        StoreElement(of.args.out, of.batch(), of.first() + t0 + t, h, x, sum);
      }
    }
  }
  for (int64_t m = 0; m < dim; ++m) {
    z[static_cast<size_t>(m)] *= chunk.Keep(m);
    for (int64_t x = 0; x < dim_v; ++x) state[m][x] *= chunk.Keep(m);
    for (int64_t j = 0; j < chunk.rows(); ++j) {
      const float write = chunk.Write(j, m);
      z[static_cast<size_t>(m)] += write;
      for (int64_t x = 0; x < dim_v; ++x) {
        state[m][x] = std::fma(write, u[j][x], state[m][x]);
      }
    }
  }
}

}  // namespace

void ScanBits(const ScanParams& params, const ScanArgs& args, int64_t chunk) {
  ForEachScan(params, args, [&](const ScanView& of) {
    const int64_t dim = of.dim(), dim_v = of.dim_v();
    Matrix state(dim, dim_v);
    std::vector<float> z;
    for (int64_t m = 0; m < dim; ++m) {
      z.push_back(static_cast<float>(of.InitialSum(m)));
      for (int64_t x = 0; x < dim_v; ++x) {
        state[m][x] = static_cast<float>(of.InitialState(m, x));
      }
    }
    for (int64_t t = 0; t < of.tokens(); t += chunk) {
      RunChunk(of, t, std::min(chunk, of.tokens() - t), state, z);
    }
    for (int64_t m = 0; m < dim; ++m) {
      if (!args.final_sum.absent()) {
        StoreElement(args.final_sum, of.sequence, 0, of.head, m,
                     z[static_cast<size_t>(m)]);
      }
      for (int64_t x = 0; x < dim_v && !args.final_state.absent(); ++x) {
        const bool turned = params.state_transposed;
        StoreElement(args.final_state, of.sequence, of.head, turned ? x : m,
                     turned ? m : x, state[m][x]);
      }
    }
  });
}

}  // namespace heed::oracle
