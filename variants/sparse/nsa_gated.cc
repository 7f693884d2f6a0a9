// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Native sparse attention as its paper adds it up (Yuan et al. 2025,
// arXiv:2502.11089): three softmaxes, each over keys of its own, times gates,
//
//   out = gate_cmp attend(means of windows of keys and values)
//       + gate_slc attend(the blocks that rows of a group choose by the first)
//       + gate_win attend(the latest keys),
//
// where a row sees the means all of whose keys stand at or before it, and a
// part without keys adds nothing. How blocks are chosen: NativeChoice of
// heed/estimators.h; `nsa` has blocks and window in one softmax, without gates.
// Gates are those of the token at the row's position, one a key head, drawn
// where none are given. The paper's map to compressed keys and values is
// trained; here it is the mean.
#include <heed/estimators.h>
#include <heed/linear_variant.h>
#include <heed/parts_variant.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace heed::variants {
namespace {

constexpr Input kInputs[] = {
    {"gate_cmp", "Share of the compressed part.", false, 0, 1},
    {"gate_slc", "Share of the chosen blocks.", false, 0, 1},
    {"gate_win", "Share of the window.", false, 0, 1},
};

sparse::PoolGrid GridOf(const double* knobs) {
  return {static_cast<int64_t>(knobs[2]), static_cast<int64_t>(knobs[3]), true};
}

int64_t TokenOf(const VariantArgs& a, int64_t row) {
  const int64_t keys = a.args.key.seqlen();
  const int64_t at =
      row + sparse::OffsetOf(a.params, a.args.query.seqlen(), keys);
  return std::clamp<int64_t>(at, 0, std::max<int64_t>(keys - 1, 0));
}

Status RunVariant(const VariantArgs& a) {
  sparse::Parts parts;
  sparse::PooledTokens pooled;
  sparse::NativeChoice native;
  ConstTensorView gates[3];
  Status status = parts.Prepare(a, 3, /*sinks=*/false);
  for (int i = 0; status.ok() && i < 3; ++i) {
    status = InputOrDrawn(a, kInputs, i, kAnyNumber, &gates[i]);
  }
  if (status.ok()) status = native.Prepare(a);
  if (status.ok()) status = pooled.Prepare(a, GridOf(a.knobs));
  if (!status.ok()) return status;
  status = sparse::AttendRows(
      parts.Call(1), sparse::ListOf::kGroup,
      [&](const sparse::QueryRow& row, sparse::RowChoice* choice) {
        native.Choose(row, choice);
      });
  if (!status.ok()) return status;
  VariantArgs means = parts.Call(0);
  pooled.PutInto(&means, /*log_count=*/false);
  status = ops::Attend(means.params, means.args, means);
  if (!status.ok()) return status;
  const VariantArgs window = parts.Call(2);
  const int64_t latest = static_cast<int64_t>(a.knobs[4]);
  // A window of nothing is no mask: gates of 0 stand for it.
  status =
      ops::Attend(sparse::WindowOf(window.params, std::max<int64_t>(latest, 1)),
                  window.args, window);
  if (!status.ok()) return status;
  const int64_t group =
      a.args.key.heads() == 0 ? 1 : a.args.query.heads() / a.args.key.heads();
  parts.AddGated([&](int i, int64_t b, int64_t row, int64_t h) {
    if (a.args.key.seqlen() == 0 || (i == 2 && latest == 0)) return 0.0f;
    return *RowAt(gates[i], b, TokenOf(a, row), h / group);
  });
  return status;
}

// The blocks that a row of a group keeps, by `weight` of the windows.
std::vector<bool> KeptBlocks(const VariantArgs& a, int64_t at, int64_t end,
                             const std::vector<double>& weight) {
  const int64_t block = static_cast<int64_t>(a.knobs[1]);
  const sparse::PoolGrid grid = GridOf(a.knobs);
  const size_t touched =
      static_cast<size_t>((std::max<int64_t>(end, 0) + block - 1) / block);
  std::vector<double> score(touched);
  for (size_t i = 0; i < weight.size(); ++i) {
    const int64_t begin = static_cast<int64_t>(i) * grid.stride;
    for (int64_t t = begin; t < begin + grid.width; t += grid.stride) {
      score[static_cast<size_t>(t / block)] += weight[i];
    }
  }
  size_t forced = 0;
  for (size_t j = 0; j < touched; ++j) {
    const int64_t own = at >= 0 ? at / block : -1;
    const int64_t place = static_cast<int64_t>(j);
    if (place != 0 && place != own && place != own - 1) continue;
    score[j] = INFINITY;
    ++forced;
  }
  std::vector<size_t> order(touched);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t x, size_t y) { return score[x] > score[y]; });
  const size_t count = std::max(static_cast<size_t>(a.knobs[0]), forced);
  order.resize(std::min(order.size(), count));
  std::vector<bool> kept(touched);
  for (const size_t j : order) kept[j] = true;
  return kept;
}

void Reference(const VariantArgs& a, double* out) {
  const AttentionArgs& t = a.args;
  const int64_t keys = t.key.seqlen(), dim = t.key.head_dim();
  const sparse::PoolGrid grid = GridOf(a.knobs);
  const int64_t latest = static_cast<int64_t>(a.knobs[4]);
  const int64_t offset = sparse::OffsetOf(a.params, t.query.seqlen(), keys);
  AttentionParams products;  // what chooses knows no cap
  products.softmax_scale = a.params.softmax_scale;
  sparse::ForEachPlainRow(
      a, out, [&](int64_t b, int64_t h, int64_t kv, int64_t row, double* to) {
        if (keys == 0) return;
        const int64_t at = row + offset;
        const int64_t end = a.params.causal ? std::min(at + 1, keys) : keys;
        const int64_t windows =
            end < grid.width ? 0 : (end - grid.width) / grid.stride + 1;
        const int64_t group = t.query.heads() / t.key.heads();
        sparse::PlainSoftmax parts[3] = {
            sparse::PlainSoftmax(t.value.head_dim()),
            sparse::PlainSoftmax(t.value.head_dim()),
            sparse::PlainSoftmax(t.value.head_dim())};
        std::vector<double> weight(static_cast<size_t>(windows));
        for (int64_t j = kv * group; j < (kv + 1) * group; ++j) {
          const float* query = RowAt(t.query, b, row, j);
          std::vector<double> score;
          double most = -INFINITY, total = 0;
          for (int64_t i = 0; i < windows; ++i) {
            const int64_t begin = i * grid.stride;
            const std::vector<double> key =
                sparse::PlainMean(t.key, b, begin, begin + grid.width, kv);
            score.push_back(
                sparse::PlainScore(products, query, key.data(), dim));
            most = std::max(most, score.back());
            if (j != h) continue;
            parts[0].Add(
                sparse::PlainScore(a.params, query, key.data(), dim),
                sparse::PlainMean(t.value, b, begin, begin + grid.width, kv)
                    .data());
          }
          for (const double s : score) total += std::exp(s - most);
          for (size_t i = 0; i < score.size(); ++i) {
            weight[i] += std::exp(score[i] - most) / total;
          }
        }
        const std::vector<bool> kept = KeptBlocks(a, at, end, weight);
        const int64_t block = static_cast<int64_t>(a.knobs[1]);
        const float* query = RowAt(t.query, b, row, h);
        for (int64_t key = 0; key < keys; ++key) {
          const double score = sparse::PlainScore(
              a.params, query, RowAt(t.key, b, key, kv), dim);
          const float* value = RowAt(t.value, b, key, kv);
          if (key < end && kept[static_cast<size_t>(key / block)]) {
            parts[1].Add(score, value);
          }
          if (key > at - latest &&
              key < (a.params.causal ? end : at + latest)) {
            parts[2].Add(score, value);
          }
        }
        for (int i = 0; i < 3; ++i) {
          parts[i].AddTo(InputAt(a, kInputs, i, b, TokenOf(a, row), kv, 0), to);
        }
      });
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const double keys = std::max(knobs[0], 3.0) * knobs[1];
  const AttentionParams window = sparse::WindowOf(
      params, std::max<int64_t>(static_cast<int64_t>(knobs[4]), 1));
  Cost cost = ops::SoftmaxCost(
      shape, sparse::CountRowPairs(shape, params, keys) +
                 sparse::PooledPairs(shape, params, GridOf(knobs)) +
                 ops::VisiblePairs(shape, window));
  cost.at_most = true;
  sparse::NativeChoice::AddCost(shape, params, knobs, &cost);
  return cost;
}

// None of them makes it exact: the three parts are still three.
constexpr auto kKnobs = [] {
  struct {
    Knob of[sparse::NativeChoice::kNumKnobs];
  } knobs = {};
  for (int i = 0; i < sparse::NativeChoice::kNumKnobs; ++i) {
    knobs.of[i] = sparse::NativeChoice::kKnobs[i];
    knobs.of[i].has_exact = false;
  }
  return knobs;
}();

}  // namespace

Variant nsa_gated() {
  return {.summary =
              "Compressed keys, chosen blocks and a window, three softmaxes "
              "that gates add.",
          .paper = "Yuan et al. 2025, arXiv:2502.11089",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs.of,
          .num_knobs = sparse::NativeChoice::kNumKnobs,
          .inputs = kInputs,
          .num_inputs = 3,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
