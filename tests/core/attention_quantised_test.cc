// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Quantised keys and values on every table, by tiles and by the decode kernel:
// the bits of the page that widens each element by its scale.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "tests/support/check.h"
#include "tests/support/intervals.h"
#include "tests/support/quick.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

constexpr DType kTypes[] = {DType::kI8, DType::kF8E4M3, DType::kF8E5M2,
                            DType::kU4};

std::string Field(DType type) {
  return type == DType::kI8       ? "_kvi8"
         : type == DType::kF8E4M3 ? "_kve4m3"
         : type == DType::kF8E5M2 ? "_kve5m2"
                                  : "_kvu4";
}

// Dimensions that hold whole groups, where the type needs them.
std::string Dims(DType type, int dim, int dim_v) {
  if (type == DType::kU4) {
    dim = (dim + 31) / 32 * 32;
    dim_v = (dim_v + 31) / 32 * 32;
  }
  return "_d" + std::to_string(dim) + "_dv" + std::to_string(dim_v);
}

class AttentionQuantised : public OnEveryTarget {
 protected:
  eval::Tensors Make(const std::string& text,
                     const eval::WorkloadOptions& options = {}) {
    return eval::MakeTensors(ProblemOf(text), options);
  }

  // On tiles and on the decode kernel, and on several workers.
  void Check(const eval::Tensors& tensors, int workers = 1,
             const KeyIntervals& intervals = {}) {
    const Checker checker(GetParam(), tensors.problem.params, tensors,
                          intervals);
    for (const int decode_rows : {0, 64}) {
      RunConfig config;
      config.target = GetParam();
      config.workers = workers;
      config.decode_rows = decode_rows;
      checker.Check(config);
    }
  }
};

TEST_P(AttentionQuantised, ShapesAndMasks) {
  const struct {
    const char* text;
    int dim, dim_v;
  } cases[] = {{"h1_q1_k1", 1, 1},
               {"b2_h4_kv2_q20_k75_causal", 9, 7},
               {"h2_kv1_q1_k130", 64, 64},
               {"h3_kv1_q7_k129_wl20_sink3", 17, 40},
               {"h7_kv1_q3_k150_causal_cap5", 33, 128},
               {"b2_h2_q3_k0", 8, 8},
               {"h2_q9_k9", 32, 0},
               {"h8_kv2_q5_k200_causal_off70", 128, 96},
               {"h1_q70_k70_causal", 80, 80},
               {"h1_q3_k70", 300, 5}};
  for (const DType type : kTypes) {
    for (const auto& c : cases) {
      for (const int misalign : {0, 1}) {
        if (Quick() && misalign != 0) continue;
        eval::WorkloadOptions options;
        options.misalign = misalign;
        options.scale_group = misalign == 0 ? 64 : 32;
        Check(Make(c.text + Dims(type, c.dim, c.dim_v) + Field(type), options));
      }
    }
  }
}

TEST_P(AttentionQuantised, EveryHeadDim) {
  for (int dim = 1; dim <= 100; dim += Quick() ? 11 : dim < 40 ? 1 : 7) {
    const DType type = kTypes[dim % 3];
    Check(Make("h3_kv1_q2_k19" + Dims(type, dim, 101 - dim) + Field(type)));
  }
  for (const int dim : {32, 64, 96, 160, 192, 1024}) {
    for (const int group : {32, 64}) {
      eval::WorkloadOptions options;
      options.scale_group = group;
      Check(Make("h3_kv1_q2_k19" + Dims(DType::kU4, dim, 1024 - dim) +
                     Field(DType::kU4),
                 options));
    }
  }
}

TEST_P(AttentionQuantised, SpansOverWorkers) {
  for (const DType type : kTypes) {
    if (Quick() && type == DType::kF8E5M2) continue;
    Check(Make("h2_kv1_q2_k8200_causal" + Dims(type, 5, 3) + Field(type)), 3);
  }
}

TEST_P(AttentionQuantised, FillsAndLayouts) {
  for (const DType type : kTypes) {
    for (const eval::Fill fill : {eval::Fill::kSpread, eval::Fill::kGrowing}) {
      for (const eval::Layout layout :
           {eval::Layout::kBhsd, eval::Layout::kPacked,
            eval::Layout::kPadded}) {
        eval::WorkloadOptions options;
        options.fill = fill;
        options.layout = layout;
        Check(Make("h4_kv2_q3_k140_causal" + Dims(type, 36, 20) + Field(type),
                   options));
      }
    }
  }
}

TEST_P(AttentionQuantised, KeyIntervals) {
  eval::Random random(5);
  for (const DType type : kTypes) {
    const eval::Tensors tensors =
        Make("h2_kv1_q9_k300_causal" + Dims(type, 24, 40) + Field(type));
    const IntervalLists lists =
        RandomLists(tensors.problem.shape, 4, 30, 9, random);
    Check(tensors, 1, lists.View());
  }
}

// Keys of one type and values of another, floats among them.
TEST_P(AttentionQuantised, EveryMix) {
  const DType all[] = {DType::kF32,    DType::kBF16,   DType::kF16, DType::kI8,
                       DType::kF8E4M3, DType::kF8E5M2, DType::kU4};
  for (const DType key : all) {
    for (const DType value : all) {
      if (Quick() && key != DType::kI8 && value != DType::kI8) continue;
      io::Problem problem = ProblemOf("h4_kv2_d32_q3_k70_bf16_causal");
      problem.shape.key_dtype = key;
      problem.shape.value_dtype = value;
      problem.shape.out_dtype = DType::kF32;
      Check(eval::MakeTensors(problem, {}));
    }
  }
}

// One scale a tensor, a head or a token is a matter of zero strides.
TEST_P(AttentionQuantised, ScalesThatRepeat) {
  for (const DType type : kTypes) {
    const eval::Tensors tensors =
        Make("b2_h4_kv2_q3_k90_causal" + Dims(type, 64, 32) + Field(type));
    for (const int repeat : {7, 6, 5, 3, 2}) {  // bits: batch, seqlen, heads
      eval::Tensors some = tensors;
      for (int axis = 0; axis < 3; ++axis) {
        if ((repeat >> axis & 1) == 0) continue;
        some.key_scale.view.stride[axis] = 0;
        some.value_scale.view.stride[axis] = 0;
        some.value_minimum.view.stride[axis] = 0;
      }
      Check(some);
    }
  }
}

TEST_P(AttentionQuantised, AbsentScalesAreOne) {
  for (const DType type : kTypes) {
    if (type == DType::kU4) continue;
    eval::Tensors tensors = Make("h4_kv2_q3_k90_causal_scale0.001" +
                                 Dims(type, 20, 20) + Field(type));
    tensors.key_scale = tensors.value_scale = eval::Tensor();
    Check(tensors);
  }
}

// Without channels there is nothing to scale.
TEST_P(AttentionQuantised, FourBitValuesWithoutChannelsNeedNoScales) {
  for (const char* text : {"h2_kv1_q20_k90_causal", "h2_kv1_q1_k4200"}) {
    eval::Tensors tensors =
        Make(text + Dims(DType::kU4, 32, 0) + Field(DType::kU4));
    tensors.value_scale = tensors.value_minimum = eval::Tensor();
    Check(tensors);
  }
}

// A number that is not finite, or makes others so, among scales or minima is as
// one in the data: in the rows that see it, and in no other.
TEST_P(AttentionQuantised, PoisonedScales) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const DType type : kTypes) {
    for (const float poison : {nan, infinity, -infinity, 3e38f}) {
      const eval::Tensors tensors =
          Make("h2_kv1_q6_k90_causal_wl50" + Dims(type, 21, 37) + Field(type));
      // Seen by the last rows, by none of the first ones.
      *tensors.key_scale.At(0, 88, 0) = poison;
      *tensors.value_scale.At(0, 87, 0) = poison;
      // By the first ones alone, and by none.
      *tensors.value_scale.At(0, 35, 0) = poison;
      *tensors.value_scale.At(0, 3, 0) = poison;
      if (type == DType::kU4) {
        *tensors.value_minimum.At(0, 34, 0, 1) = poison;
        *tensors.key_minimum.At(0, 4, 0) = poison;
      }
      Check(tensors);
    }
  }
}

// Values without channels need no scales: only lse is wanted.
TEST_P(AttentionQuantised, NoValueChannelsNoScales) {
  const eval::Tensors tensors = Make("h2_d32_dv0_q9_k40_causal_kvu4");
  AttentionArgs args = tensors.Args();
  args.kv_scales.value_scale = args.kv_scales.value_minimum = ConstTensorView();
  for (const int decode_rows : {0, 64}) {
    RunConfig config;
    config.target = GetParam();
    config.decode_rows = decode_rows;
    ASSERT_TRUE(RunOn(config, tensors.problem.params, tensors.Args()).ok());
    const std::vector<float> want = tensors.lse.Dense();
    tensors.ClearOutput();
    const Status status = RunOn(config, tensors.problem.params, args);
    ASSERT_TRUE(status.ok()) << ToString(status);
    EXPECT_EQ(tensors.lse.Dense(), want);
  }
}

HEED_ON_EVERY_TARGET(AttentionQuantised);

}  // namespace
}  // namespace heed::test
