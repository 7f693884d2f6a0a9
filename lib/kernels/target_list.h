// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The one list of targets. The library, the tests, the benchmarks and README's
// table are held to it; a target is one row.
#ifndef HEED_LIB_KERNELS_TARGET_LIST_H_
#define HEED_LIB_KERNELS_TARGET_LIST_H_

// Best first. HIGHWAY(...) is a row that Highway compiles:
//
//   name        Target::k<name>
//   text        the name in heed/target.h, plans and kernels
//   suffix      HWY_<suffix> is Highway's target
//   same_bits   has FMA, so gives the bits of docs/numerics.md
//   rows, vectors, lanes
//               of the micro-kernels of attention, as in their names; lanes is
//               "" where vectors have no fixed length
//   matmul_rows, matmul_vectors
//               of that of the matrix product
//   decode_rows the most query rows of a key head for which the decode kernel
//               is taken where keys are f32; half as many more where there are
//               bits to widen. Zen 4, head_dim 128, times of the tile kernel by
//               the decode kernel's, from memory (from cache): AVX-512, 8 rows
//               1.09 (1.28), 10 rows 0.90 (1.05), of bf16 12 rows 1.13 (1.15),
//               16 rows 0.89 (0.90); AVX2, 8 rows 1.13, of bf16 1.40; SSE4, 4
//               rows 0.99, of bf16 6 rows 1.18. The tile kernel spends as many
//               FMAs on any number of rows up to the lanes of a vector
//   cpu         what the CPU must offer (lib/kernels/cpu_bits.h)
//   needs       the same in words
//   flags       the same as Linux names it, for tests to judge `cpu` by: in
//               /proc/cpuinfo on x86, those of AT_HWCAP and AT_HWCAP2 on Arm
//
// Rows times vectors accumulators, the vectors and a broadcast fill the
// registers: 16 or 32. MatMul takes 6 x 2 rather than 4 x 3 of 16, as its rows
// are many; head_dim 64 is no multiple of 6 (docs/performance.md).
//
// PORTABLE(name, text, same_bits, needs) is standard C++.
#define HEED_TARGETS(HIGHWAY, PORTABLE)                                     \
  HIGHWAY(Avx512, "avx512", AVX3, true, 8, 3, "x16", 8, 3, 8, kAvx512Bits,  \
          "AVX-512 F, VL, DQ, CD, BW, and what avx2 needs",                 \
          "ssse3 sse4_1 sse4_2 pclmulqdq aes avx2 fma bmi1 bmi2 f16c abm "  \
          "avx512f avx512vl avx512dq avx512bw avx512cd")                    \
  HIGHWAY(Avx2, "avx2", AVX2, true, 4, 3, "x8", 6, 2, 8, kAvx2Bits,         \
          "AVX2, FMA, F16C, BMI, BMI2, LZCNT, and what sse4 needs",         \
          "ssse3 sse4_1 sse4_2 pclmulqdq aes avx2 fma bmi1 bmi2 f16c abm")  \
  HIGHWAY(Sse4, "sse4", SSE4, false, 4, 3, "x4", 6, 2, 4, kSse4Bits,        \
          "SSSE3, SSE4.1, SSE4.2, PCLMUL, AES",                             \
          "ssse3 sse4_1 sse4_2 pclmulqdq aes")                              \
  HIGHWAY(Sve2, "sve2", SVE2, true, 8, 3, "", 8, 3, 3, kSve2Bits,           \
          "SVE2, SVE2-AES", "sve sve2 sveaes")                              \
  HIGHWAY(Sve, "sve", SVE, true, 8, 3, "", 8, 3, 3, kSveBits, "SVE", "sve") \
  HIGHWAY(Neon, "neon", NEON, true, 8, 3, "x4", 8, 3, 3, kNeonBits,         \
          "Advanced SIMD", "asimd")                                         \
  PORTABLE(Plain, "plain", true, "nothing")

// The list of units: special instructions that a file of lib/arch, of the
// unit's name, uses in kernels that otherwise are a target's. UNIT(...) is a
// row:
//
//   name        Unit::k<name>
//   text        the name in heed/target.h, plans and kernels
//   target      Target::k<target> is what it adds to
//   suffix      as that target's
//   cpu         what the CPU must offer (lib/kernels/cpu_bits.h)
//   needs       the same in words
//   flags       what it needs beyond the target, as Linux names it
//
// On which CPUs it is faster stands in lib/kernels/units.h.
#define HEED_UNITS(UNIT)                                         \
  UNIT(Avx512Bf16, "avx512_bf16", Avx512, AVX3, kAvx512Bf16Bits, \
       "AVX512_BF16, and what avx512 needs", "avx512_bf16")

// What Highway must not compile; to be included before hwy/foreach_target.h.
// SSSE3 adds nothing to SSE4; the fixed-length SVE targets are right on one
// vector length only.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE_256 | HWY_SVE2_128)

#endif  // HEED_LIB_KERNELS_TARGET_LIST_H_
