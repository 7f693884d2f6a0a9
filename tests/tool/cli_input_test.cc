// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The command line and the files it reads, right ones and hostile ones.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>

#include "tests/support/safetensors_maker.h"
#include "tests/support/temporary_file.h"
#include "tests/tool/tool_run.h"

namespace heed::test {
namespace {

TEST(CliInput, ReadsACapture) {
  const TemporaryFolder folder;
  folder.Write("in", SmallCapture());
  const ToolRun run =
      RunTool(folder, "compare -q --input in exact naive --csv -");
  EXPECT_EQ(run.exit_code, 0) << run.error;
  EXPECT_TRUE(Has(run.out,
                  "\nnaive,naive,,layer.3,,"
                  "b1_h2_kv1_d2_q2_k2_f32_causal_scale0.5,ok,"));
}

TEST(CliInput, RefusesBadCaptures) {
  const TemporaryFolder inputs;
  const std::string whole = SmallCapture();
  const auto refuse = [&inputs](const std::string& bytes,
                                const std::string& part) {
    const std::string path = inputs.Write("in", bytes);
    ExpectBadInput(
        "compare -q --html x.html --json x.json --input '" + path + "'", part);
  };
  refuse("", "is not a safetensors file");
  refuse("PK\x03\x04 something else", "is not a safetensors file");
  refuse(whole.substr(0, whole.size() - 1), "is cut short");
  refuse(whole.substr(0, 40), "is cut short");
  refuse(SafetensorsBytes("{\"a\":1}", ""), "where the format has none");
  refuse(SafetensorsMaker().AddF32("x", "[1]", {1}).Bytes(),
         "has no tensors named query, key and value");
  ExpectBadInput("compare --html x.html --input /nowhere/x.safetensors",
                 "cannot open '/nowhere/x.safetensors': No such file");
  ExpectBadInput("compare --input .", "is a directory");
  inputs.Write("in", whole);
  ExpectBadInput("compare --layers 7 --input '" + inputs.Path("in") + "'",
                 "has no layer 7; it has 3");
}

TEST(CliInput, RefusesVariantsWithoutACausalForm) {
  ExpectBadInput(
      "compare exact nystromformer --problem b1_h1_d8_q16_f32_causal",
      "nystromformer has no causal form, and the input is causal");
  const TemporaryFolder folder;
  const ToolRun run = RunTool(folder,
                              "compare -q exact nystromformer --repeats 1 "
                              "--problem b1_h1_d8_q16_f32 --csv -");
  EXPECT_EQ(run.exit_code, 0) << run.error;
  EXPECT_TRUE(Has(run.out, "\nnystromformer"));
}

// Three tensors of one element under this prefix, as JSON writes it.
std::string OneToken(const std::string& prefix, const std::string& metadata,
                     const std::string& query_shape = "[1,1,1]") {
  SafetensorsMaker maker;
  maker.Metadata(metadata);
  maker.AddF32(prefix + "query", query_shape, {1});
  maker.AddF32(prefix + "key", "[1,1,1]", {1});
  return maker.AddF32(prefix + "value", "[1,1,1]", {1}).Bytes();
}

// What a file says ends on a terminal.
TEST(CliInput, QuotesTextOfTheFileShortAndWithoutControlCharacters) {
  const TemporaryFolder inputs;
  const auto refuse = [&inputs](const std::string& bytes,
                                const std::string& part) {
    const std::string path = inputs.Write("in", bytes);
    ExpectBadInput("compare -q --html x.html --input '" + path + "'", part);
  };
  const std::string red = R"(\u001b[31mRED\n\u009bm)";
  const std::string shown = "?[31mRED??m";
  const std::string xs(15000, 'x');
  const std::string cut = std::string(64, 'x') + "...'";
  for (const char* key : {"causal", "softmax_scale"}) {
    const auto metadata = [key](const std::string& value) {
      return std::string("{\"") + key + "\":\"" + value + "\"}";
    };
    refuse(OneToken("", metadata(red)), " = '" + shown + "'; ");
    refuse(OneToken("", metadata(xs)), cut);
  }
  refuse(OneToken(red + ".", "{}", "[1]"),
         "tensor '" + shown + ".query' has shape");
  refuse(OneToken(xs + ".", "{}", "[1]"), cut + " has shape");
  refuse(OneToken(xs + ".", "{}", "[1,1,1,1,1]"), cut);
  std::string extents = "[1";
  for (int i = 0; i < 5000; ++i) extents += ",1";
  refuse(OneToken("", "{}", extents + "]"), "1, ...]; 3 or 4 extents");
  refuse(SafetensorsMaker()
             .AddF32(red + ".query", "[1,1,2]", {1, 2})
             .AddF32(red + ".key", "[1,1,1]", {1})
             .AddF32(red + ".value", "[1,1,1]", {1})
             .Bytes(),
         "do not fit together: '" + shown + ".query' [1, 1, 2]");
  refuse(SafetensorsMaker().AddF32(red + ".q", "[1,1,1]", {1}).Bytes(),
         "has no tensor '" + shown + ".key'");
  refuse(SafetensorsMaker()
             .AddF32(red + ".q", "[1]", {1})
             .AddF32(red + ".query", "[1]", {1})
             .Bytes(),
         "has both '" + shown + ".q' and '" + shown + ".query'");
  refuse(SafetensorsMaker()
             .Add(red + ".q", "I32", "[1,1,1]", "abcd")
             .AddF32(red + ".k", "[1,1,1]", {1})
             .AddF32(red + ".v", "[1,1,1]", {1})
             .Bytes(),
         "tensor '" + shown + ".q': has dtype I32");
  refuse(SafetensorsMaker()
             .AddF32(red + ".q", "[1,1,1]", {NAN})
             .AddF32(red + ".k", "[1,1,1]", {1})
             .AddF32(red + ".v", "[1,1,1]", {1})
             .Bytes(),
         "tensor '" + shown + ".q' holds values");
}

TEST(CliInput, NamesLayersWithoutControlCharacters) {
  const TemporaryFolder folder;
  folder.Write("in", OneToken(R"(\u001b[31m\nA.0.)", "{}"));
  const ToolRun run =
      RunTool(folder, "compare --input in exact --repeats 1 --csv -");
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_TRUE(Has(run.out, "\nexact,exact,,?[31m?A.0,,b1_h1")) << run.out;
  EXPECT_FALSE(Has(run.out, "\x1b"));
  EXPECT_TRUE(Has(run.error, " of ?[31m?A.0\n")) << run.error;
  EXPECT_FALSE(Has(run.error, "\x1b"));
}

TEST(CliInput, TakesParametersAndHeads) {
  const TemporaryFolder folder;
  folder.Write("in", SmallCapture());
  const std::string read = "compare -q --repeats 1 --input in exact --csv - ";
  EXPECT_TRUE(Has(RunTool(folder, read + "--scale 2 --softcap 5 --window-left "
                                         "1 --sink 1 --heads 1")
                      .out,
                  ",,b1_h1_d2_q2_k2_f32_causal_wl1_sink1_cap5_scale2,"));
  // Heads keep the numbers that they have in the file.
  EXPECT_TRUE(
      Has(RunTool(folder, read + "--heads 1 --by head").out, ",,layer.3,1,"));
  const ToolRun heads = RunTool(
      folder, "compare -q --repeats 1 --input in exact --heads 1 --by head");
  EXPECT_TRUE(Has(heads.out, " head 1 ")) << heads.out;
  EXPECT_FALSE(Has(heads.out, " head 0 ")) << heads.out;
  EXPECT_TRUE(Has(RunTool(folder, read + "--no-causal --layers 1-3").out,
                  ",b1_h2_kv1_d2_q2_k2_f32_scale0.5,"));
}

// What f32 cannot hold is the input's fault, not the variant's.
TEST(CliInput, BlamesInputThatOverflows) {
  const TemporaryFolder inputs;
  const std::string path =
      inputs.Write("in", SafetensorsMaker()
                             .AddF32("q", "[2,1,2]", {1, 1, 3e30f, 3e30f})
                             .AddF32("k", "[2,1,2]", {1, 1, 1e30f, -1e30f})
                             .AddF32("v", "[2,1,1]", {1, 2})
                             .Bytes());
  ExpectBadInput("compare -q --html x.html --input '" + path + "'",
                 "attention: products of query and key reach 6.0e+60");
}

TEST(CliInput, ReadsTheBuiltInSample) {
  const TemporaryFolder folder;
  const ToolRun run = RunTool(
      folder, "compare -q exact window_sink:window=16 --tokens 64 --csv -");
  EXPECT_EQ(run.exit_code, 0) << run.error;
  for (const char* layer :
       {"layer.2,", "layer.10,", "layer.19,", "layer.28,"}) {
    EXPECT_TRUE(Has(run.out, layer)) << layer;
  }
}

// Half a gigabyte of file, without a byte on the disk, asks for some 600 of
// memory.
TEST(CliInput, RefusesWhatDoesNotFitTheMachine) {
  constexpr int64_t kQuery = int64_t{1} << 29;  // bytes of 2^28 rows of f16
  const std::string query = std::to_string(kQuery);
  const std::string key = std::to_string(kQuery + 2);
  const std::string value = std::to_string(kQuery + 402);
  const std::string header =
      R"({"query":{"dtype":"F16","shape":[268435456,1,1],"data_offsets":[0,)" +
      query + R"(]},"key":{"dtype":"F16","shape":[1,1,1],"data_offsets":[)" +
      query + "," + key +
      R"(]},"value":{"dtype":"F16","shape":[1,1,200],"data_offsets":[)" + key +
      "," + value + "]}}";
  const TemporaryFolder inputs;
  const std::string path = inputs.Write("in", SafetensorsBytes(header, ""));
  std::filesystem::resize_file(path,
                               std::filesystem::file_size(path) + kQuery + 402);
  ExpectBadInput("compare -q exact --html x.html --input '" + path + "'",
                 "GiB of memory, and the machine has");
}

}  // namespace
}  // namespace heed::test
