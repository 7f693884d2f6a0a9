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
#include "lib/kernels/fma_tile-inl.h"
#include "lib/kernels/hwy_targets.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;

// Rows and vectors of the largest micro-kernel.
inline constexpr int kMaxRows = HEED_TARGET_FACTS.attend.rows;
inline constexpr int kMaxVectors = HEED_TARGET_FACTS.attend.vectors;

// score[r][lane] = sum over c of key[r][c] * query[c][lane], one FMA chain from
// 0 in order of c. Rows of `query` and `score` are NV vectors. With kMax, also
// raises max[lane] to the largest of the scores.
template <int MR, int NV, bool kMax>
HWY_NOINLINE void Scores(const float* const* HWY_RESTRICT key,
                         const float* HWY_RESTRICT query, size_t head_dim,
                         float* HWY_RESTRICT score, float* HWY_RESTRICT max) {
  const hn::ScalableTag<float> d;
  const size_t L = NV * hn::Lanes(d);
  FmaTile<MR, NV>(d, ListedRows{key}, head_dim, query, L,
                  {/*out=*/score, /*out_row=*/L, /*load=*/false,
                   /*scale=*/nullptr, /*max=*/kMax ? max : nullptr});
}

// acc[r][lane] = alpha[lane] * acc[r][lane], then fma(value[key][c + r],
// weight[key][lane], acc), key by key. `alpha` is null where no lane's maximum
// moved: it would be 1, so the bits are the same. With kFresh the chain starts
// from 0 instead of acc: not a parameter, as GCC would spill a vector of the
// inner loop.
template <int MR, int NV, bool kFresh>
HWY_NOINLINE void WeighValues(const float* const* HWY_RESTRICT value, size_t c,
                              size_t num_keys, const float* HWY_RESTRICT weight,
                              const float* HWY_RESTRICT alpha,
                              float* HWY_RESTRICT acc) {
  const hn::ScalableTag<float> d;
  const size_t L = NV * hn::Lanes(d);
  FmaTile<MR, NV>(d, ListedTurns{value, c}, num_keys, weight, L,
                  {/*out=*/acc, /*out_row=*/L, /*load=*/!kFresh,
                   /*scale=*/alpha, /*max=*/nullptr});
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_MICRO_KERNEL_INL_H_
