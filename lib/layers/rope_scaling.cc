// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Angles of rotary positions that were stretched.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "heed/positions.h"
#include "heed/rope.h"
#include "lib/core/check.h"
#include "lib/core/double_math.h"
#include "lib/kernels/kernel_table.h"

namespace heed {
namespace {

using internal::Invalid;

constexpr double kTwoPi = 6.28318530717958647693;

double Ln(double x) { return internal::Log2(x) * internal::kDoubleLn2; }

bool Positive(double x) { return x > 0 && std::isfinite(x); }

Status CheckScaling(int64_t rotary_dim, const RopeScaling& s) {
  if (s.kind > RopeScalingKind::kLlama3) {
    return Invalid("kind", "is none of RopeScalingKind");
  }
  if (s.kind == RopeScalingKind::kNone) return Status();
  if (!(s.factor >= 1 && std::isfinite(s.factor))) {
    return Invalid("factor", "must be finite and at least 1");
  }
  if (s.kind == RopeScalingKind::kLinear) return Status();
  if (s.kind == RopeScalingKind::kNtk) {
    if (rotary_dim < 4) {
      return Invalid("rotary_dim", "must be at least 4 for NTK scaling")
          .WithValue(rotary_dim)
          .WithBound(4, BoundKind::kSaid);
    }
    if (s.seqlen < 0) {
      return Invalid("seqlen", "is negative")
          .WithValue(s.seqlen)
          .WithBound(0, BoundKind::kSaid);
    }
    if (s.seqlen == 0) return Status();
  }
  if (s.original_positions < 1) {
    return Invalid("original_positions", "must be positive")
        .WithValue(s.original_positions)
        .WithBound(1, BoundKind::kSaid);
  }
  if (s.kind == RopeScalingKind::kYarn) {
    if (!Positive(s.beta_fast)) {
      return Invalid("beta_fast", "must be finite and above 0");
    }
    if (!Positive(s.beta_slow) || s.beta_slow > s.beta_fast) {
      return Invalid("beta_slow", "must be above 0, and at most beta_fast");
    }
    if (s.attention_factor != 0 &&
        !Positive(
            static_cast<double>(static_cast<float>(s.attention_factor)))) {
      return Invalid("attention_factor",
                     "must be 0, or above 0 and finite as f32");
    }
  }
  if (s.kind == RopeScalingKind::kLlama3) {
    if (!Positive(s.low_freq_factor)) {
      return Invalid("low_freq_factor", "must be finite and above 0");
    }
    if (!(s.high_freq_factor > s.low_freq_factor &&
          std::isfinite(s.high_freq_factor))) {
      return Invalid("high_freq_factor", "must be above low_freq_factor");
    }
  }
  return Status();
}

double NtkTheta(double theta, int64_t rotary_dim, const RopeScaling& s) {
  double factor = s.factor;
  if (s.seqlen > 0) {
    const double reached =
        static_cast<double>(std::max(s.seqlen, s.original_positions)) /
        static_cast<double>(s.original_positions);
    factor = s.factor * reached - (s.factor - 1);
  }
  const double d = static_cast<double>(rotary_dim);
  return theta * internal::Exp2(internal::Log2(factor) * d / (d - 2));
}

// The pair that turns that often in original_positions, a real number.
double PairThatTurns(double times, double theta, int64_t rotary_dim,
                     const RopeScaling& s) {
  return static_cast<double>(rotary_dim) *
         Ln(static_cast<double>(s.original_positions) / (times * kTwoPi)) /
         (2 * Ln(theta));
}

void Yarn(double theta, int64_t rotary_dim, const RopeScaling& s,
          double* frequency) {
  double low = PairThatTurns(s.beta_fast, theta, rotary_dim, s);
  double high = PairThatTurns(s.beta_slow, theta, rotary_dim, s);
  if (s.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rotary_dim - 1));
  if (low == high) high += 0.001;
  for (int64_t i = 0; i < rotary_dim / 2; ++i) {
    const double ramp =
        std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequency[i] = frequency[i] / s.factor * ramp + frequency[i] * (1 - ramp);
  }
}

void Llama3(int64_t rotary_dim, const RopeScaling& s, double* frequency) {
  const double positions = static_cast<double>(s.original_positions);
  for (int64_t i = 0; i < rotary_dim / 2; ++i) {
    // How often the pair turns in the original positions.
    const double turns = positions * frequency[i] / kTwoPi;
    const double kept = std::clamp(
        (turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor),
        0.0, 1.0);
    frequency[i] = (1 - kept) * frequency[i] / s.factor + kept * frequency[i];
  }
}

}  // namespace

Status ScaledRopeFrequencies(double theta, int64_t rotary_dim,
                             const RopeScaling& scaling, double* frequency,
                             double* attention_factor) {
  // Refuses theta and rotary_dim, writing nothing but here.
  double made[internal::kMaxHeadDim / 2];
  Status status = RopeFrequencies(theta, rotary_dim, made);
  if (status.ok()) status = CheckScaling(rotary_dim, scaling);
  if (!status.ok()) return status;
  if (frequency == nullptr) return Invalid("frequency", "is null");
  if (scaling.kind == RopeScalingKind::kYarn && theta <= 1) {
    return Invalid("theta", "must be above 1 for YaRN");
  }
  double stretch = 1;
  switch (scaling.kind) {
    case RopeScalingKind::kNone:
      break;
    case RopeScalingKind::kLinear:
      for (int64_t i = 0; i < rotary_dim / 2; ++i) made[i] /= scaling.factor;
      break;
    case RopeScalingKind::kNtk:
      status = RopeFrequencies(NtkTheta(theta, rotary_dim, scaling), rotary_dim,
                               made);
      if (!status.ok()) return Invalid("factor", "takes theta out of range");
      break;
    case RopeScalingKind::kYarn:
      Yarn(theta, rotary_dim, scaling, made);
      stretch = scaling.attention_factor != 0 ? scaling.attention_factor
                                              : 0.1 * Ln(scaling.factor) + 1;
      break;
    case RopeScalingKind::kLlama3:
      Llama3(rotary_dim, scaling, made);
      break;
  }
  std::copy_n(made, rotary_dim / 2, frequency);
  if (attention_factor != nullptr) *attention_factor = stretch;
  return Status();
}

Status FillScaledRopeTables(double theta, int64_t rotary_dim,
                            const RopeScaling& scaling, int64_t first,
                            int64_t count, float* cos, float* sin) {
  double frequency[internal::kMaxHeadDim / 2];
  double stretch;
  Status status =
      ScaledRopeFrequencies(theta, rotary_dim, scaling, frequency, &stretch);
  if (status.ok()) {
    status = FillRopeTables(frequency, rotary_dim, first, count, cos, sin);
  }
  if (!status.ok() || stretch == 1) return status;
  const float factor = static_cast<float>(stretch);
  for (int64_t i = 0; i < count * (rotary_dim / 2); ++i) {
    cos[i] *= factor;
    sin[i] *= factor;
  }
  return Status();
}

}  // namespace heed
