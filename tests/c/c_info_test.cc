// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What the C door says and makes without computing: sentences, targets, units,
// views and numbers, as the C++ one does.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "heed/heed_c.h"
#include "tests/c/opaque.h"

namespace heed::test {
namespace {

TEST(CInfo, StatusSentences) {
  heed_status status = {};
  status.struct_size = sizeof(status);
  heed_attention_shape shape = {};
  shape.struct_size = sizeof(shape);
  shape.num_heads = 8;
  shape.num_kv_heads = 3;
  shape.head_dim = 4;
  heed_attention_params params;
  heed_attention_params_init(&params, sizeof(params));
  Opaque<heed_plan> plan(heed_plan_bytes());
  EXPECT_EQ(HEED_INVALID_ARGUMENT, heed_make_plan(&params, &shape, nullptr,
                                                  plan, plan.bytes(), &status));
  const std::string sentence =
      "invalid argument: num_heads: must be a multiple of num_kv_heads (got 8 "
      "heads over 3)";
  char text[100];
  EXPECT_EQ(sentence.size(), heed_status_text(&status, text, sizeof(text)));
  EXPECT_EQ(sentence, text);
  EXPECT_EQ(sentence.size(), heed_status_text(&status, text, 8));
  EXPECT_STREQ("invalid", text);
  EXPECT_EQ(sentence.size(), heed_status_text(&status, nullptr, 8));
  EXPECT_STREQ("workspace", heed_status_name(HEED_WORKSPACE));
  EXPECT_STREQ("unknown status", heed_status_name(77));
}

TEST(CInfo, TargetsAndUnits) {
  heed_target_info info = {};
  info.struct_size = sizeof(info);
  ASSERT_EQ(NumTargets(), heed_num_targets());
  for (int i = 0; i < NumTargets(); ++i) {
    ASSERT_EQ(HEED_OK, heed_get_target(i, &info, nullptr));
    const TargetInfo cpp = GetTarget(i);
    EXPECT_STREQ(cpp.name, info.name);
    EXPECT_STREQ(cpp.needs, info.needs);
    EXPECT_STREQ(cpp.reason, info.reason);
    EXPECT_EQ(cpp.usable, info.usable != 0);
    EXPECT_EQ(cpp.same_bits, info.same_bits != 0);
    EXPECT_EQ(cpp.vector_bytes, info.vector_bytes);
  }
  heed_unit_info unit = {};
  unit.struct_size = sizeof(unit);
  ASSERT_EQ(NumUnits(), heed_num_units());
  for (int i = 0; i < NumUnits(); ++i) {
    ASSERT_EQ(HEED_OK, heed_get_unit(i, &unit, nullptr));
    const UnitInfo cpp = GetUnit(i);
    EXPECT_STREQ(cpp.name, unit.name);
    EXPECT_STREQ(cpp.target, unit.target);
    EXPECT_STREQ(cpp.serves, unit.serves);
    EXPECT_STREQ(cpp.needs, unit.needs);
    EXPECT_STREQ(cpp.reason, unit.reason);
    EXPECT_EQ(cpp.usable, unit.usable != 0);
    EXPECT_EQ(cpp.used, unit.used != 0);
  }
  for (const int32_t index : {INT32_MIN, -1, NumTargets(), INT32_MAX}) {
    EXPECT_EQ(HEED_INVALID_ARGUMENT, heed_get_target(index, &info, nullptr));
  }
  for (const int32_t index : {INT32_MIN, -1, NumUnits(), INT32_MAX}) {
    EXPECT_EQ(HEED_INVALID_ARGUMENT, heed_get_unit(index, &unit, nullptr));
  }
  EXPECT_STREQ(DefaultTarget(), heed_default_target());
  EXPECT_EQ(100 * HEED_VERSION_MINOR + HEED_VERSION_PATCH, heed_version());
}

TEST(CTensors, MakersAreThoseOfCpp) {
  uint64_t memory[512] = {};
  const auto expect = [](const heed_tensor& c, const ConstTensorView& view) {
    EXPECT_EQ(sizeof(heed_tensor), c.struct_size);
    EXPECT_EQ(view.data, c.data);
    EXPECT_EQ(static_cast<int32_t>(view.dtype), c.dtype);
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(view.extent[i], c.extent[i]);
      EXPECT_EQ(view.stride[i], c.stride[i]);
    }
  };
  const auto of_type = [&](auto* data, int32_t dtype) {
    expect(heed_bshd(data, dtype, 2, 3, 5, 8), Bshd(data, 2, 3, 5, 8));
    expect(heed_bshd(data, dtype, 2, 3, 5, 7), Bshd(data, 2, 3, 5, 7));
    expect(heed_bhsd(data, dtype, 2, 3, 5, 8), Bhsd(data, 2, 3, 5, 8));
    expect(heed_thd(data, dtype, 3, 5, 8), Thd(data, 3, 5, 8));
    expect(heed_bhs(data, dtype, 2, 3, 5), Bhs(data, 2, 3, 5));
    expect(heed_tokens_of(heed_bhsd(data, dtype, 2, 3, 5, 8), 2, 3),
           TokensOf(Bhsd(data, 2, 3, 5, 8), 2, 3));
    EXPECT_EQ(BytesOf(DTypeOf<std::remove_pointer_t<decltype(data)>>::value, 9),
              heed_bytes_of(dtype, 9));
  };
  of_type(reinterpret_cast<float*>(memory), HEED_F32);
  of_type(reinterpret_cast<bf16*>(memory), HEED_BF16);
  of_type(reinterpret_cast<f16*>(memory), HEED_F16);
  of_type(reinterpret_cast<int8_t*>(memory), HEED_I8);
  of_type(reinterpret_cast<f8_e4m3*>(memory), HEED_F8_E4M3);
  of_type(reinterpret_cast<f8_e5m2*>(memory), HEED_F8_E5M2);
  of_type(reinterpret_cast<u4x2*>(memory), HEED_U4);
  of_type(reinterpret_cast<bool*>(memory), HEED_BOOL);
  of_type(reinterpret_cast<int32_t*>(memory), HEED_I32);
  of_type(memory, HEED_U64);
  EXPECT_EQ(77, heed_bshd(memory, 77, 1, 1, 1, 1).dtype);
  EXPECT_EQ(0, heed_bytes_of(77, 5));
  EXPECT_STREQ("f8_e4m3", heed_dtype_name(HEED_F8_E4M3));
  EXPECT_STREQ("unknown", heed_dtype_name(-1));
}

TEST(CTensors, Conversions) {
  for (const float x : {0.0f, -1.5f, 3.14159f, 1e-40f, 65519.0f, 1e30f}) {
    EXPECT_EQ(ToBF16(x).bits, heed_float_to_bf16(x));
    EXPECT_EQ(ToF16(x).bits, heed_float_to_f16(x));
  }
  for (const uint16_t bits : {0x0001, 0x3c00, 0x7bff, 0xc123}) {
    EXPECT_EQ(ToFloat(bf16{bits}), heed_bf16_to_float(bits));
    EXPECT_EQ(ToFloat(f16{bits}), heed_f16_to_float(bits));
  }
  for (const uint8_t bits : {0x01, 0x38, 0x7b, 0xc3}) {
    EXPECT_EQ(ToFloat(f8_e4m3{bits}), heed_f8_e4m3_to_float(bits));
    EXPECT_EQ(ToFloat(f8_e5m2{bits}), heed_f8_e5m2_to_float(bits));
  }
}

}  // namespace
}  // namespace heed::test
