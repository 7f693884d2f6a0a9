// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What the C door does with structs of other versions, with fields that must be
// 0 and with numbers that no enum has: refused by name, nothing written.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "heed/heed_c.h"
#include "lib/c/structs.h"

namespace heed::test {
namespace {

// A struct with memory behind it, for which callers may claim more.
template <typename T>
struct Larger {
  T value = {};
  char tail[64] = {};
};

// A sound call, whose structs the tests then spoil.
struct Call {
  Call() {
    heed_attention_params_init(&params.value, sizeof(params.value));
    scales.value.struct_size = sizeof(scales.value);
    heed_attention_args& a = args.value;
    a.struct_size = sizeof(a);
    a.query = heed_bshd(numbers, HEED_F32, 1, 1, 1, 4);
    a.key = heed_bshd(numbers, HEED_F32, 1, 2, 1, 4);
    a.value = heed_bshd(numbers, HEED_F32, 1, 2, 1, 4);
    a.out = heed_bshd(out, HEED_F32, 1, 1, 1, 4);
    a.kv_scales = &scales.value;
    status.struct_size = sizeof(status);
  }

  int32_t Run() {
    return heed_attention(&params.value, &args.value, nullptr, &status);
  }
  std::string Text() const {
    char text[256];
    heed_status_text(&status, text, sizeof(text));
    return text;
  }
  void ExpectRefused(int32_t code, const std::string& argument) {
    EXPECT_EQ(code, Run());
    EXPECT_EQ(code, status.code);
    EXPECT_EQ(argument, status.argument) << Text();
    for (const float x : out) EXPECT_EQ(-7.0f, x);
  }

  float numbers[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  float out[4] = {-7, -7, -7, -7};
  Larger<heed_attention_params> params;
  Larger<heed_kv_scales> scales;
  Larger<heed_attention_args> args;
  heed_status status = {};
};

TEST(CStruct, SoundCall) {
  Call call;
  EXPECT_EQ(HEED_OK, call.Run()) << call.Text();
  EXPECT_STREQ("ok", call.status.message);
  EXPECT_NE(-7.0f, call.out[0]);
}

// Calls f(call, its struct's size and tail, the struct's name).
void ForEachStruct(
    const std::function<void(Call&, uint64_t*, char*, const char*)>& f) {
  {
    Call call;
    f(call, &call.params.value.struct_size, call.params.tail, "params");
  }
  {
    Call call;
    f(call, &call.args.value.struct_size, call.args.tail, "args");
  }
  Call call;
  f(call, &call.scales.value.struct_size, call.scales.tail, "kv_scales");
}

TEST(CStruct, TooSmall) {
  ForEachStruct([](Call& call, uint64_t* size, char*, const char* name) {
    const uint64_t right = *size;
    for (const uint64_t wrong : {uint64_t{0}, uint64_t{8}, right - 8}) {
      *size = wrong;
      call.ExpectRefused(HEED_INVALID_ARGUMENT, name);
      EXPECT_EQ(static_cast<int64_t>(right), call.status.bound);
    }
  });
}

TEST(CStruct, LargerWithZeros) {
  ForEachStruct([](Call& call, uint64_t* size, char*, const char*) {
    *size += 64;
    EXPECT_EQ(HEED_OK, call.Run()) << call.Text();
  });
}

TEST(CStruct, LargerWithAFieldThatIsNotKnown) {
  ForEachStruct([](Call& call, uint64_t* size, char* tail, const char* name) {
    *size += 64;
    tail[63] = 1;
    call.ExpectRefused(HEED_UNSUPPORTED, name);
  });
}

TEST(CStruct, SizeThatNoVersionHas) {
  ForEachStruct([](Call& call, uint64_t* size, char*, const char* name) {
    const uint64_t right = *size;
    for (const uint64_t wrong : {right + 4, uint64_t{1} << 20, UINT64_MAX}) {
      *size = wrong;
      call.ExpectRefused(HEED_INVALID_ARGUMENT, name);
    }
  });
}

// What a struct that grows does with callers who have its first version.
struct Grown {
  uint64_t struct_size;
  int64_t first;
  int64_t later;
};

}  // namespace
}  // namespace heed::test

template <>
inline constexpr uint64_t heed::internal::kFirstSize<heed::test::Grown> = 16;

namespace heed::test {
namespace {

TEST(CStruct, EarlierVersion) {
  Grown from = {16, 5, 99};  // 99 is not the struct's
  Grown to;
  ASSERT_TRUE(internal::ReadStruct(&from, "grown", &to).ok());
  EXPECT_EQ(5, to.first);
  EXPECT_EQ(0, to.later);
  internal::WriteStruct(Grown{0, 6, 7}, &from);
  EXPECT_EQ(16u, from.struct_size);
  EXPECT_EQ(6, from.first);
  EXPECT_EQ(99, from.later);
  from.struct_size = 8;
  EXPECT_FALSE(internal::ReadStruct(&from, "grown", &to).ok());
}

TEST(CStruct, TensorsHaveOneSize) {
  for (const uint64_t size : {0, 80, 96}) {
    Call call;
    call.args.value.key.struct_size = size;
    call.ExpectRefused(HEED_INVALID_ARGUMENT, "key");
  }
  Call call;
  call.scales.value.value_minimum =
      heed_bshd(call.numbers, HEED_F32, 1, 2, 1, 1);
  call.scales.value.value_minimum.struct_size = 1;
  call.ExpectRefused(HEED_INVALID_ARGUMENT, "value_minimum");
}

TEST(CStruct, ReservedFields) {
  Call call;
  call.params.value.reserved = 1;
  call.ExpectRefused(HEED_INVALID_ARGUMENT, "params");
  Call tensor;
  tensor.args.value.out.reserved = -1;
  tensor.ExpectRefused(HEED_INVALID_ARGUMENT, "out");
  heed_executor executor = {sizeof(executor), nullptr, nullptr, 1, 1};
  Call threads;
  EXPECT_EQ(HEED_INVALID_ARGUMENT,
            heed_attention(&threads.params.value, &threads.args.value,
                           &executor, &threads.status));
  EXPECT_STREQ("executor", threads.status.argument);
}

TEST(CStruct, BooleansAreZeroOrOne) {
  Call call;
  call.params.value.causal = 2;
  call.ExpectRefused(HEED_INVALID_ARGUMENT, "causal");
  EXPECT_EQ(2, call.status.value);
  Call scales;
  scales.scales.value.key_rotated = -1;
  scales.ExpectRefused(HEED_INVALID_ARGUMENT, "key_rotated");
}

TEST(CStruct, UnknownEnums) {
  for (const int32_t dtype : {-1, 10, 256, INT32_MAX}) {
    Call call;
    call.args.value.query.dtype = dtype;
    call.ExpectRefused(HEED_UNSUPPORTED, "query_dtype");
  }
  for (const int32_t numerics : {-1, 2, 256, 257}) {
    Call call;
    heed_attention_shape shape = {};
    shape.struct_size = sizeof(shape);
    ASSERT_EQ(HEED_OK, heed_shape_of(&call.args.value, &shape, nullptr));
    heed_plan_options options;
    heed_plan_options_init(&options, sizeof(options));
    options.numerics = numerics;
    std::vector<uint64_t> plan(heed_plan_bytes() / 8, 0);
    EXPECT_EQ(HEED_UNSUPPORTED,
              heed_make_plan(&call.params.value, &shape, &options,
                             reinterpret_cast<heed_plan*>(plan.data()),
                             heed_plan_bytes(), &call.status));
    EXPECT_STREQ("numerics", call.status.argument);
    for (const uint64_t word : plan) EXPECT_EQ(0u, word);
  }
}

TEST(CStruct, StatusOfAWrongSize) {
  for (const uint64_t size : {uint64_t{0}, uint64_t{72}, UINT64_MAX}) {
    Call call;
    std::memset(&call.status, 0x55, sizeof(call.status));
    call.status.struct_size = size;
    const heed_status before = call.status;
    EXPECT_EQ(HEED_INVALID_ARGUMENT, call.Run());
    EXPECT_EQ(0, std::memcmp(&before, &call.status, sizeof(before)));
    EXPECT_EQ(-7.0f, call.out[0]);
    char text[8] = "left";
    EXPECT_EQ(0u, heed_status_text(&call.status, text, sizeof(text)));
    EXPECT_STREQ("", text);
  }
}

TEST(CStruct, LargerStatusKeepsItsTail) {
  Call call;
  Larger<heed_status> status;
  status.value.struct_size = sizeof(status.value) + 64;
  std::memset(status.tail, 0x55, sizeof(status.tail));
  EXPECT_EQ(HEED_INVALID_ARGUMENT,
            heed_attention(nullptr, &call.args.value, nullptr, &status.value));
  EXPECT_STREQ("params", status.value.argument);
  EXPECT_EQ(sizeof(status.value) + 64, status.value.struct_size);
  for (const char byte : status.tail) EXPECT_EQ(0x55, byte);
}

TEST(CStruct, InitFillsWhatTheCallerHas) {
  Larger<heed_attention_params> params;
  std::memset(static_cast<void*>(&params), 0x55, sizeof(params));
  EXPECT_EQ(HEED_INVALID_ARGUMENT,
            heed_attention_params_init(&params.value, 48));
  EXPECT_EQ(HEED_INVALID_ARGUMENT, heed_attention_params_init(nullptr, 56));
  EXPECT_EQ(0x55, params.value.causal & 0xff);
  EXPECT_EQ(HEED_OK, heed_attention_params_init(&params.value, 56 + 32));
  EXPECT_EQ(56u + 32u, params.value.struct_size);
  EXPECT_EQ(-1, params.value.window_right);
  EXPECT_EQ(0, params.tail[31]);
  EXPECT_EQ(0x55, params.tail[32]);
}

}  // namespace
}  // namespace heed::test
