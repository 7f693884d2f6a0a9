// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The matrices of a chunk, and how they are made of a decay that is one number,
// or none.
#if defined(HEED_LIB_KERNELS_SCAN_PREPARE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_SCAN_PREPARE_INL_H_
#undef HEED_LIB_KERNELS_SCAN_PREPARE_INL_H_
#else
#define HEED_LIB_KERNELS_SCAN_PREPARE_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/matmul_tile-inl.h"
#include "lib/kernels/scan_preparation-inl.h"
#include "lib/kernels/scan_table.h"
#include "lib/kernels/scan_vector_decay-inl.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// to[j] = x[j] * factor * fade[j] for j < keep, 0 for the rest of the row.
HWY_INLINE void FadeWeights(const Preparation& p, float factor, size_t keep,
                            float* x) {
  const MatMulTag d;
  const size_t N = hn::Lanes(d);
  for (size_t j = 0; j < p.stride; j += N) {
    const auto f = hn::Mul(hn::Set(d, factor), hn::LoadU(d, p.fade + j));
    const auto seen = hn::FirstN(d, keep > j ? keep - j : 0);
    const auto y = hn::Mul(hn::LoadU(d, x + j), f);
    hn::StoreU(hn::IfThenElseZero(seen, y), d, x + j);
  }
}

// p.fade[j], the decays of rows (j, i - 1], becomes that of rows (j, i].
HWY_INLINE void FadeTo(const Preparation& p, size_t i) {
  const MatMulTag d;
  if (p.in.decay != nullptr) {
    const auto decay = hn::Set(d, p.in.decay[i]);
    for (size_t j = 0; j < i; j += hn::Lanes(d)) {
      hn::StoreU(Fade(hn::LoadU(d, p.fade + j), decay), d, p.fade + j);
    }
  }
  p.fade[i] = 1.0f;
}

// A decay that is one number, or none.
HWY_INLINE void PrepareScalar(const Preparation& p) {
  const internal::ScanInputs& in = p.in;
  const internal::ScanChunk& c = p.c;
  Turn(in.key.at, static_cast<size_t>(in.key.token), p.n, p.row, p.stride,
       p.turned);
  for (size_t g = 0; g < p.group; ++g) {
    MultiplyKeys(p, p.Query(0, g), static_cast<size_t>(in.query.token),
                 p.tokens, true, c.weight + g * p.stride, p.group * p.stride);
  }
  if (c.erase != nullptr) {
    MultiplyKeys(p, in.erase.at, static_cast<size_t>(in.erase.token), p.tokens,
                 true, c.solve, p.stride);
  }
  float start = 1.0f;  // the decays of the rows so far
  for (size_t i = 0; i < p.tokens; ++i) {
    const size_t first = i * p.writes;
    const auto erase = [&]() HWY_ATTR {
      Multiply(p.Erase(i), -c.beta[i] * start, p.row, c.erase + i * p.row);
      FadeWeights(p, -c.beta[i], first, c.solve + i * p.stride);
    };
    if (c.erase != nullptr && c.erase_unfaded) erase();
    FadeTo(p, first);
    if (in.decay != nullptr) start = Fade(start, in.decay[first]);
    if (c.erase != nullptr && !c.erase_unfaded) erase();
    // The second row of a token fades nothing.
    if (p.writes > 1) FadeTo(p, first + 1);
    for (size_t g = 0; g < p.group; ++g) {
      const size_t r = i * p.group + g;
      Multiply(p.Query(i, g), in.scale * start, p.row, c.read + r * p.row);
      FadeWeights(p, in.scale, first + p.writes, c.weight + r * p.stride);
    }
  }
  for (size_t j = 0; j < p.n; ++j) {
    Multiply(p.Key(j), p.fade[j], p.row, c.write + j * p.row);
  }
  for (size_t m = 0; m < p.dim; ++m) c.keep[m] = start;
}

void Prepare(const internal::ScanInputs& in, const internal::ScanChunk& c) {
  Preparation p = {in,
                   c,
                   static_cast<size_t>(c.tokens),
                   static_cast<size_t>(c.writes),
                   static_cast<size_t>(c.group),
                   static_cast<size_t>(c.head_dim),
                   static_cast<size_t>(c.row_floats),
                   static_cast<size_t>(c.stride),
                   static_cast<size_t>(c.written()),
                   nullptr,
                   nullptr,
                   nullptr,
                   nullptr,
                   nullptr};
  if (c.tokens == 0) {  // queries alone
    const size_t rows = static_cast<size_t>(c.rows);
    for (size_t r = 0; r < rows; ++r) {
      Multiply(p.Query(r / p.group, r % p.group), in.scale, p.row,
               c.read + r * p.row);
    }
    return;
  }
  CarveScratch(c, in.scratch, &p);
  if (in.vector_decay) {
    PrepareVector(p);
  } else {
    PrepareScalar(p);
  }
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_SCAN_PREPARE_INL_H_
