// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Captures: which tensors of a file become which problem.
#include "lib/eval/tensor_source.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "lib/io/input_error.h"
#include "tests/support/safetensors_maker.h"
#include "tests/support/source_tree.h"
#include "tests/support/temporary_file.h"

namespace heed::test {
namespace {

using eval::CaptureOptions;
using eval::LoadCapture;
using eval::TensorSource;
using io::InputError;

TensorSource Load(const std::string& bytes,
                  const CaptureOptions& options = CaptureOptions()) {
  const TemporaryFolder folder;
  return LoadCapture(folder.Write("x.safetensors", bytes), options);
}

std::string Complaint(const std::string& bytes,
                      const CaptureOptions& options = CaptureOptions()) {
  try {
    Load(bytes, options);
    return "";
  } catch (const InputError& error) {
    return error.what();
  }
}

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Zeros of the given shapes.
std::string Zeros(const std::string& query, int query_size,
                  const std::string& key, int key_size,
                  const std::string& value, int value_size) {
  return SafetensorsMaker()
      .AddF32("query", query, std::vector<float>(query_size))
      .AddF32("key", key, std::vector<float>(key_size))
      .AddF32("value", value, std::vector<float>(value_size))
      .Bytes();
}

TEST(TensorSource, ReadsShapeAndParameters) {
  const TensorSource source = Load(SmallCapture());
  ASSERT_EQ(source.layers.size(), 1u);
  EXPECT_EQ(source.layers[0].name, "layer.3");
  const io::Problem& problem = source.layers[0].tensors.problem;
  EXPECT_EQ(FormatProblem(problem), "b1_h2_kv1_d2_q2_k2_f32_causal_scale0.5");
  EXPECT_EQ(source.layers[0].tensors.query.Dense(),
            (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(source.metadata.at("model"), "none");
}

TEST(TensorSource, ReadsTheOtherLayout) {
  CaptureOptions options;
  options.layout = eval::Layout::kBhsd;
  const std::string bytes = SafetensorsMaker()
                                .AddF32("q", "[2,3,1]", {1, 2, 3, 4, 5, 6})
                                .AddF32("k", "[2,3,1]", {1, 2, 3, 4, 5, 6})
                                .AddF32("v", "[2,3,1]", {1, 2, 3, 4, 5, 6})
                                .Bytes();
  const TensorSource source = Load(bytes, options);
  const eval::Tensors& tensors = source.layers[0].tensors;
  EXPECT_EQ(FormatProblem(tensors.problem), "b1_h2_d1_q3_k3_f32_causal");
  // Dense gives [seqlen][heads].
  EXPECT_EQ(tensors.query.Dense(), (std::vector<float>{1, 4, 2, 5, 3, 6}));
}

TEST(TensorSource, TakesTheFirstTokensAndChosenLayers) {
  SafetensorsMaker maker;
  for (const char* layer : {"10", "9", "2"}) {
    for (const char* part : {"query", "key", "value"}) {
      maker.AddF32(std::string("layer.") + layer + "." + part, "[3,1,1]",
                   {1, 2, 3});
    }
  }
  TensorSource source = Load(maker.Bytes());
  ASSERT_EQ(source.layers.size(), 3u);
  EXPECT_EQ(source.layers[0].name, "layer.2");  // by number, not by letter
  EXPECT_EQ(source.layers[2].name, "layer.10");
  CaptureOptions options;
  options.layers = {{9, 9}};
  options.tokens = 2;
  options.params.causal = false;
  source = Load(maker.Bytes(), options);
  ASSERT_EQ(source.layers.size(), 1u);
  EXPECT_EQ(FormatProblem(source.layers[0].tensors.problem),
            "b1_h1_d1_q2_k2_f32");
  EXPECT_EQ(source.layers[0].tensors.value.Dense(), (std::vector<float>{1, 2}));
  options.layers = {{3, 3}};
  EXPECT_TRUE(Has(Complaint(maker.Bytes(), options),
                  "has no layer 3; it has 2, 9, 10"));
}

TEST(TensorSource, RefusesShapesThatDoNotFit) {
  EXPECT_TRUE(Has(Complaint(Zeros("[2,4]", 8, "[2,1,4]", 8, "[2,1,4]", 8)),
                  "3 or 4 extents are needed"));
  EXPECT_TRUE(Has(Complaint(Zeros("[2,1,4]", 8, "[2,1,3]", 6, "[2,1,4]", 8)),
                  "query and key differ in head_dim"));
  EXPECT_TRUE(Has(Complaint(Zeros("[2,1,4]", 8, "[2,1,4]", 8, "[3,1,4]", 12)),
                  "key and value differ in seqlen"));
  EXPECT_TRUE(Has(Complaint(Zeros("[2,3,2]", 12, "[2,2,2]", 8, "[2,2,2]", 8)),
                  "not a multiple"));
  EXPECT_TRUE(Has(Complaint(Zeros("[2,2,1,2]", 8, "[2,1,2]", 4, "[2,1,2]", 4)),
                  "batch"));
  EXPECT_TRUE(Has(Complaint(Zeros("[0,1,2]", 0, "[2,1,2]", 4, "[2,1,2]", 4)),
                  "is empty"));
}

// Long queries and wide values fit a small file; their product, the output,
// would not fit the memory.
TEST(TensorSource, RefusesWideHeadsBeforeItMakesTheOutput) {
  EXPECT_TRUE(Has(Complaint(Zeros("[100000,1,1]", 100000, "[1,1,1]", 1,
                                  "[1,1,100000]", 100000)),
                  "head_dim is at most 1024"));
}

TEST(TensorSource, RefusesMissingAndAmbiguousTensors) {
  EXPECT_TRUE(Has(Complaint(SafetensorsMaker().AddF32("x", "[1]", {1}).Bytes()),
                  "has no tensors named query, key and value"));
  EXPECT_TRUE(Has(
      Complaint(SafetensorsMaker().AddF32("a.query", "[1,1,1]", {1}).Bytes()),
      "has no tensor 'a.key'"));
  EXPECT_TRUE(Has(Complaint(SafetensorsMaker()
                                .AddF32("query", "[1,1,1]", {1})
                                .AddF32("q", "[1,1,1]", {1})
                                .Bytes()),
                  "has both"));
}

TEST(TensorSource, RefusesBadValuesAndMetadata) {
  const auto with = [](const std::string& metadata, float value) {
    return SafetensorsMaker()
        .Metadata(metadata)
        .AddF32("query", "[1,1,1]", {value})
        .AddF32("key", "[1,1,1]", {1})
        .AddF32("value", "[1,1,1]", {1})
        .Bytes();
  };
  EXPECT_EQ(Complaint(with("{}", 1)), "");
  EXPECT_TRUE(Has(Complaint(with("{}", NAN)), "NaN or infinite"));
  EXPECT_TRUE(Has(Complaint(with("{}", INFINITY)), "NaN or infinite"));
  EXPECT_TRUE(Has(Complaint(with(R"({"causal":"maybe"})", 1)),
                  "true or false is needed"));
  EXPECT_TRUE(Has(Complaint(with(R"({"softmax_scale":"1x"})", 1)),
                  "a finite number is needed"));
  EXPECT_TRUE(Has(Complaint(with(R"({"softmax_scale":"inf"})", 1)),
                  "a finite number is needed"));
  EXPECT_TRUE(Has(Complaint(with(R"({"softcap":""})", 1)),
                  "a finite number is needed"));
  for (const char* key : {"window_left", "window_right", "sink_size"}) {
    EXPECT_TRUE(
        Has(Complaint(with(std::string("{\"") + key + "\":\"1.5\"}", 1)),
            std::string(key) + " = '1.5'; a whole number is needed"));
  }
}

// Whatever the file says was computed is computed, unless options say else.
TEST(TensorSource, TakesParametersFromMetadataAndOptions) {
  const auto problem = [](const std::string& metadata,
                          const CaptureOptions& options) {
    const TensorSource source = Load(SafetensorsMaker()
                                         .Metadata(metadata)
                                         .AddF32("q", "[1,1,1]", {1})
                                         .AddF32("k", "[1,1,1]", {1})
                                         .AddF32("v", "[1,1,1]", {1})
                                         .Bytes(),
                                     options);
    return FormatProblem(source.layers[0].tensors.problem);
  };
  const std::string all =
      R"({"causal":"false","softcap":"30","window_left":"7",)"
      R"("window_right":"0","sink_size":"2","softmax_scale":"0.25"})";
  CaptureOptions options;
  EXPECT_EQ(problem("{}", options), "b1_h1_d1_q1_k1_f32_causal");
  EXPECT_EQ(problem(all, options),
            "b1_h1_d1_q1_k1_f32_wl7_wr0_sink2_cap30_scale0.25");
  options.params.causal = true;
  options.params.softcap = 0;
  options.params.window_left = -1;
  options.params.window_right = -1;
  options.params.sink_size = 0;
  options.params.softmax_scale = 2;
  EXPECT_EQ(problem(all, options), "b1_h1_d1_q1_k1_f32_causal_scale2");
}

TEST(TensorSource, TakesAnyPrefixThatEnds) {
  for (const char* prefix : {"", "attn_", "a.b.", "x/y/", "layer-3-", "."}) {
    SafetensorsMaker maker;
    for (const char* part : {"query", "key", "value"}) {
      maker.AddF32(prefix + std::string(part), "[1,1,1]", {1});
    }
    maker.AddF32("monkey", "[1]", {1});  // no key
    const std::string name = Load(maker.Bytes()).layers.at(0).name;
    const std::string text = prefix;
    EXPECT_EQ(name,
              text.size() < 2 ? "attention" : text.substr(0, text.size() - 1));
  }
}

TEST(TensorSource, TakesRangesOfLayersAndHeads) {
  SafetensorsMaker maker;
  for (const char* layer : {"2", "5", "9"}) {
    for (const char* part : {"query", "key", "value"}) {
      maker.AddF32(std::string("layer.") + layer + "." + part, "[1,2,1]",
                   {1, 2});
    }
  }
  CaptureOptions options;
  options.layers = {{3, 8}, {9, 9}};
  options.heads = {{1, 1}};
  const TensorSource source = Load(maker.Bytes(), options);
  ASSERT_EQ(source.layers.size(), 2u);
  EXPECT_EQ(source.layers[0].name, "layer.5");
  EXPECT_EQ(source.layers[1].tensors.query.Dense(), std::vector<float>{2});
  options.layers = {{6, 8}};
  EXPECT_TRUE(Has(Complaint(maker.Bytes(), options), "has no layer 6-8"));
  options.layers = {};
  options.heads = {{1, 2}};
  EXPECT_TRUE(Has(Complaint(maker.Bytes(), options), "has heads 0-1, not 1-2"));
}

TEST(TensorSource, MakesSyntheticProblems) {
  EXPECT_EQ(eval::MakeSynthetic("h2_d4_q8", {}).name, "b1_h2_d4_q8_k8_f32");
  for (const char* bad : {"", "x", "h2_d4", "h2_d4_q8_bf16", "h2_d4_q8_kvi8",
                          "h2_d4_q8_rot", "h99999_d9999_q9999999"}) {
    EXPECT_THROW(eval::MakeSynthetic(bad, {}), InputError) << bad;
  }
}

TEST(TensorSource, ReadsTheBuiltInSample) {
  CaptureOptions options;
  options.tokens = 16;
  const TensorSource source = LoadCapture(
      SourcePath("data/smollm2_135m_moby_dick.safetensors"), options);
  ASSERT_EQ(source.layers.size(), 4u);
  EXPECT_EQ(source.layers[0].name, "layer.2");
  EXPECT_EQ(FormatProblem(source.layers[3].tensors.problem),
            "b1_h9_kv3_d64_q16_k16_f32_causal_scale0.125");
}

}  // namespace
}  // namespace heed::test
