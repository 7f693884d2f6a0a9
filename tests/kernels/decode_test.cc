// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The decode kernel of every table against the page that defines the bits, for
// any number of rows that it may be asked for.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "lib/kernels/kernels.h"
#include "lib/oracle/oracle.h"
#include "tests/support/compare.h"
#include "tests/support/float_control.h"
#include "tests/support/quick.h"
#include "tests/support/run.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

constexpr int kEveryRow = 64;  // decode_rows that leaves nothing to the tiles

class Decode : public OnEveryTarget {
 protected:
  // Runs on the decode kernel and compares.
  void Check(const eval::Tensors& tensors, int decode_rows = kEveryRow) {
    RunConfig config;
    config.target = GetParam();
    config.decode_rows = decode_rows;
    const AttentionParams& params = tensors.problem.params;
    tensors.ClearOutput();
    ASSERT_TRUE(RunOn(config, params, tensors.Args()).ok());
    EXPECT_TRUE(tensors.out.PaddingIntact());
    if (!HasSameBits(GetParam())) {
      EXPECT_TRUE(Truth(params, tensors.Args()).Near(tensors.out, tensors.lse));
      return;
    }
    eval::Tensors want = tensors;
    want.out =
        eval::MakeTensor(tensors.out.view.batch(), tensors.out.view.seqlen(),
                         tensors.out.view.heads(), tensors.out.view.head_dim(),
                         eval::Layout::kBshd);
    want.lse =
        eval::MakeTensor(tensors.lse.view.batch(), tensors.lse.view.seqlen(),
                         tensors.lse.view.heads(), 1, eval::Layout::kBshd);
    oracle::AttentionBits(params, want.Args());
    EXPECT_TRUE(SameBits(tensors.out, want.out));
    EXPECT_TRUE(SameBits(tensors.lse, want.lse));
  }

  void CheckText(const std::string& text, eval::Fill fill = eval::Fill::kNormal,
                 eval::Layout layout = eval::Layout::kBshd) {
    SCOPED_TRACE(text);
    eval::WorkloadOptions options;
    options.fill = fill;
    options.layout = layout;
    options.misalign = 1;
    Check(eval::MakeTensors(ProblemOf(text), options));
  }
};

std::string Text(int group, int seqlen_q, int dim, int keys,
                 const std::string& masks = "") {
  return "h" + std::to_string(2 * group) + "_kv2_d" + std::to_string(dim) +
         "_q" + std::to_string(seqlen_q) + "_k" + std::to_string(keys) + masks;
}

TEST_P(Decode, IsThereWhereverThereIsAHighwayTable) {
  const internal::Kernels* kernels = internal::FindKernels(GetParam().c_str());
  ASSERT_NE(kernels, nullptr);
  if (GetParam() == "plain") return;
  const internal::AttendKernel& decode = kernels->attention.decode;
  ASSERT_NE(decode.name, nullptr);
  EXPECT_NE(std::string(decode.name).find("_" + GetParam()), std::string::npos);
  EXPECT_EQ(decode.same_bits, kernels->attention.attend.same_bits);
  EXPECT_GE(kernels->attention.decode_rows, 1);
}

TEST_P(Decode, EveryNumberOfRows) {
  for (int group = 1; group <= 8; ++group) {
    CheckText(Text(group, 1, 40, 150));
    CheckText(Text(1, group, 40, 150, "_causal"));
    if (!Quick()) CheckText(Text(group, 2, 40, 150, "_causal"));
  }
  CheckText(Text(8, 8, 24, 70, "_causal"));
}

TEST_P(Decode, EveryHeadDim) {
  for (const int dim : {1,  2,  3,  4,  5,  7,  8,  9,   15,  16,  17,
                        31, 32, 33, 63, 64, 80, 96, 100, 128, 256, 1024}) {
    CheckText(Text(3, 1, dim, 75));
    CheckText(Text(1, 1, 24, 75, "_dv" + std::to_string(dim)));
  }
}

TEST_P(Decode, EveryNumberOfKeys) {
  for (int keys = 0; keys <= 200; keys += keys < 70 ? 1 : Quick() ? 19 : 3) {
    CheckText(Text(2, 1, 24, keys));
  }
  CheckText(Text(2, 1, 8, 4300));
}

TEST_P(Decode, MasksAndSoftcap) {
  for (const char* masks : {"_causal", "_causal_wl20", "_causal_wl20_sink3",
                            "_wl5_wr9", "_causal_cap5", "_cap0.01_scale3",
                            "_causal_off-100", "_causal_off70"}) {
    for (const int seqlen_q : {1, 5, 16}) {
      CheckText(Text(1, seqlen_q, 20, 170, masks));
      CheckText(Text(3, seqlen_q, 20, 170, masks));
    }
  }
}

TEST_P(Decode, EveryFillAndLayout) {
  for (const eval::Fill fill :
       {eval::Fill::kInteger, eval::Fill::kSpread, eval::Fill::kOneHot,
        eval::Fill::kGrowing, eval::Fill::kEqual}) {
    for (const eval::Layout layout :
         {eval::Layout::kBhsd, eval::Layout::kPacked, eval::Layout::kPadded}) {
      CheckText(Text(4, 1, 36, 300), fill, layout);
      CheckText(Text(2, 3, 36, 300, "_causal"), fill, layout);
    }
  }
}

// Tokens outside of many heads: key rows are then 2 or 4 KiB apart.
TEST_P(Decode, RowsThatShareCacheSets) {
  for (const char* text :
       {"h8_kv8_d128_q1_k150", "h8_kv4_d128_q2_k97", "h8_kv8_d64_q1_k70",
        "h32_kv32_d128_q1_k70_f32_kvi8"}) {
    CheckText(text);
  }
}

TEST_P(Decode, MaskedPoisonHasNoInfluence) {
  for (const float poison : {std::numeric_limits<float>::quiet_NaN(),
                             std::numeric_limits<float>::infinity(),
                             -std::numeric_limits<float>::infinity()}) {
    for (const char* masks : {"_causal", "_causal_wl3", "_causal_wl3_sink2"}) {
      SCOPED_TRACE(std::to_string(poison) + masks);
      const eval::Tensors tensors =
          eval::MakeTensors(ProblemOf(Text(2, 6, 21, 90, masks)), {});
      // Seen by the last rows, by none of the first ones.
      for (const int c : {0, 9, 20}) {
        *tensors.key.At(0, 88, 0, c) = poison;
        *tensors.value.At(0, 87, 1, c) = poison;
      }
      *tensors.value.At(0, 50, 0, 3) = poison;
      Check(tensors);
    }
  }
}

TEST_P(Decode, NegativeZeros) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf(Text(2, 3, 20, 90, "_causal")), {});
  for (int64_t key = 0; key < 90; ++key) {
    for (int64_t c = 0; c < 20; c += 2) *tensors.value.At(0, key, 0, c) = -0.0f;
    *tensors.key.At(0, key, 1, 3) = -0.0f;
  }
  Check(tensors);
}

// Sets element c of every key and value of head 0 to code(key, c).
template <class Code>
void SetCodes(const eval::Tensors& tensors, const Code& code) {
  for (const TensorView& view : {tensors.key.view, tensors.value.view}) {
    for (int64_t key = 0; key < view.seqlen(); ++key) {
      uint8_t* row = static_cast<uint8_t*>(const_cast<void*>(view.data)) +
                     key * view.stride[1];
      for (int64_t c = 0; c < view.head_dim(); ++c) {
        row[c] = static_cast<uint8_t>(code(key, c));
      }
    }
  }
}

// Whatever is among 8-bit floats: numbers below the normal ones, infinities and
// NaNs; scales of every size.
TEST_P(Decode, FloatsOfEightBits) {
  for (const char* type : {"e4m3", "e5m2"}) {
    SCOPED_TRACE(type);
    const int finite = type[1] == '4' ? 0x7f : 0x7c;
    const auto any = [&](int64_t key, int64_t c) {
      const int64_t i = (key * 37 + c * 11) % (2 * finite);
      return i < finite ? i : 0x80 + i - finite;
    };
    const auto small = [](int64_t key, int64_t c) {
      return (key + c) % 8 + (key + 3 * c) % 2 * 0x80;
    };
    for (const char* shape :
         {"h4_kv2_q1_d43_k200", "h2_kv2_q1_d128_k128", "h2_kv1_q3_d15_k70"}) {
      const eval::Tensors tensors = eval::MakeTensors(
          ProblemOf(std::string(shape) + "_scale0.0001_kv" + type), {});
      SetCodes(tensors, small);
      Check(tensors);
      SetCodes(tensors, any);
      Check(tensors);
      // The scales that a block may have, and beyond.
      for (const float scale : {0x1p7f, -0x1p7f, 0x1.8p7f, 0x1p100f, 0x1p-100f,
                                0x1.8p-101f, 0x1p-130f, 0.0f}) {
        SCOPED_TRACE(scale);
        *tensors.key_scale.At(0, 66, 0) = scale;
        *tensors.value_scale.At(0, 67, 0) = scale;
        Check(tensors);
      }
    }
    // In a block that every row sees whole, in keys or in values.
    for (const int code : {finite, 0x80 + finite, 0x7f, 0xff}) {
      for (const bool in_keys : {true, false}) {
        SCOPED_TRACE(std::to_string(code) + (in_keys ? " key" : " value"));
        const eval::Tensors tensors = eval::MakeTensors(
            ProblemOf(std::string("h2_kv2_q1_d40_k150_kv") + type), {});
        SetCodes(tensors, any);
        const TensorView& view = (in_keys ? tensors.key : tensors.value).view;
        static_cast<uint8_t*>(const_cast<void*>(
            view.data))[100 * view.stride[1] + 7] = static_cast<uint8_t>(code);
        Check(tensors);
      }
    }
  }
}

// What the caller has the CPU do with numbers below the normal ones does not
// matter to 8-bit floats.
TEST_P(Decode, FloatsOfEightBitsWhateverTheCallersMode) {
  for (const char* type : {"e4m3", "e5m2"}) {
    SCOPED_TRACE(type);
    const eval::Tensors tensors = eval::MakeTensors(
        ProblemOf(std::string("h2_kv2_q1_d40_k200_kv") + type), {});
    SetCodes(tensors, [](int64_t key, int64_t c) {
      return (key + c) % 8 + (key + 3 * c) % 2 * 0x80;
    });
    RunConfig config;
    config.target = GetParam();
    config.decode_rows = kEveryRow;
    ASSERT_TRUE(RunOn(config, AttentionParams(), tensors.Args()).ok());
    const std::vector<float> usual = tensors.out.Dense();
    tensors.ClearOutput();
    const uint64_t before = FloatingPointControl();
    SetFloatingPointControl(before | kFlushDenormals);
    const bool ok = RunOn(config, AttentionParams(), tensors.Args()).ok();
    SetFloatingPointControl(before);
    ASSERT_TRUE(ok);
    EXPECT_EQ(tensors.out.Dense(), usual);
  }
}

// Short of rows for the decode kernel, the tile kernel takes over.
TEST_P(Decode, SameAsTheTileKernel) {
  for (const int decode_rows : {0, 1, 3, 4, 16}) {
    Check(eval::MakeTensors(ProblemOf(Text(2, 2, 64, 300, "_causal")), {}),
          decode_rows);
  }
}

HEED_ON_EVERY_TARGET(Decode);

}  // namespace
}  // namespace heed::test
