// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Small inputs that the fuzzer starts from, and that every build replays.
#ifndef HEED_TESTS_FUZZ_SAFETENSORS_SEEDS_H_
#define HEED_TESTS_FUZZ_SAFETENSORS_SEEDS_H_

#include <string>
#include <vector>

namespace heed::test {

// Files and bare headers, right ones and some of each kind of wrong.
std::vector<std::string> SafetensorsSeeds();

}  // namespace heed::test

#endif  // HEED_TESTS_FUZZ_SAFETENSORS_SEEDS_H_
