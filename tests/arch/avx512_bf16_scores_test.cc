// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Score inputs on the unit: within the bound of kFast of the definition in
// double, and with bits that depend neither on how work is cut nor on what is
// hidden.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "lib/eval/workload.h"
#include "lib/oracle/element.h"
#include "lib/oracle/oracle.h"
#include "tests/arch/unit.h"
#include "tests/support/compare.h"

namespace heed::test {
namespace {

constexpr int64_t kRows = 150, kKeys = 201, kHeads = 4, kKvHeads = 2, kDim = 24;

void Hook(void*, const ScoreTile& tile) {
  for (int k = 0; k < tile.num_keys; ++k) {
    for (int r = 0; r < tile.num_rows; ++r) {
      float& x = tile.score[k * tile.key_stride + r * tile.row_stride];
      const int a = tile.key_position[k] + 3 * tile.row_index[r];
      x = a % 7 == 0 ? -INFINITY : x + 0.25f * static_cast<float>(a % 5);
    }
  }
}

// Memory for every input.
struct Inputs {
  std::vector<float> bias, slopes, relative, query_decay, key_decay, sinks;
  std::vector<bf16> bias_bf16;
  std::vector<uint8_t> mask;
  std::vector<int32_t> prefix, lengths, query_documents, key_documents;
  std::vector<uint64_t> tree;

  Inputs() {
    eval::Random random(4);
    const auto number = [&] {
      return static_cast<float>(random.Below(2001) - 1000) / 500;
    };
    for (int64_t i = 0; i < kHeads * kRows * kKeys; ++i) {
      bias.push_back(random.Below(9) == 0 ? -INFINITY : number());
      bias_bf16.push_back(ToBF16(bias.back()));
      mask.push_back(random.Below(3) != 0);
    }
    for (int64_t h = 0; h < kHeads; ++h) {
      slopes.push_back(0.01f * static_cast<float>(h + 1));
      sinks.push_back(number());
    }
    for (int64_t i = 0; i < kHeads * 41; ++i) relative.push_back(number());
    for (int64_t i = 0; i < kHeads * kRows; ++i) {
      query_decay.push_back(number());
    }
    for (int64_t i = 0; i < kHeads * kKeys; ++i) key_decay.push_back(number());
    prefix = {77};
    for (int64_t i = 0; i < kRows; ++i) {
      lengths.push_back(static_cast<int32_t>(random.Below(kKeys + 1)));
      query_documents.push_back(static_cast<int32_t>(i / 37));
      for (int64_t w = 0; w < (kRows + 63) / 64; ++w) {
        tree.push_back(random.Next());
      }
    }
    for (int64_t j = 0; j < kKeys; ++j) {
      key_documents.push_back(static_cast<int32_t>(j / 50));
    }
  }

  void Set(const std::string& name, ScoreInputs* in) const {
    const auto has = [&](const char* part) {
      return ("+" + name + "+").find("+" + std::string(part) + "+") !=
             std::string::npos;
    };
    if (has("bias")) in->bias = Bhsd(bias.data(), 1, kHeads, kRows, kKeys);
    if (has("bias_bf16")) {
      in->bias = Bhsd(bias_bf16.data(), 1, kHeads, kRows, kKeys);
    }
    if (has("mask")) {
      in->mask = Bhsd(reinterpret_cast<const bool*>(mask.data()), 1, kHeads,
                      kRows, kKeys);
    }
    if (has("alibi")) in->alibi_slopes = Bshd(slopes.data(), 1, 1, kHeads, 1);
    if (has("relative")) {
      in->relative_bias = Bshd(relative.data(), 1, 1, kHeads, 41);
    }
    if (has("decay")) {
      in->query_decay = Bshd(query_decay.data(), 1, kRows, kHeads, 1);
      in->key_decay = Bshd(key_decay.data(), 1, kKeys, kHeads, 1);
    }
    if (has("sink")) in->sink_logits = Bshd(sinks.data(), 1, 1, kHeads, 1);
    if (has("prefix")) in->prefix_lengths = Bshd(prefix.data(), 1, 1, 1, 1);
    if (has("lengths")) in->row_lengths = Bshd(lengths.data(), 1, kRows, 1, 1);
    if (has("documents")) {
      in->query_documents = Bshd(query_documents.data(), 1, kRows, 1, 1);
      in->key_documents = Bshd(key_documents.data(), 1, kKeys, 1, 1);
    }
    if (has("tree")) {
      in->tree_mask = Bshd(tree.data(), 1, kRows, 1, (kRows + 63) / 64);
    }
    if (has("hook")) in->hook = Hook;
  }
};

struct Result {
  std::vector<float> out, lse;
};

class Avx512Bf16Scores : public UnitTest {
 protected:
  Avx512Bf16Scores()
      : problem_(ProblemOf("h4_kv2_d24_q150_k201_bf16")),
        tensors_(eval::MakeTensors(F32Out(), {})) {}

  io::Problem F32Out() {
    problem_.shape.out_dtype = DType::kF32;
    return problem_;
  }
  AttentionArgs ArgsWith(const std::string& name) const {
    AttentionArgs args = tensors_.Args();
    inputs_.Set(name, &args.scores);
    return args;
  }
  Result Run(const AttentionParams& params, const AttentionArgs& args,
             const RunConfig& config = OnUnit()) const {
    tensors_.ClearOutput();
    const Status status = RunOn(config, params, args);
    EXPECT_TRUE(status.ok()) << ToString(status);
    return {tensors_.out.Dense(), tensors_.lse.Dense()};
  }
  double LargestValue() const {
    double largest = 0;
    for (const float x : tensors_.value.Dense()) {
      largest = std::max<double>(largest, std::fabs(x));
    }
    return largest;
  }

  io::Problem problem_;
  eval::Tensors tensors_;
  Inputs inputs_;
};

void ExpectSame(const Result& got, const Result& want) {
  for (size_t i = 0; i < want.out.size(); ++i) {
    ASSERT_EQ(CanonicalBits(got.out[i]), CanonicalBits(want.out[i])) << i;
  }
  for (size_t i = 0; i < want.lse.size(); ++i) {
    ASSERT_EQ(CanonicalBits(got.lse[i]), CanonicalBits(want.lse[i])) << i;
  }
}

constexpr const char* kNames[] = {"bias",
                                  "bias_bf16",
                                  "mask",
                                  "alibi",
                                  "relative",
                                  "decay",
                                  "sink",
                                  "prefix",
                                  "lengths",
                                  "documents",
                                  "tree",
                                  "hook",
                                  "mask+sink",
                                  "mask+documents",
                                  "alibi+mask",
                                  "bias+alibi",
                                  "prefix+sink",
                                  "documents+prefix+mask+sink",
                                  "bias+mask+relative+decay+alibi+hook+sink"};

TEST_F(Avx512Bf16Scores, StayWithinTheBound) {
  const double value = LargestValue();
  for (const float softcap : {0.0f, 5.0f}) {
    for (const char* name : kNames) {
      SCOPED_TRACE(name);
      AttentionParams params;
      params.causal = name[0] == 'm' || name[0] == 'p';
      params.softcap = softcap;
      const AttentionArgs args = ArgsWith(name);
      const Result got = Run(params, args);
      std::vector<double> out(got.out.size()), lse(got.lse.size());
      oracle::AttentionFast(params, args, out.data(), lse.data());
      for (size_t i = 0; i < out.size(); ++i) {
        ASSERT_NEAR(got.out[i], out[i], (1.04 * 0x1p-7 + 1e-6) * value) << i;
      }
      for (size_t i = 0; i < lse.size(); ++i) {
        if (std::isinf(lse[i])) {
          ASSERT_EQ(got.lse[i], lse[i]) << i;
        } else {
          ASSERT_NEAR(got.lse[i], lse[i], 1.04 * 0x1p-8 + 1e-5) << i;
        }
      }
    }
  }
}

TEST_F(Avx512Bf16Scores, LaneGroupsAndWorkersLeaveNoTrace) {
  for (const char* name : kNames) {
    SCOPED_TRACE(name);
    const AttentionArgs args = ArgsWith(name);
    const Result want = Run({}, args);
    for (const int groups : {1, 2, 7, 16}) {
      ExpectSame(Run({}, args, OnUnit(groups, groups % 3 + 1)), want);
    }
  }
}

// Rows of out of bf16 are finished by another way.
TEST_F(Avx512Bf16Scores, SinksReachOutputsOfBothTypes) {
  const AttentionArgs args = ArgsWith("sink");
  const Result want = Run({}, args);
  const eval::Tensor out = eval::MakeTensor(
      1, kRows, kHeads, kDim, eval::Layout::kBshd, 0, DType::kBF16);
  AttentionArgs narrow = args;
  narrow.out = out.view;
  const Result got = Run({}, narrow);
  const std::vector<float> rows = out.Dense();
  for (size_t i = 0; i < rows.size(); ++i) {
    ASSERT_NEAR(rows[i], want.out[i], 0x1.1p-8 * std::fabs(want.out[i]) + 1e-6);
  }
  EXPECT_EQ(got.lse, want.lse);
}

TEST_F(Avx512Bf16Scores, AMaskThatIsARuleGivesTheBitsOfTheRule) {
  const Result whole = Run({}, tensors_.Args());
  AttentionParams causal;
  causal.causal = true;
  causal.causal_offset = 20;
  const Result rule = Run(causal, tensors_.Args());
  std::vector<uint8_t> mask(kRows * kKeys, 1);
  AttentionArgs args = tensors_.Args();
  args.scores.mask =
      Bhsd(reinterpret_cast<const bool*>(mask.data()), 1, 1, kRows, kKeys);
  args.scores.mask.extent[2] = kHeads;
  args.scores.mask.stride[2] = 0;
  ExpectSame(Run({}, args), whole);
  for (int64_t i = 0; i < kRows; ++i) {
    for (int64_t j = 0; j < kKeys; ++j) mask[i * kKeys + j] = j <= i + 20;
  }
  ExpectSame(Run({}, args), rule);
}

TEST_F(Avx512Bf16Scores, AMaskThatRepeatsGivesTheBitsOfOneWrittenOut) {
  std::vector<uint8_t> row(kRows), mask;
  for (int64_t i = 0; i < kRows; ++i) {
    row[i] = i % 3 != 0;
    mask.insert(mask.end(), kKeys, row[i]);
  }
  AttentionArgs args = tensors_.Args();
  ConstTensorView& view = args.scores.mask;
  view = Bhsd(reinterpret_cast<const bool*>(mask.data()), 1, 1, kRows, kKeys);
  view.extent[2] = kHeads;
  view.stride[2] = 0;
  AttentionArgs repeats = args;
  repeats.scores.mask.data = row.data();
  repeats.scores.mask.stride[1] = 1;
  repeats.scores.mask.stride[3] = 0;
  // Many scales, as a score that is rounded otherwise seldom shows in a weight.
  for (int i = 1; i <= 30; ++i) {
    AttentionParams params;
    params.softmax_scale = 0.07f * static_cast<float>(i);
    ExpectSame(Run(params, repeats), Run(params, args));
  }
}

// Neither a value that is hidden from a row, nor what a row beside it sees, has
// influence.
TEST_F(Avx512Bf16Scores, WhatIsHiddenHasNoInfluence) {
  for (const char* name : {"mask", "bias", "hook", "mask+sink"}) {
    for (const float poison : {std::numeric_limits<float>::quiet_NaN(),
                               std::numeric_limits<float>::infinity()}) {
      SCOPED_TRACE(name);
      AttentionArgs args = ArgsWith(name);
      constexpr int64_t kKey = 70, kColumn = 3;
      const Result want = Run({}, args);
      const eval::Tensors other = eval::MakeTensors(problem_, {});
      oracle::StoreElement(other.value.view, 0, kKey, 0, kColumn, poison);
      args.value = other.value.view;
      const Result got = Run({}, args);
      int hidden = 0;
      for (int64_t s = 0; s < kRows; ++s) {
        for (int64_t h = 0; h < kHeads; ++h) {
          const size_t pair =
              static_cast<size_t>((h * kRows + s) * kKeys + kKey);
          const bool hides = name[0] == 'm'   ? inputs_.mask[pair] == 0
                             : name[0] == 'b' ? std::isinf(inputs_.bias[pair])
                                              : (kKey + 3 * s) % 7 == 0;
          const bool sees = h / (kHeads / kKvHeads) == 0 && !hides;
          hidden += hides;
          for (int64_t c = 0; c < kDim; ++c) {
            const size_t at = static_cast<size_t>((s * kHeads + h) * kDim + c);
            if (sees && c == kColumn) {
              ASSERT_FALSE(std::isfinite(got.out[at])) << s << " " << h;
            } else {
              ASSERT_EQ(got.out[at], want.out[at]) << s << " " << h;
            }
          }
        }
      }
      EXPECT_GT(hidden, 0);
    }
  }
}

}  // namespace
}  // namespace heed::test
