// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The register in which a host may ask the CPU to flush denormals.
#ifndef HEED_TESTS_SUPPORT_FLOAT_CONTROL_H_
#define HEED_TESTS_SUPPORT_FLOAT_CONTROL_H_

#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace heed::test {

#if defined(__x86_64__)
constexpr uint64_t kFlushDenormals = 0x8040;  // MXCSR: FTZ and DAZ
inline uint64_t FloatingPointControl() { return _mm_getcsr(); }
inline void SetFloatingPointControl(uint64_t value) {
  _mm_setcsr(static_cast<unsigned>(value));
}
#elif defined(__aarch64__)
constexpr uint64_t kFlushDenormals = uint64_t{1} << 24;  // FPCR: FZ
inline uint64_t FloatingPointControl() {
  uint64_t value;
  asm volatile("mrs %0, fpcr" : "=r"(value));
  return value;
}
inline void SetFloatingPointControl(uint64_t value) {
  asm volatile("msr fpcr, %0" : : "r"(value));
}
#endif

}  // namespace heed::test

#endif  // HEED_TESTS_SUPPORT_FLOAT_CONTROL_H_
