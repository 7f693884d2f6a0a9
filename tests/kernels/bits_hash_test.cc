// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// One list of hashes for every table with FMA on every CPU, native or emulated:
// what proves that a result here is the result elsewhere.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "lib/oracle/oracle.h"
#include "tests/support/compare.h"
#include "tests/support/run.h"
#include "tests/support/source_tree.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

constexpr char kList[] = "tests/kernels/bits_hashes.txt";

struct Line {
  std::string text;  // whole, for comments
  std::string problem, fill;
  uint64_t hash = 0;
  bool comment() const { return problem.empty(); }
};

std::vector<Line> ReadList() {
  std::vector<Line> lines;
  std::ifstream file(SourcePath(kList));
  for (std::string text; std::getline(file, text);) {
    Line line;
    line.text = text;
    if (!text.empty() && text[0] != '#') {
      std::istringstream words(text);
      words >> line.problem >> line.fill >> std::hex >> line.hash;
    }
    lines.push_back(line);
  }
  return lines;
}

eval::Tensors TensorsOf(const Line& line) {
  const struct {
    const char* name;
    eval::Fill fill;
  } fills[] = {
      {"normal", eval::Fill::kNormal},   {"integer", eval::Fill::kInteger},
      {"spread", eval::Fill::kSpread},   {"onehot", eval::Fill::kOneHot},
      {"growing", eval::Fill::kGrowing}, {"equal", eval::Fill::kEqual}};
  eval::WorkloadOptions options;
  bool known = false;
  for (const auto& fill : fills) {
    if (line.fill != fill.name) continue;
    options.fill = fill.fill;
    known = true;
  }
  EXPECT_TRUE(known) << "unknown fill in: " << line.text;
  return eval::MakeTensors(ProblemOf(line.problem), options);
}

// FNV-1a, 64 bits, over the canonical bits, low byte first.
uint64_t HashOf(const eval::Tensors& tensors) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const eval::Tensor* tensor : {&tensors.out, &tensors.lse}) {
    for (const float value : tensor->Dense()) {
      uint32_t bits = CanonicalBits(value);
      for (int byte = 0; byte < 4; ++byte, bits >>= 8) {
        hash = (hash ^ (bits & 0xff)) * 0x100000001b3u;
      }
    }
  }
  return hash;
}

uint64_t HashByThePage(const Line& line) {
  const eval::Tensors tensors = TensorsOf(line);
  oracle::AttentionBits(tensors.problem.params, tensors.Args());
  return HashOf(tensors);
}

TEST(BitsHashPage, ThePageGivesTheList) {
  int problems = 0;
  for (const Line& line : ReadList()) {
    if (line.comment()) continue;
    ++problems;
    EXPECT_EQ(HashByThePage(line), line.hash) << line.text;
  }
  EXPECT_GE(problems, 20);
}

class BitsHash : public OnEveryTarget {};

TEST_P(BitsHash, TheTableGivesTheList) {
  for (const Line& line : ReadList()) {
    if (line.comment()) continue;
    const eval::Tensors tensors = TensorsOf(line);
    const Status status =
        RunOn(RunConfig{GetParam()}, tensors.problem.params, tensors.Args());
    ASSERT_TRUE(status.ok()) << ToString(status);
    EXPECT_EQ(HashOf(tensors), line.hash) << line.text;
  }
}

INSTANTIATE_TEST_SUITE_P(Target, BitsHash,
                         ::testing::ValuesIn(SameBitsTargets()),
                         [](const auto& param) { return param.param; });

// Writes the list again by the page that defines the bits.
int Update() {
  std::ostringstream list;
  for (const Line& line : ReadList()) {
    if (line.comment()) {
      list << line.text << "\n";
      continue;
    }
    char hash[17];
    std::snprintf(hash, sizeof(hash), "%016llx",
                  static_cast<unsigned long long>(HashByThePage(line)));
    list << line.problem << " " << line.fill << " " << hash << "\n";
  }
  std::ofstream file(SourcePath(kList));
  file << list.str();
  file.close();
  return file.good() ? 0 : 1;
}

}  // namespace
}  // namespace heed::test

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (argc == 2 && std::strcmp(argv[1], "--update") == 0) {
    return heed::test::Update();
  }
  return RUN_ALL_TESTS();
}
