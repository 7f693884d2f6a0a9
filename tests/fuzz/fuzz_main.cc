// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// libFuzzer's door to the one target that is linked with it.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  heed::test::FuzzTargets().front()->run(
      {reinterpret_cast<const char*>(data), size});
  return 0;
}
