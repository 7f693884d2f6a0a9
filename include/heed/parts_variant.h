// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Sparse variants whose result is put together of parts: one softmax over
// several sources of keys, as a window of tokens beside entries of pooled ones,
// or softmaxes that gates add.
#ifndef HEED_PARTS_VARIANT_H_
#define HEED_PARTS_VARIANT_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "heed/row_variant.h"
#include "heed/sparse_variant.h"

namespace heed::sparse {

// Refuses what no part can serve: pages, ragged calls, lists of keys, windows
// and score inputs; but for sink_logits where `sinks`.
HEED_API Status CheckParts(const VariantArgs& a, bool sinks);

// The parts of one result, each with an out and an lse of its own.
class HEED_API Parts {
 public:
  // Makes CheckParts. Nothing is written before the parts are put together.
  Status Prepare(const VariantArgs& a, int count, bool sinks);

  // The variant's call with out and lse of part i, from which other keys,
  // values and masks may be given to the exact kernel. Records nothing. Part 0
  // has the sinks.
  VariantArgs Call(int i) const;

  // Writes one softmax over all that the parts attended to: a key that is in
  // two parts counts twice.
  Status Merge() const;

  // Writes the sum over the parts of gate(i, batch, row, head) times their out,
  // and NaN to lse.
  template <typename Gate>
  void AddGated(const Gate& gate) const {
    const TensorView& out = a_->args.out;
    ops::ParallelFor(
        a_->executor, out.batch() * out.seqlen(), [&](int64_t at, int) {
          const int64_t b = at / out.seqlen(), row = at % out.seqlen();
          for (int64_t h = 0; h < out.heads(); ++h) {
            float* const to = RowAt(out, b, row, h);
            std::fill(to, to + out.head_dim(), 0.0f);
            for (int i = 0; i < count_; ++i) {
              ops::Axpy(gate(i, b, row, h), RowAt(OutOf(i), b, row, h), to,
                        out.head_dim());
            }
            if (!a_->args.lse.absent()) *RowAt(a_->args.lse, b, row, h) = NAN;
          }
        });
  }

  // Writes the lse of a part, where there is an lse.
  void PutLse(int i) const;

 private:
  TensorView OutOf(int i) const;
  TensorView LseOf(int i) const;

  const VariantArgs* a_ = nullptr;
  int count_ = 0;
  float* out_ = nullptr;  // [parts][batch][seqlen_q][heads][head_dim_v]
  float* lse_ = nullptr;  // [parts][batch][heads][seqlen_q]
};

// Returns the call's masks and a window of `window` keys: the row's own
// position and those before it; where the call is not causal, as many after it.
HEED_API AttentionParams WindowOf(const AttentionParams& params,
                                  int64_t window);

// Windows of `width` tokens, one every `stride` and each at the end of one:
// where `whole`, only those that have all their tokens, else from the first
// stride on. What fills no stride is in none. `stride` divides `width`.
struct PoolGrid {
  int64_t width;
  int64_t stride;
  bool whole;

  int64_t skipped() const { return whole ? width / stride - 1 : 0; }
  // Windows that end at or before token `end`.
  int64_t Before(int64_t end) const {
    return std::max<int64_t>(std::max<int64_t>(end, 0) / stride - skipped(), 0);
  }
  int64_t End(int64_t entry) const { return (entry + 1 + skipped()) * stride; }
  int64_t Begin(int64_t entry) const {
    return std::max<int64_t>(End(entry) - width, 0);
  }
  // That a row sees: where the call is causal, those all of whose tokens stand
  // at or before it.
  int64_t Seen(const AttentionParams& params, int64_t position,
               int64_t keys) const {
    return Before(params.causal ? std::min(position + 1, keys) : keys);
  }
};

// Means of the keys and of the values of such windows.
class HEED_API PooledTokens {
 public:
  Status Prepare(const VariantArgs& a, const PoolGrid& grid);

  // Puts them in the place of the call's keys and values: rows see those that
  // Seen says, and no other mask hides any. Where `log_count`, an entry's score
  // is raised by the log of its tokens, so that it counts as so many keys.
  void PutInto(VariantArgs* call, bool log_count) const;
  int64_t entries() const { return entries_; }
  const ConstTensorView& key() const { return key_; }
  const ConstTensorView& value() const { return value_; }

 private:
  int64_t entries_ = 0;
  ConstTensorView key_;  // [batch, entries, num_kv_heads, head_dim]
  ConstTensorView value_;
  float* log_counts_ = nullptr;  // [entries]
  int32_t* seen_ = nullptr;      // [seqlen_q]
};

// Returns the (query, entry) pairs of one head.
HEED_API double PooledPairs(const AttentionShape& shape,
                            const AttentionParams& params,
                            const PoolGrid& grid);

// ---- References -------------------------------------------------------------

// One softmax in plain double, key by key.
class PlainSoftmax {
 public:
  explicit PlainSoftmax(int64_t dim_v) : sum_(static_cast<size_t>(dim_v)) {}

  template <typename Float>
  void Add(double score, const Float* value) {
    const double most = std::fmax(score, most_);
    const double fade = most_ == most ? 1 : std::exp(most_ - most);
    const double weight = score == most ? 1 : std::exp(score - most);
    total_ = total_ * fade + weight;
    for (size_t c = 0; c < sum_.size(); ++c) {
      sum_[c] = sum_[c] * fade + weight * static_cast<double>(value[c]);
    }
    most_ = most;
  }
  // The call's sink logit of a head, where there are any.
  void AddSink(const VariantArgs& a, int64_t batch, int64_t head) {
    const ConstTensorView& sinks = a.args.scores.sink_logits;
    const std::vector<double> zeros(sum_.size());
    if (sinks.absent()) return;
    Add(static_cast<double>(*RowAt(sinks, batch, 0, head)), zeros.data());
  }
  // Adds gate times the result; nothing where no key was added, NaN where one
  // scored so.
  void AddTo(double gate, double* out) const {
    for (size_t c = 0; c < sum_.size() && total_ != 0; ++c) {
      out[c] += gate * sum_[c] / total_;
    }
  }

 private:
  double most_ = -INFINITY;
  double total_ = 0;
  std::vector<double> sum_;
};

// Returns the score of a pair in double.
template <typename Float>
double PlainScore(const AttentionParams& params, const float* query,
                  const Float* key, int64_t dim) {
  double sum = 0;
  for (int64_t c = 0; c < dim; ++c) {
    sum += static_cast<double>(query[c]) * static_cast<double>(key[c]);
  }
  sum *= params.softmax_scale != 0 ? static_cast<double>(params.softmax_scale)
                                   : 1 / std::sqrt(static_cast<double>(dim));
  const double cap = static_cast<double>(params.softcap);
  return cap == 0 ? sum : cap * std::tanh(sum / cap);
}

// Returns the mean of tokens [begin, end) of a head.
inline std::vector<double> PlainMean(const ConstTensorView& x, int64_t batch,
                                     int64_t begin, int64_t end, int64_t head) {
  std::vector<double> mean(static_cast<size_t>(x.head_dim()));
  for (int64_t t = begin; t < end; ++t) {
    for (size_t c = 0; c < mean.size(); ++c) {
      mean[c] += static_cast<double>(RowAt(x, batch, t, head)[c]) /
                 static_cast<double>(end - begin);
    }
  }
  return mean;
}

// Such means of `windows` windows of every head, tokens [begin(i), end(i)).
class PlainMeans {
 public:
  template <typename Begin, typename End>
  PlainMeans(const ConstTensorView& x, int64_t windows, Begin begin, End end)
      : heads_(x.heads()), windows_(windows) {
    for (int64_t b = 0; b < x.batch(); ++b) {
      for (int64_t h = 0; h < x.heads(); ++h) {
        for (int64_t i = 0; i < windows; ++i) {
          means_.push_back(PlainMean(x, b, begin(i), end(i), h));
        }
      }
    }
  }
  const double* Of(int64_t batch, int64_t head, int64_t window) const {
    return means_[static_cast<size_t>((batch * heads_ + head) * windows_ +
                                      window)]
        .data();
  }

 private:
  int64_t heads_, windows_;
  std::vector<std::vector<double>> means_;
};

// Calls f(batch, head, kv_head, row, out) for every query row of a call, `out`
// being zeros to begin with.
template <typename F>
void ForEachPlainRow(const VariantArgs& a, double* out, F f) {
  const ConstTensorView& query = a.args.query;
  const int64_t dim_v = a.args.value.head_dim();
  for (int64_t b = 0; b < query.batch(); ++b) {
    for (int64_t row = 0; row < query.seqlen(); ++row) {
      for (int64_t h = 0; h < query.heads(); ++h) {
        std::fill(out, out + dim_v, 0.0);
        f(b, h, h / (query.heads() / a.args.key.heads()), row, out);
        out += dim_v;
      }
    }
  }
}

// Calls f(batch, head, kv_head, out) for every query head of a call, by its
// executor. `out` is that of row 0, zeros to begin with; the next row's is
// num_heads * head_dim_v further.
template <typename F>
void ForEachPlainHead(const VariantArgs& a, double* out, F f) {
  const ConstTensorView& query = a.args.query;
  const int64_t heads = query.heads(), rows = query.seqlen();
  const int64_t dim_v = a.args.value.head_dim();
  if (rows * dim_v == 0) return;  // `out` may be null
  std::fill(out, out + query.batch() * rows * heads * dim_v, 0.0);
  ops::ParallelFor(a.executor, query.batch() * heads,
                   [&](int64_t i, int /*worker*/) {
                     const int64_t b = i / heads, h = i % heads;
                     f(b, h, h / (heads / a.args.key.heads()),
                       out + (b * rows * heads + h) * dim_v);
                   });
}

}  // namespace heed::sparse

#endif  // HEED_PARTS_VARIANT_H_
