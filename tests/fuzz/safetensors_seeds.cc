// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Seeds by kind.
#include "tests/fuzz/safetensors_seeds.h"

#include "tests/support/safetensors_maker.h"

namespace heed::test {
namespace {

std::string Capture(const std::string& dtype, const std::string& element,
                    const std::string& shape) {
  SafetensorsMaker maker;
  for (const char* part : {"q", "k", "v"}) {
    maker.Add(std::string("model.layers.2.attn.") + part, dtype, shape,
              element + element);
  }
  return maker.Bytes();
}

}  // namespace

std::vector<std::string> SafetensorsSeeds() {
  std::vector<std::string> seeds = {
      SmallCapture(),
      Capture("F32", std::string("\0\0\x80\x3f", 4), "[1,2,1,1]"),
      Capture("F16", std::string("\0\x3c", 2), "[2,1,1]"),
      Capture("F16", std::string("\x01\x80", 2), "[1,1,2]"),
      Capture("BF16", std::string("\x80\x3f", 2), "[1,2,1]"),
      Capture("I8", "x", "[2]"),
      SafetensorsMaker().Add("query", "F32", "[0,1,1]", "").Bytes(),
      SafetensorsBytes("{}", ""),
      SafetensorsBytes("{}  ", "left over"),
      SafetensorsBytes(R"({"__metadata__":{"causal":"maybe"}})", ""),
      std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10),
      std::string("\x10\0\0\0\0\0\0\0{}", 10),
      SafetensorsMaker()
          .Metadata(R"({"causal":"\u001b[31m\n"})")
          .Add(R"(\u001b[31m\n.query)", "F32", "[1,1]", "abcd")
          .Bytes(),
      std::string("{}\0{}", 5),
      "",
      "short",
      "[[[[[[[[",
      R"({"a":{"a":{"a":{"a":1}}}})",
  };
  const std::vector<std::string> shapes = {"[1]",
                                           "[]",
                                           "[0]",
                                           "[-1]",
                                           "[1.5]",
                                           "[4294967296,4294967296]",
                                           "null",
                                           "[[1]]",
                                           "{}",
                                           "\"1\"",
                                           "[4611686018427387904]",
                                           "[18446744073709551616]"};
  for (const std::string& shape : shapes) {
    seeds.push_back(R"({"t":{"dtype":"F32","shape":)" + shape +
                    R"(,"data_offsets":[0,4]}})");
  }
  const std::vector<std::string> offsets = {
      "[0,64]",  "[4,0]",  "[0]",
      "[0,4,8]", "[8,12]", "[18446744073709551611,18446744073709551615]"};
  for (const std::string& offset : offsets) {
    seeds.push_back(R"({"t":{"dtype":"U8","shape":[64],"data_offsets":)" +
                    offset + "}}");
  }
  seeds.push_back(
      R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]},)"
      R"("a":{"dtype":"F99","shape":[],"data_offsets":[0,0],"x":true}})");
  return seeds;
}

}  // namespace heed::test
