// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The peak of units: special instructions beside a target's FMAs.
#include <cstdint>
#include <string>

#include "bench/peak.h"

#if defined(__x86_64__) && __has_include(<avx512bf16intrin.h>)
#include <immintrin.h>
#define HEED_PROBES_AVX512_BF16 1
#endif

namespace heed::bench {
namespace {

#ifdef HEED_PROBES_AVX512_BF16

// Distinct chains, as in peak.cc; a lane multiplies and adds two pairs.
constexpr int kChains = 12;
constexpr double kFlopsOfTurn = 4.0 * 16 * kChains;

__attribute__((target("avx512f,avx512bf16"))) float DotChains(int64_t turns,
                                                              float start) {
  const __m512i a = _mm512_set1_epi32(0x3f803f7f);
  const __m512i b = _mm512_set1_epi32(0x3a803a7f);
#define HEED_CHAINS(X) \
  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define HEED_CHAIN(i) __m512 s##i = _mm512_set1_ps(start + 0.01f * i);
  HEED_CHAINS(HEED_CHAIN)
#undef HEED_CHAIN
  for (int64_t turn = 0; turn < turns; ++turn) {
#define HEED_CHAIN(i) s##i = _mm512_dpbf16_ps(s##i, (__m512bh)a, (__m512bh)b);
    HEED_CHAINS(HEED_CHAIN)
#undef HEED_CHAIN
  }
  __m512 sum = s0;
#define HEED_CHAIN(i) sum = _mm512_add_ps(sum, s##i);
  HEED_CHAINS(HEED_CHAIN)
#undef HEED_CHAIN
#undef HEED_CHAINS
  return _mm512_cvtss_f32(sum);
}

#endif

}  // namespace

bool FindUnitProbe(const std::string& unit, PeakProbe* probe) {
#ifdef HEED_PROBES_AVX512_BF16
  if (unit == "avx512_bf16") {
    *probe = {&DotChains, kFlopsOfTurn};
    return true;
  }
#endif
  (void)unit;
  (void)probe;
  return false;
}

}  // namespace heed::bench
