// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The safetensors reader: what it reads, and the hostile files it refuses.
#include "lib/io/safetensors.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "lib/io/input_error.h"
#include "tests/support/safetensors_maker.h"
#include "tests/support/temporary_file.h"

namespace heed::test {
namespace {

using io::InputError;
using io::ParseSafetensorsHeader;
using io::SafetensorsFile;
using io::SafetensorsHeader;

// What the reader says about these bytes; "" where it reads them.
std::string Complaint(const std::string& bytes) {
  const TemporaryFolder folder;
  try {
    const SafetensorsFile file(folder.Write("x.safetensors", bytes));
    return "";
  } catch (const InputError& error) {
    return error.what();
  }
}

std::string HeaderComplaint(const std::string& header, uint64_t data_bytes) {
  try {
    ParseSafetensorsHeader(header, data_bytes);
    return "";
  } catch (const InputError& error) {
    return error.what();
  }
}

testing::AssertionResult Says(const std::string& text,
                              const std::string& part) {
  if (text.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << "'" << text << "' lacks '" << part << "'";
}

// An entry "t" of four bytes with one part replaced.
std::string Entry(const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return R"({"t":{"dtype":)" + dtype + R"(,"shape":)" + shape +
         R"(,"data_offsets":)" + offsets + "}}";
}

TEST(Safetensors, ReadsTensorsAndMetadata) {
  const TemporaryFolder folder;
  const SafetensorsFile file(folder.Write("x", SmallCapture()));
  EXPECT_EQ(file.header().metadata.at("model"), "none");
  ASSERT_EQ(file.header().entries.size(), 3u);
  const io::SafetensorsEntry* key = file.Find("layer.3.key");
  ASSERT_NE(key, nullptr);
  EXPECT_EQ(key->shape, (std::vector<int64_t>{2, 1, 2}));
  EXPECT_EQ(file.Read(*key), (std::vector<float>{1, 0, 0, 1}));
  EXPECT_EQ(file.Find("layer.3.keys"), nullptr);
}

TEST(Safetensors, ReadsScalarsEmptyTensorsAndPaddedHeaders) {
  EXPECT_EQ(HeaderComplaint("{}", 0), "");
  EXPECT_EQ(HeaderComplaint("{}    ", 0), "");
  EXPECT_EQ(HeaderComplaint(Entry("\"F32\"", "[]", "[0,4]"), 4), "");
  EXPECT_EQ(HeaderComplaint(Entry("\"F32\"", "[0,9]", "[0,0]"), 0), "");
  EXPECT_EQ(HeaderComplaint(
                Entry("\"F32\"", "[0,9223372036854775807,9223372036854775807]",
                      "[0,0]"),
                0),
            "");
  // Known to the format, though not to be read as floats.
  EXPECT_EQ(HeaderComplaint(Entry("\"I64\"", "[1]", "[0,8]"), 8), "");
  EXPECT_EQ(HeaderComplaint(Entry("\"F4\"", "[8]", "[0,4]"), 4), "");
}

TEST(Safetensors, KeepsTensorsInTheOrderOfTheirBytes) {
  const SafetensorsHeader header = ParseSafetensorsHeader(
      R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},)"
      R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
      2);
  EXPECT_EQ(header.entries[0].name, "a");
  EXPECT_EQ(header.entries[1].name, "b");
}

TEST(Safetensors, DecodesHalfFloats) {
  const std::vector<std::pair<uint16_t, float>> cases = {
      {0x0000, 0.0f},          {0x3c00, 1.0f},        {0xc000, -2.0f},
      {0x7bff, 65504.0f},      {0x0400, 0x1p-14f},    {0x0001, 0x1p-24f},
      {0x83ff, -0x1.ff8p-15f}, {0x3555, 0x1.554p-2f},
  };
  for (const auto& [bits, value] : cases) {
    const unsigned char bytes[2] = {static_cast<unsigned char>(bits & 0xff),
                                    static_cast<unsigned char>(bits >> 8)};
    float got = -1;
    io::DecodeFloats("F16", bytes, 1, &got);
    EXPECT_EQ(got, value) << std::hex << bits;
  }
}

TEST(Safetensors, DecodesTheEndsOfHalfFloats) {
  const unsigned char bytes[] = {0x00, 0x7c, 0x00, 0xfc,
                                 0x01, 0x7e, 0x00, 0x80};
  float got[4];
  io::DecodeFloats("F16", bytes, 4, got);
  EXPECT_EQ(got[0], INFINITY);
  EXPECT_EQ(got[1], -INFINITY);
  EXPECT_TRUE(std::isnan(got[2]));
  EXPECT_EQ(got[3], 0);
  EXPECT_TRUE(std::signbit(got[3]));
}

// Every half float there is, against the definition.
TEST(Safetensors, DecodesEveryHalfFloat) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const unsigned char bytes[2] = {static_cast<unsigned char>(bits & 0xff),
                                    static_cast<unsigned char>(bits >> 8)};
    float got = 0;
    io::DecodeFloats("F16", bytes, 1, &got);
    const int exponent = (bits >> 10) & 0x1f;
    const int mantissa = bits & 0x3ff;
    ASSERT_EQ(std::signbit(got), bits >= 0x8000) << std::hex << bits;
    if (exponent == 31) {
      ASSERT_EQ(std::isnan(got), mantissa != 0);
      ASSERT_FALSE(std::isfinite(got));
      continue;
    }
    const double value = exponent == 0
                             ? std::ldexp(mantissa, -24)
                             : std::ldexp(1024 + mantissa, exponent - 25);
    ASSERT_EQ(std::fabs(got), value) << std::hex << bits;
  }
}

TEST(Safetensors, DecodesBfloatsAndFloatsAtAnyAddress) {
  const unsigned char bytes[] = {0xff, 0x80, 0x3f, 0x80, 0xff, 0x01, 0x00};
  float got[3];
  io::DecodeFloats("BF16", bytes + 1, 3, got);
  EXPECT_EQ(got[0], 1.0f);
  EXPECT_EQ(got[1], -INFINITY);
  EXPECT_EQ(got[2], std::bit_cast<float>(0x00010000u));  // denormal
  const unsigned char float_bytes[] = {0xff, 0x00, 0x00, 0x28, 0xc1};
  io::DecodeFloats("F32", float_bytes + 1, 1, got);
  EXPECT_EQ(got[0], -10.5f);
}

TEST(Safetensors, RefusesToDecodeOtherTypes) {
  const TemporaryFolder folder;
  const SafetensorsFile file(folder.Write(
      "x", SafetensorsMaker().Add("t", "I32", "[1]", "abcd").Bytes()));
  try {
    file.Read(*file.Find("t"));
    FAIL();
  } catch (const InputError& error) {
    EXPECT_TRUE(Says(error.what(),
                     "tensor 't': has dtype I32; only F32, F16 "
                     "and BF16 can be read"));
  }
}

TEST(Safetensors, RefusesWhatIsNoFile) {
  const TemporaryFolder folder;
  EXPECT_THROW(SafetensorsFile(folder.Path("missing")), InputError);
  try {
    SafetensorsFile file(folder.Path("."));
    FAIL();
  } catch (const InputError& error) {
    EXPECT_TRUE(Says(error.what(), "is a directory"));
  }
  try {
    SafetensorsFile file("/dev/null");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_TRUE(Says(error.what(), "is not a regular file"));
  }
}

TEST(Safetensors, RefusesOtherKindsOfFile) {
  EXPECT_TRUE(Says(Complaint(""), "fewer than 8 bytes"));
  EXPECT_TRUE(Says(Complaint("1234567"), "fewer than 8 bytes"));
  EXPECT_TRUE(Says(Complaint("some text of another kind"),
                   "is not a safetensors file"));
  EXPECT_TRUE(Says(Complaint(std::string("\x93NUMPY\x01\x00v\x00{}", 12)),
                   "is not a safetensors file"));
  EXPECT_TRUE(Says(Complaint(SafetensorsBytes("", "")), "start with '{'"));
  EXPECT_TRUE(Says(Complaint(SafetensorsBytes(" {}", "")), "start with '{'"));
}

// The size is refused before anything of it is allocated or read.
TEST(Safetensors, CapsTheHeader) {
  std::string bytes = SafetensorsBytes("{}", "");
  bytes[3] = 2;  // 2 + 2^25: above the cap, and beyond the file
  EXPECT_TRUE(Says(Complaint(bytes), "larger than the 16 MiB"));
  bytes[7] = '\xff';
  EXPECT_TRUE(Says(Complaint(bytes), "larger than the 16 MiB"));
}

TEST(Safetensors, RefusesEveryShorterFile) {
  const std::string whole = SmallCapture();
  EXPECT_EQ(Complaint(whole), "");
  for (size_t size = 0; size < whole.size(); ++size) {
    ASSERT_NE(Complaint(whole.substr(0, size)), "") << size;
  }
  EXPECT_TRUE(Says(Complaint(whole.substr(0, 20)), "header ends beyond"));
  EXPECT_TRUE(Says(Complaint(whole.substr(0, whole.size() - 1)),
                   "is cut short: tensor 'layer.3.value' ends at byte 64"));
  EXPECT_TRUE(Says(Complaint(whole + "x"), "1 bytes after the last tensor"));
}

TEST(Safetensors, SaysWhereAFileShrank) {
  const TemporaryFolder folder;
  const std::string path = folder.Write("x", SmallCapture());
  const SafetensorsFile file(path);
  std::filesystem::resize_file(path, SmallCapture().size() - 4);
  try {
    file.Read(*file.Find("layer.3.value"));
    FAIL();
  } catch (const InputError& error) {
    EXPECT_TRUE(Says(error.what(), "became shorter"));
  }
}

TEST(Safetensors, RefusesDuplicateKeys) {
  const std::string one = R"("t":{"dtype":"U8","shape":[1],)";
  EXPECT_TRUE(Says(HeaderComplaint("{" + one + R"("data_offsets":[0,1]},)" +
                                       one + R"("data_offsets":[1,2]}})",
                                   2),
                   "has the header key 't' twice"));
  EXPECT_TRUE(Says(
      HeaderComplaint("{" + one + R"("shape":[1],"data_offsets":[0,1]}})", 1),
      "'shape' twice"));
  EXPECT_TRUE(Says(HeaderComplaint(R"({"__metadata__":{"a":"1","a":"2"}})", 0),
                   "'a' twice"));
  EXPECT_TRUE(Says(
      HeaderComplaint(R"({"__metadata__":{},"__metadata__":{}})", 0), "twice"));
}

TEST(Safetensors, RefusesSizesThatOverflow) {
  const std::string f32 = "\"F32\"";
  const std::string overflows = "product overflows";
  EXPECT_TRUE(
      Says(HeaderComplaint(Entry(f32, "[4294967296,4294967296]", "[0,0]"), 0),
           overflows));
  // 2^62 elements are 2^64 bytes, which wraps to the 0 that is there.
  EXPECT_TRUE(
      Says(HeaderComplaint(Entry(f32, "[4611686018427387904]", "[0,0]"), 0),
           overflows));
  EXPECT_TRUE(
      Says(HeaderComplaint(Entry(f32, "[9223372036854775808]", "[0,0]"), 0),
           "an extent beyond 64 bits"));
  EXPECT_TRUE(
      Says(HeaderComplaint(Entry(f32, "[99999999999999999999]", "[0,0]"), 0),
           "beyond 64 bits"));
  EXPECT_TRUE(
      Says(HeaderComplaint(Entry(f32, "[1]", "[0,18446744073709551616]"), 4),
           "beyond 64 bits"));
}

TEST(Safetensors, RefusesOffsetsThatDoNotFit) {
  const std::string f32 = "\"F32\"";
  EXPECT_TRUE(
      Says(HeaderComplaint(Entry(f32, "[1]", "[4,0]"), 4), "run backwards"));
  EXPECT_TRUE(Says(HeaderComplaint(Entry(f32, "[2]", "[0,4]"), 4),
                   "do not fit its shape and dtype"));
  EXPECT_TRUE(
      Says(HeaderComplaint(Entry(f32, "[1]", "[0,4]"), 3), "is cut short"));
  EXPECT_TRUE(Says(HeaderComplaint(Entry(f32, "[1]", "[4,8]"), 8), "a hole"));
  EXPECT_TRUE(Says(
      HeaderComplaint(
          Entry(f32, "[1]", "[18446744073709551611,18446744073709551615]"), 4),
      "is cut short"));
  EXPECT_TRUE(Says(HeaderComplaint(Entry(f32, "[1]", "[0]"), 4), "fewer than"));
  EXPECT_TRUE(
      Says(HeaderComplaint(Entry(f32, "[1]", "[0,4,4]"), 4), "more than two"));
  EXPECT_TRUE(
      Says(HeaderComplaint(Entry("\"F4\"", "[3]", "[0,1]"), 1), "do not fit"));
}

TEST(Safetensors, RefusesOverlaps) {
  EXPECT_TRUE(Says(
      HeaderComplaint(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                      R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                      3),
      "an overlap before tensor 'b'"));
}

TEST(Safetensors, RefusesWhatTheFormatHasNot) {
  const std::string f32 = "\"F32\"";
  EXPECT_TRUE(Says(HeaderComplaint(Entry("\"F99\"", "[1]", "[0,4]"), 4),
                   "unknown dtype 'F99'"));
  EXPECT_TRUE(Says(HeaderComplaint(Entry(f32, "[-1]", "[0,4]"), 4),
                   "a negative number"));
  EXPECT_TRUE(
      Says(HeaderComplaint(Entry(f32, "[1.5]", "[0,4]"), 4), "a fraction"));
  for (const char* bad : {"null", "true", "\"1\"", "1", "[[1]]", "{}"}) {
    EXPECT_NE(HeaderComplaint(Entry(f32, bad, "[0,4]"), 4), "") << bad;
    EXPECT_NE(HeaderComplaint(Entry(f32, "[1]", bad), 4), "") << bad;
    EXPECT_NE(HeaderComplaint(std::string("{\"t\":") + bad + "}", 4), "");
    EXPECT_NE(HeaderComplaint(
                  std::string("{\"__metadata__\":{\"a\":[") + bad + "]}}", 0),
              "");
  }
  for (const char* bad : {"null", "true", "1", "[[1]]", "{}"}) {
    EXPECT_NE(HeaderComplaint(Entry(bad, "[1]", "[0,4]"), 4), "") << bad;
    EXPECT_NE(HeaderComplaint(bad, 4), "") << bad;
  }
  EXPECT_TRUE(Says(HeaderComplaint(R"({"t":{"dtype":"F32","shape":[1]}})", 4),
                   "no dtype, shape or data_offsets"));
  EXPECT_TRUE(
      Says(HeaderComplaint(R"({"t":{"size":1}})", 4), "unknown key 'size'"));
  EXPECT_TRUE(Says(HeaderComplaint("{\"t\":", 4), "is not JSON at byte"));
  EXPECT_NE(HeaderComplaint("{} {}", 0), "");
  EXPECT_NE(HeaderComplaint("{\"\xff\":1}", 0), "");
}

// The JSON library takes a NUL for the end.
TEST(Safetensors, RefusesWhatFollowsANul) {
  for (const char* tail : {"", "garbage", "{}"}) {
    const std::string header = std::string("{}\0", 3) + tail;
    EXPECT_TRUE(Says(HeaderComplaint(header, 0), "is not JSON at byte 3"));
  }
  EXPECT_NE(HeaderComplaint(std::string("{\"\0\":{}}", 9), 0), "");
}

// A parser that recursed would end on the stack's guard page.
TEST(Safetensors, SurvivesDepth) {
  const std::string deep(8 << 20, '[');
  EXPECT_NE(HeaderComplaint(deep, 0), "");
  EXPECT_NE(HeaderComplaint("{\"t\":" + deep, 0), "");
  std::string objects;
  for (int i = 0; i < 1 << 20; ++i) objects += "{\"a\":";
  EXPECT_NE(HeaderComplaint(objects, 0), "");
}

// Names end on a terminal.
TEST(Safetensors, QuotesNamesWithoutControlCharactersAndShort) {
  const std::string complaint = HeaderComplaint(
      R"({"\u001b[31m)" + std::string(500, 'x') + R"(":{}})", 0);
  EXPECT_EQ(complaint.find('\x1b'), std::string::npos);
  EXPECT_TRUE(Says(complaint, "'?[31mxxx"));
  EXPECT_LT(complaint.size(), 200u);
}

}  // namespace
}  // namespace heed::test
