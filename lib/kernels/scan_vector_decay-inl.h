// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The matrices of a chunk under a decay a channel.
#if defined(HEED_LIB_KERNELS_SCAN_VECTOR_DECAY_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_SCAN_VECTOR_DECAY_INL_H_
#undef HEED_LIB_KERNELS_SCAN_VECTOR_DECAY_INL_H_
#else
#define HEED_LIB_KERNELS_SCAN_VECTOR_DECAY_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "hwy/highway.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/matmul_tile-inl.h"
#include "lib/kernels/scan_preparation-inl.h"
#include "lib/kernels/scan_table.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// Under a decay a channel, pairs within aligned blocks of so many tokens are
// dot products of two rows; the others are met in products of matrices.
constexpr size_t kDotTokens = 4;

// One row of a column of rows: x * factor * product, the product moving on by
// the row's decay before (kOwn) or after that.
template <bool kOwn>
HWY_INLINE void FadeStep(const float* from, float factor, const float* decay,
                         ScanVector& product, float* to) {
  const MatMulTag d;
  const auto step = hn::LoadU(d, decay);
  const auto x = hn::Mul(hn::LoadU(d, from), hn::Set(d, factor));
  if (kOwn) product = Fade(product, step);
  hn::StoreU(hn::Mul(x, product), d, to);
  if (!kOwn) product = Fade(product, step);
}

// How rows of tokens meet the decays on their way.
enum class Fading {
  kFrom,    // from the first on, each by its own decay too
  kBefore,  // the same without its own
  kUpTo,    // up to the last, each by those after its own
};

// Every `step`th of rows [first, end): to(i) = from(i) * factor(i) * product.
// Four vectors side by side, each a chain along the rows. Where `last` is not
// null it gets the products after all rows.
template <Fading kFading, class From, class Factor, class To>
HWY_INLINE void FadeRows(const Preparation& p, size_t first, size_t end,
                         size_t step, const From& from, const Factor& factor,
                         const To& to, float* last) {
  constexpr bool kOwn = kFading == Fading::kFrom;
  const MatMulTag d;
  const size_t N = hn::Lanes(d);
  const auto row = [&](size_t t) HWY_ATTR {
    return kFading == Fading::kUpTo ? end - step - (t - first) : t;
  };
  size_t m = 0;
  for (; m + 4 * N <= p.row; m += 4 * N) {
    auto p0 = hn::Set(d, 1.0f);
    auto p1 = p0, p2 = p0, p3 = p0;
    for (size_t t = first; t < end; t += step) {
      const size_t i = row(t);
      const float* x = from(i) + m;
      const float* decay = p.in.decay + i * p.row + m;
      float* y = to(i) + m;
      const float f = factor(i);
      FadeStep<kOwn>(x, f, decay, p0, y);
      FadeStep<kOwn>(x + N, f, decay + N, p1, y + N);
      FadeStep<kOwn>(x + 2 * N, f, decay + 2 * N, p2, y + 2 * N);
      FadeStep<kOwn>(x + 3 * N, f, decay + 3 * N, p3, y + 3 * N);
    }
    if (last == nullptr) continue;
    hn::StoreU(p0, d, last + m);
    hn::StoreU(p1, d, last + m + N);
    hn::StoreU(p2, d, last + m + 2 * N);
    hn::StoreU(p3, d, last + m + 3 * N);
  }
  for (; m < p.row; m += N) {
    auto p0 = hn::Set(d, 1.0f);
    for (size_t t = first; t < end; t += step) {
      const size_t i = row(t);
      FadeStep<kOwn>(from(i) + m, factor(i), p.in.decay + i * p.row + m, p0,
                     to(i) + m);
    }
    if (last != nullptr) hn::StoreU(p0, d, last + m);
  }
}

// The weights of the pairs within kDotTokens rows from `first` on: right(i)
// is row i times factor(i), faded from the middle of the smallest aligned block
// that has both on, left(j) the key faded up to it. Each is a sum of sixteen
// chains, element m in chain m modulo 16. to(i)[j] gets those of j < i and,
// with kOwn, of i itself, where to(i) is not null. With kUnfaded no row meets
// its own decay.
template <bool kOwn, bool kUnfaded, class Row, class Factor, class To>
HWY_INLINE void DotTokens(const Preparation& p, size_t first, const Row& row_of,
                          const Factor& factor, const To& to) {
  const MatMulTag d;
  const size_t N = hn::Lanes(d);
  const size_t last = p.n - 1;
  // Rows behind the last one are it once more: nobody reads what they give.
  const auto token = [&](size_t t) HWY_ATTR {
    return first + t < last ? first + t : last;
  };
  const auto key_of = [&](size_t t) HWY_ATTR { return p.Key(token(t)); };
  const auto decay_of = [&](size_t t)
                            HWY_ATTR { return p.in.decay + token(t) * p.row; };
  const float* const x0 = row_of(token(0));
  const float* const x1 = row_of(token(1));
  const float* const x2 = row_of(token(2));
  const float* const x3 = row_of(token(3));
  const float *const y0 = key_of(0), *const y1 = key_of(1);
  const float *const y2 = key_of(2), *const y3 = key_of(3);
  const float *const a1 = decay_of(1), *const a2 = decay_of(2);
  const float* const a3 = decay_of(3);
  const auto f0 = hn::Set(d, factor(token(0)));
  const auto f1 = hn::Set(d, factor(token(1)));
  const auto f2 = hn::Set(d, factor(token(2)));
  const auto f3 = hn::Set(d, factor(token(3)));
  HWY_ALIGN float sums[kDotTokens][kDotTokens][16];
  for (size_t j = 0; j < 16; j += N) {
    auto s10 = hn::Zero(d);
    auto s20 = s10, s21 = s10, s30 = s10, s31 = s10, s32 = s10;
    auto s00 = s10, s11 = s10, s22 = s10, s33 = s10;
    for (size_t m = j; m < p.row; m += 16) {
      // Padding is not part of the sum, whatever it holds.
      const auto in = hn::FirstN(d, p.dim > m ? p.dim - m : 0);
      // Rows may lie at any float, where MaskedLoad asks for whole vectors.
      const auto load = [&](const float* at) HWY_ATTR {
        return hn::IfThenElseZero(in, hn::LoadU(d, at + m));
      };
      const auto k0 = load(y0), k1 = load(y1), k2 = load(y2);
      const auto one = hn::Set(d, 1.0f);
      const auto d1 = Fade(one, hn::LoadU(d, a1 + m));
      const auto d2 = Fade(one, hn::LoadU(d, a2 + m));
      const auto after3 = hn::LoadU(d, a3 + m);
      const auto q1 = hn::Mul(load(x1), f1), q2 = hn::Mul(load(x2), f2);
      const auto q3 = hn::Mul(load(x3), f3);
      s10 = hn::MulAdd(kUnfaded ? q1 : hn::Mul(q1, d1), k0, s10);
      s32 = hn::MulAdd(kUnfaded ? q3 : hn::Mul(q3, Fade(one, after3)), k2, s32);
      const auto left0 = hn::Mul(k0, d1);
      const auto right2 = kUnfaded ? q2 : hn::Mul(q2, d2);
      s20 = hn::MulAdd(right2, left0, s20);
      s21 = hn::MulAdd(right2, k1, s21);
      const auto right3 = hn::Mul(q3, kUnfaded ? d2 : Fade(d2, after3));
      s30 = hn::MulAdd(right3, left0, s30);
      s31 = hn::MulAdd(right3, k1, s31);
      if (kOwn) {
        s00 = hn::MulAdd(hn::Mul(load(x0), f0), k0, s00);
        s11 = hn::MulAdd(q1, k1, s11);
        s22 = hn::MulAdd(q2, k2, s22);
        s33 = hn::MulAdd(q3, load(y3), s33);
      }
    }
    hn::StoreU(s10, d, sums[1][0] + j);
    hn::StoreU(s20, d, sums[2][0] + j);
    hn::StoreU(s21, d, sums[2][1] + j);
    hn::StoreU(s30, d, sums[3][0] + j);
    hn::StoreU(s31, d, sums[3][1] + j);
    hn::StoreU(s32, d, sums[3][2] + j);
    if (!kOwn) continue;
    hn::StoreU(s00, d, sums[0][0] + j);
    hn::StoreU(s11, d, sums[1][1] + j);
    hn::StoreU(s22, d, sums[2][2] + j);
    hn::StoreU(s33, d, sums[3][3] + j);
  }
  for (size_t i = 0; i < kDotTokens && first + i < p.n; ++i) {
    float* const row = to(first + i);
    if (row == nullptr) continue;
    for (size_t j = 0; j < i + (kOwn ? 1 : 0); ++j) {
      float* const sum = sums[i][j];
      for (size_t half = 8; half > 0; half /= 2) {
        for (size_t m = 0; m < half; ++m) sum[m] += sum[m + half];
      }
      row[first + j] = sum[0];
    }
  }
}

// Copies products of the tokens in the right halves of blocks of 2 * half rows
// with the rows of the left halves to where they belong: `group` a token.
HWY_INLINE void Scatter(const Preparation& p, size_t half, size_t group,
                        float* to) {
  size_t from = 0;
  for (size_t i = 0; i < p.tokens; ++i) {
    const size_t at = i * p.writes;
    if ((at / half) % 2 == 0) continue;
    const size_t mid = at / half * half;
    for (size_t g = 0; g < group; ++g, ++from) {
      const float* x = p.products + from * p.stride;
      float* y = to + (i * group + g) * p.stride;
      for (size_t j = mid - half; j < mid; ++j) y[j] = x[j];
    }
  }
}

template <Fading kFading>
using FadingIs = std::integral_constant<Fading, kFading>;

// One level of halves: rows of the right halves, faded from their middle on,
// times keys of the left halves, faded up to it.
HWY_INLINE void PrepareLevel(const Preparation& p, size_t half) {
  const internal::ScanChunk& c = p.c;
  const size_t writes = p.writes;
  const auto key = [&](size_t r) HWY_ATTR { return p.Key(r); };
  for (size_t mid = half; mid < p.n; mid += 2 * half) {
    FadeRows<Fading::kUpTo>(
        p, mid - half, mid, 1, key, [](size_t) HWY_ATTR { return 1.0f; },
        [&](size_t j) HWY_ATTR { return p.left + j * p.row; }, nullptr);
  }
  // Columns of right halves are products that nobody reads.
  Turn(p.left, p.row, p.n, p.row, p.stride, p.turned);
  const auto rows = [&](auto fading, size_t group, const auto& row_of,
                        const auto& factor, float* to) HWY_ATTR {
    size_t count = 0;
    for (size_t mid = half; mid < p.n; mid += 2 * half) {
      const size_t end = mid + half < p.n ? mid + half : p.n;
      for (size_t g = 0; g < group; ++g) {
        FadeRows<fading>(
            p, mid, end, writes,
            [&](size_t r) HWY_ATTR { return row_of(r / writes, g); }, factor,
            [&](size_t r) HWY_ATTR {
              return p.right + (count + (r - mid) / writes * group + g) * p.row;
            },
            nullptr);
      }
      count += (end - mid) / writes * group;
    }
    MultiplyKeys(p, p.right, p.row, count, false, p.products, p.stride);
    Scatter(p, half, group, to);
  };
  rows(
      FadingIs<Fading::kFrom>(), p.group,
      [&](size_t i, size_t g) HWY_ATTR { return p.Query(i, g); },
      [&](size_t) HWY_ATTR { return p.in.scale; }, c.weight);
  if (c.erase == nullptr) return;
  const auto erase = [&](size_t i, size_t) HWY_ATTR { return p.Erase(i); };
  const auto beta = [&](size_t r) HWY_ATTR { return -c.beta[r / writes]; };
  if (c.erase_unfaded) {
    rows(FadingIs<Fading::kBefore>(), 1, erase, beta, c.solve);
  } else {
    rows(FadingIs<Fading::kFrom>(), 1, erase, beta, c.solve);
  }
}

// A decay a channel: pairs of rows meet at the middle of the smallest aligned
// block that has both (recursive halving), so that each product of decays runs
// away from it, and all are at most 1.
HWY_INLINE void PrepareVector(const Preparation& p) {
  const internal::ScanInputs& in = p.in;
  const internal::ScanChunk& c = p.c;
  const size_t writes = p.writes;
  const MatMulTag d;
  for (size_t i = 0; i < p.tokens; ++i) {
    const size_t solve = c.erase == nullptr ? 0 : p.stride;
    for (size_t j = 0; j < p.stride; j += hn::Lanes(d)) {
      for (size_t g = 0; g < p.group; ++g) {
        hn::StoreU(hn::Zero(d), d, c.weight + (i * p.group + g) * p.stride + j);
      }
      if (solve != 0) hn::StoreU(hn::Zero(d), d, c.solve + i * p.stride + j);
    }
  }
  // Left halves leave these as they are where they have no partner.
  for (size_t j = 0; j < p.n && p.n > kDotTokens; ++j) {
    Multiply(p.Key(j), 0.0f, p.row, p.left + j * p.row);
  }
  for (size_t half = kDotTokens; half < p.n; half *= 2) PrepareLevel(p, half);
  const auto key = [&](size_t r) HWY_ATTR { return p.Key(r); };
  // The first rows that are faded from the start on give what the state keeps.
  float* keep = c.keep;
  for (size_t g = 0; g < p.group; ++g) {
    const auto query = [&](size_t r)
                           HWY_ATTR { return p.Query(r / writes, g); };
    const auto scale = [&](size_t) HWY_ATTR { return in.scale; };
    FadeRows<Fading::kFrom>(
        p, 0, p.n, writes, query, scale,
        [&](size_t r)
            HWY_ATTR { return c.read + (r / writes * p.group + g) * p.row; },
        keep);
    keep = nullptr;
    for (size_t i = 0; i < p.n; i += kDotTokens) {
      // Queries stand behind the last row of their token.
      DotTokens<true, false>(
          p, i, query, scale, [&](size_t r) HWY_ATTR -> float* {
            if (r % writes != writes - 1) return nullptr;
            return c.weight + (r / writes * p.group + g) * p.stride;
          });
    }
  }
  if (c.erase != nullptr) {
    const auto beta = [&](size_t r) HWY_ATTR { return -c.beta[r / writes]; };
    const auto erase = [&](size_t r) HWY_ATTR { return p.Erase(r / writes); };
    const auto to = [&](size_t r)
                        HWY_ATTR { return c.erase + r / writes * p.row; };
    // What erases stands before the first row of its token.
    const auto solve = [&](size_t r) HWY_ATTR -> float* {
      return r % writes == 0 ? c.solve + r / writes * p.stride : nullptr;
    };
    if (c.erase_unfaded) {
      FadeRows<Fading::kBefore>(p, 0, p.n, writes, erase, beta, to, keep);
    } else {
      FadeRows<Fading::kFrom>(p, 0, p.n, writes, erase, beta, to, keep);
    }
    keep = nullptr;
    for (size_t i = 0; i < p.n; i += kDotTokens) {
      if (c.erase_unfaded) {
        DotTokens<false, true>(p, i, erase, beta, solve);
      } else {
        DotTokens<false, false>(p, i, erase, beta, solve);
      }
    }
  }
  const auto write = [&](size_t r) HWY_ATTR { return c.write + r * p.row; };
  const auto one = [](size_t) HWY_ATTR { return 1.0f; };
  // Only for what the state keeps: the rows are overwritten.
  if (keep != nullptr) {
    FadeRows<Fading::kFrom>(p, 0, p.n, 1, key, one, write, keep);
  }
  FadeRows<Fading::kUpTo>(p, 0, p.n, 1, key, one, write, nullptr);
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_SCAN_VECTOR_DECAY_INL_H_
