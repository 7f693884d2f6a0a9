// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// CPU detection. Our own: Highway's needs its shared library, prints and holds
// process-wide state.
#include "lib/kernels/cpu_bits.h"

#include <cstdint>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace heed::internal {

#if defined(__x86_64__) || defined(__i386__)

namespace {

// Only where OSXSAVE is set.
uint64_t ReadXcr0() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

}  // namespace

CpuBits ReadCpuBits() {
  CpuBits bits;
  uint32_t eax, ebx, ecx, edx;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx)) bits.leaf1_ecx = ecx;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
    bits.leaf7_ebx = ebx;
    // The largest subleaf; one beyond it is not asked for.
    if (eax >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx)) {
      bits.leaf7_1_eax = eax;
    }
  }
  if (__get_cpuid(0x80000001u, &eax, &ebx, &ecx, &edx)) bits.extended_ecx = ecx;
  if (bits.HasAll({.leaf1_ecx = Bits(27)})) bits.xcr0 = ReadXcr0();
  return bits;
}

CpuModel ReadCpuModel() {
  CpuModel model;
  uint32_t eax, ebx, ecx, edx;
  if (!__get_cpuid(0, &eax, &ebx, &ecx, &edx)) return model;
  model.vendor[0] = ebx;
  model.vendor[1] = edx;
  model.vendor[2] = ecx;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return model;
  const uint32_t family = eax >> 8 & 0xf;
  model.family = family == 0xf ? family + (eax >> 20 & 0xff) : family;
  return model;
}

#elif defined(__aarch64__) && defined(__linux__)

CpuBits ReadCpuBits() {
  return {.hwcap = getauxval(AT_HWCAP), .hwcap2 = getauxval(AT_HWCAP2)};
}

CpuModel ReadCpuModel() { return {}; }

#else

CpuBits ReadCpuBits() { return {}; }
CpuModel ReadCpuModel() { return {}; }

#endif

}  // namespace heed::internal
