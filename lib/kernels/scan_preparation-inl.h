// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What the matrices of a chunk are made with, whatever the decays. These are
// multiplied up, never subtracted as logarithms: every product is at most 1,
// whatever the gates.
#if defined(HEED_LIB_KERNELS_SCAN_PREPARATION_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_SCAN_PREPARATION_INL_H_
#undef HEED_LIB_KERNELS_SCAN_PREPARATION_INL_H_
#else
#define HEED_LIB_KERNELS_SCAN_PREPARATION_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/matmul_tile-inl.h"
#include "lib/kernels/scan_table.h"
#include "lib/kernels/transpose-inl.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using ScanVector = hn::Vec<MatMulTag>;

// A running product of decays, a step further.
HWY_INLINE ScanVector Fade(ScanVector product, ScanVector decay) {
  const MatMulTag d;
  const auto p = hn::Mul(product, decay);
  const auto gone = hn::Lt(p, hn::Set(d, internal::kSmallestProduct));
  return hn::IfThenElse(gone, hn::Zero(d), p);
}
HWY_INLINE float Fade(float product, float decay) {
  const float p = product * decay;
  return p < internal::kSmallestProduct ? 0.0f : p;
}

// to = from * factor, `count` floats in whole vectors.
HWY_INLINE void Multiply(const float* from, float factor, size_t count,
                         float* to) {
  const MatMulTag d;
  const auto f = hn::Set(d, factor);
  for (size_t m = 0; m < count; m += hn::Lanes(d)) {
    hn::StoreU(hn::Mul(hn::LoadU(d, from + m), f), d, to + m);
  }
}

// Rows of `count` floats, `token` apart, become columns: to[m][i] with rows of
// `width` floats. Columns from `rows` on are zeros.
HWY_INLINE void Turn(const float* from, size_t token, size_t rows, size_t count,
                     size_t width, float* to) {
  const SquareTag d;
  const size_t side = hn::Lanes(d);
  for (size_t i = 0; i < width; i += side) {
    for (size_t m = 0; m < count; m += side) {
      TransposeSquare(
          d,
          [&](size_t r) HWY_ATTR {
            return i + r < rows ? hn::LoadU(d, from + (i + r) * token + m)
                                : hn::Zero(d);
          },
          [&](auto v, size_t c)
              HWY_ATTR { hn::StoreU(v, d, to + (m + c) * width + i); });
    }
  }
}

// The work of one call.
struct Preparation {
  const internal::ScanInputs& in;
  const internal::ScanChunk& c;
  size_t tokens, writes, group, dim, row, stride;
  size_t n;  // rows that are written
  // Scratch.
  float* turned;    // [row][stride]: keys as columns
  float* products;  // [rows][stride]
  float* fade;      // [stride], of scalar decays
  float* left;      // [n][row], with vectors only
  float* right;     // [rows][row]

  // The query of token i and head g of the group, what erases, and the key that
  // row r writes along.
  HWY_INLINE const float* Query(size_t i, size_t g) const {
    return in.query.at + i * static_cast<size_t>(in.query.token) +
           g * static_cast<size_t>(in.query.head);
  }
  HWY_INLINE const float* Erase(size_t i) const {
    return in.erase.at + i * static_cast<size_t>(in.erase.token);
  }
  HWY_INLINE const float* Key(size_t r) const {
    return in.key.at + r * static_cast<size_t>(in.key.token);
  }
};

HWY_INLINE int64_t CarveScratch(const internal::ScanChunk& c, float* at,
                                Preparation* p) {
  const int64_t turned = c.row_floats * c.stride;
  const int64_t rows = c.rows > c.tokens ? c.rows : c.tokens;
  if (p != nullptr) {
    p->turned = at;
    p->products = p->turned + turned;
    p->fade = p->products + rows * c.stride;
    p->left = p->fade + c.stride;
    p->right = p->left + c.written() * c.row_floats;
  }
  return turned + rows * c.stride + c.stride +
         (c.written() + rows) * c.row_floats;
}

int64_t ScratchFloats(const internal::ScanChunk& longest) {
  return CarveScratch(longest, nullptr, nullptr);
}

// Products of `rows` rows, `from` apart, with the turned keys, kMatMulRows at a
// time: to[i] in rows `to_row` apart. With `triangle` rows are tokens, and keys
// those up to the last one's.
HWY_INLINE void MultiplyKeys(const Preparation& p, const float* x, size_t from,
                             size_t rows, bool triangle, float* to,
                             size_t to_row) {
  const size_t N = hn::Lanes(MatMulTag());
  for (size_t i = 0; i < rows;) {
    size_t end = i + kMatMulRows < rows ? i + kMatMulRows : rows;
    const size_t keys = triangle ? end * p.writes : p.n;
    size_t done = 0;
    for (size_t j = 0; j < keys; j += kMatMulVectors * N) {
      const size_t left = (keys - j + N - 1) / N;
      const size_t vectors = left < kMatMulVectors ? left : kMatMulVectors;
      const MatMulTile tile = {x + i * from, from,     1,
                               p.turned + j, p.stride, to + i * to_row + j,
                               to_row,       p.dim,    false};
      done = MultiplySome(tile, end - i, vectors);
    }
    i += done;
  }
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_SCAN_PREPARATION_INL_H_
