// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// SparQ with its compensation (Ribar et al. 2023, arXiv:2312.04985): chooses as
// sparq does, and gives the weight that the choice missed to the mean of the
// values that a row sees,
//
//   out = (1 - missed) * attention over the choice + missed * mean,
//
// where `missed` is the sum of a head's estimated weights of the keys that are
// not kept. lse is that of the choice less log(1 - missed): an estimate of the
// sum of all weights. Where everything is kept, this is exact attention.
//
// The paper keeps the mean of all values as a running sum, as a causal call
// does here; under a window each row sums anew.
#include <heed/estimators.h>
#include <heed/parts_variant.h>
#include <heed/portable_math.h>
#include <heed/row_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace heed::variants {
namespace {

// Mixes the means of a key head's values into the rows of its group. Rows see
// ever later keys: none that is in a running sum goes, until a window leaves
// some behind, and then each row sums anew.
class MeanOfValues {
 public:
  // missed: [batch][heads][rows]; sum: [head_dim_v].
  MeanOfValues(const VariantArgs& a, const float* missed, double* sum)
      : a_(a), missed_(missed), sum_(sum) {}

  void MixInto(int64_t batch, int64_t kv_head) {
    const AttentionArgs& t = a_.args;
    const int64_t rows = t.query.seqlen(), keys = t.key.seqlen();
    const int64_t group = t.query.heads() / t.key.heads();
    Clear();
    for (int64_t row = 0; row < rows; ++row) {
      const ops::VisibleKeys see = ops::VisibleTo(a_.params, rows, keys, row);
      if (see.begin != see.sink_end) {
        Clear();
        AddUpTo(batch, kv_head, see.sink_end);
        next_ = see.begin;
      }
      AddUpTo(batch, kv_head, see.end);
      for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
        Mix(batch, h, row);
      }
    }
  }

 private:
  void Clear() {
    std::fill(sum_, sum_ + a_.args.value.head_dim(), 0.0);
    next_ = count_ = 0;
  }

  void AddUpTo(int64_t batch, int64_t kv_head, int64_t end) {
    const int64_t dim = a_.args.value.head_dim();
    for (; next_ < end; ++next_, ++count_) {
      const float* v = RowAt(a_.args.value, batch, next_, kv_head);
      for (int64_t c = 0; c < dim; ++c) sum_[c] += static_cast<double>(v[c]);
    }
  }

  void Mix(int64_t batch, int64_t head, int64_t row) const {
    const AttentionArgs& t = a_.args;
    const float missed =
        missed_[(batch * t.query.heads() + head) * t.query.seqlen() + row];
    if (missed == 0) return;  // keeps the bits of attention over everything
    const double share = std::min(static_cast<double>(missed), 1.0);
    float* const out = RowAt(t.out, batch, row, head);
    for (int64_t c = 0; c < t.value.head_dim(); ++c) {
      out[c] =
          static_cast<float>((1 - share) * static_cast<double>(out[c]) +
                             share * sum_[c] / static_cast<double>(count_));
    }
    if (t.lse.absent()) return;
    float* const lse = RowAt(t.lse, batch, row, head);
    *lse -= static_cast<float>(portable::Log(std::max(1 - share, 0x1p-60)));
  }

  const VariantArgs& a_;
  const float* missed_;
  double* sum_;
  int64_t next_ = 0, count_ = 0;  // keys in the sum
};

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t keys = t.key.seqlen(), rows = t.query.seqlen();
  const int64_t heads = t.query.heads(), kv_heads = t.key.heads();
  const int64_t dim_v = t.value.head_dim();
  sparse::SparqChoice sparq;
  Status status = sparq.Prepare(a);
  if (!status.ok()) return status;
  float* missed = a.scratch.Array<float>(t.query.batch(), heads, rows);
  double* sums = a.scratch.Array<double>(a.executor.max_workers, dim_v);
  if (missed == nullptr || sums == nullptr) return sparse::OutOfMemory();
  const auto choose = [&](const sparse::QueryRow& row,
                          sparse::RowChoice* choice) {
    const float* weight = sparq.Choose(row, choice);
    for (int64_t i = 0; i < row.num_heads; ++i, weight += keys) {
      float sum = 0;
      for (int64_t key = 0; key < row.end(); ++key) {
        if (row.Touches(key, key + 1) && !choice->Keeps(key)) {
          sum += weight[key];
        }
      }
      missed[(row.batch * heads + row.head + i) * rows + row.index] = sum;
    }
  };
  status = sparse::AttendRows(a, sparse::ListOf::kGroup, choose);
  if (!status.ok() || t.query.batch() * heads * rows == 0) return status;
  ops::ParallelFor(a.executor, t.query.batch() * kv_heads,
                   [&](int64_t i, int worker) {
                     MeanOfValues(a, missed, sums + worker * dim_v)
                         .MixInto(i / kv_heads, i % kv_heads);
                   });
  return status;
}

// A row's visible keys, what a group keeps of them, and a head's missed weight.
struct PlainChoice {
  std::vector<int64_t> keys;
  std::vector<bool> kept;
  double missed = 0;
};

// The largest channels of a row's queries of a group, the first of equal ones.
std::vector<int64_t> PlainChannels(const VariantArgs& a, int64_t batch,
                                   int64_t first, int64_t end, int64_t row) {
  const int64_t dim = a.args.query.head_dim();
  std::vector<double> size(static_cast<size_t>(dim));
  for (int64_t h = first; h < end; ++h) {
    const float* q = RowAt(a.args.query, batch, row, h);
    for (int64_t c = 0; c < dim; ++c) {
      size[static_cast<size_t>(c)] += std::fabs(static_cast<double>(q[c]));
    }
  }
  std::vector<int64_t> channel(static_cast<size_t>(dim));
  std::iota(channel.begin(), channel.end(), int64_t{0});
  std::stable_sort(channel.begin(), channel.end(), [&](int64_t x, int64_t y) {
    return size[static_cast<size_t>(x)] > size[static_cast<size_t>(y)];
  });
  channel.resize(
      static_cast<size_t>(std::min(dim, static_cast<int64_t>(a.knobs[1]))));
  return channel;
}

// A head's weights of keys, by these channels.
std::vector<double> PlainWeights(const VariantArgs& a, const float* q,
                                 const std::vector<int64_t>& channel,
                                 const std::vector<int64_t>& keys,
                                 int64_t batch, int64_t kv) {
  const int64_t dim = a.args.query.head_dim();
  double all = 0, read = 0, most = -INFINITY, total = 0;
  for (int64_t c = 0; c < dim; ++c) all += std::fabs(static_cast<double>(q[c]));
  for (const int64_t c : channel) read += std::fabs(static_cast<double>(q[c]));
  const double factor = static_cast<double>(ops::SoftmaxScale(a.params, dim)) *
                        (read > 0 ? std::sqrt(all / read) : 1);
  std::vector<double> weight;
  for (const int64_t key : keys) {
    const float* x = RowAt(a.args.key, batch, key, kv);
    double sum = 0;
    for (const int64_t c : channel) {
      sum += static_cast<double>(q[c]) * static_cast<double>(x[c]);
    }
    weight.push_back(factor * sum);
    most = std::fmax(most, weight.back());
  }
  for (double& w : weight) total += w = std::exp(w - most);
  for (double& w : weight) w /= total;
  return weight;
}

PlainChoice Choose(const VariantArgs& a, int64_t b, int64_t h, int64_t kv,
                   int64_t row) {
  const AttentionArgs& t = a.args;
  const int64_t group = t.query.heads() / t.key.heads();
  PlainChoice choice;
  ops::ForEachVisible(a.params, t, b, h, row, [&](int64_t begin, int64_t end) {
    for (int64_t key = begin; key < end; ++key) choice.keys.push_back(key);
  });
  const std::vector<int64_t>& keys = choice.keys;
  choice.kept.resize(keys.size());
  if (keys.empty()) return choice;
  const std::vector<int64_t> channel =
      PlainChannels(a, b, kv * group, (kv + 1) * group, row);
  std::vector<double> score(keys.size()), own;
  for (int64_t other = kv * group; other < (kv + 1) * group; ++other) {
    const std::vector<double> weight =
        PlainWeights(a, RowAt(t.query, b, row, other), channel, keys, b, kv);
    for (size_t i = 0; i < score.size(); ++i) score[i] += weight[i];
    if (other == h) own = weight;
  }
  double forced = 0;
  for (size_t i = 0; i < score.size(); ++i) {
    if (static_cast<double>(keys.back() + 1 - keys[i]) > a.knobs[2]) continue;
    score[i] = INFINITY;
    ++forced;
  }
  std::vector<size_t> order(keys.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t x, size_t y) { return score[x] > score[y]; });
  const double total = std::fmax(a.knobs[0], forced);
  for (size_t i = 0; i < order.size(); ++i) {
    choice.kept[order[i]] = static_cast<double>(i) < total;
    if (!choice.kept[order[i]]) choice.missed += own[order[i]];
  }
  return choice;
}

void Reference(const VariantArgs& a, double* out) {
  const AttentionArgs& t = a.args;
  sparse::ForEachPlainRow(
      a, out, [&](int64_t b, int64_t h, int64_t kv, int64_t row, double* to) {
        const PlainChoice choice = Choose(a, b, h, kv, row);
        if (choice.keys.empty()) return;
        sparse::PlainSoftmax softmax(t.value.head_dim());
        const double share =
            choice.missed / static_cast<double>(choice.keys.size());
        for (size_t i = 0; i < choice.keys.size(); ++i) {
          const int64_t key = choice.keys[i];
          const float* value = RowAt(t.value, b, key, kv);
          for (int64_t c = 0; choice.missed > 0 && c < t.value.head_dim();
               ++c) {
            to[c] += share * static_cast<double>(value[c]);
          }
          if (!choice.kept[i]) continue;
          softmax.Add(
              sparse::PlainScore(a.params, RowAt(t.query, b, row, h),
                                 RowAt(t.key, b, key, kv), t.key.head_dim()),
              value);
        }
        softmax.AddTo(1 - choice.missed, to);
      });
}

// As sparq's, and a pass over the values and over the result. Under a window
// values are summed for each row: not counted here.
Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const double of_batch =
      static_cast<double>(shape.batch) * static_cast<double>(shape.head_dim_v);
  const double values =
      of_batch * static_cast<double>(shape.num_kv_heads * shape.seqlen_k);
  const double results =
      of_batch * static_cast<double>(shape.num_heads * shape.seqlen_q);
  Cost cost = sparse::SparqChoice::CostOf(shape, params, knobs);
  cost.flops += values + 3 * results;
  cost.bytes += 4 * values + 8 * results;
  return cost;
}

}  // namespace

Variant sparq_mean() {
  return {.summary =
              "SparQ, with the mean of the values in the place of what it "
              "leaves out.",
          .paper = "Ribar et al. 2023, arXiv:2312.04985",
          .semantics = Semantics::kOwnReference,
          .knobs = sparse::SparqChoice::kKnobs,
          .num_knobs = sparse::SparqChoice::kNumKnobs,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
