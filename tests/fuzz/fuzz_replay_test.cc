// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The fuzzers' seeds and plain mutations of them, in every build: with a
// sanitizer or without, and by any compiler.
#include <gtest/gtest.h>

#include <string>

#include "tests/fuzz/fuzz_target.h"
#include "tests/support/quick.h"

namespace heed::test {
namespace {

// Calls f(target, seed) for every seed of every fuzzer.
template <typename Function>
void ForEachSeed(Function f) {
  ASSERT_FALSE(FuzzTargets().empty());
  for (const FuzzTarget* target : FuzzTargets()) {
    for (const std::string& seed : target->seeds()) f(*target, seed);
  }
}

TEST(FuzzReplay, Seeds) {
  ForEachSeed([](const FuzzTarget& target, const std::string& seed) {
    target.run(seed);
  });
}

TEST(FuzzReplay, CutSeeds) {
  ForEachSeed([](const FuzzTarget& target, const std::string& seed) {
    for (size_t size = 0; size < seed.size(); ++size) {
      target.run(seed.substr(0, size));
    }
  });
}

TEST(FuzzReplay, SeedsWithOneByteChanged) {
  const size_t step = Quick() ? 7 : 1;
  ForEachSeed([step](const FuzzTarget& target, const std::string& seed) {
    for (size_t i = 0; i < seed.size(); i += step) {
      for (const char byte : target.marks) {
        std::string changed = seed;
        changed[i] = byte;
        target.run(changed);
      }
    }
  });
}

}  // namespace
}  // namespace heed::test
