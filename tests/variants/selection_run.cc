// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/variants/selection_run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "lib/eval/knob_sweep.h"
#include "lib/eval/selection.h"
#include "tests/support/run.h"
#include "tests/variants/variant_run.h"

namespace heed::test {

const Variant& VariantNamed(const std::string& name) {
  static const std::vector<NamedVariant> all = eval::AllVariants();
  for (const NamedVariant& named : all) {
    if (named.name == name) return named.variant;
  }
  ADD_FAILURE() << "no variant " << name;
  return all.front().variant;
}

Chosen::Chosen(const std::string& name, std::initializer_list<double> knobs,
               const eval::Tensors& tensors) {
  const Variant& variant = VariantNamed(name);
  Setting setting = SettingsOf(variant).front();
  std::copy(knobs.begin(), knobs.end(), setting.knobs);
  const AttentionShape& shape = tensors.problem.shape;
  batch_ = shape.batch;
  heads_ = shape.num_heads;
  seqlen_q_ = shape.seqlen_q;
  rows_.resize(static_cast<size_t>(batch_ * heads_ * seqlen_q_));
  VariantArgs args = ArgsOf(tensors, setting);
  eval::Selection selection(args.params, shape);
  args.selection = selection.Recorder();
  const Status status = RunGuarded(variant, args);
  EXPECT_TRUE(status.ok()) << name << ": " << ToString(status);
  EXPECT_EQ(selection.Finish(), "");
  density_ = selection.Density();
  size_t next = 0;
  ForEachRow([&](int64_t b, int64_t h, int64_t row) {
    Keys& keys = rows_[next++];
    for (const KeyInterval& at : selection.Row(b, h, row)) {
      for (int64_t key = at.begin; key < at.end; ++key) keys.insert(key);
    }
  });
}

void Chosen::ForEachRow(
    const std::function<void(int64_t, int64_t, int64_t)>& f) const {
  for (int64_t b = 0; b < batch_; ++b) {
    for (int64_t h = 0; h < heads_; ++h) {
      for (int64_t row = 0; row < seqlen_q_; ++row) f(b, h, row);
    }
  }
}

bool Chosen::Contains(const Chosen& other) const {
  bool all = rows_.size() == other.rows_.size();
  for (size_t i = 0; all && i < rows_.size(); ++i) {
    all = std::includes(rows_[i].begin(), rows_[i].end(),
                        other.rows_[i].begin(), other.rows_[i].end());
  }
  return all;
}

double Product(const eval::Tensors& tensors, int64_t batch, int64_t head,
               int64_t row, int64_t key) {
  const AttentionShape& shape = tensors.problem.shape;
  const int64_t kv_head = head / (shape.num_heads / shape.num_kv_heads);
  double sum = 0;
  for (int64_t c = 0; c < shape.head_dim; ++c) {
    sum += static_cast<double>(*tensors.query.At(batch, row, head, c)) *
           static_cast<double>(*tensors.key.At(batch, key, kv_head, c));
  }
  return sum;
}

Keys BestBlocks(const std::vector<double>& score, int64_t block, int64_t total,
                int64_t num_keys) {
  std::vector<int64_t> order(score.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return score[static_cast<size_t>(a)] > score[static_cast<size_t>(b)];
  });
  Keys keys;
  for (int64_t i = 0; i < std::min<int64_t>(total, std::ssize(order)); ++i) {
    const int64_t begin = order[static_cast<size_t>(i)] * block;
    for (int64_t key = begin; key < std::min(begin + block, num_keys); ++key) {
      keys.insert(key);
    }
  }
  return keys;
}

Keys Below(const Keys& keys, int64_t end) {
  return Keys(keys.begin(), keys.lower_bound(end));
}

}  // namespace heed::test
