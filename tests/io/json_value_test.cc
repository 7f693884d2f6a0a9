// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// JSON in memory: read back what is written, and hostile texts.
#include "lib/io/json_value.h"

#include <gtest/gtest.h>

#include <string>

#include "lib/io/input_error.h"

namespace heed::test {
namespace {

using io::JsonText;
using io::JsonValue;
using io::ReadJson;

TEST(JsonValue, WritesWhatItRead) {
  const std::string text =
      "{\n \"b\": [\n  1,\n  -2,\n  0.1,\n  3.0,\n  1e-300,\n  null,\n"
      "  true,\n  \"x\\n\"\n ],\n \"a\": {}\n}\n";
  EXPECT_EQ(JsonText(ReadJson(text)), text);
}

TEST(JsonValue, GivesPartsByName) {
  JsonValue value = ReadJson(R"({"a":[1,2.5,-3],"b":{"c":false}})");
  EXPECT_EQ(value.Find("a")->items[0].integer, 1);
  EXPECT_EQ(value.Find("a")->items[1].number, 2.5);
  EXPECT_EQ(value.Find("a")->items[2].number, -3);
  EXPECT_FALSE(value.Find("b")->Find("c")->boolean);
  EXPECT_EQ(value.Find("c"), nullptr);
  EXPECT_EQ(value.Find("a")->Find("c"), nullptr);
  const JsonValue before = value;
  value.Set("a", JsonValue::Integer(1));
  value.Set("d", JsonValue::String("x"));
  EXPECT_FALSE(value == before);
  EXPECT_EQ(value, ReadJson(R"({"a":1,"b":{"c":false},"d":"x"})"));
  value.Remove("b");
  EXPECT_EQ(value, ReadJson(R"({"a":1,"d":"x"})"));
  EXPECT_EQ(JsonValue::Number(1.0 / 0.0), JsonValue());
  EXPECT_EQ(ReadJson(R"({"a":1,"d":"x"})"), ReadJson(R"({"d":"x","a":1})"));
  EXPECT_FALSE(ReadJson(R"({"a":1})") == ReadJson(R"({"b":1})"));
}

TEST(JsonValue, RefusesWhatItCannotHold) {
  const std::string deep(io::kDeepestJson + 1, '[');
  for (const std::string& text :
       {std::string(""), std::string("{"), std::string("[1,]"),
        std::string("1e999"), std::string("nan"),
        std::string(R"({"a":1,"a":2})"),
        deep + std::string(deep.size(), ']')}) {
    EXPECT_THROW(ReadJson(text), io::InputError) << text;
  }
  const std::string fits(io::kDeepestJson, '[');
  ReadJson(fits + std::string(fits.size(), ']'));
  EXPECT_EQ(ReadJson("18446744073709551615").number, 18446744073709551615.0);
}

}  // namespace
}  // namespace heed::test
