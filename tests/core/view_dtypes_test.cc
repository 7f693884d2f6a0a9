// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The checks of tensors whose elements have 16 bits, in any mix with others.
// BeginRun makes them and computes nothing, so plans here are given dtypes that
// MakePlan may refuse.
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/core/tensors.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

constexpr int64_t kBatch = 2, kHeads = 4, kKvHeads = 2, kDim = 8, kDimV = 6;
constexpr int64_t kQueries = 5, kKeys = 7;
constexpr DType kDTypes[] = {DType::kF32, DType::kBF16, DType::kF16};
constexpr int64_t kElements = kBatch * kQueries * kHeads * kDim;

// Returns a view of dense rows [batch][seqlen][heads][head_dim].
TensorView Dense(void* data, DType dtype, int64_t seqlen, int64_t heads,
                 int64_t head_dim) {
  TensorView view =
      Bshd(static_cast<float*>(data), kBatch, seqlen, heads, head_dim);
  view.dtype = dtype;
  for (int64_t& stride : view.stride) stride = stride / 4 * SizeOf(dtype);
  return view;
}

class ViewDTypes : public ::testing::Test {
 protected:
  ViewDTypes() {
    for (std::vector<float>& memory : memory_) memory.resize(kElements);
    const Status status =
        MakePlan({}, ProblemOf("b2_h4_kv2_d8_dv6_q5_k7").shape, {}, &plan_);
    EXPECT_TRUE(status.ok()) << ToString(status);
    workspace_ = std::make_unique<WorkspaceBuffer>(WorkspaceBytes(plan_, 1));
    Use(DType::kF32, DType::kF32, DType::kF32, DType::kF32);
  }

  void Use(DType query, DType key, DType value, DType out) {
    plan_.shape.query_dtype = query;
    plan_.shape.key_dtype = key;
    plan_.shape.value_dtype = value;
    plan_.shape.out_dtype = out;
    args_.query = Dense(memory_[0].data(), query, kQueries, kHeads, kDim);
    args_.key = Dense(memory_[1].data(), key, kKeys, kKvHeads, kDim);
    args_.value = Dense(memory_[2].data(), value, kKeys, kKvHeads, kDimV);
    args_.out = Dense(memory_[3].data(), out, kQueries, kHeads, kDimV);
    args_.lse = Bhs(memory_[4].data(), kBatch, kHeads, kQueries);
  }

  Status Check() const {
    AttentionRun run;
    return BeginRun(plan_, args_, workspace_->get(), 1, {}, &run);
  }

  void ExpectRefused(StatusCode code, const char* argument,
                     const char* message) const {
    const Status status = Check();
    EXPECT_EQ(status.code(), code) << ToString(status);
    EXPECT_STREQ(status.argument(), argument) << ToString(status);
    EXPECT_NE(std::string(status.message()).find(message), std::string::npos)
        << ToString(status);
  }

  std::vector<float> memory_[5];
  Plan plan_;
  AttentionArgs args_;
  std::unique_ptr<WorkspaceBuffer> workspace_;
};

TEST_F(ViewDTypes, AnyMixIsSound) {
  for (const DType query : kDTypes) {
    for (const DType key : kDTypes) {
      for (const DType value : kDTypes) {
        for (const DType out : kDTypes) {
          Use(query, key, value, out);
          const Status status = Check();
          EXPECT_TRUE(status.ok())
              << NameOf(query) << " " << NameOf(key) << " " << NameOf(value)
              << " " << NameOf(out) << ": " << ToString(status);
        }
      }
    }
  }
}

TEST_F(ViewDTypes, KeysAndValuesMayBeQuantised) {
  for (const DType dtype : {DType::kI8, DType::kF8E4M3, DType::kF8E5M2}) {
    Use(DType::kF32, dtype, DType::kF16, DType::kF32);
    EXPECT_TRUE(Check().ok());
    Use(DType::kF32, DType::kBF16, dtype, DType::kF32);
    EXPECT_TRUE(Check().ok());
  }
  const DType unknown = static_cast<DType>(77);
  Use(DType::kF32, unknown, DType::kF32, DType::kF32);
  ExpectRefused(StatusCode::kUnsupported, "key", "unknown dtype");
}

TEST_F(ViewDTypes, MustBeThePlans) {
  Use(DType::kBF16, DType::kBF16, DType::kBF16, DType::kBF16);
  const AttentionArgs good = args_;
  for (const DType other : {DType::kF32, DType::kF16, DType::kI8}) {
    internal::ForEachTensor(
        good, [&](const auto&, const internal::TensorName& name, auto) {
          if (name.dtype == nullptr) return;
          args_ = good;
          internal::ForEachTensor(
              args_, [&](auto& view, const internal::TensorName& of, auto) {
                if (&of == &name) view.dtype = other;
              });
          ExpectRefused(StatusCode::kInvalidArgument, name.argument,
                        "dtype differs from the plan's");
        });
  }
  args_ = good;
  args_.lse.dtype = DType::kBF16;
  ExpectRefused(StatusCode::kUnsupported, "lse", "must be f32");
}

TEST_F(ViewDTypes, StridesCountTheElementsOfTheView) {
  Use(DType::kF32, DType::kBF16, DType::kF32, DType::kF32);
  args_.key.stride[1] += 2;  // odd in floats, sound in halves
  EXPECT_TRUE(Check().ok());
  args_.key.stride[1] -= 1;
  ExpectRefused(StatusCode::kInvalidArgument, "key", "no multiple");
  Use(DType::kF32, DType::kBF16, DType::kF32, DType::kF32);
  args_.key.stride[3] = 4;
  ExpectRefused(StatusCode::kUnsupported, "key", "innermost stride");
}

TEST_F(ViewDTypes, AlignmentIsTheElements) {
  Use(DType::kF32, DType::kF32, DType::kF16, DType::kF32);
  char* const data = reinterpret_cast<char*>(memory_[2].data());
  args_.value.data = data + 2;
  EXPECT_TRUE(Check().ok());
  args_.value.data = data + 1;
  ExpectRefused(StatusCode::kInvalidArgument, "value", "aligned");
}

TEST_F(ViewDTypes, OverlapCountsTheElementsOfTheView) {
  Use(DType::kF32, DType::kF32, DType::kF32, DType::kBF16);
  char* const data = reinterpret_cast<char*>(memory_[0].data());
  const int64_t out_bytes = kBatch * kQueries * kHeads * kDimV * 2;
  args_.query.data = data + out_bytes;
  args_.out.data = data;
  // query would reach past its memory, but nothing is read.
  EXPECT_TRUE(Check().ok());
  args_.query.data = data + out_bytes - 4;
  ExpectRefused(StatusCode::kInvalidArgument, "out", "overlaps query");
  Use(DType::kF32, DType::kF32, DType::kF32, DType::kBF16);
  args_.out.stride[2] = 2 * kDimV - 2;
  ExpectRefused(StatusCode::kInvalidArgument, "out", "share memory");
}

}  // namespace
}  // namespace heed::test
