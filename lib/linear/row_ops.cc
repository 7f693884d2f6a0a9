// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Norms and gates of rows.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "heed/linear_ops.h"

namespace heed::ops {
namespace {

// Numbers of a row that are worked on at a time, on the stack.
constexpr int64_t kPiece = 256;

// to[i] = 1 / (1 + exp(-x[i])) for at most kPiece numbers.
void SigmoidPiece(const float* x, float* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = -x[i];
  Exp(to, to, n);
  for (int64_t i = 0; i < n; ++i) to[i] = 1.0f / (1.0f + to[i]);
}

// The product with a sigmoid; that of -inf with 0 is 0.
float SiluOf(float x, float sigmoid) {
  return sigmoid == 0.0f ? 0.0f : x * sigmoid;
}

// to[i] = activation(gate[i]).
void Activate(RmsNormGate::Activation activation, const float* gate, float* to,
              int64_t n) {
  SigmoidPiece(gate, to, n);
  if (activation == RmsNormGate::Activation::kSigmoid) return;
  for (int64_t i = 0; i < n; ++i) to[i] = SiluOf(gate[i], to[i]);
}

// Calls f(first, count) for the pieces of a row.
template <class F>
void ForEachPiece(int64_t n, F f) {
  for (int64_t i = 0; i < n; i += kPiece) f(i, std::min(kPiece, n - i));
}

}  // namespace

void Sigmoid(const float* x, float* y, int64_t n) {
  ForEachPiece(
      n, [&](int64_t i, int64_t count) { SigmoidPiece(x + i, y + i, count); });
}

void Silu(const float* x, float* y, int64_t n) {
  float sigmoid[kPiece];
  ForEachPiece(n, [&](int64_t i, int64_t count) {
    SigmoidPiece(x + i, sigmoid, count);
    for (int64_t c = 0; c < count; ++c) {
      y[i + c] = SiluOf(x[i + c], sigmoid[c]);
    }
  });
}

void L2Norm(const float* x, float eps, float* y, int64_t n) {
  const float unit = 1.0f / std::sqrt(Dot(x, x, n) + eps);
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * unit;
}

void GatedRmsNorm(const RmsNormGate& how, const float* x, const float* gate,
                  const float* weight, float* y, int64_t n) {
  float factor[kPiece];
  const bool before = how.before_norm && gate != nullptr;
  if (before) {
    ForEachPiece(n, [&](int64_t i, int64_t count) {
      Activate(how.activation, gate + i, factor, count);
      for (int64_t c = 0; c < count; ++c) y[i + c] = x[i + c] * factor[c];
    });
    x = y;
  }
  const float mean = n > 0 ? Dot(x, x, n) / static_cast<float>(n) : 0.0f;
  const float unit = 1.0f / std::sqrt(mean + how.eps);
  ForEachPiece(n, [&](int64_t i, int64_t count) {
    const bool behind = gate != nullptr && !before;
    if (behind) Activate(how.activation, gate + i, factor, count);
    for (int64_t c = 0; c < count; ++c) {
      float value = x[i + c] * unit;
      if (weight != nullptr) value *= weight[i + c];
      y[i + c] = behind ? value * factor[c] : value;
    }
  });
}

}  // namespace heed::ops
