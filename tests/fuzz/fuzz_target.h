// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a fuzzer runs and starts from, so that an ordinary test can run it too.
#ifndef HEED_TESTS_FUZZ_FUZZ_TARGET_H_
#define HEED_TESTS_FUZZ_FUZZ_TARGET_H_

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "lib/io/input_error.h"

namespace heed::test {

// A file <name>_fuzz.cc makes one, with static storage, and is listed by that:
// the build makes a fuzzer of each such file and replays all of them.
struct FuzzTarget {
  FuzzTarget(const char* target_name, void (*target_run)(std::string_view),
             std::vector<std::string> (*target_seeds)(),
             std::string_view target_marks);

  const char* name;
  void (*run)(std::string_view bytes);  // aborts where a promise is broken
  // Small inputs, right ones and some of each kind of wrong.
  std::vector<std::string> (*seeds)();
  // What a replay puts in the place of each byte of a seed.
  std::string_view marks;
};

// Returns the targets of this binary.
const std::vector<const FuzzTarget*>& FuzzTargets();

// Aborts unless it holds.
inline void Require(bool holds) {
  if (!holds) std::abort();
}

// Aborts unless the text may go to a terminal: not empty, short, and without
// control characters, whatever the input was.
void RequireSentence(std::string_view text);

// Runs a reader: it returns, or InputError says in a sentence why not.
template <typename Function>
void Try(const Function& function) {
  try {
    function();
  } catch (const io::InputError& error) {
    RequireSentence(error.what());
  }
}

}  // namespace heed::test

#endif  // HEED_TESTS_FUZZ_FUZZ_TARGET_H_
