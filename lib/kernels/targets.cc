// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// CPU detection. Our own: Highway's needs its shared library, prints and holds
// process-wide state.
#include "lib/kernels/targets.h"

#include <atomic>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace heed::internal {
namespace {

constexpr uint32_t Bit(Target target) {
  return uint32_t{1} << static_cast<int>(target);
}

#if defined(__x86_64__) || defined(__i386__)

// Bits of control register 0 that the operating system saves and restores.
uint64_t SavedState() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

constexpr bool HasAll(uint64_t bits, uint64_t wanted) {
  return (bits & wanted) == wanted;
}

uint32_t Detect() {
  uint32_t usable = Bit(Target::kPlain);
  uint32_t eax, ebx, ecx, edx;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return usable;
  const uint32_t leaf1 = ecx;
  // SSSE3, SSE4.1, SSE4.2, PCLMUL, AES: what the SSE4 code may use.
  const uint32_t sse4 = 1u << 9 | 1u << 19 | 1u << 20 | 1u << 1 | 1u << 25;
  if (!HasAll(leaf1, sse4)) return usable;
  usable |= Bit(Target::kSse4);
  // OSXSAVE, AVX, FMA, F16C; then the states of SSE and AVX.
  if (!HasAll(leaf1, 1u << 27 | 1u << 28 | 1u << 12 | 1u << 29)) return usable;
  const uint64_t saved = SavedState();
  if (!HasAll(saved, 0x6)) return usable;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return usable;
  const uint32_t leaf7 = ebx;
  uint32_t lzcnt = 0;
  if (__get_cpuid(0x80000001u, &eax, &ebx, &ecx, &edx)) lzcnt = ecx >> 5 & 1;
  // BMI1, AVX2, BMI2.
  if (!HasAll(leaf7, 1u << 3 | 1u << 5 | 1u << 8) || !lzcnt) return usable;
  usable |= Bit(Target::kAvx2);
  // AVX-512 F, DQ, CD, BW, VL; the states of the masks and the upper registers.
  if (HasAll(leaf7, 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31) &&
      HasAll(saved, 0xe6)) {
    usable |= Bit(Target::kAvx512);
  }
  return usable;
}

#elif defined(__aarch64__) && defined(__linux__)

uint32_t Detect() {
  uint32_t usable = Bit(Target::kPlain);
  const unsigned long capabilities = getauxval(AT_HWCAP);
  const unsigned long capabilities2 = getauxval(AT_HWCAP2);
  if (capabilities >> 1 & 1) usable |= Bit(Target::kNeon);
  if (capabilities >> 22 & 1) {
    usable |= Bit(Target::kSve);
    // SVE2 and SVE2-AES, which the compiler was allowed to use.
    if ((capabilities2 & 0x6) == 0x6) usable |= Bit(Target::kSve2);
  }
  return usable;
}

#else

uint32_t Detect() { return Bit(Target::kPlain); }

#endif

}  // namespace

const char* NameOf(Target target) {
  switch (target) {
    case Target::kAvx512:
      return "avx512";
    case Target::kAvx2:
      return "avx2";
    case Target::kSse4:
      return "sse4";
    case Target::kSve2:
      return "sve2";
    case Target::kSve:
      return "sve";
    case Target::kNeon:
      return "neon";
    case Target::kPlain:
      return "plain";
  }
  return nullptr;
}

bool FindTarget(const char* name, Target* target) {
  for (int i = 0; i < kNumTargets; ++i) {
    *target = static_cast<Target>(i);
    if (std::strcmp(NameOf(*target), name) == 0) return true;
  }
  return false;
}

const char* RequirementsOf(Target target) {
  switch (target) {
    case Target::kAvx512:
      return "AVX-512 F, VL, DQ, CD, BW, and what avx2 needs";
    case Target::kAvx2:
      return "AVX2, FMA, F16C, BMI, BMI2, LZCNT, and what sse4 needs";
    case Target::kSse4:
      return "SSSE3, SSE4.1, SSE4.2, PCLMUL, AES";
    case Target::kSve2:
      return "SVE2, SVE2-AES";
    case Target::kSve:
      return "SVE";
    case Target::kNeon:
      return "Advanced SIMD";
    case Target::kPlain:
      return "nothing";
  }
  return nullptr;
}

const AttentionTable* TableOf(Target target) {
  return target == Target::kPlain ? &kPlainTable : HighwayTable(target);
}

const AttentionTable* FindAttentionTable(const char* target) {
  Target found;
  if (!FindTarget(target, &found) || !Usable(found)) return nullptr;
  return TableOf(found);
}

bool Compiled(Target target) { return TableOf(target) != nullptr; }

bool Usable(Target target) {
  // Racing threads detect the same.
  static std::atomic<uint32_t> cached{0};
  uint32_t usable = cached.load(std::memory_order_relaxed);
  if (usable == 0) {
    usable = Detect();
    cached.store(usable, std::memory_order_relaxed);
  }
  return (usable & Bit(target)) != 0;
}

Target BestTarget() {
  for (int i = 0; i < kNumTargets; ++i) {
    const Target target = static_cast<Target>(i);
    if (!Compiled(target) || !Usable(target)) continue;
    const bool scalable = target == Target::kSve2 || target == Target::kSve;
    if (scalable && TableOf(target)->attend.lanes() <= 4 && Compiled(Target::kNeon)) {
      continue;
    }
    return target;
  }
  return Target::kPlain;
}

}  // namespace heed::internal
