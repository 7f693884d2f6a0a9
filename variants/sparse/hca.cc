// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to the latest tokens and to all entries of pooled ones, in one
// softmax: the heavily compressed attention of DeepSeek-V4 (DeepSeek-AI 2026).
// Every compress_rate tokens become one entry, keys and values alike; a row
// sees those all of whose tokens stand at or before it, beside a window that
// counts its own position. Tokens of the window are in entries, too, and count
// in both. Learned sinks are the call's sink_logits.
//
// The paper's map to entries is trained: gates that weigh the tokens of an
// entry channel by channel, and a norm; here it is the mean. Its one key head,
// which serves as value too, is a matter of the call. `log_count`, which the
// paper has not, lets an entry count as the tokens that it stands for, as suits
// keys that were never trained to be pooled.
#include <heed/parts_variant.h>

#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "compress_rate",
     .summary = "Tokens of an entry.",
     .default_value = 128,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "sliding_window",
     .summary = "Latest tokens that a row sees, its own among them.",
     .default_value = 128,
     .min = 1,
     .max = sparse::kAll,
     .integer = true},
    {.name = "log_count",
     .summary = "1: an entry counts as its tokens; 0: as one key.",
     .default_value = 0,
     .min = 0,
     .max = 1,
     .integer = true},
};

sparse::PoolGrid GridOf(const double* knobs) {
  const int64_t rate = static_cast<int64_t>(knobs[0]);
  return {rate, rate, true};
}

Status RunVariant(const VariantArgs& a) {
  sparse::Parts parts;
  sparse::PooledTokens pooled;
  Status status = parts.Prepare(a, 2, /*sinks=*/true);
  if (status.ok()) status = pooled.Prepare(a, GridOf(a.knobs));
  if (!status.ok()) return status;
  a.phases.Enter(Phase::kAttend);
  const VariantArgs window = parts.Call(0);
  VariantArgs entries = parts.Call(1);
  pooled.PutInto(&entries, a.knobs[2] == 1);
  status = ops::Attend(
      sparse::WindowOf(window.params, static_cast<int64_t>(a.knobs[1])),
      window.args, window);
  if (status.ok()) status = ops::Attend(entries.params, entries.args, entries);
  return status.ok() ? parts.Merge() : status;
}

void Reference(const VariantArgs& a, double* out) {
  const int64_t rate = static_cast<int64_t>(a.knobs[0]);
  const int64_t rows = a.args.query.seqlen(), keys = a.args.key.seqlen();
  const int64_t dim = a.args.key.head_dim();
  const int64_t window = static_cast<int64_t>(a.knobs[1]);
  const int64_t offset = sparse::OffsetOf(a.params, rows, keys);
  const auto begin = [&](int64_t i) { return i * rate; };
  const auto end = [&](int64_t i) { return (i + 1) * rate; };
  const sparse::PlainMeans mean_keys(a.args.key, keys / rate, begin, end);
  const sparse::PlainMeans mean_values(a.args.value, keys / rate, begin, end);
  sparse::ForEachPlainRow(
      a, out, [&](int64_t b, int64_t h, int64_t kv, int64_t row, double* to) {
        sparse::PlainSoftmax softmax(a.args.value.head_dim());
        const float* query = RowAt(a.args.query, b, row, h);
        const int64_t at = row + offset;
        for (int64_t key = 0; key < keys; ++key) {
          if (at - key >= window ||
              key - at >= (a.params.causal ? 1 : window)) {
            continue;
          }
          softmax.Add(sparse::PlainScore(a.params, query,
                                         RowAt(a.args.key, b, key, kv), dim),
                      RowAt(a.args.value, b, key, kv));
        }
        for (int64_t i = 0; i < keys / rate; ++i) {
          if (a.params.causal && end(i) > at + 1) break;
          const double count =
              a.knobs[2] == 1 ? std::log(static_cast<double>(rate)) : 0;
          softmax.Add(count + sparse::PlainScore(a.params, query,
                                                 mean_keys.Of(b, kv, i), dim),
                      mean_values.Of(b, kv, i));
        }
        softmax.AddSink(a, b, h);
        softmax.AddTo(1, to);
      });
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const AttentionParams window =
      sparse::WindowOf(params, static_cast<int64_t>(knobs[1]));
  const double pooled =
      static_cast<double>(shape.batch * shape.num_kv_heads * shape.seqlen_k) *
      static_cast<double>(shape.head_dim + shape.head_dim_v);
  Cost cost =
      ops::SoftmaxCost(shape,
                       ops::VisiblePairs(shape, window) +
                           sparse::PooledPairs(shape, params, GridOf(knobs)),
                       ops::VisibleKeyRows(shape, window));
  cost.AddSelecting(pooled, 4 * pooled * (1 + 1 / knobs[0]));
  return cost;
}

}  // namespace

Variant hca() {
  return {.summary =
              "A window of tokens and all entries of pooled ones in one "
              "softmax.",
          .paper = "DeepSeek-AI 2026, DeepSeek-V4, section 2.3.2",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 3,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
