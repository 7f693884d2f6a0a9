// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a fuzzer runs, so that an ordinary test can run it too.
#ifndef HEED_TESTS_FUZZ_FUZZ_TARGET_H_
#define HEED_TESTS_FUZZ_FUZZ_TARGET_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace heed::test {

// Aborts unless the text may go to a terminal: not empty, short, and without
// control characters, whatever the input was.
inline void RequireSentence(std::string_view text) {
  if (text.empty() || text.size() > 1024) std::abort();
  for (const char c : text) {
    const unsigned char byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) std::abort();
  }
}

// Reads the bytes as a safetensors file. Aborts where the reader breaks its
// promises.
void FuzzSafetensors(const uint8_t* data, size_t size);

}  // namespace heed::test

#endif  // HEED_TESTS_FUZZ_FUZZ_TARGET_H_
