// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Sparse and low-rank in one sum (Scatterbrain, Chen et al. 2021,
// arXiv:2110.15343): on a support near the row's own position pairs have
// softmax's weights, all others those of random features,
//
//   out_i = (sum_near exp(s_ij) v_j + sum_far phi(q_i).phi(k_j) v_j) / the same
//   phi(x)_r = exp(w_r . x' - |x'|^2 / 2) / sqrt(m),  x' = sqrt(scale) x
//
// with FAVOR+'s orthogonal rows w (performer.cc), whose products estimate
// exp(s). The support is the paper's local one: of a causal call the latest
// local_context keys; else those from local_context / 2 before the row's own to
// (local_context + 1) / 2 after it, the latter not among them. lse is the
// logarithm of the sum. The far sum is added up from states of key blocks and
// single keys (heed/residual_variant.h), where the paper subtracts the support
// from a sum over all keys. window_linear has keys and features of fixed size,
// and a scan; here both may be as large as they like: rows whose far weights
// are below the products of f32, and count, are read key by key in logarithms,
// which takes an exponential a feature of each such pair.
//
// reference_quirks: the paper's code has the causal case as a thing to be
// checked, and holds its sum of far weights above 1e-24.
#include <heed/linear_features.h>
#include <heed/parts_variant.h>
#include <heed/residual_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace heed::variants {
namespace {

constexpr int64_t kBlock = 64;  // of rows that read together, and of keys

constexpr Knob kKnobs[] = {
    {.name = "local_context",
     .summary = "Keys with exact weights, near the row's own.",
     .default_value = 64,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "nb_features",
     .summary = "Random features of the far field.",
     .default_value = 64,
     .min = 1,
     .max = 1024,
     .integer = true},
    {.name = "seed",
     .summary = "Of the features.",
     .default_value = 1,
     .min = 0,
     .max = 1e6,
     .integer = true},
};

// Which keys are near a row, and which it sees at all.
struct Support {
  int64_t before, after, offset, keys;
  bool causal;

  Support(const AttentionParams& params, const double* knobs, int64_t seqlen_q,
          int64_t seqlen_k)
      : before(static_cast<int64_t>(knobs[0]) - 1),
        after(0),
        offset(sparse::OffsetOf(params, seqlen_q, seqlen_k)),
        keys(seqlen_k),
        causal(params.causal) {
    if (causal) return;
    after = (static_cast<int64_t>(knobs[0]) + 1) / 2 - 1;
    before = static_cast<int64_t>(knobs[0]) / 2;
  }
  int64_t Begin(int64_t row) const {
    return std::clamp<int64_t>(row + offset - before, 0, keys);
  }
  int64_t End(int64_t row) const {
    return std::clamp<int64_t>(row + offset + after + 1, 0, keys);
  }
  int64_t Seen(int64_t row) const {
    return causal ? std::clamp<int64_t>(row + offset + 1, 0, keys) : keys;
  }
  // Rows [first, end) all see all keys of the block, and none is near any.
  bool IsFar(int64_t first, int64_t end, int64_t key_begin,
             int64_t key_end) const {
    return key_end <= Seen(first) &&
           (key_end <= Begin(first) || key_begin >= End(end - 1));
  }
  AttentionParams Masks(const AttentionParams& params) const {
    AttentionParams masks = params;
    masks.sink_size = 0;
    masks.window_left = before;
    if (!causal) masks.window_right = after;
    return masks;
  }
};

// Rows [features][dim] times sqrt(|scale|).
void DrawRows(const VariantArgs& a, int64_t dim, float* w) {
  const double root = std::sqrt(
      std::fabs(static_cast<double>(ops::SoftmaxScale(a.params, dim))));
  DrawOrthogonalRows(static_cast<int>(a.knobs[2]),
                     static_cast<int64_t>(a.knobs[1]), dim, true, root, w);
}

struct Features {
  ops::ConstMatrix w;
  float scale;
};

// The largest exponent of a row is its scale.
void Map(const void* self, const FeatureRows& rows, float* log_scale) {
  const Features& f = *static_cast<const Features*>(self);
  const int64_t m = rows.phi.cols;
  const float factor =
      static_cast<float>(1 / std::sqrt(static_cast<double>(m)));
  ops::MatMul(rows.x, ops::Transposed(f.w), rows.phi);
  for (int64_t i = 0; i < rows.x.rows; ++i) {
    const float* const x = rows.x.row(i);
    float* const phi = rows.phi.row(i);
    if (!rows.key && f.scale < 0) ops::Scale(-1.0f, phi, m);
    const float most = *std::max_element(phi, phi + m);
    for (int64_t r = 0; r < m; ++r) phi[r] -= most;
    ops::Exp(phi, phi, m);
    ops::Scale(factor, phi, m);
    log_scale[i] =
        most - 0.5f * std::fabs(f.scale) * ops::Dot(x, x, rows.x.cols);
  }
}

// A sum of products of features below this, of at most 1 each, has lost digits
// to what f32 rounds to 0.
constexpr float kLeastSum = 1e-28f;

// Reads the far field of single rows in logarithms.
struct LogReader {
  const VariantArgs* a;
  Features map;
  float* room;  // [workers][Size()]

  int64_t Count() const { return map.w.rows; }
  int64_t Size() const {
    return (kBlock + 1) * Count() + a->args.value.head_dim();
  }
  // Whether a row that read `sums` must be read so: where what is near is not
  // beyond comparison.
  static bool Needed(const sparse::LinearResidual::Sums& sums, float total,
                     float near_lse) {
    constexpr float kLogLeast = -64.0f, kBeyond = 18.0f;
    return total < kLeastSum && sums.log_scale > -INFINITY &&
           near_lse < sums.log_scale + kLogLeast + kBeyond;
  }
  // Of keys [0, near_begin) and [near_end, seen).
  void Read(int64_t b, int64_t h, int64_t kv, int64_t row, int64_t near_begin,
            int64_t near_end, int64_t seen, int worker, float* out,
            float* lse) const;
};

void LogReader::Read(int64_t b, int64_t h, int64_t kv, int64_t row,
                     int64_t near_begin, int64_t near_end, int64_t seen,
                     int worker, float* out, float* lse) const {
  const int64_t m = Count(), dim_v = a->args.value.head_dim();
  const float half = 0.5f * std::fabs(map.scale);
  float* const query = room + worker * Size();
  float* const keys = query + m;
  float* const sum = keys + kBlock * m;
  const ops::ConstMatrix x = ops::Head(a->args.query, b, h);
  const ops::ConstMatrix all = ops::Head(a->args.key, b, kv);
  ops::MatMul(ops::RowRange(x, row, row + 1), ops::Transposed(map.w),
              ops::Dense(query, 1, m));
  if (map.scale < 0) ops::Scale(-1.0f, query, m);
  const float of_query = half * ops::Dot(x.row(row), x.row(row), x.cols);
  std::fill(sum, sum + dim_v, 0.0f);
  float most = -INFINITY, total = 0;
  const auto add = [&](int64_t first, int64_t end) {
    ops::MatMul(ops::RowRange(all, first, end), ops::Transposed(map.w),
                ops::Dense(keys, end - first, m));
    for (int64_t key = first; key < end; ++key) {
      float* const exponent = keys + (key - first) * m;
      ops::Axpy(1.0f, query, exponent, m);
      // Softmax's sum is m times the mean over features.
      float log_weight = ops::Softmax(exponent, m) - of_query -
                         half * ops::Dot(all.row(key), all.row(key), all.cols);
      if (log_weight > most) {
        float fade = most - log_weight;
        ops::Exp(&fade, &fade, 1);
        ops::Scale(fade, sum, dim_v);
        total *= fade;
        most = log_weight;
      }
      log_weight -= most;
      ops::Exp(&log_weight, &log_weight, 1);
      total += log_weight;
      ops::Axpy(log_weight, RowAt(a->args.value, b, key, kv), sum, dim_v);
    }
  };
  for (int64_t first = 0; first < near_begin; first += kBlock) {
    add(first, std::min(first + kBlock, near_begin));
  }
  for (int64_t first = near_end; first < seen; first += kBlock) {
    add(first, std::min(first + kBlock, seen));
  }
  for (int64_t c = 0; c < dim_v; ++c) out[c] = sum[c] / total;
  *lse = most + static_cast<float>(std::log(static_cast<double>(total)) -
                                   std::log(static_cast<double>(m)));
}

// Writes to part 1 what rows of a block read of the far field.
void ReadFar(const Support& support, const sparse::LinearResidual& residual,
             const LogReader& logs, const TensorView& near_lse,
             const VariantArgs& part, uint8_t* far, int64_t list, int worker) {
  const TensorView& out = part.args.out;
  const int64_t blocks = (support.keys + kBlock - 1) / kBlock;
  const int64_t lists = (out.seqlen() + kBlock - 1) / kBlock;
  const int64_t head = list / lists, first = list % lists * kBlock;
  const int64_t end = std::min(first + kBlock, out.seqlen());
  const int64_t b = head / out.heads(), h = head % out.heads();
  const int64_t kv = h / (out.heads() / part.args.key.heads());
  const int64_t dim_v = out.head_dim();
  const auto key_end = [&](int64_t j) {
    return std::min((j + 1) * kBlock, support.keys);
  };
  for (int64_t j = 0; j < blocks; ++j) {
    far[j] = support.IsFar(first, end, j * kBlock, key_end(j));
  }
  residual.Gather(b, kv, far, blocks, worker);
  residual.Read(b, h, first, end - first, worker);
  for (int64_t row = first; row < end; ++row) {
    const int64_t seen = support.Seen(row);
    const int64_t near_begin = std::min(support.Begin(row), seen);
    const int64_t near_end = std::min(support.End(row), seen);
    for (int64_t j = 0; j * kBlock < seen; ++j) {
      if (far[j]) continue;
      const int64_t stop = std::min(key_end(j), seen);
      residual.AddKeys(row - first, b, kv, j * kBlock,
                       std::min(stop, near_begin), worker);
      residual.AddKeys(row - first, b, kv, std::max(j * kBlock, near_end), stop,
                       worker);
    }
    const sparse::LinearResidual::Sums read = residual.Of(row - first, worker);
    const float total = read.sum[dim_v];
    float* const to = RowAt(out, b, row, h);
    if (LogReader::Needed(read, total, *RowAt(near_lse, b, row, h))) {
      logs.Read(b, h, kv, row, near_begin, near_end, seen, worker, to,
                RowAt(part.args.lse, b, row, h));
      continue;
    }
    for (int64_t c = 0; c < dim_v; ++c) {
      to[c] = total == 0 ? 0.0f : read.sum[c] / total;
    }
    *RowAt(part.args.lse, b, row, h) =
        total == 0
            ? -INFINITY
            : read.log_scale +
                  static_cast<float>(std::log(static_cast<double>(total)));
  }
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t dim = t.key.head_dim();
  const int64_t features = static_cast<int64_t>(a.knobs[1]);
  const Support support(a.params, a.knobs, t.query.seqlen(), t.key.seqlen());
  const int64_t blocks = (support.keys + kBlock - 1) / kBlock;
  sparse::Parts parts;
  sparse::LinearResidual residual;
  Status status = parts.Prepare(a, 2, /*sinks=*/false);
  if (status.ok() && a.params.softcap != 0) {
    status = Status(StatusCode::kUnsupported, "softcap",
                    "must be 0: features estimate scores without one");
  }
  if (!status.ok()) return status;
  float* const w = a.scratch.Array<float>(features, dim);
  uint8_t* const far = a.scratch.Array<uint8_t>(a.executor.max_workers, blocks);
  LogReader logs = {&a, {}, nullptr};
  logs.map = {ops::Dense(static_cast<const float*>(w), features, dim),
              ops::SoftmaxScale(a.params, dim)};
  logs.room = a.scratch.Array<float>(a.executor.max_workers, logs.Size());
  if (w == nullptr || far == nullptr || logs.room == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "the features could not be allocated");
  }
  DrawRows(a, dim, w);
  status = residual.Prepare(a, {features, &logs.map, &Map}, kBlock);
  if (!status.ok()) return status;
  a.phases.Enter(Phase::kAttend);
  const VariantArgs near = parts.Call(0), rest = parts.Call(1);
  status = ops::Attend(support.Masks(near.params), near.args, near);
  if (!status.ok()) return status;
  const int64_t lists = t.query.batch() * t.query.heads() *
                        ((t.query.seqlen() + kBlock - 1) / kBlock);
  ops::ParallelFor(a.executor, lists, [&](int64_t list, int worker) {
    ReadFar(support, residual, logs, near.args.lse, rest, far + worker * blocks,
            list, worker);
  });
  return parts.Merge();
}

// The exponents of a row's features.
std::vector<double> PlainExponents(const std::vector<float>& w, double scale,
                                   const float* x, double sign, int64_t dim) {
  double square = 0;
  for (int64_t c = 0; c < dim; ++c) {
    square += static_cast<double>(x[c]) * static_cast<double>(x[c]);
  }
  std::vector<double> exponents;
  for (auto row = w.begin(); row != w.end(); row += dim) {
    double sum = -0.5 * std::fabs(scale) * square;
    for (int64_t c = 0; c < dim; ++c) {
      sum += sign * static_cast<double>(row[c]) * static_cast<double>(x[c]);
    }
    exponents.push_back(sum);
  }
  return exponents;
}

// The logarithm of the far weight of a pair.
double PlainFar(const std::vector<double>& query,
                const std::vector<double>& key) {
  double most = -INFINITY, total = 0;
  for (size_t r = 0; r < key.size(); ++r) {
    most = std::max(most, query[r] + key[r]);
  }
  for (size_t r = 0; r < key.size(); ++r) {
    total += std::exp(query[r] + key[r] - most);
  }
  return most + std::log(total / static_cast<double>(key.size()));
}

void Reference(const VariantArgs& a, double* out) {
  const AttentionArgs& t = a.args;
  const int64_t dim = t.key.head_dim();
  const int64_t features = static_cast<int64_t>(a.knobs[1]);
  const double scale = static_cast<double>(ops::SoftmaxScale(a.params, dim));
  const Support support(a.params, a.knobs, t.query.seqlen(), t.key.seqlen());
  std::vector<float> w(static_cast<size_t>(features * dim));
  DrawRows(a, dim, w.data());
  const int64_t kv_heads = t.key.heads();
  std::vector<std::vector<double>> keys;  // [batch][kv heads][keys]
  for (int64_t i = 0; i < t.key.batch() * kv_heads * support.keys; ++i) {
    const int64_t head = i / support.keys;
    keys.push_back(PlainExponents(
        w, scale,
        RowAt(t.key, head / kv_heads, i % support.keys, head % kv_heads), 1,
        dim));
  }
  sparse::ForEachPlainRow(
      a, out, [&](int64_t b, int64_t h, int64_t kv, int64_t row, double* to) {
        const float* query = RowAt(t.query, b, row, h);
        const std::vector<double> of_query =
            PlainExponents(w, scale, query, scale < 0 ? -1 : 1, dim);
        const auto* const of_keys =
            keys.data() + (b * kv_heads + kv) * support.keys;
        sparse::PlainSoftmax softmax(t.value.head_dim());
        for (int64_t j = 0; j < support.keys; ++j) {
          const int64_t away = j - row - support.offset;
          if (support.causal && away > 0) continue;
          const float* key = RowAt(t.key, b, j, kv);
          const bool near = away >= -support.before && away <= support.after;
          softmax.Add(near ? sparse::PlainScore(a.params, query, key, dim)
                           : PlainFar(of_query, of_keys[j]),
                      RowAt(t.value, b, j, kv));
        }
        softmax.AddTo(1, to);
      });
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const Support support(params, knobs, shape.seqlen_q, shape.seqlen_k);
  const int64_t features = static_cast<int64_t>(knobs[1]);
  const double heads = static_cast<double>(shape.batch * shape.num_heads);
  const double width = static_cast<double>(features + shape.head_dim_v + 1);
  double far = 0, single = 0;
  for (int64_t first = 0; first < shape.seqlen_q; first += kBlock) {
    const int64_t end = std::min(first + kBlock, shape.seqlen_q);
    int64_t covered = 0;
    for (int64_t key = 0; key < support.keys; key += kBlock) {
      const int64_t key_end = std::min(key + kBlock, support.keys);
      if (!support.IsFar(first, end, key, key_end)) continue;
      ++far;
      covered += key_end - key;
    }
    for (int64_t row = first; row < end; ++row) {
      const int64_t seen = support.Seen(row);
      single += static_cast<double>(seen - covered -
                                    (std::min(support.End(row), seen) -
                                     std::min(support.Begin(row), seen)));
    }
  }
  const AttentionParams masks = support.Masks(params);
  Cost cost = ops::SoftmaxCost(shape, ops::VisiblePairs(shape, masks),
                               ops::VisibleKeyRows(shape, masks));
  const Cost rest = sparse::ResidualCost(shape, features, kBlock, far);
  cost.flops +=
      rest.flops + MapFlops(shape, features) + 2 * heads * width * single;
  cost.bytes += rest.bytes;
  return cost;
}

}  // namespace

Variant scatterbrain() {
  return {.summary = "Softmax near, random features elsewhere, one sum.",
          .paper = "Chen et al. 2021, arXiv:2110.15343",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 3,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
