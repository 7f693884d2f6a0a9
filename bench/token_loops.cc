// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "bench/token_loops.h"

#include <cmath>
#include <cstddef>

#include "lib/kernels/target_list.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/token_loops.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kMaxDim = 256;

// Of one token.
struct Token {
  const float *query, *key, *value;
  float decay, beta;
  float* out;
};

Token TokenAt(const bench::TokenLoop& l, int64_t t) {
  return {l.query + t * l.row,
          l.key + t * l.row,
          l.value + t * l.row,
          l.gate == nullptr ? 1.0f : std::exp(l.gate[t * l.heads]),
          l.beta == nullptr ? 1.0f : l.beta[t * l.heads],
          l.out + t * l.row};
}

// to[x] = sum of factor[m] * state[m][x].
HWY_INLINE void Sweep(const float* factor, const float* state, size_t dim,
                      float* to) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  for (size_t x = 0; x < dim; x += N) hn::StoreU(hn::Zero(d), d, to + x);
  for (size_t m = 0; m < dim; ++m) {
    const auto f = hn::Set(d, factor[m]);
    for (size_t x = 0; x < dim; x += N) {
      hn::StoreU(hn::MulAdd(f, hn::LoadU(d, state + m * dim + x),
                            hn::LoadU(d, to + x)),
                 d, to + x);
    }
  }
}

void FourSweeps(const bench::TokenLoop& l) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d), dim = static_cast<size_t>(l.dim);
  HWY_ALIGN float write[kMaxDim], query[kMaxDim];
  for (int64_t i = 0; i < l.tokens; ++i) {
    const Token t = TokenAt(l, i);
    for (size_t x = 0; x < dim * dim && l.gate != nullptr; x += N) {
      hn::StoreU(hn::Mul(hn::LoadU(d, l.state + x), hn::Set(d, t.decay)), d,
                 l.state + x);
    }
    if (l.beta != nullptr) {
      Sweep(t.key, l.state, dim, write);
      for (size_t x = 0; x < dim; ++x) {
        write[x] = t.beta * (t.value[x] - write[x]);
      }
    }
    const float* u = l.beta == nullptr ? t.value : write;
    for (size_t m = 0; m < dim; ++m) {
      const auto k = hn::Set(d, t.key[m]);
      float* row = l.state + m * dim;
      for (size_t x = 0; x < dim; x += N) {
        hn::StoreU(hn::MulAdd(k, hn::LoadU(d, u + x), hn::LoadU(d, row + x)), d,
                   row + x);
      }
    }
    for (size_t m = 0; m < dim; ++m) query[m] = l.scale * t.query[m];
    Sweep(query, l.state, dim, t.out);
  }
}

void TwoPasses(const bench::TokenLoop& l) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d), dim = static_cast<size_t>(l.dim);
  HWY_ALIGN float read[kMaxDim], asked[kMaxDim];
  for (int64_t i = 0; i < l.tokens; ++i) {
    const Token t = TokenAt(l, i);
    for (size_t x = 0; x < dim; x += N) {
      hn::StoreU(hn::Zero(d), d, read + x);
      hn::StoreU(hn::Zero(d), d, asked + x);
    }
    float both = 0;
    for (size_t m = 0; m < dim; ++m) {
      const float* row = l.state + m * dim;
      const auto k = hn::Set(d, t.key[m]), q = hn::Set(d, t.query[m]);
      both += t.query[m] * t.key[m];
      for (size_t x = 0; x < dim; x += N) {
        const auto s = hn::LoadU(d, row + x);
        hn::StoreU(hn::MulAdd(q, s, hn::LoadU(d, asked + x)), d, asked + x);
        if (l.beta == nullptr) continue;
        hn::StoreU(hn::MulAdd(k, s, hn::LoadU(d, read + x)), d, read + x);
      }
    }
    // What is written stands where what was read did.
    for (size_t x = 0; x < dim; ++x) {
      read[x] = t.beta * (t.value[x] - t.decay * read[x]);
      t.out[x] = l.scale * (both * read[x] + t.decay * asked[x]);
    }
    const auto decay = hn::Set(d, t.decay);
    for (size_t m = 0; m < dim; ++m) {
      float* row = l.state + m * dim;
      const auto k = hn::Set(d, t.key[m]);
      for (size_t x = 0; x < dim; x += N) {
        const auto kept = hn::Mul(decay, hn::LoadU(d, row + x));
        hn::StoreU(hn::MulAdd(k, hn::LoadU(d, read + x), kept), d, row + x);
      }
    }
  }
}

// Four vectors of columns, over all tokens.
template <bool kErases>
HWY_INLINE void FusedTile(const bench::TokenLoop& l, size_t first) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d), dim = static_cast<size_t>(l.dim);
  for (int64_t i = 0; i < l.tokens; ++i) {
    const Token t = TokenAt(l, i);
    auto k0 = hn::Zero(d);
    auto k1 = k0, k2 = k0, k3 = k0, q0 = k0, q1 = k0, q2 = k0, q3 = k0;
    float both = 0;
    for (size_t m = 0; m < dim; ++m) {
      const float* row = l.state + m * dim + first;
      const auto q = hn::Set(d, t.query[m]);
      const auto s0 = hn::LoadU(d, row), s1 = hn::LoadU(d, row + N);
      const auto s2 = hn::LoadU(d, row + 2 * N);
      const auto s3 = hn::LoadU(d, row + 3 * N);
      q0 = hn::MulAdd(q, s0, q0);
      q1 = hn::MulAdd(q, s1, q1);
      q2 = hn::MulAdd(q, s2, q2);
      q3 = hn::MulAdd(q, s3, q3);
      both += t.query[m] * t.key[m];
      if (!kErases) continue;
      const auto k = hn::Set(d, t.key[m]);
      k0 = hn::MulAdd(k, s0, k0);
      k1 = hn::MulAdd(k, s1, k1);
      k2 = hn::MulAdd(k, s2, k2);
      k3 = hn::MulAdd(k, s3, k3);
    }
    const auto decay = hn::Set(d, t.decay), beta = hn::Set(d, t.beta);
    const auto scale = hn::Set(d, l.scale);
    const auto weight = hn::Set(d, both);
    const float* value = t.value + first;
    float* out = t.out + first;
    const auto write = [&](auto read, auto asked, size_t x) HWY_ATTR {
      auto u = hn::LoadU(d, value + x);
      if (kErases) u = hn::Mul(beta, hn::NegMulAdd(decay, read, u));
      hn::StoreU(hn::Mul(scale, hn::MulAdd(weight, u, hn::Mul(decay, asked))),
                 d, out + x);
      return u;
    };
    const auto u0 = write(k0, q0, 0), u1 = write(k1, q1, N);
    const auto u2 = write(k2, q2, 2 * N), u3 = write(k3, q3, 3 * N);
    for (size_t m = 0; m < dim; ++m) {
      float* row = l.state + m * dim + first;
      const auto k = hn::Set(d, t.key[m]);
      const auto update = [&](auto u, size_t x) HWY_ATTR {
        const auto kept = hn::Mul(decay, hn::LoadU(d, row + x));
        hn::StoreU(hn::MulAdd(k, u, kept), d, row + x);
      };
      update(u0, 0);
      update(u1, N);
      update(u2, 2 * N);
      update(u3, 3 * N);
    }
  }
}

void Fused(const bench::TokenLoop& l) {
  const size_t tile = 4 * hn::Lanes(hn::ScalableTag<float>());
  for (size_t x = 0; x < static_cast<size_t>(l.dim); x += tile) {
    if (l.beta == nullptr) {
      FusedTile<false>(l, x);
    } else {
      FusedTile<true>(l, x);
    }
  }
}

}  // namespace

bool RunLoop(bench::LoopKind kind, const bench::TokenLoop& loop) {
  const size_t tile = 4 * hn::Lanes(hn::ScalableTag<float>());
  const size_t dim = static_cast<size_t>(loop.dim);
  if (dim % tile != 0 || dim > kMaxDim) return false;
  switch (kind) {
    case bench::LoopKind::kFourSweeps:
      FourSweeps(loop);
      break;
    case bench::LoopKind::kTwoPasses:
      TwoPasses(loop);
      break;
    case bench::LoopKind::kFused:
      Fused(loop);
      break;
  }
  return true;
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed::bench {
namespace {

using Loop = bool (*)(LoopKind, const TokenLoop&);

Loop LoopOf(const std::string& target) {
#define HEED_FIND(name, text, suffix, ...) \
  if (target == text) return HWY_CHOOSE_##suffix(RunLoop);
#define HEED_SKIP(...)
  HEED_TARGETS(HEED_FIND, HEED_SKIP)
#undef HEED_FIND
#undef HEED_SKIP
  return nullptr;
}

}  // namespace

bool RunTokenLoop(const std::string& target, LoopKind kind,
                  const TokenLoop& loop) {
  const Loop run = LoopOf(target);
  return run != nullptr && run(kind, loop);
}

}  // namespace heed::bench
#endif  // HWY_ONCE
