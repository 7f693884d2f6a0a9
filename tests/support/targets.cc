// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Asks the library and, independently, the operating system.
#include "tests/support/targets.h"

#include <set>
#include <string>
#include <vector>

#include "heed/target.h"

#if defined(__aarch64__)
#include <sys/auxv.h>
#else
#include <fstream>
#include <sstream>
#endif

namespace heed::test {
namespace {

#if defined(__aarch64__)

std::vector<std::string> VectorTargets() {
  // Bits of AT_HWCAP and AT_HWCAP2 in Linux's asm/hwcap.h.
  constexpr unsigned long kAsimd = 1ul << 1, kSve = 1ul << 22;
  constexpr unsigned long kSve2WithAes = 1ul << 1 | 1ul << 2;
  std::vector<std::string> targets;
  if (getauxval(AT_HWCAP) & kAsimd) targets.push_back("neon");
  if (getauxval(AT_HWCAP) & kSve) targets.push_back("sve");
  if ((getauxval(AT_HWCAP2) & kSve2WithAes) == kSve2WithAes) {
    targets.push_back("sve2");
  }
  return targets;
}

#else

std::set<std::string> CpuFlags() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("flags", 0) != 0) continue;
    std::istringstream words(line);
    std::set<std::string> flags;
    for (std::string word; words >> word;) flags.insert(word);
    return flags;
  }
  return {};
}

std::vector<std::string> VectorTargets() {
  const std::set<std::string> flags = CpuFlags();
  const auto has = [&flags](std::initializer_list<const char*> names) {
    for (const char* name : names) {
      if (flags.count(name) == 0) return false;
    }
    return true;
  };
  std::vector<std::string> targets;
  if (has({"ssse3", "sse4_1", "sse4_2", "pclmulqdq", "aes"})) {
    targets.push_back("sse4");
  }
  if (has({"avx2", "fma", "bmi1", "bmi2", "f16c", "abm"})) {
    targets.push_back("avx2");
    if (has({"avx512f", "avx512vl", "avx512dq", "avx512bw", "avx512cd"})) {
      targets.push_back("avx512");
    }
  }
  return targets;
}

#endif

}  // namespace

std::vector<std::string> UsableTargets() {
  std::vector<std::string> names;
  for (int i = 0; i < NumTargets(); ++i) {
    const TargetInfo target = GetTarget(i);
    if (target.usable) names.push_back(target.name);
  }
  return names;
}

bool HasSameBits(const std::string& target) {
  for (int i = 0; i < NumTargets(); ++i) {
    if (GetTarget(i).name == target) return GetTarget(i).same_bits;
  }
  return false;
}

std::vector<std::string> SameBitsTargets() {
  std::vector<std::string> names;
  for (const std::string& name : UsableTargets()) {
    if (HasSameBits(name)) names.push_back(name);
  }
  return names;
}

std::vector<std::string> ExpectedTargets() {
  std::vector<std::string> targets = VectorTargets();
  targets.push_back("plain");
  return targets;
}

}  // namespace heed::test
