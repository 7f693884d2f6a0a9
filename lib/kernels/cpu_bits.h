// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What the CPU and the operating system offer, as the words in which they say
// it, and what of it each target needs.
#ifndef HEED_LIB_KERNELS_CPU_BITS_H_
#define HEED_LIB_KERNELS_CPU_BITS_H_

#include <cstdint>

namespace heed::internal {

// Words of another architecture are 0.
struct CpuBits {
  // x86: cpuid's leaves, and the register states that the operating system
  // saves and restores.
  uint32_t leaf1_ecx = 0;
  uint32_t leaf7_ebx = 0;
  uint32_t leaf7_1_eax = 0;   // leaf 7, subleaf 1
  uint32_t extended_ecx = 0;  // leaf 0x80000001
  uint64_t xcr0 = 0;
  // Arm on Linux: AT_HWCAP and AT_HWCAP2.
  uint64_t hwcap = 0;
  uint64_t hwcap2 = 0;

  constexpr bool HasAll(const CpuBits& wanted) const {
    return (leaf1_ecx & wanted.leaf1_ecx) == wanted.leaf1_ecx &&
           (leaf7_ebx & wanted.leaf7_ebx) == wanted.leaf7_ebx &&
           (leaf7_1_eax & wanted.leaf7_1_eax) == wanted.leaf7_1_eax &&
           (extended_ecx & wanted.extended_ecx) == wanted.extended_ecx &&
           (xcr0 & wanted.xcr0) == wanted.xcr0 &&
           (hwcap & wanted.hwcap) == wanted.hwcap &&
           (hwcap2 & wanted.hwcap2) == wanted.hwcap2;
  }
};

constexpr CpuBits operator|(const CpuBits& a, const CpuBits& b) {
  return {a.leaf1_ecx | b.leaf1_ecx,
          a.leaf7_ebx | b.leaf7_ebx,
          a.leaf7_1_eax | b.leaf7_1_eax,
          a.extended_ecx | b.extended_ecx,
          a.xcr0 | b.xcr0,
          a.hwcap | b.hwcap,
          a.hwcap2 | b.hwcap2};
}

// The word with these bits set.
template <class... Ints>
constexpr uint32_t Bits(Ints... bits) {
  return ((uint32_t{1} << bits) | ...);
}

// PCLMUL, SSSE3, SSE4.1, SSE4.2, AES: what the SSE4 code may use.
inline constexpr CpuBits kSse4Bits = {.leaf1_ecx = Bits(1, 9, 19, 20, 25)};

// FMA, OSXSAVE, AVX, F16C; BMI1, AVX2, BMI2; LZCNT; the states of SSE and AVX.
inline constexpr CpuBits kAvx2Bits =
    kSse4Bits | CpuBits{.leaf1_ecx = Bits(12, 27, 28, 29),
                        .leaf7_ebx = Bits(3, 5, 8),
                        .extended_ecx = Bits(5),
                        .xcr0 = Bits(1, 2)};

// AVX-512 F, DQ, CD, BW, VL; the states of the masks and the upper registers.
inline constexpr CpuBits kAvx512Bits =
    kAvx2Bits |
    CpuBits{.leaf7_ebx = Bits(16, 17, 28, 30, 31), .xcr0 = Bits(5, 6, 7)};

// AVX512_BF16.
inline constexpr CpuBits kAvx512Bf16Bits =
    kAvx512Bits | CpuBits{.leaf7_1_eax = Bits(5)};

inline constexpr CpuBits kNeonBits = {.hwcap = Bits(1)};
inline constexpr CpuBits kSveBits = {.hwcap = Bits(22)};

// SVE2 and SVE2-AES, which the compiler was allowed to use.
inline constexpr CpuBits kSve2Bits = kSveBits | CpuBits{.hwcap2 = Bits(1, 2)};

// Who made the CPU, and which generation it is of.
struct CpuModel {
  // x86: cpuid's words of the vendor's name, as its leaf 0 gives them (ebx,
  // edx, ecx), and its family, extended included.
  uint32_t vendor[3] = {};
  uint32_t family = 0;

  constexpr bool IsOf(const uint32_t (&maker)[3]) const {
    return vendor[0] == maker[0] && vendor[1] == maker[1] &&
           vendor[2] == maker[2];
  }
};

// "AuthenticAMD".
inline constexpr uint32_t kAmd[3] = {0x68747541, 0x69746e65, 0x444d4163};

// "GenuineIntel".
inline constexpr uint32_t kIntel[3] = {0x756e6547, 0x49656e69, 0x6c65746e};

// Ask the CPU and the operating system.
CpuBits ReadCpuBits();
CpuModel ReadCpuModel();

}  // namespace heed::internal

#endif  // HEED_LIB_KERNELS_CPU_BITS_H_
