// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The hash of an input: of its numbers, not of where they stand.
#include "lib/eval/input_hash.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "lib/eval/cut_layer.h"

namespace heed::test {
namespace {

using eval::HashInputs;
using eval::MakeTensors;

io::Problem Parse(const std::string& text) {
  io::Problem problem;
  EXPECT_EQ(io::ParseProblem(text, &problem), "");
  return problem;
}

TEST(InputHash, IsOfTheNumbersAlone) {
  for (const char* text : {"b2_h2_kv1_d5_q3_k4_f32", "b1_h2_d8_q3_bf16"}) {
    eval::WorkloadOptions options;
    const uint64_t hash = HashInputs(MakeTensors(Parse(text), options));
    for (const eval::Layout layout :
         {eval::Layout::kBhsd, eval::Layout::kPacked, eval::Layout::kPadded}) {
      options.layout = layout;
      EXPECT_EQ(HashInputs(MakeTensors(Parse(text), options)), hash);
    }
    options.seed = 2;
    EXPECT_NE(HashInputs(MakeTensors(Parse(text), options)), hash);
  }
}

// Every bit of every element counts.
TEST(InputHash, SeesOneElement) {
  const eval::Tensors tensors = MakeTensors(Parse("b1_h2_d3_q2"), {});
  std::set<uint64_t> hashes = {HashInputs(tensors)};
  size_t changes = 1;
  for (const eval::Tensor* tensor :
       {&tensors.query, &tensors.key, &tensors.value}) {
    for (int64_t s = 0; s < 2; ++s) {
      for (int64_t c = 0; c < 3; ++c) {
        float* element = tensor->At(0, s, 1, c);
        const float before = *element;
        *element = before * (1 + 1.2e-7f);
        ASSERT_NE(*element, before);
        hashes.insert(HashInputs(tensors));
        *element = before;
        ++changes;
      }
    }
  }
  EXPECT_EQ(hashes.size(), changes);
  // Not of what is written.
  tensors.ClearOutput();
  EXPECT_EQ(hashes.count(HashInputs(tensors)), 1u);
}

TEST(InputHash, IdentifiesLayersAndTheirCalls) {
  eval::TensorSource source = eval::MakeSynthetic("b1_h1_d4_q6_f32_causal", {});
  const auto whole = eval::IdentifyLayers(source);
  ASSERT_EQ(whole.size(), 1u);
  EXPECT_EQ(whole[0].name, source.layers[0].name);
  EXPECT_EQ(whole[0].problem, "b1_h1_d4_q6_k6_f32_causal");
  EXPECT_EQ(whole[0].hash.size(), 16u);
  eval::DecodeLast(3, &source);
  ASSERT_EQ(source.layers.size(), 3u);
  const auto decoded = eval::IdentifyLayers(source);
  ASSERT_EQ(decoded.size(), 1u);
  EXPECT_EQ(decoded[0].problem,
            io::FormatProblem(source.layers[2].tensors.problem));
  EXPECT_NE(decoded[0].hash, whole[0].hash);
  *source.layers[1].tensors.value.At(0, 0, 0, 0) += 1;
  EXPECT_NE(eval::IdentifyLayers(source)[0].hash, decoded[0].hash);
}

}  // namespace
}  // namespace heed::test
