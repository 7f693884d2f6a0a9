// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// RecogniseMask against a naive reading: whatever the mask, what is said of it
// is true, and what is a rule is found.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "tests/support/guard.h"
#include "tests/support/quick.h"

namespace heed::test {
namespace {

// Whether row i of `keys` keys sees key j.
bool Sees(const RecognisedMask& m, int64_t keys, int64_t i, int64_t j) {
  const int64_t position = i + m.causal_offset;
  return j < keys && (!m.causal || j <= position) &&
         (m.window_left < 0 || j >= position - m.window_left);
}

// A mask of bool, [batch][heads][q][k].
struct Plane {
  int64_t batch, heads, q, k;
  std::vector<uint8_t> see;

  Plane(int64_t b, int64_t h, int64_t rows, int64_t keys)
      : batch(b), heads(h), q(rows), k(keys) {
    see.resize(static_cast<size_t>(b * h * q * k));
  }
  uint8_t& At(int64_t b, int64_t h, int64_t i, int64_t j) {
    return see[static_cast<size_t>(((b * heads + h) * q + i) * k + j)];
  }
  ConstTensorView View() const {
    ConstTensorView view =
        Bhsd(reinterpret_cast<const int8_t*>(see.data()), batch, heads, q, k);
    view.dtype = DType::kBool;
    return view;
  }
};

// The naive reading: every rule of a small range is tried.
bool SomeRule(Plane& plane) {
  for (const bool causal : {false, true}) {
    for (int64_t left = -1; left <= plane.q + plane.k + 1; ++left) {
      for (int64_t offset = -plane.q - 1; offset <= plane.q + plane.k + 1;
           ++offset) {
        RecognisedMask m;
        m.causal = causal;
        m.window_left = left;
        m.causal_offset = offset;
        bool fits = true;
        for (int64_t at = 0; fits && at < plane.batch * plane.heads; ++at) {
          for (int64_t x = 0; fits && x < plane.q * plane.k; ++x) {
            const int64_t i = x / plane.k, j = x % plane.k;
            fits = (plane.At(at / plane.heads, at % plane.heads, i, j) != 0) ==
                   Sees(m, plane.k, i, j);
          }
        }
        if (fits) return true;
      }
    }
  }
  return false;
}

// The form, with everything that it says checked.
MaskForm FormOf(Plane& plane) {
  const size_t rows = static_cast<size_t>(plane.batch * plane.heads * plane.q);
  std::vector<int32_t> begin(rows, -7), end(rows, -7),
      keys(static_cast<size_t>(plane.batch), -7);
  MaskOptions options;
  options.begin = begin.data();
  options.end = end.data();
  options.seqlens_k = keys.data();
  RecognisedMask m, without;
  EXPECT_TRUE(RecogniseMask(plane.View(), options, &m).ok());
  EXPECT_TRUE(RecogniseMask(plane.View(), MaskOptions(), &without).ok());
  EXPECT_EQ(without.form == MaskForm::kRanges && m.form == MaskForm::kLengths
                ? m.form
                : without.form,
            m.form);
  for (int64_t b = 0; b < plane.batch; ++b) {
    for (int64_t h = 0; h < plane.heads; ++h) {
      for (int64_t i = 0; i < plane.q; ++i) {
        const size_t row =
            static_cast<size_t>((b * plane.heads + h) * plane.q + i);
        int64_t changes = 0;
        for (int64_t j = 0; j < plane.k; ++j) {
          const bool see = plane.At(b, h, i, j) != 0;
          changes += see && (j == 0 || plane.At(b, h, i, j - 1) == 0);
          if (m.form == MaskForm::kOther) continue;
          EXPECT_EQ(see, j >= begin[row] && j < end[row]);
          if (m.form == MaskForm::kAll) {
            EXPECT_TRUE(see);
          }
          if (m.form == MaskForm::kRule) {
            EXPECT_EQ(see, Sees(m, plane.k, i, j));
          }
          if (m.form == MaskForm::kLengths) {
            EXPECT_EQ(see, Sees(m, keys[static_cast<size_t>(b)], i, j));
          }
        }
        if (m.form != MaskForm::kOther) {
          EXPECT_LE(changes, 1);
        }
      }
    }
  }
  return m.form;
}

// Every mask of these sizes.
TEST(RecogniseMask, EverySmallMask) {
  int forms[5] = {};
  int sizes = 0;
  for (const auto& [q, k] : {std::pair<int64_t, int64_t>{1, 5},
                             {2, 4},
                             {3, 3},
                             {4, 3},
                             {3, 4},
                             {5, 1},
                             {5, 2}}) {
    if (Quick() && q * k > 10) continue;
    ++sizes;
    Plane plane(1, 1, q, k);
    for (uint64_t bits = 0; bits < uint64_t{1} << (q * k); ++bits) {
      for (int64_t x = 0; x < q * k; ++x) {
        plane.At(0, 0, x / k, x % k) = bits >> x & 1;
      }
      const MaskForm form = FormOf(plane);
      ++forms[static_cast<int>(form)];
      ASSERT_EQ(form == MaskForm::kAll || form == MaskForm::kRule,
                SomeRule(plane))
          << q << "x" << k << " " << bits;
      if (HasFailure()) return;
    }
  }
  EXPECT_EQ(forms[0], sizes);
  for (int form = 1; form < 5; ++form) EXPECT_GT(forms[form], 0) << form;
}

// Long rows, every rule, and one number changed anywhere.
TEST(RecogniseMask, RulesAndOneOff) {
  eval::Random random(1);
  for (int at = 0; at < (Quick() ? 20 : 300); ++at) {
    Plane plane(2, 2, 1 + random.Below(40), 1 + random.Below(700));
    RecognisedMask rule;
    rule.causal = random.Below(3) > 0;
    rule.window_left = random.Below(2) == 0 ? -1 : random.Below(400);
    rule.causal_offset = random.Below(800) - 50;
    for (int64_t x = 0; x < static_cast<int64_t>(plane.see.size()); ++x) {
      plane.see[static_cast<size_t>(x)] =
          Sees(rule, plane.k, x / plane.k % plane.q, x % plane.k);
    }
    const MaskForm form = FormOf(plane);
    ASSERT_TRUE(form == MaskForm::kRule || form == MaskForm::kAll);
    uint8_t& one = plane.see[static_cast<size_t>(
        random.Below(static_cast<int64_t>(plane.see.size())))];
    one ^= 1;
    // Of two heads and two batches three say otherwise.
    const MaskForm off = FormOf(plane);
    ASSERT_TRUE(off != MaskForm::kRule && off != MaskForm::kAll);
    if (HasFailure()) return;
  }
}

TEST(RecogniseMask, LengthsAndDocuments) {
  Plane plane(3, 2, 9, 12);
  const int64_t length[] = {12, 5, 0};
  for (const bool causal : {false, true}) {
    for (int64_t b = 0; b < 3; ++b) {
      for (int64_t x = 0; x < 2 * 9 * 12; ++x) {
        const int64_t i = x / 12 % 9, j = x % 12;
        plane.At(b, x / 108, i, j) = j < length[b] && (!causal || j <= i + 3);
      }
    }
    EXPECT_EQ(FormOf(plane), MaskForm::kLengths) << causal;
  }
  for (int64_t b = 0; b < 3; ++b) {
    for (int64_t x = 0; x < 2 * 9 * 12; ++x) {
      plane.At(b, x / 108, x / 12 % 9, x % 12) = x / 12 % 9 / 3 == x % 12 / 4;
    }
  }
  EXPECT_EQ(FormOf(plane), MaskForm::kRanges);
}

// The numbers of each type that see, hide, and do neither.
template <typename T, typename F>
void CheckNumbers(F from, float lowest) {
  constexpr int64_t kKeys = 300;
  std::vector<T> row(2 * kKeys);
  const auto form = [&](float hide, int64_t at, float odd,
                        bool option = false) {
    for (int64_t x = 0; x < 2 * kKeys; ++x) {
      const bool sees = x % kKeys <= 100 + x / kKeys;
      row[static_cast<size_t>(x)] =
          from(sees ? (x % 2 == 0 ? 0.0f : -0.0f) : hide);
    }
    row[static_cast<size_t>(at)] = from(odd);
    MaskOptions options;
    options.lowest_hides_rows = option;
    RecognisedMask m;
    EXPECT_TRUE(
        RecogniseMask(Bhsd(row.data(), 1, 1, 2, kKeys), options, &m).ok());
    if (m.form == MaskForm::kRule) {
      EXPECT_TRUE(m.causal);
      EXPECT_EQ(m.causal_offset, 100);
      EXPECT_EQ(m.window_left, -1);
    }
    return m.form;
  };
  for (const float hide : {-INFINITY, lowest}) {
    EXPECT_EQ(form(hide, 5, 0.0f), MaskForm::kRule);
    EXPECT_EQ(form(hide, 299, -INFINITY), MaskForm::kRule);
    EXPECT_EQ(form(hide, 299, lowest), MaskForm::kRule);
    for (const int64_t at : {0, 100, 101, 299, 300, 401, 402, 599}) {
      for (const float odd : {1.0f, -1.0f, NAN, -NAN, INFINITY, lowest / 2}) {
        EXPECT_EQ(form(hide, at, odd), MaskForm::kOther) << at << " " << odd;
      }
    }
    EXPECT_EQ(form(hide, 50, hide), MaskForm::kOther);
    EXPECT_EQ(form(hide, 0, hide), MaskForm::kRanges);
  }
  // Rows that hide every key.
  for (const bool option : {false, true}) {
    for (const float hide : {-INFINITY, lowest}) {
      std::fill(row.begin(), row.end(), from(hide));
      MaskOptions options;
      options.lowest_hides_rows = option;
      RecognisedMask m;
      EXPECT_TRUE(
          RecogniseMask(Bhsd(row.data(), 1, 1, 2, kKeys), options, &m).ok());
      EXPECT_EQ(m.form,
                hide == lowest && !option ? MaskForm::kOther : MaskForm::kRule);
    }
  }
}

TEST(RecogniseMask, NumbersOfEachType) {
  CheckNumbers<float>([](float x) { return x; },
                      std::numeric_limits<float>::lowest());
  CheckNumbers<bf16>([](float x) { return ToBF16(x); }, ToFloat(bf16{0xff7f}));
  CheckNumbers<f16>([](float x) { return ToF16(x); }, -65504.0f);
}

// Zero strides: one plane, one row for all; also as extents of 1.
TEST(RecogniseMask, Broadcasts) {
  Plane plane(1, 1, 4, 6);
  for (int64_t x = 0; x < 24; ++x)
    plane.At(0, 0, x / 6, x % 6) = x % 6 <= x / 6;
  ConstTensorView view = plane.View();
  view.extent[0] = 3;
  view.extent[2] = 5;
  view.stride[0] = view.stride[2] = 0;
  std::vector<int32_t> end(60);
  MaskOptions options;
  options.end = end.data();
  RecognisedMask m;
  ASSERT_TRUE(RecogniseMask(view, options, &m).ok());
  EXPECT_EQ(m.form, MaskForm::kRule);
  EXPECT_EQ(m.causal_offset, 0);
  for (size_t i = 0; i < 60; ++i)
    EXPECT_EQ(end[i], static_cast<int>(i % 4) + 1);
  view.stride[1] = 0;  // all rows see key 0 alone
  ASSERT_TRUE(RecogniseMask(view, options, &m).ok());
  EXPECT_EQ(m.form, MaskForm::kRanges);
  for (size_t i = 0; i < 60; ++i) EXPECT_EQ(end[i], 1);
}

// Repeated planes cost nothing where there is nowhere to write them.
TEST(RecogniseMask, VastBroadcasts) {
  Plane plane(1, 1, 2, 3);
  plane.At(0, 0, 0, 1) = plane.At(0, 0, 1, 1) = 1;
  ConstTensorView view = plane.View();
  view.extent[0] = view.extent[2] = INT32_MAX;
  view.stride[0] = view.stride[2] = 0;
  RecognisedMask m;
  ASSERT_TRUE(RecogniseMask(view, {}, &m).ok());
  EXPECT_EQ(m.form, MaskForm::kRanges);
}

TEST(RecogniseMask, WritesRowsWithoutKeys) {
  const Plane plane(2, 3, 4, 0);
  std::vector<int32_t> begin(24, 7), end(24, 7);
  MaskOptions options;
  options.begin = begin.data();
  options.end = end.data();
  RecognisedMask m;
  ASSERT_TRUE(RecogniseMask(plane.View(), options, &m).ok());
  EXPECT_EQ(m.form, MaskForm::kAll);
  EXPECT_EQ(begin, std::vector<int32_t>(24, 0));
  EXPECT_EQ(end, std::vector<int32_t>(24, 0));
}

TEST(RecogniseMask, ReadsNothingBeyond) {
  const GuardedMemory memory(4096);
  for (const Against end : {Against::kFront, Against::kBack}) {
    SetGuardContext("RecogniseMask");
    for (int64_t keys = 1; keys < 600; keys += 7) {
      auto* const row = reinterpret_cast<f16*>(
          memory.Place(static_cast<size_t>(2 * keys), end));
      for (const uint16_t bits : {0, 0xfc00}) {
        std::fill_n(row, keys, f16{bits});
        RecognisedMask m;
        ASSERT_TRUE(
            RecogniseMask(Bhsd<const f16>(row, 1, 1, 1, keys), {}, &m).ok());
        EXPECT_EQ(m.form, bits == 0 ? MaskForm::kAll : MaskForm::kRule);
      }
    }
  }
}

TEST(RecogniseMask, Refuses) {
  Plane plane(1, 1, 2, 3);
  RecognisedMask m;
  ConstTensorView view = plane.View();
  EXPECT_EQ(ToString(RecogniseMask(view, {}, nullptr)),
            "invalid argument: recognised: is null");
  view.dtype = DType::kI8;
  EXPECT_EQ(ToString(RecogniseMask(view, {}, &m)),
            "unsupported: mask: must be bool, f32, bf16 or f16");
  view = plane.View();
  view.data = nullptr;
  EXPECT_EQ(ToString(RecogniseMask(view, {}, &m)),
            "invalid argument: mask: is null");
  view = plane.View();
  view.extent[0] = int64_t{1} << 40;
  view.stride[0] = 0;
  EXPECT_EQ(ToString(RecogniseMask(view, {}, &m)),
            "overflow: mask[0]: is too long for positions (got 1099511627776, "
            "at most 2147483647)");
  view = plane.View();
  view.extent[3] = 0;
  EXPECT_TRUE(RecogniseMask(view, {}, &m).ok());
  EXPECT_EQ(m.form, MaskForm::kAll);
}

}  // namespace
}  // namespace heed::test
