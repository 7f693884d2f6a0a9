// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/kernels/targets.h"

#include <atomic>
#include <cstdint>
#include <cstring>

namespace heed::internal {
namespace {

constexpr uint32_t Bit(Target target) {
  return uint32_t{1} << static_cast<int>(target);
}
static_assert(kNumTargets <= 32);

uint32_t Detect() {
  const CpuBits offered = ReadCpuBits();
  uint32_t usable = 0;
  for (int i = 0; i < kNumTargets; ++i) {
    const Target target = static_cast<Target>(i);
    if (offered.HasAll(FactsOf(target).cpu)) usable |= Bit(target);
  }
  return usable;
}

}  // namespace

bool FindTarget(const char* name, Target* target) {
  for (int i = 0; i < kNumTargets; ++i) {
    *target = static_cast<Target>(i);
    if (std::strcmp(NameOf(*target), name) == 0) return true;
  }
  return false;
}

bool Usable(Target target) {
  // Racing threads detect the same. Never 0, as the plain target needs nothing.
  static std::atomic<uint32_t> cached{0};
  uint32_t usable = cached.load(std::memory_order_relaxed);
  if (usable == 0) {
    usable = Detect();
    cached.store(usable, std::memory_order_relaxed);
  }
  return (usable & Bit(target)) != 0;
}

}  // namespace heed::internal
