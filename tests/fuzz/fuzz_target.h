// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a fuzzer runs, so that an ordinary test can run it too.
#ifndef HEED_TESTS_FUZZ_FUZZ_TARGET_H_
#define HEED_TESTS_FUZZ_FUZZ_TARGET_H_

#include <cstddef>
#include <cstdint>

namespace heed::test {

// Reads the bytes as a safetensors file. Aborts where the reader breaks its
// promises.
void FuzzSafetensors(const uint8_t* data, size_t size);

}  // namespace heed::test

#endif  // HEED_TESTS_FUZZ_FUZZ_TARGET_H_
