// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A tile of value columns, lanes along them, against the matrices of a chunk:
//
//                    width columns              width columns
//                 +---------------+          +----------------+
//                 | state         |          | what is written| n rows, one or
//                 | head_dim rows |          +----------------+ two a token
//                 +---------------+
//   read   [rows][head_dim]  x  state   +   weight [rows][n]  x  written = out
//   keep * state  +  write^T [head_dim][n]  x  written  = the state after it
//
// and under the delta rule, before both, by forward substitution,
//
//   written = beta v + erase x state + solve x written
//
// where a token that writes two rows has what it erases in the first and beta v
// in the second.
#if defined(HEED_LIB_KERNELS_SCAN_APPLY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_SCAN_APPLY_INL_H_
#undef HEED_LIB_KERNELS_SCAN_APPLY_INL_H_
#else
#define HEED_LIB_KERNELS_SCAN_APPLY_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/matmul_tile-inl.h"
#include "lib/kernels/scan_table.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// Tokens that are solved one after the other; those before them come as a
// product.
constexpr size_t kSolveTokens = 4;

// The panels of a tile: as many columns as the micro-kernel takes at a time.
struct Panel {
  size_t first;    // column
  size_t vectors;  // of it
};

// Calls f(panel) for each panel of `width` columns, as even as they come.
template <class F>
HWY_INLINE void ForEachPanel(size_t width, const F& f) {
  const size_t N = hn::Lanes(MatMulTag());
  for (size_t left = width / N, at = 0; left > 0;) {
    size_t take = left < kMatMulVectors ? left : kMatMulVectors;
    if (left == 4) take = 2;
    f(Panel{at, take});
    at += take * N;
    left -= take;
  }
}

// Fetches rows a few lines at a time, between micro-kernels: all at once they
// would wait for one another.
class Fetcher {
 public:
  Fetcher(const internal::ScanTile& t, size_t turns)
      : at_(t.fetch), end_(t.fetch + t.num_fetch) {
    int64_t lines = 0;
    for (const internal::FetchRows* f = at_; f != end_; ++f) {
      lines += f->rows * ((f->bytes + 63) / 64);
    }
    share_ = (static_cast<size_t>(lines) + turns - 1) / turns;
  }

  HWY_INLINE void Turn() {
    for (size_t i = 0; i < share_ && at_ != end_; ++i) {
      __builtin_prefetch(at_->at + row_ * at_->stride + byte_, /*rw=*/0,
                         /*locality=*/2);
      byte_ += 64;
      if (byte_ < at_->bytes) continue;
      byte_ = 0;
      if (++row_ < at_->rows) continue;
      row_ = 0;
      ++at_;
    }
  }

 private:
  const internal::FetchRows* at_;
  const internal::FetchRows* const end_;
  int64_t row_ = 0, byte_ = 0;
  size_t share_;
};

// c's rows [begin, end) by the micro-kernel.
HWY_INLINE void MultiplyRange(MatMulTile t, size_t begin, size_t end,
                              size_t vectors, Fetcher* fetcher) {
  const float* const a = t.a;
  float* const c = t.c;
  const float* const scale = t.row_scale;
  for (size_t i = begin; i < end;) {
    t.a = a + i * t.a_row;
    t.c = c + i * t.c_row;
    if (scale != nullptr) t.row_scale = scale + i;
    i += MultiplySome(t, end - i, vectors);
    if (fetcher != nullptr) fetcher->Turn();
  }
}

// Copies the values, where they are not there yet, to the last of the rows that
// their tokens write, and returns whether all are finite.
HWY_INLINE bool LoadValues(const internal::ScanTile& t, size_t tokens,
                           size_t writes) {
  const MatMulTag d;
  const size_t width = static_cast<size_t>(t.width);
  float* const to = t.value + (writes - 1) * width;
  const float* from = t.from != nullptr ? t.from : to;
  const size_t step =
      t.from != nullptr ? static_cast<size_t>(t.from_row) : writes * width;
  // x - x is 0 where x is finite and NaN elsewhere.
  auto sum = hn::Zero(d);
  for (size_t i = 0; i < tokens; ++i) {
    for (size_t x = 0; x < width; x += hn::Lanes(d)) {
      const auto v = hn::LoadU(d, from + i * step + x);
      hn::StoreU(v, d, to + i * writes * width + x);
      sum = hn::Add(sum, hn::Sub(v, v));
    }
  }
  return hn::AllTrue(d, hn::Eq(sum, hn::Zero(d)));
}

HWY_INLINE bool AllFinite(const float* x, size_t count) {
  const MatMulTag d;
  auto sum = hn::Zero(d);
  for (size_t i = 0; i < count; i += hn::Lanes(d)) {
    const auto v = hn::LoadU(d, x + i);
    sum = hn::Add(sum, hn::Sub(v, v));
  }
  return hn::AllTrue(d, hn::Eq(sum, hn::Zero(d)));
}

// written = beta v + erase state + solve written.
HWY_INLINE void Solve(const internal::ScanChunk& c, const internal::ScanTile& t,
                      Fetcher* fetcher) {
  const size_t n = static_cast<size_t>(c.tokens);
  const size_t width = static_cast<size_t>(t.width);
  const size_t writes = static_cast<size_t>(c.writes);
  const size_t token = writes * width;
  const bool own = writes == 1;  // rows of values are those that erase
  const MatMulTag d;
  for (size_t i = 0; i < n; ++i) {
    const auto beta = hn::Set(d, c.beta[i]);
    float* const erased = t.value + i * token;
    float* const value = erased + token - width;
    for (size_t x = 0; x < width; x += hn::Lanes(d)) {
      hn::StoreU(hn::Mul(hn::LoadU(d, value + x), beta), d, value + x);
      if (!own) hn::StoreU(hn::Zero(d), d, erased + x);
    }
  }
  const size_t stride = static_cast<size_t>(c.stride);
  ForEachPanel(width, [&](Panel p) HWY_ATTR {
    const MatMulTile erase = {c.erase,     static_cast<size_t>(c.row_floats),
                              1,           t.state + p.first,
                              width,       t.value + p.first,
                              token,       static_cast<size_t>(c.head_dim),
                              /*add=*/true};
    MultiplyRange(erase, 0, n, p.vectors, fetcher);
    for (size_t i = 0; i < n; i += kSolveTokens) {
      const size_t end = i + kSolveTokens < n ? i + kSolveTokens : n;
      MatMulTile solve = {
          c.solve,           stride, 1,          t.value + p.first, width,
          t.value + p.first, token,  i * writes, /*add=*/true};
      if (i > 0) MultiplyRange(solve, i, end, p.vectors, nullptr);
      for (size_t r = i + 1; r < end; ++r) {
        solve.a = c.solve + i * writes;
        solve.b = t.value + p.first + i * token;
        solve.depth = (r - i) * writes;
        MultiplyRange(solve, r, r + 1, p.vectors, nullptr);
      }
    }
  });
}

// out += weight written, rows of a token meeting those up to its own.
HWY_INLINE void Weigh(const internal::ScanChunk& c, const internal::ScanTile& t,
                      Panel p, bool finite) {
  const size_t rows = static_cast<size_t>(c.rows);
  const size_t group = static_cast<size_t>(c.group);
  const size_t writes = static_cast<size_t>(c.writes);
  const size_t width = static_cast<size_t>(t.width);
  MatMulTile weigh = {c.weight,
                      static_cast<size_t>(c.stride),
                      1,
                      t.value + p.first,
                      width,
                      t.out + p.first,
                      static_cast<size_t>(t.out_row),
                      0,
                      /*add=*/true};
  // Beyond a row's own token weights are zeros, which leave finite sums as they
  // are; what is not finite must stay out.
  const size_t step = finite ? kMatMulRows : 1;
  for (size_t r = 0; r < rows; r += step) {
    const size_t end = r + step < rows ? r + step : rows;
    weigh.depth = ((end - 1) / group + 1) * writes;
    MultiplyRange(weigh, r, end, p.vectors, nullptr);
  }
}

void Apply(const internal::ScanChunk& c, const internal::ScanTile& t) {
  const size_t width = static_cast<size_t>(t.width);
  const size_t tokens = static_cast<size_t>(c.tokens);
  const size_t written = static_cast<size_t>(c.written());
  const size_t dim = static_cast<size_t>(c.head_dim);
  const size_t row = static_cast<size_t>(c.row_floats);
  const size_t panels = width / (kMatMulVectors * hn::Lanes(MatMulTag())) + 1;
  const size_t tiles = (static_cast<size_t>(c.rows) + dim) / kMatMulRows + 1;
  Fetcher fetcher(t, panels * tiles);
  bool finite = LoadValues(t, tokens, static_cast<size_t>(c.writes));
  if (c.erase != nullptr && tokens > 0) {
    Solve(c, t, &fetcher);
    finite = AllFinite(t.value, written * width);
  }
  finite = finite || tokens <= 1;
  ForEachPanel(width, [&](Panel p) HWY_ATTR {
    const MatMulTile read = {c.read,
                             row,
                             1,
                             t.state + p.first,
                             width,
                             t.out + p.first,
                             static_cast<size_t>(t.out_row),
                             dim,
                             false};
    MultiplyRange(read, 0, static_cast<size_t>(c.rows), p.vectors, &fetcher);
    if (tokens == 0) return;
    Weigh(c, t, p, finite);
    const MatMulTile update = {
        c.write,           1,     row,     t.value + p.first, width,
        t.state + p.first, width, written,
        /*add=*/true,      c.keep};
    MultiplyRange(update, 0, dim, p.vectors, &fetcher);
  });
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_SCAN_APPLY_INL_H_
