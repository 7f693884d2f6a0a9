// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Asks the library and, independently, the operating system.
#include "tests/support/targets.h"

#include <cstdlib>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "heed/target.h"
#include "lib/kernels/target_list.h"

#if defined(__aarch64__)
#include <sys/auxv.h>
#else
#include <fstream>
#endif

namespace heed::test {
namespace {

std::set<std::string> WordsOf(const std::string& line) {
  std::istringstream text(line);
  std::set<std::string> words;
  for (std::string word; text >> word;) words.insert(word);
  return words;
}

// What the operating system says the CPU has, in its own words.
#if defined(__aarch64__)

// /proc/cpuinfo is the host's under an emulator.
std::set<std::string> CpuFlags() {
  // Bits of AT_HWCAP and AT_HWCAP2 in Linux's asm/hwcap.h.
  const struct {
    const char* name;
    unsigned long word, bit;
  } kFlags[] = {{"asimd", AT_HWCAP, 1},
                {"sve", AT_HWCAP, 22},
                {"sve2", AT_HWCAP2, 1},
                {"sveaes", AT_HWCAP2, 2}};
  std::set<std::string> flags;
  for (const auto& flag : kFlags) {
    if (getauxval(flag.word) >> flag.bit & 1) flags.insert(flag.name);
  }
  return flags;
}

#else

std::set<std::string> CpuFlags() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("flags", 0) == 0) return WordsOf(line);
  }
  return {};
}

#endif

}  // namespace

std::vector<std::string> OfferedTargets() {
  std::vector<std::string> names;
  for (int i = 0; i < NumTargets(); ++i) {
    const TargetInfo target = GetTarget(i);
    if (target.usable) names.push_back(target.name);
  }
  return names;
}

std::vector<std::string> UsableTargets() {
  const std::vector<std::string> offered = OfferedTargets();
  const char* const text = std::getenv("HEED_TARGETS");
  const std::set<std::string> asked = WordsOf(text == nullptr ? "" : text);
  std::vector<std::string> names;
  for (const std::string& name : offered) {
    if (asked.count(name) != 0) names.push_back(name);
  }
  return names.empty() ? offered : names;
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
  const std::set<std::string> offered = CpuFlags();
  std::vector<std::string> targets;
  const auto add = [&](const char* target, const char* flags) {
    for (const std::string& flag : WordsOf(flags)) {
      if (offered.count(flag) == 0) return;
    }
    targets.push_back(target);
  };
#define HEED_HIGHWAY(name, text, suffix, same_bits, rows, vectors, lanes,  \
                     matmul_rows, matmul_vectors, decode_rows, cpu, needs, \
                     flags)                                                \
  add(text, flags);
#define HEED_PORTABLE(name, text, ...) add(text, "");
  HEED_TARGETS(HEED_HIGHWAY, HEED_PORTABLE)
#undef HEED_HIGHWAY
#undef HEED_PORTABLE
  return targets;
}

}  // namespace heed::test
