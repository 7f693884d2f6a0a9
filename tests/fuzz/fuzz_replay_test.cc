// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The fuzzer's seeds and plain mutations of them, in every build: with a
// sanitizer or without, and by any compiler.
#include <gtest/gtest.h>

#include <string>

#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/safetensors_seeds.h"
#include "tests/support/quick.h"

namespace heed::test {
namespace {

void Replay(const std::string& bytes) {
  FuzzSafetensors(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

TEST(FuzzReplay, Seeds) {
  for (const std::string& seed : SafetensorsSeeds()) Replay(seed);
}

TEST(FuzzReplay, CutSeeds) {
  for (const std::string& seed : SafetensorsSeeds()) {
    for (size_t size = 0; size < seed.size(); ++size) {
      Replay(seed.substr(0, size));
    }
  }
}

TEST(FuzzReplay, SeedsWithOneByteChanged) {
  const size_t step = Quick() ? 7 : 1;
  for (const std::string& seed : SafetensorsSeeds()) {
    for (size_t i = 0; i < seed.size(); i += step) {
      for (const char byte : {'\0', '\xff', '"', '[', '{', '}', '9', '-'}) {
        std::string changed = seed;
        changed[i] = byte;
        Replay(changed);
      }
    }
  }
}

}  // namespace
}  // namespace heed::test
