// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What is refused about score inputs, with nothing written.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "heed/heed.h"

namespace heed::test {
namespace {

constexpr int64_t kBatch = 2, kRows = 70, kKeys = 90, kHeads = 2, kDim = 8;

class ScoreStatus : public ::testing::Test {
 protected:
  ScoreStatus()
      : data_(kBatch * kKeys * kHeads * kKeys, 0.5f),
        out_(kBatch * kRows * kHeads * kDim, 3.0f) {
    lengths_.assign(kBatch * kKeys, 4);
    words_.assign(kBatch * kRows * 2, 1);
    args_.query = Bshd(data_.data(), kBatch, kRows, kHeads, kDim);
    args_.key = Bshd(data_.data(), kBatch, kKeys, kHeads, kDim);
    args_.value = args_.key;
    args_.out = Bshd(out_.data(), kBatch, kRows, kHeads, kDim);
  }

  template <typename T = float>
  ConstTensorView View(int64_t b, int64_t s, int64_t h, int64_t d) {
    return Bshd(reinterpret_cast<const T*>(data_.data()), b, s, h, d);
  }
  ConstTensorView Numbers(int64_t b, int64_t s) {
    return Bshd(const_cast<const int32_t*>(lengths_.data()), b, s, 1, 1);
  }

  // What is said of the arguments; nothing has been written where anything is.
  std::string Says() {
    const Status status = Attention({}, args_);
    if (status.ok()) return "";
    for (const float x : out_) EXPECT_EQ(x, 3.0f);
    return std::string(status.argument()) + ": " + status.message() +
           (status.has_index() ? " at " + std::to_string(status.index()) : "");
  }

  std::vector<float> data_, out_;
  std::vector<int32_t> lengths_;
  std::vector<uint64_t> words_;
  AttentionArgs args_;
};

constexpr char kFits[] = ": has an extent that does not fit at ";

TEST_F(ScoreStatus, Extents) {
  struct {
    const char* name;
    ConstTensorView ScoreInputs::*field;
    int64_t extent[4];
  } const tensors[] = {
      {"bias", &ScoreInputs::bias, {kBatch, kRows, kHeads, kKeys}},
      {"alibi_slopes", &ScoreInputs::alibi_slopes, {kBatch, 1, kHeads, 1}},
      {"sink_logits", &ScoreInputs::sink_logits, {kBatch, 1, kHeads, 1}},
      {"relative_bias", &ScoreInputs::relative_bias, {kBatch, 1, kHeads, 5}},
  };
  for (const auto& t : tensors) {
    for (int axis = -1; axis < 4; ++axis) {
      args_.scores = ScoreInputs();
      int64_t e[4] = {t.extent[0], t.extent[1], t.extent[2], t.extent[3]};
      if (axis >= 0) --e[axis];
      args_.scores.*t.field = View(e[0], e[1], e[2], e[3]);
      if (axis == 3 && args_.scores.relative_bias.head_dim() == 4) {
        EXPECT_EQ(Says(), "relative_bias: must have 2 R + 1 entries at 3");
        continue;
      }
      // A last call with an absent axis may have written.
      out_.assign(out_.size(), 3.0f);
      EXPECT_EQ(Says(),
                axis < 0 ? std::string()
                         : t.name + std::string(kFits) + std::to_string(axis));
      out_.assign(out_.size(), 3.0f);
    }
  }
}

TEST_F(ScoreStatus, Types) {
  args_.scores.bias = View<int32_t>(kBatch, kRows, kHeads, kKeys);
  EXPECT_EQ(Says(), "bias: must be f32, bf16 or f16");
  args_.scores = ScoreInputs();
  args_.scores.mask = View<int8_t>(kBatch, kRows, kHeads, kKeys);
  EXPECT_EQ(Says(), "mask: must be bool");
  args_.scores = ScoreInputs();
  args_.scores.row_lengths = View(kBatch, kRows, 1, 1);
  EXPECT_EQ(Says(), "row_lengths: must be i32");
  args_.scores = ScoreInputs();
  args_.scores.tree_mask = View(kBatch, kRows, 1, 2);
  EXPECT_EQ(Says(), "tree_mask: must be u64");
}

TEST_F(ScoreStatus, Numbers) {
  args_.scores.row_lengths = Numbers(kBatch, kRows);
  lengths_[75] = kKeys + 1;
  EXPECT_EQ(Says(), "row_lengths: must be 0 to the keys of the sequence at 75");
  lengths_[75] = -1;
  EXPECT_EQ(Says(), "row_lengths: must be 0 to the keys of the sequence at 75");
  args_.scores = ScoreInputs();
  lengths_[1] = -1;
  args_.scores.prefix_lengths = Numbers(kBatch, 1);
  EXPECT_EQ(Says(),
            "prefix_lengths: must be 0 to the keys of the sequence at 1");
  lengths_.assign(lengths_.size(), 4);
  lengths_[101] = 3;
  args_.scores = ScoreInputs();
  args_.scores.query_documents = Numbers(kBatch, kRows);
  EXPECT_EQ(Says(), "key_documents: is missing beside the other of its pair");
  args_.scores.key_documents = Numbers(kBatch, kKeys);
  EXPECT_EQ(Says(), "key_documents: must not fall along keys at 101");
}

TEST_F(ScoreStatus, Words) {
  args_.scores.tree_mask =
      Bshd(const_cast<const uint64_t*>(words_.data()), kBatch, kRows, 1, 1);
  EXPECT_EQ(Says(), "tree_mask: has an extent that does not fit at 3");
}

TEST_F(ScoreStatus, Pairs) {
  args_.scores.key_decay = View(kBatch, kKeys, kHeads, 1);
  EXPECT_EQ(Says(), "query_decay: is missing beside the other of its pair");
}

TEST_F(ScoreStatus, PlanWithout) {
  Plan plan;
  ASSERT_TRUE(MakePlan({}, ShapeOf(args_), {}, &plan).ok());
  args_.scores.alibi_slopes = View(kBatch, 1, kHeads, 1);
  const Status status = heed::Run(plan, args_, {}, SerialExecutor());
  EXPECT_STREQ(status.argument(), "scores");
}

TEST_F(ScoreStatus, Overlap) {
  args_.scores.bias = Strided(const_cast<const float*>(out_.data()), kBatch,
                              kRows, kHeads, kKeys, 0, 0, 0);
  EXPECT_EQ(Says(), "out: overlaps bias");
}

}  // namespace
}  // namespace heed::test
