// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The scan of heed/linear.h in standard C++: for machines that no other table
// serves, with the same bits.
#include <cmath>
#include <cstdint>
#include <utility>

#include "lib/kernels/kernels.h"
#include "lib/kernels/scan_table.h"

namespace heed::internal {
namespace {

float Fade(float product, float decay) {
  const float p = product * decay;
  return p < kSmallestProduct ? 0.0f : p;
}

// The decays of a chunk and their products.
struct Decays {
  const ScanInputs& in;
  const ScanChunk& c;

  float At(int64_t i, int64_t m) const {
    if (in.decay == nullptr) return 1.0f;
    return in.vector_decay ? in.decay[i * c.row_floats + m] : in.decay[i];
  }
  // Of rows (j, i], multiplied from the first, from the last.
  float Forward(int64_t j, int64_t i, int64_t m) const {
    float p = 1.0f;
    for (int64_t t = j + 1; t <= i; ++t) p = Fade(p, At(t, m));
    return p;
  }
  float Backward(int64_t j, int64_t i, int64_t m) const {
    float p = 1.0f;
    for (int64_t t = i; t > j; --t) p = Fade(p, At(t, m));
    return p;
  }
  // x times factor, faded from the start of the chunk to row i.
  void FromStart(const float* x, float factor, int64_t i, float* to) const {
    for (int64_t m = 0; m < c.head_dim; ++m) {
      const float p = Forward(-1, i, m);
      to[m] = in.vector_decay ? x[m] * factor * p : x[m] * (factor * p);
    }
  }
  // x of row i times factor with key y of row j, faded by the rows after j up
  // to `faded`, i or the one before.
  float Weight(const float* x, float factor, const float* y, int64_t i,
               int64_t j, int64_t faded) const {
    if (!in.vector_decay) {
      float sum = 0.0f;
      for (int64_t m = 0; m < c.head_dim; ++m) {
        sum = std::fma(x[m], y[m], sum);
      }
      return sum * (factor * Forward(j, faded, 0));
    }
    int64_t half = 1;
    while (i / (2 * half) != j / (2 * half)) half *= 2;
    const int64_t mid = i / half * half;
    // One chain, or sixteen for pairs within four rows.
    const int64_t chains = i / 4 == j / 4 ? kPartialSums : 1;
    float partial[kPartialSums] = {};
    for (int64_t m = 0; m < c.head_dim; ++m) {
      float right = x[m] * factor, left = y[m];
      if (i != j) {
        right *= Forward(mid - 1, faded, m);
        left *= Backward(j, mid - 1, m);
      }
      float& sum = partial[m % chains];
      sum = std::fma(right, left, sum);
    }
    return chains == 1 ? partial[0] : AddPartialSums(partial);
  }
};

int64_t ScratchFloats(const ScanChunk& /*longest*/) { return 0; }

void Prepare(const ScanInputs& in, const ScanChunk& c) {
  const Decays decays = {in, c};
  const auto key = [&](int64_t j) { return in.key.at + j * in.key.token; };
  const int64_t n = c.written();
  for (int64_t r = 0; r < c.rows; ++r) {
    const int64_t token = r / c.group;
    const int64_t i = token * c.writes + c.writes - 1;
    const float* query =
        in.query.at + token * in.query.token + r % c.group * in.query.head;
    float* read = c.read + r * c.row_floats;
    if (c.tokens == 0) {
      for (int64_t m = 0; m < c.head_dim; ++m) read[m] = query[m] * in.scale;
      continue;
    }
    decays.FromStart(query, in.scale, i, read);
    for (int64_t j = 0; j < n; ++j) {
      c.weight[r * c.stride + j] =
          j > i ? 0.0f : decays.Weight(query, in.scale, key(j), i, j, i);
    }
  }
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t m = 0; m < c.head_dim; ++m) {
      c.write[i * c.row_floats + m] =
          key(i)[m] * (in.vector_decay ? decays.Backward(i, n - 1, m)
                                       : decays.Forward(i, n - 1, m));
    }
  }
  for (int64_t t = 0; t < c.tokens && c.erase != nullptr; ++t) {
    const int64_t i = t * c.writes;
    const int64_t faded = c.erase_unfaded ? i - 1 : i;
    const float* erase = in.erase.at + t * in.erase.token;
    decays.FromStart(erase, -c.beta[t], faded, c.erase + t * c.row_floats);
    for (int64_t j = 0; j < n; ++j) {
      c.solve[t * c.stride + j] =
          j >= i ? 0.0f : decays.Weight(erase, -c.beta[t], key(j), i, j, faded);
    }
  }
  for (int64_t m = 0; m < c.head_dim && n > 0; ++m) {
    c.keep[m] = decays.Forward(-1, n - 1, m);
  }
}

// to[x] += sum a[k a_step] rows[k][x], a chain over k for each x.
void AddRows(const float* a, int64_t a_step, int64_t count, const float* rows,
             int64_t width, float* to) {
  for (int64_t x = 0; x < width; ++x) {
    for (int64_t k = 0; k < count; ++k) {
      to[x] = std::fma(a[k * a_step], rows[k * width + x], to[x]);
    }
  }
}

void Apply(const ScanChunk& c, const ScanTile& t) {
  const int64_t width = t.width;
  for (int64_t i = 0; i < c.tokens && t.from != nullptr; ++i) {
    for (int64_t x = 0; x < width; ++x) {
      t.value[((i + 1) * c.writes - 1) * width + x] =
          t.from[i * t.from_row + x];
    }
  }
  for (int64_t i = 0; i < c.tokens && c.erase != nullptr; ++i) {
    float* row = t.value + i * c.writes * width;
    float* value = row + (c.writes - 1) * width;
    for (int64_t x = 0; x < width; ++x) {
      value[x] *= c.beta[i];
      if (row != value) row[x] = 0.0f;
    }
    AddRows(c.erase + i * c.row_floats, 1, c.head_dim, t.state, width, row);
    AddRows(c.solve + i * c.stride, 1, i * c.writes, t.value, width, row);
  }
  for (int64_t r = 0; r < c.rows; ++r) {
    float* out = t.out + r * t.out_row;
    for (int64_t x = 0; x < width; ++x) out[x] = 0.0f;
    AddRows(c.read + r * c.row_floats, 1, c.head_dim, t.state, width, out);
    if (c.tokens == 0) continue;
    AddRows(c.weight + r * c.stride, 1, (r / c.group + 1) * c.writes, t.value,
            width, out);
  }
  for (int64_t m = 0; m < c.head_dim && c.tokens > 0; ++m) {
    float* row = t.state + m * width;
    for (int64_t x = 0; x < width; ++x) row[x] *= c.keep[m];
    AddRows(c.write + m, c.row_floats, c.written(), t.value, width, row);
  }
}

void Step(const ScanChunk& c, const ScanStep& s) {
  const bool delta = c.erase != nullptr;
  for (int64_t x = 0; x < s.columns; ++x) {
    // One row to write, or what is erased and the value.
    float u[2] = {s.value[x], 0.0f};
    if (delta) {
      u[0] *= c.beta[0];
      if (c.writes == 2) std::swap(u[0], u[1]);
      for (int64_t m = 0; m < c.head_dim; ++m) {
        u[0] = std::fma(c.erase[m], s.from[m * s.from_row + x], u[0]);
      }
    }
    for (int64_t r = 0; r < c.rows; ++r) {
      const float* read = c.read + r * c.row_floats;
      float sum = 0.0f;
      for (int64_t m = 0; m < c.head_dim; ++m) {
        sum = std::fma(read[m], s.from[m * s.from_row + x], sum);
      }
      for (int64_t i = 0; i < c.writes; ++i) {
        sum = std::fma(c.weight[r * c.stride + i], u[i], sum);
      }
      s.out[r * s.out_row + x] = sum;
    }
    for (int64_t m = 0; m < c.head_dim && s.to != nullptr; ++m) {
      float sum = s.from[m * s.from_row + x] * c.keep[m];
      for (int64_t i = 0; i < c.writes; ++i) {
        sum = std::fma(c.write[i * c.row_floats + m], u[i], sum);
      }
      s.to[m * s.to_row + x] = sum;
    }
  }
}

void Divide(const float* from, float by, int64_t n, float* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = by == 0.0f ? 0.0f : from[i] / by;
}

}  // namespace

const ScanTable kPlainScanTable = {&ScratchFloats, &Prepare, &Apply, &Step,
                                   &Divide};

}  // namespace heed::internal
