// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// MergeStates: partial results over disjoint keys add up to the whole.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "lib/kernels/kernels.h"
#include "tests/support/compare.h"
#include "tests/support/intervals.h"
#include "tests/support/run.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// An attention result.
struct State {
  eval::Tensor out, lse;
};

State MakeState(const AttentionShape& shape,
                eval::Layout layout = eval::Layout::kBshd) {
  return {eval::MakeTensor(shape.batch, shape.seqlen_q, shape.num_heads,
                           shape.head_dim_v, layout),
          eval::MakeTensor(shape.batch, shape.seqlen_q, shape.num_heads, 1,
                           layout)};
}

State Attend(const eval::Tensors& tensors,
             const KeyIntervals& lists = KeyIntervals()) {
  const State state = MakeState(tensors.problem.shape);
  AttentionArgs args = tensors.Args();
  args.key_intervals = lists;
  args.out = state.out.view;
  args.lse = state.lse.view;
  const Status status = Attention(tensors.problem.params, args);
  EXPECT_TRUE(status.ok()) << ToString(status);
  return state;
}

Status MergeInto(const State& a, const State& b, const State& to) {
  return MergeStates(a.out.view, a.lse.view, b.out.view, b.lse.view,
                     to.out.view, to.lse.view);
}

State Merged(const State& a, const State& b) {
  const TensorView& v = a.out.view;
  const State to = {eval::MakeTensor(v.batch(), v.seqlen(), v.heads(),
                                     v.head_dim(), eval::Layout::kBhsd),
                    eval::MakeTensor(v.batch(), v.seqlen(), v.heads(), 1,
                                     eval::Layout::kBhsd)};
  const Status status = MergeInto(a, b, to);
  EXPECT_TRUE(status.ok()) << ToString(status);
  return to;
}

void ExpectNear(const State& a, const State& b, double tolerance) {
  const std::vector<float> out_a = a.out.Dense(), out_b = b.out.Dense();
  const std::vector<float> lse_a = a.lse.Dense(), lse_b = b.lse.Dense();
  ASSERT_EQ(out_a.size(), out_b.size());
  for (size_t i = 0; i < out_a.size(); ++i) {
    ASSERT_NEAR(out_a[i], out_b[i], tolerance) << "out " << i;
  }
  for (size_t i = 0; i < lse_a.size(); ++i) {
    if (std::isinf(lse_b[i])) {
      ASSERT_EQ(lse_a[i], lse_b[i]) << "lse " << i;
    } else {
      ASSERT_NEAR(lse_a[i], lse_b[i], tolerance) << "lse " << i;
    }
  }
}

// What the lists of `lists` leave out.
IntervalLists Complement(const IntervalLists& lists, int64_t seqlen_k) {
  IntervalLists rest;
  rest.query_block_size = lists.query_block_size;
  for (size_t list = 0; list + 1 < lists.offsets.size(); ++list) {
    int64_t at = 0;
    for (int64_t i = lists.offsets[list]; i < lists.offsets[list + 1]; ++i) {
      const KeyInterval& interval = lists.intervals[static_cast<size_t>(i)];
      if (interval.begin > at) rest.Add(at, interval.begin);
      at = interval.end;
    }
    if (at < seqlen_k) rest.Add(at, seqlen_k);
    rest.EndList();
  }
  return rest;
}

TEST(MergeStates, ASelectionAndItsComplementAreTheWhole) {
  eval::Random random(21);
  for (const char* text :
       {"h4_kv2_d16_q50_k200", "b2_h2_d16_q50_k200_causal",
        "h2_d8_q20_k5000_causal", "h2_kv1_d64_q33_k90_cap4"}) {
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(text), {});
    const State whole = Attend(tensors);
    for (int i = 0; i < 5; ++i) {
      const IntervalLists lists = RandomLists(
          tensors.problem.shape, 1 + random.Below(20), 9, 60, random);
      const IntervalLists rest =
          Complement(lists, tensors.problem.shape.seqlen_k);
      SCOPED_TRACE(text);
      ExpectNear(
          Merged(Attend(tensors, lists.View()), Attend(tensors, rest.View())),
          whole, 3e-6);
    }
  }
}

// Attends to thirds of the keys by views that begin further in.
std::vector<State> Thirds(const eval::Tensors& tensors) {
  const int64_t keys = tensors.problem.shape.seqlen_k;
  std::vector<State> states;
  for (int third = 0; third < 3; ++third) {
    const int64_t begin = keys * third / 3, end = keys * (third + 1) / 3;
    eval::Tensors part = tensors;
    part.problem.shape.seqlen_k = end - begin;
    for (eval::Tensor* tensor : {&part.key, &part.value}) {
      tensor->view.data = tensor->At(0, begin, 0);
      tensor->view.extent[1] = end - begin;
    }
    states.push_back(Attend(part));
  }
  return states;
}

TEST(MergeStates, IsAssociativeAndCommutativeToRounding) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("b2_h4_kv2_d20_q30_k150"), {});
  const State whole = Attend(tensors);
  const std::vector<State> s = Thirds(tensors);
  const State left = Merged(Merged(s[0], s[1]), s[2]);
  const State right = Merged(s[0], Merged(s[1], s[2]));
  const State swapped = Merged(Merged(s[2], s[0]), s[1]);
  ExpectNear(left, whole, 2e-6);
  ExpectNear(left, right, 1e-6);
  ExpectNear(left, swapped, 1e-6);
}

State Filled(float out_value, float lse_value, int64_t dim = 37) {
  AttentionShape shape = ProblemOf("h2_d1_q3").shape;
  shape.head_dim_v = dim;
  const State state = MakeState(shape);
  for (int64_t s = 0; s < 3; ++s) {
    for (int64_t h = 0; h < 2; ++h) {
      for (int64_t c = 0; c < dim; ++c) *state.out.At(0, s, h, c) = out_value;
      *state.lse.At(0, s, h) = lse_value;
    }
  }
  return state;
}

void ExpectFilled(const State& state, float out_value, float lse_value,
                  double tolerance = 0) {
  for (const float x : state.out.Dense()) {
    if (std::isnan(out_value)) {
      EXPECT_TRUE(std::isnan(x));
    } else {
      EXPECT_NEAR(x, out_value, tolerance);
    }
  }
  for (const float x : state.lse.Dense()) {
    if (std::isnan(lse_value)) {
      EXPECT_TRUE(std::isnan(x));
    } else if (std::isinf(lse_value)) {
      EXPECT_EQ(x, lse_value);
    } else {
      EXPECT_NEAR(x, lse_value, tolerance);
    }
  }
}

// A part without keys counts for nothing, whatever stands in its out.
TEST(MergeStates, EmptyPartsCountForNothing) {
  const State full = Filled(3.25f, 1.5f);
  for (const float garbage : {0.0f, 7.0f, static_cast<float>(NAN), kInf}) {
    ExpectFilled(Merged(full, Filled(garbage, -kInf)), 3.25f, 1.5f);
    ExpectFilled(Merged(Filled(garbage, -kInf), full), 3.25f, 1.5f);
    ExpectFilled(Merged(Filled(garbage, -kInf), Filled(garbage, -kInf)), 0.0f,
                 -kInf);
  }
}

TEST(MergeStates, WeighsByTheExponentialOfLse) {
  // exp(lse): 1 and 3.
  const State merged = Merged(Filled(4.0f, 0.0f), Filled(8.0f, std::log(3.0f)));
  ExpectFilled(merged, 7.0f, std::log(4.0f), 1e-6);
  // Far apart: the larger takes all.
  ExpectFilled(Merged(Filled(1.0f, 500.0f), Filled(2.0f, -500.0f)), 1.0f,
               500.0f);
  ExpectFilled(Merged(Filled(1.0f, -1e30f), Filled(2.0f, 1e30f)), 2.0f, 1e30f);
  // Sums that would overflow if exponentials were taken of lse itself.
  ExpectFilled(Merged(Filled(1.0f, 1000.0f), Filled(3.0f, 1000.0f)), 2.0f,
               1000.0f + std::log(2.0f), 1e-4);
}

TEST(MergeStates, NanStaysNan) {
  const float nan = static_cast<float>(NAN);
  ExpectFilled(Merged(Filled(nan, nan), Filled(1.0f, 1.0f)), nan, nan);
  ExpectFilled(Merged(Filled(1.0f, 1.0f), Filled(nan, nan)), nan, nan);
  ExpectFilled(Merged(Filled(nan, 1.0f), Filled(1.0f, 1.0f)), nan,
               1.0f + std::log(2.0f), 1e-6);
}

TEST(MergeStates, MayBeInPlace) {
  for (const int64_t dim : {1, 3, 16, 64, 100}) {
    const State want = Merged(Filled(1.0f, 2.0f, dim), Filled(5.0f, 1.0f, dim));
    const State a = Filled(1.0f, 2.0f, dim), b = Filled(5.0f, 1.0f, dim);
    ASSERT_TRUE(MergeInto(a, b, a).ok());
    EXPECT_TRUE(SameBits(a.out, want.out) && SameBits(a.lse, want.lse)) << dim;
    const State c = Filled(1.0f, 2.0f, dim), d = Filled(5.0f, 1.0f, dim);
    ASSERT_TRUE(MergeInto(c, d, d).ok());
    EXPECT_TRUE(SameBits(d.out, want.out) && SameBits(d.lse, want.lse)) << dim;
  }
}

TEST(MergeStates, LeavesPaddingAlone) {
  AttentionShape shape = ProblemOf("b2_h3_d9_q4").shape;
  const State to = MakeState(shape, eval::Layout::kPadded);
  const eval::Tensors tensors = eval::MakeTensors(ProblemOf("b2_h3_d9_q4"), {});
  const State a = Attend(tensors);
  ASSERT_TRUE(MergeInto(a, a, to).ok());
  EXPECT_TRUE(to.out.PaddingIntact());
  EXPECT_TRUE(to.lse.PaddingIntact());
  for (size_t i = 0; i < a.out.Dense().size(); ++i) {
    EXPECT_EQ(to.out.Dense()[i], a.out.Dense()[i]) << "the average of equals";
  }
}

TEST(MergeStates, ZeroExtentsAreFine) {
  for (const char* text : {"b0_h2_d4_q3", "h0_d4_q3", "h2_d4_q0"}) {
    const State state = MakeState(ProblemOf(text).shape);
    EXPECT_TRUE(MergeInto(state, state, state).ok()) << text;
  }
  EXPECT_TRUE(
      MergeInto(Filled(0, 1.0f, 0), Filled(0, 1.0f, 0), Filled(0, 1.0f, 0))
          .ok());
  // At once, however large the extents beside the 0.
  const TensorView huge = Bshd(static_cast<float*>(nullptr), int64_t{1} << 36,
                               int64_t{1} << 20, 0, 4);
  const TensorView lse =
      Bhs(static_cast<float*>(nullptr), int64_t{1} << 36, 0, int64_t{1} << 20);
  EXPECT_TRUE(MergeStates(huge, lse, huge, lse, huge, lse).ok());
}

// MergeStates takes the best table; here every table merges the same rows.
float Number(eval::Random& random) {
  return static_cast<float>(random.Below(2001) - 1000) / 500.0f;
}

class MergeRows : public OnEveryTarget {};

TEST_P(MergeRows, GiveTheBitsOfThePlainTable) {
  const internal::Kernels* kernels = internal::FindKernels(GetParam().c_str());
  ASSERT_NE(kernels, nullptr);
  const internal::AttentionTable* table = &kernels->attention;
  const internal::AttentionTable* plain =
      &internal::FindKernels("plain")->attention;
  eval::Random random(77);
  for (int64_t dim = 0; dim <= 70; ++dim) {
    const size_t size = static_cast<size_t>(dim);
    std::vector<float> a(size), b(size), got(size), want(size);
    for (float& x : a) x = Number(random);
    for (float& x : b) x = Number(random);
    for (const float gap : {0.0f, -0.3f, 2.0f, 50.0f, 80.0f, kInf, -kInf}) {
      const float lse_a = 3.0f * Number(random);
      const internal::FinishedRow row_a = {a.data(), lse_a};
      const internal::FinishedRow row_b = {b.data(), lse_a - gap};
      float got_lse, want_lse;
      table->merge_rows(row_a, row_b, dim, got.data(), &got_lse);
      plain->merge_rows(row_a, row_b, dim, want.data(), &want_lse);
      if (table->attend.same_bits) {
        ASSERT_EQ(CanonicalBits(got_lse), CanonicalBits(want_lse)) << dim;
        for (size_t c = 0; c < size; ++c) {
          ASSERT_EQ(CanonicalBits(got[c]), CanonicalBits(want[c])) << dim;
        }
      } else if (gap != -kInf) {
        ASSERT_NEAR(got_lse, want_lse, 2e-6) << dim;
        for (size_t c = 0; c < size; ++c) {
          ASSERT_NEAR(got[c], want[c], 2e-6) << dim;
        }
      }
    }
  }
}

HEED_ON_EVERY_TARGET(MergeRows);

void ExpectRefused(const State& a, const State& b, const State& to,
                   StatusCode code, const std::string& argument) {
  const Status status = MergeInto(a, b, to);
  EXPECT_EQ(status.code(), code) << ToString(status);
  EXPECT_EQ(std::string(status.argument()), argument) << ToString(status);
}

TEST(MergeStates, RefusesBadInput) {
  const State good = Filled(1.0f, 1.0f);
  const State to = MakeState([] {
    AttentionShape shape = ProblemOf("h2_d1_q3").shape;
    shape.head_dim_v = 37;
    return shape;
  }());
  const auto refuse = [&](int which, void (*spoil)(TensorView&),
                          StatusCode code) {
    State states[3] = {good, Filled(1.0f, 1.0f), to};
    const char* const names[] = {"out_a", "lse_a", "out_b",
                                 "lse_b", "out",   "lse"};
    State& state = states[which / 2];
    spoil(which % 2 == 0 ? state.out.view : state.lse.view);
    const Status status = MergeInto(states[0], states[1], states[2]);
    EXPECT_EQ(status.code(), code) << names[which] << ToString(status);
    EXPECT_EQ(std::string(status.argument()), names[which]);
  };
  for (int which = 0; which < 6; ++which) {
    refuse(
        which, [](TensorView& v) { v.data = nullptr; },
        StatusCode::kInvalidArgument);
    // out's own extents are what the others are held to.
    if (which != 4) {
      refuse(
          which, [](TensorView& v) { v.extent[1] = -1; },
          StatusCode::kInvalidArgument);
    }
    refuse(
        which, [](TensorView& v) { v.dtype = DType::kF16; },
        StatusCode::kUnsupported);
    refuse(
        which, [](TensorView& v) { v.stride[1] = -v.stride[1]; },
        StatusCode::kUnsupported);
    refuse(
        which, [](TensorView& v) { v.data = static_cast<char*>(v.data) + 2; },
        StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(Untouched(to.out));
  EXPECT_TRUE(Untouched(to.lse));
}

TEST(MergeStates, RefusesShapesThatDisagree) {
  const State good = Filled(1.0f, 1.0f);
  const State other = MakeState(ProblemOf("h2_d37_q4").shape);
  ExpectRefused(good, other, Filled(0, 0), StatusCode::kInvalidArgument,
                "out_b");
  ExpectRefused(other, good, Filled(0, 0), StatusCode::kInvalidArgument,
                "out_a");
  State bad_lse = good;
  bad_lse.lse.view.extent[3] = 0;
  ExpectRefused(bad_lse, good, Filled(0, 0), StatusCode::kInvalidArgument,
                "lse_a");
}

TEST(MergeStates, RefusesOverlapThatIsNotInPlace) {
  const State a = Filled(1.0f, 1.0f), b = Filled(1.0f, 1.0f);
  State shifted = a;
  shifted.out.view.data = a.out.At(0, 0, 0, 4);
  ExpectRefused(a, b, shifted, StatusCode::kInvalidArgument, "out");
  State crossed = a;
  crossed.lse = Filled(0, 0).lse;
  crossed.lse.view.data = b.out.At(0, 0, 0);
  ExpectRefused(a, b, crossed, StatusCode::kInvalidArgument, "lse");
}

}  // namespace
}  // namespace heed::test
