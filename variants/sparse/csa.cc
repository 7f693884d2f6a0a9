// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to the latest tokens and, of entries of pooled ones, to those that an
// indexer scores best, in one softmax: the compressed sparse attention of
// DeepSeek-V4 (DeepSeek-AI 2026). There is an entry every compress_rate tokens,
// of the last two times as many; a row sees those all of whose tokens stand at
// or before it, and keeps the index_topk that score highest,
//
//   score(row, entry) = sum over heads of relu(scale * query . entry's key),
//
// for all heads the same, of equal ones the first. The window counts the row's
// own position; tokens of it that are in entries too count in both. Learned
// sinks are the call's sink_logits.
//
// In the paper entries are made by trained gates, channel by channel, and a
// norm, and the indexer has heads, keys and weights of its own, all trained.
// Here an entry is the mean of its tokens, and the query heads, each of weight
// one, and the entries themselves stand for the indexer's.
#include <heed/estimators.h>
#include <heed/parts_variant.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "compress_rate",
     .summary = "Tokens from one entry to the next; half of those of each.",
     .default_value = 4,
     .min = 1,
     .max = 32768,
     .integer = true},
    {.name = "index_topk",
     .summary = "Entries that a row keeps.",
     .default_value = 512,
     .min = 1,
     .max = sparse::kAll,
     .integer = true},
    {.name = "sliding_window",
     .summary = "Latest tokens that a row sees, its own among them.",
     .default_value = 128,
     .min = 1,
     .max = sparse::kAll,
     .integer = true},
};

sparse::PoolGrid GridOf(const double* knobs) {
  const int64_t rate = static_cast<int64_t>(knobs[0]);
  return {2 * rate, rate, false};
}

Status AttendEntries(const VariantArgs& call, const VariantArgs& a,
                     const sparse::PooledTokens& pooled) {
  const ConstTensorView& query = a.args.query;
  const int64_t all = pooled.entries(), dim = query.head_dim();
  const sparse::PoolGrid grid = GridOf(a.knobs);
  const int64_t topk = static_cast<int64_t>(a.knobs[1]);
  const int64_t workers = a.executor.max_workers;
  float* scores = a.scratch.Array<float>(workers, all);
  int32_t* indices = a.scratch.Array<int32_t>(workers, all);
  if (scores == nullptr || indices == nullptr) return sparse::OutOfMemory();
  const float scale = ops::SoftmaxScale(a.params, dim);
  const auto choose = [&](const sparse::QueryRow& row,
                          sparse::RowChoice* choice) {
    float* score = scores + row.worker * all;
    int32_t* index = indices + row.worker * all;
    const int64_t seen = grid.Seen(a.params, row.position, a.args.key.seqlen());
    std::fill(score, score + seen, 0.0f);
    for (int64_t h = 0; h < query.heads() && seen > topk; ++h) {
      const int64_t kv = h / (query.heads() / a.args.key.heads());
      const float* q = RowAt(query, row.batch, row.index, h);
      for (int64_t i = 0; i < seen; ++i) {
        const float* key = RowAt(pooled.key(), row.batch, i, kv);
        score[i] += std::max(scale * ops::Dot(q, key, dim), 0.0f);
      }
    }
    const int64_t kept = ops::TopK(score, seen, topk, index);
    for (int64_t i = 0; i < kept; ++i) choice->Keep(index[i], index[i] + 1);
  };
  return sparse::AttendRows(call, sparse::ListOf::kEveryHead, choose);
}

Status RunVariant(const VariantArgs& a) {
  sparse::Parts parts;
  sparse::PooledTokens pooled;
  Status status = parts.Prepare(a, 2, /*sinks=*/true);
  if (status.ok()) status = pooled.Prepare(a, GridOf(a.knobs));
  if (!status.ok()) return status;
  VariantArgs entries = parts.Call(1);
  entries.args.key = pooled.key();
  entries.args.value = pooled.value();
  entries.params.causal = false;
  status = AttendEntries(entries, a, pooled);
  if (!status.ok()) return status;
  const VariantArgs window = parts.Call(0);
  status = ops::Attend(
      sparse::WindowOf(window.params, static_cast<int64_t>(a.knobs[2])),
      window.args, window);
  return status.ok() ? parts.Merge() : status;
}

void Reference(const VariantArgs& a, double* out) {
  const AttentionArgs& t = a.args;
  const int64_t keys = t.key.seqlen(), dim = t.key.head_dim();
  const int64_t rate = static_cast<int64_t>(a.knobs[0]);
  const int64_t window = static_cast<int64_t>(a.knobs[2]);
  const int64_t offset = sparse::OffsetOf(a.params, t.query.seqlen(), keys);
  AttentionParams products;  // neither cap nor mask
  products.softmax_scale = a.params.softmax_scale;
  const auto begin = [&](int64_t i) {
    return std::max<int64_t>((i - 1) * rate, 0);
  };
  const auto end = [&](int64_t i) { return (i + 1) * rate; };
  const sparse::PlainMeans entries(t.key, keys / rate, begin, end);
  const sparse::PlainMeans values(t.value, keys / rate, begin, end);
  std::vector<double> index;
  std::vector<int64_t> order;  // of the row at hand
  sparse::ForEachPlainRow(
      a, out, [&](int64_t b, int64_t h, int64_t kv, int64_t row, double* to) {
        const int64_t at = row + offset;
        const int64_t seen = a.params.causal ? std::min(at + 1, keys) : keys;
        if (h == 0) {
          index.assign(static_cast<size_t>(std::max<int64_t>(seen, 0) / rate),
                       0.0);
          order.resize(index.size());
          std::iota(order.begin(), order.end(), int64_t{0});
          for (int64_t j = 0; j < t.query.heads(); ++j) {
            for (const int64_t i : order) {
              const double* const key =
                  entries.Of(b, j / (t.query.heads() / t.key.heads()), i);
              index[static_cast<size_t>(i)] +=
                  std::max(sparse::PlainScore(
                               products, RowAt(t.query, b, row, j), key, dim),
                           0.0);
            }
          }
          std::stable_sort(order.begin(), order.end(),
                           [&](int64_t x, int64_t y) {
                             return index[static_cast<size_t>(x)] >
                                    index[static_cast<size_t>(y)];
                           });
          order.resize(std::min(order.size(), static_cast<size_t>(a.knobs[1])));
        }
        const float* query = RowAt(t.query, b, row, h);
        sparse::PlainSoftmax softmax(t.value.head_dim());
        for (const int64_t i : order) {
          softmax.Add(
              sparse::PlainScore(a.params, query, entries.Of(b, kv, i), dim),
              values.Of(b, kv, i));
        }
        for (int64_t key = std::max<int64_t>(at + 1 - window, 0);
             key < std::min(keys, a.params.causal ? at + 1 : at + window);
             ++key) {
          softmax.Add(sparse::PlainScore(a.params, query,
                                         RowAt(t.key, b, key, kv), dim),
                      RowAt(t.value, b, key, kv));
        }
        softmax.AddSink(a, b, h);
        softmax.AddTo(1, to);
      });
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const AttentionParams window =
      sparse::WindowOf(params, static_cast<int64_t>(knobs[2]));
  const double pairs = sparse::PooledPairs(shape, params, GridOf(knobs));
  const double kept =
      std::min(pairs, knobs[1] * static_cast<double>(shape.seqlen_q));
  const double key = static_cast<double>(shape.batch * shape.num_kv_heads *
                                         shape.seqlen_k * shape.head_dim);
  Cost cost = ops::SoftmaxCost(shape, ops::VisiblePairs(shape, window) + kept,
                               ops::VisibleKeyRows(shape, window));
  cost.at_most = true;
  cost.AddSelecting(2 * pairs *
                            static_cast<double>(shape.batch * shape.num_heads *
                                                shape.head_dim) +
                        4 * key,
                    4 * 2 * key * (1 + 1 / knobs[0]));
  return cost;
}

}  // namespace

Variant csa() {
  return {.summary =
              "A window of tokens and the best entries of pooled ones in one "
              "softmax.",
          .paper = "DeepSeek-AI 2026, DeepSeek-V4, section 2.3.1",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 3,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
