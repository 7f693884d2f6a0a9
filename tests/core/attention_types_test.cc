// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Tensors of 16-bit elements, in any mix with f32: the bits of the page that
// widens each element exactly and rounds each output once.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "lib/oracle/element.h"
#include "lib/oracle/oracle.h"
#include "tests/support/quick.h"
#include "tests/support/run.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

// A dense tensor of any type with a sentinel before and behind each row.
class TypedTensor {
 public:
  static constexpr int64_t kPad = 3;

  TypedTensor(DType dtype, const ConstTensorView& like) {
    const int64_t size = SizeOf(dtype);
    const int64_t row = like.head_dim() + 2 * kPad;
    bytes_.assign(
        static_cast<size_t>(
            like.batch() * like.seqlen() * like.heads() * row * size + 64),
        0xa5);
    view.dtype = dtype;
    view.data = bytes_.data() + kPad * size;
    for (int i = 0; i < 4; ++i) view.extent[i] = like.extent[i];
    view.stride[3] = size;
    view.stride[2] = row * size;
    view.stride[1] = like.heads() * view.stride[2];
    view.stride[0] = like.seqlen() * view.stride[1];
  }

  // The numbers of an f32 tensor, rounded to this one's type.
  void Fill(const ConstTensorView& from) {
    ForEach([&](int64_t b, int64_t s, int64_t h, int64_t c) {
      oracle::StoreElement(
          view, b, s, h, c,
          static_cast<float>(oracle::ElementAt(from, b, s, h, c)));
    });
  }

  template <typename F>
  void ForEach(F f) const {
    for (int64_t b = 0; b < view.batch(); ++b) {
      for (int64_t s = 0; s < view.seqlen(); ++s) {
        for (int64_t h = 0; h < view.heads(); ++h) {
          for (int64_t c = 0; c < view.head_dim(); ++c) f(b, s, h, c);
        }
      }
    }
  }

  const std::vector<unsigned char>& bytes() const { return bytes_; }

  TensorView view;

 private:
  std::vector<unsigned char> bytes_;
};

struct Mix {
  DType query, key, value, out;
};

constexpr DType kTypes[] = {DType::kF32, DType::kBF16, DType::kF16};

std::string NameOfMix(const Mix& mix) {
  return std::string(NameOf(mix.query)) + " " + NameOf(mix.key) + " " +
         NameOf(mix.value) + " " + NameOf(mix.out);
}

class AttentionTypes : public OnEveryTarget {
 protected:
  void Check(const std::string& text, const Mix& mix, eval::Fill fill,
             int workers) {
    SCOPED_TRACE(text + ": " + NameOfMix(mix));
    eval::WorkloadOptions workload;
    workload.fill = fill;
    const io::Problem problem = ProblemOf(text);
    const eval::Tensors f32 = eval::MakeTensors(problem, workload);
    TypedTensor query(mix.query, f32.query.view);
    TypedTensor key(mix.key, f32.key.view);
    TypedTensor value(mix.value, f32.value.view);
    TypedTensor out(mix.out, f32.out.view), want(mix.out, f32.out.view);
    query.Fill(f32.query.view);
    key.Fill(f32.key.view);
    value.Fill(f32.value.view);
    AttentionArgs args;
    args.query = query.view;
    args.key = key.view;
    args.value = value.view;
    args.out = out.view;
    args.lse = f32.lse.view;
    ASSERT_TRUE(
        RunOn(RunConfig{GetParam(), 0, workers}, problem.params, args).ok());
    const std::vector<float> lse = f32.lse.Dense();
    args.out = want.view;
    oracle::AttentionBits(problem.params, args);
    if (HasSameBits(GetParam())) {
      // All bytes: also what lies between rows.
      EXPECT_EQ(out.bytes(), want.bytes());
      EXPECT_EQ(lse, f32.lse.Dense());
      return;
    }
    // Held to rounding; scores of hundreds bring theirs into the weights.
    const double floor = fill == eval::Fill::kNormal ? 4e-6 : 4e-4;
    const double unit = mix.out == DType::kBF16  ? 0x1p-8
                        : mix.out == DType::kF16 ? 0x1p-11
                                                 : 0x1p-22;
    want.ForEach([&](int64_t b, int64_t s, int64_t h, int64_t c) {
      const double w = oracle::ElementAt(want.view, b, s, h, c);
      ASSERT_NEAR(oracle::ElementAt(out.view, b, s, h, c), w,
                  2 * unit * std::fabs(w) + floor);
    });
  }
};

TEST_P(AttentionTypes, EveryMix) {
  for (const DType query : kTypes) {
    for (const DType key : kTypes) {
      for (const DType value : kTypes) {
        for (const DType out : kTypes) {
          if (Quick() && out != query) continue;
          Check("b2_h4_kv2_d9_dv7_q20_k75_causal", {query, key, value, out},
                eval::Fill::kNormal, 1);
        }
      }
    }
  }
}

TEST_P(AttentionTypes, ShapesAndSchedules) {
  for (const DType type : {DType::kBF16, DType::kF16}) {
    const Mix same = {type, type, type, type};
    const Mix cache = {DType::kF32, type, type, DType::kF32};
    for (const char* text :
         {"h1_d1_dv1_q1_k1", "h2_kv1_d64_q1_k130", "h1_d80_q70_k70_causal",
          "h3_kv1_d17_dv40_q33_k129_wl20_sink3", "h1_d128_q5_k4100_causal",
          "b2_h2_d8_q3_k0", "h2_d24_dv0_q9_k9", "h6_kv2_d32_q50_k64"}) {
      for (const int workers : {1, 3}) {
        Check(text, same, eval::Fill::kNormal, workers);
        Check(text, cache, eval::Fill::kSpread, workers);
      }
    }
    if (Quick()) continue;
    Check("b2_h4_kv2_d96_q300_k300_causal", same, eval::Fill::kNormal, 2);
    Check("h1_d256_q65_k200", same, eval::Fill::kGrowing, 1);
  }
}

HEED_ON_EVERY_TARGET(AttentionTypes);

}  // namespace
}  // namespace heed::test
