// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The two micro-kernels of exact attention: MR broadcast scalars times NV
// vectors of queries, read in place and accumulated in registers.
#if defined(HEED_LIB_KERNELS_MICRO_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_MICRO_KERNEL_INL_H_
#undef HEED_LIB_KERNELS_MICRO_KERNEL_INL_H_
#else
#define HEED_LIB_KERNELS_MICRO_KERNEL_INL_H_
#endif

#include <cstddef>

#include "hwy/highway.h"
#include "lib/kernels/hwy_targets.h"

// SVE vectors may stand neither in arrays nor in structs, so the rows of a
// micro-kernel are named variables; rows and vectors beyond MR and NV vanish.
#ifndef HEED_ROWS
#define HEED_ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#endif

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;

// Rows and vectors of the largest micro-kernel: MR * NV accumulators, NV
// vectors and one broadcast fill the registers.
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_SSE4
inline constexpr int kMaxRows = 4;  // 12 + 3 + 1 of 16
#else
inline constexpr int kMaxRows = 8;  // 24 + 3 + 1 of 32
#endif
inline constexpr int kMaxVectors = 3;

// Both are functions of their own: inlined, GCC keeps values of the caller in
// registers and then spills a vector of the inner loop (8 loads more a turn).

// score[r][lane] = sum over c of key[r][c] * query[c][lane], one FMA chain from
// 0 in order of c. Rows of `query` and `score` are NV vectors.
//
//              NV vectors of queries
//            +---------------------+
//   query    | c = 0 .. head_dim-1 |   streamed once a call
//            +---------------------+
//   key[0][c] -> s00  s01  s02
//   key[1][c] -> s10  s11  s12         accumulators
//   ...
//
// With kMax, also raises max[lane] to the largest of the scores.
template <int MR, int NV, bool kMax>
HWY_NOINLINE void Scores(const float* const* HWY_RESTRICT key,
                         const float* HWY_RESTRICT query, size_t head_dim,
                         float* HWY_RESTRICT score, float* HWY_RESTRICT max) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
#define HEED_ROW(r)                                     \
  const float* HWY_RESTRICT k##r = key[r < MR ? r : 0]; \
  auto s##r##0 = hn::Zero(d);                           \
  auto s##r##1 = hn::Zero(d);                           \
  auto s##r##2 = hn::Zero(d);
  HEED_ROWS(HEED_ROW)
#undef HEED_ROW
  for (size_t c = 0; c < head_dim; ++c) {
    const auto q0 = hn::Load(d, query);
    const auto q1 = hn::Load(d, query + (NV > 1 ? N : 0));
    const auto q2 = hn::Load(d, query + (NV > 2 ? 2 * N : 0));
    query += NV * N;
#define HEED_ROW(r)                                             \
  if constexpr (r < MR) {                                       \
    const auto b = hn::Set(d, k##r[c]);                         \
    s##r##0 = hn::MulAdd(b, q0, s##r##0);                       \
    if constexpr (NV > 1) s##r##1 = hn::MulAdd(b, q1, s##r##1); \
    if constexpr (NV > 2) s##r##2 = hn::MulAdd(b, q2, s##r##2); \
  }
    HEED_ROWS(HEED_ROW)
#undef HEED_ROW
  }
#define HEED_ROW(r)                                                        \
  if constexpr (r < MR) {                                                  \
    hn::Store(s##r##0, d, score + r * NV * N);                             \
    if constexpr (NV > 1) hn::Store(s##r##1, d, score + (r * NV + 1) * N); \
    if constexpr (NV > 2) hn::Store(s##r##2, d, score + (r * NV + 2) * N); \
  }
  HEED_ROWS(HEED_ROW)
#undef HEED_ROW
  if constexpr (kMax) {
    auto m0 = hn::Load(d, max);
    auto m1 = hn::Load(d, max + (NV > 1 ? N : 0));
    auto m2 = hn::Load(d, max + (NV > 2 ? 2 * N : 0));
#define HEED_ROW(r)                                  \
  if constexpr (r < MR) {                            \
    m0 = hn::Max(m0, s##r##0);                       \
    if constexpr (NV > 1) m1 = hn::Max(m1, s##r##1); \
    if constexpr (NV > 2) m2 = hn::Max(m2, s##r##2); \
  }
    HEED_ROWS(HEED_ROW)
#undef HEED_ROW
    hn::Store(m0, d, max);
    if constexpr (NV > 1) hn::Store(m1, d, max + N);
    if constexpr (NV > 2) hn::Store(m2, d, max + 2 * N);
  }
}

// acc[r][lane] = alpha[lane] * acc[r][lane], then fma(value[key][c + r],
// weight[key][lane], acc), key by key. `alpha` is null where no lane's maximum
// moved: it would be 1, so the bits are the same.
template <int MR, int NV>
HWY_NOINLINE void WeighValues(const float* const* HWY_RESTRICT value, size_t c,
                              size_t num_keys, const float* HWY_RESTRICT weight,
                              const float* HWY_RESTRICT alpha,
                              float* HWY_RESTRICT acc) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
#define HEED_ROW(r)                                                            \
  auto s##r##0 = hn::Load(d, acc + (r < MR ? r * NV * N : 0));                 \
  auto s##r##1 = hn::Load(d, acc + (r < MR && NV > 1 ? (r * NV + 1) * N : 0)); \
  auto s##r##2 = hn::Load(d, acc + (r < MR && NV > 2 ? (r * NV + 2) * N : 0));
  HEED_ROWS(HEED_ROW)
#undef HEED_ROW
  if (alpha != nullptr) {
    const auto a0 = hn::Load(d, alpha);
    const auto a1 = hn::Load(d, alpha + (NV > 1 ? N : 0));
    const auto a2 = hn::Load(d, alpha + (NV > 2 ? 2 * N : 0));
#define HEED_ROW(r)                                       \
  if constexpr (r < MR) {                                 \
    s##r##0 = hn::Mul(s##r##0, a0);                       \
    if constexpr (NV > 1) s##r##1 = hn::Mul(s##r##1, a1); \
    if constexpr (NV > 2) s##r##2 = hn::Mul(s##r##2, a2); \
  }
    HEED_ROWS(HEED_ROW)
#undef HEED_ROW
  }
  for (size_t key = 0; key < num_keys; ++key) {
    const float* HWY_RESTRICT v = value[key] + c;
    const auto w0 = hn::Load(d, weight);
    const auto w1 = hn::Load(d, weight + (NV > 1 ? N : 0));
    const auto w2 = hn::Load(d, weight + (NV > 2 ? 2 * N : 0));
    weight += NV * N;
#define HEED_ROW(r)                                             \
  if constexpr (r < MR) {                                       \
    const auto b = hn::Set(d, v[r]);                            \
    s##r##0 = hn::MulAdd(b, w0, s##r##0);                       \
    if constexpr (NV > 1) s##r##1 = hn::MulAdd(b, w1, s##r##1); \
    if constexpr (NV > 2) s##r##2 = hn::MulAdd(b, w2, s##r##2); \
  }
    HEED_ROWS(HEED_ROW)
#undef HEED_ROW
  }
#define HEED_ROW(r)                                                      \
  if constexpr (r < MR) {                                                \
    hn::Store(s##r##0, d, acc + r * NV * N);                             \
    if constexpr (NV > 1) hn::Store(s##r##1, d, acc + (r * NV + 1) * N); \
    if constexpr (NV > 2) hn::Store(s##r##2, d, acc + (r * NV + 2) * N); \
  }
  HEED_ROWS(HEED_ROW)
#undef HEED_ROW
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_MICRO_KERNEL_INL_H_
