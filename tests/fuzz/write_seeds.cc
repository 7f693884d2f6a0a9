// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Writes the seeds as files for libFuzzer: write_seeds FOLDER.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/fuzz/safetensors_seeds.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: write_seeds FOLDER\n");
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  const std::vector<std::string> seeds = heed::test::SafetensorsSeeds();
  for (size_t i = 0; i < seeds.size(); ++i) {
    std::ofstream file(folder / ("seed_" + std::to_string(i)),
                       std::ios::binary);
    file << seeds[i];
    if (!file.flush()) return 1;
  }
  return 0;
}
