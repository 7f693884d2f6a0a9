// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Writes each fuzzer's seeds as files for libFuzzer, in a folder by its name:
// write_seeds FOLDER.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_target.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: write_seeds FOLDER\n");
    return 2;
  }
  for (const heed::test::FuzzTarget* target : heed::test::FuzzTargets()) {
    const std::filesystem::path folder =
        std::filesystem::path(argv[1]) / target->name;
    std::filesystem::create_directories(folder);
    const std::vector<std::string> seeds = target->seeds();
    for (size_t i = 0; i < seeds.size(); ++i) {
      std::ofstream file(folder / ("seed_" + std::to_string(i)),
                         std::ios::binary);
      file << seeds[i];
      if (!file.flush()) return 1;
    }
  }
  return 0;
}
