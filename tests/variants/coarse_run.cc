// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/variants/coarse_run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "tests/support/compare.h"
#include "tests/support/run.h"
#include "tests/variants/selection_run.h"

namespace heed::test {

Setting SettingOf(const std::string& name,
                  std::initializer_list<double> knobs) {
  Setting setting = SettingsOf(VariantNamed(name)).front();
  std::copy(knobs.begin(), knobs.end(), setting.knobs);
  return setting;
}

std::vector<float> OutOf(const std::string& name, const eval::Tensors& t,
                         std::initializer_list<double> knobs,
                         const ConstTensorView* inputs) {
  VariantArgs args = ArgsOf(t, SettingOf(name, knobs));
  args.inputs = inputs;
  const Status status = RunGuarded(VariantNamed(name), args);
  EXPECT_TRUE(status.ok()) << ToString(status);
  return t.out.Dense();
}

double LargestError(const std::vector<float>& got,
                    const std::vector<double>& want) {
  double largest = 0;
  EXPECT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::fabs(static_cast<double>(got[i]) - want[i]);
    // NaN counts as the worst.
    if (!(error <= largest)) largest = std::isnan(error) ? INFINITY : error;
  }
  return largest;
}

double ErrorOfReference(const std::string& name, const eval::Tensors& t,
                        std::initializer_list<double> knobs,
                        const ConstTensorView* inputs) {
  const std::vector<float> got = OutOf(name, t, knobs, inputs);
  VariantArgs args = ArgsOf(t, SettingOf(name, knobs));
  args.inputs = inputs;
  std::vector<double> want(got.size());
  VariantNamed(name).reference(args, want.data());
  return LargestError(got, want);
}

std::vector<double> ExactOut(const eval::Tensors& t) {
  const VariantArgs args = ArgsOf(t, Setting());
  return Truth(args.params, args.args).out();
}

void Repeat(const eval::Tensors& t, int64_t repeat) {
  for (const eval::Tensor* x : {&t.query, &t.key, &t.value}) {
    for (int64_t s = 0; s < x->view.seqlen(); ++s) {
      for (int64_t h = 0; h < x->view.heads(); ++h) {
        const float* from = x->At(0, s / repeat * repeat, h);
        std::copy(from, from + x->view.head_dim(), x->At(0, s, h));
      }
    }
  }
}

std::vector<float> Numbers(int64_t count) {
  std::vector<float> numbers;
  for (int64_t i = 0; i < count; ++i) {
    numbers.push_back(0.1f * static_cast<float>(i * 7 % 11 - 5));
  }
  return numbers;
}

void SetBlocks(const eval::Tensors& t, int64_t query_block, int64_t key_block,
               const std::vector<std::vector<float>>& score) {
  for (int64_t s = 0; s < t.query.view.seqlen(); ++s) {
    for (int64_t c = 0; c < t.query.view.head_dim(); ++c) {
      *t.query.At(0, s, 0, c) = c == s / query_block ? 1.0f : 0.0f;
    }
  }
  for (int64_t s = 0; s < t.key.view.seqlen(); ++s) {
    const int64_t j = s / key_block;
    for (int64_t c = 0; c < t.key.view.head_dim(); ++c) {
      const size_t row = std::min(static_cast<size_t>(c), score.size() - 1);
      *t.key.At(0, s, 0, c) = score[row][static_cast<size_t>(j)];
    }
    for (int64_t c = 0; c < t.value.view.head_dim(); ++c) {
      *t.value.At(0, s, 0, c) = c == j ? 1.0f : 0.0f;
    }
  }
}

std::string Weighed(const eval::Tensors& t, int64_t row) {
  std::string text;
  for (int64_t c = 0; c < t.out.view.head_dim(); ++c) {
    text += *t.out.At(0, row, 0, c) == 0 ? '.' : 'x';
  }
  return text;
}

}  // namespace heed::test
