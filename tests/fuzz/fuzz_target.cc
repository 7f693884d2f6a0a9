// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/fuzz/fuzz_target.h"

namespace heed::test {
namespace {

std::vector<const FuzzTarget*>& List() {
  static std::vector<const FuzzTarget*> targets;
  return targets;
}

}  // namespace

FuzzTarget::FuzzTarget(const char* target_name,
                       void (*target_run)(std::string_view),
                       std::vector<std::string> (*target_seeds)(),
                       std::string_view target_marks)
    : name(target_name),
      run(target_run),
      seeds(target_seeds),
      marks(target_marks) {
  List().push_back(this);
}

const std::vector<const FuzzTarget*>& FuzzTargets() { return List(); }

void RequireSentence(std::string_view text) {
  Require(!text.empty() && text.size() <= 1024);
  for (const char c : text) {
    const unsigned char byte = static_cast<unsigned char>(c);
    Require(byte >= 0x20 && byte != 0x7f);
  }
}

}  // namespace heed::test
