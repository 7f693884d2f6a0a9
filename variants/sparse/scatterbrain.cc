// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Sparse and low-rank in one sum (Scatterbrain, Chen et al. 2021,
// arXiv:2110.15343): on a support pairs have softmax's weights, all others
// those of random features,
//
//   out_i = (sum_near exp(s_ij) v_j + sum_far phi(q_i).phi(k_j) v_j) / the same
//   phi(x)_r = exp(w_r . x' - |x'|^2 / 2) / sqrt(m),  x' = sqrt(scale) x
//
// with FAVOR+'s orthogonal rows w (performer.cc), whose products estimate
// exp(s). The support is, as in the paper's algorithm, the pairs that fall into
// one bucket in any of n_hashes rounds, under the cross-polytope hash of its
// analysis (heed/hashes.h). Or it is the paper's local one: of a causal call
// the latest local_context keys; else those from local_context / 2 before the
// row's own to (local_context + 1) / 2 after it, the latter not among them. lse
// is the logarithm of the sum. How the far sum is added up says
// heed/far_field.h. window_linear has keys and features of fixed size, and a
// scan; here both may be as large as they like.
//
// Whether a pair is in the support depends on its query and its key alone. The
// paper names neither rounds nor buckets: at the defaults pairs that have
// nothing to do with one another are in it once in sixteen times.
//
// reference_quirks: the paper's code has the causal case as a thing to be
// checked, and holds its sum of far weights above 1e-24. It hashes by sorting:
// rows are projected onto one direction after an asymmetric transform that
// needs the largest norms of all, and clusters of equal size are cut from the
// order.
#include <heed/estimators.h>
#include <heed/far_field.h>
#include <heed/hashes.h>
#include <heed/linear_features.h>
#include <heed/parts_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace heed::variants {
namespace {

constexpr int64_t kBlock = 64;  // of rows that read together, and of keys

constexpr Knob kKnobs[] = {
    {.name = "local_context",
     .summary = "Keys with exact weights, near the row's own; of support 0.",
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
     .summary = "Of features and hashes.",
     .default_value = 1,
     .min = 0,
     .max = 1e6,
     .integer = true},
    {.name = "support",
     .summary = "Which keys have exact weights: 0: those near the row's own; "
                "1: those that hash as it does.",
     .default_value = 1,
     .min = 0,
     .max = 1,
     .integer = true},
    {.name = "n_hashes",
     .summary = "Rounds of hashing.",
     .default_value = 4,
     .min = 1,
     .max = 64,
     .integer = true},
    {.name = "hash_dim",
     .summary = "Directions of a hash, whose ends are its buckets; 0: one "
                "bucket.",
     .default_value = 32,
     .min = 0,
     .max = 1024,
     .integer = true,
     .has_exact = true,
     .exact_value = 0},
};

// Which keys a row sees, and which of them are near by position.
struct Positions {
  int64_t before, after, offset, keys;
  bool causal;

  Positions(const AttentionParams& params, const double* knobs,
            int64_t seqlen_q, int64_t seqlen_k)
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

bool Hashes(const double* knobs) { return knobs[3] != 0; }

// The pairs with exact weights.
struct Support {
  Positions positions;
  sparse::AlikeKeys alike;  // where it hashes

  Status Attend(const VariantArgs& near) const {
    if (!Hashes(near.knobs)) {
      return ops::Attend(positions.Masks(near.params), near.args, near);
    }
    const auto choose = [&](const sparse::QueryRow& row,
                            sparse::RowChoice* choice) {
      alike.ForEach(row.batch, row.head, row.index,
                    [&](int64_t key) { choice->Keep(key, key + 1); });
    };
    return sparse::AttendRows(near, sparse::ListOf::kHead, choose);
  }
  static void MarkNear(const void* self, int64_t /*batch*/, int64_t /*head*/,
                       int64_t row, uint64_t* words) {
    const Positions& of = static_cast<const Support*>(self)->positions;
    sparse::MarkKeys(of.Begin(row), of.End(row), words);
  }
  static void MarkAlike(const void* self, int64_t batch, int64_t head,
                        int64_t row, uint64_t* words) {
    static_cast<const Support*>(self)->alike.ForEach(
        batch, head, row,
        [&](int64_t key) { words[key / 64] |= uint64_t{1} << (key % 64); });
  }
};

// Rows [features][dim] times sqrt(|scale|).
void DrawRows(const VariantArgs& a, int64_t dim, float* w) {
  const double root = std::sqrt(
      std::fabs(static_cast<double>(ops::SoftmaxScale(a.params, dim))));
  DrawOrthogonalRows(static_cast<int>(a.knobs[2]),
                     static_cast<int64_t>(a.knobs[1]), dim, true, root, w);
}

Status RunVariant(const VariantArgs& a) {
  using Blocks = sparse::FarField::Blocks;
  const AttentionArgs& t = a.args;
  const int64_t dim = t.key.head_dim();
  const int64_t features = static_cast<int64_t>(a.knobs[1]);
  const bool hashes = Hashes(a.knobs);
  Support support = {
      Positions(a.params, a.knobs, t.query.seqlen(), t.key.seqlen()), {}};
  sparse::Parts parts;
  sparse::FarField far;
  Status status = parts.Prepare(a, 2, /*sinks=*/false);
  if (status.ok() && a.params.softcap != 0) {
    status = Status(StatusCode::kUnsupported, "softcap",
                    "must be 0: features estimate scores without one");
  }
  if (!status.ok()) return status;
  float* const w = a.scratch.Array<float>(features, dim);
  if (w == nullptr ||
      (hashes && !support.alike.Prepare(a, static_cast<int64_t>(a.knobs[4]),
                                        static_cast<int64_t>(a.knobs[5]),
                                        static_cast<int64_t>(a.knobs[2])))) {
    return sparse::OutOfMemory();
  }
  DrawRows(a, dim, w);
  status =
      far.Prepare(a, ops::Dense(static_cast<const float*>(w), features, dim),
                  {&support, hashes ? &Support::MarkAlike : &Support::MarkNear},
                  hashes ? Blocks::kTakenOut : Blocks::kKeyByKey);
  if (!status.ok()) return status;
  a.phases.Enter(Phase::kAttend);
  const VariantArgs near = parts.Call(0), rest = parts.Call(1);
  status = support.Attend(near);
  if (!status.ok()) return status;
  far.Attend(near.args.lse, rest);
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

// The bucket of a row in a round, of which `turn` is [dim][directions].
int64_t PlainBucket(const float* turn, int64_t dim, int64_t directions,
                    const float* x) {
  int64_t best = 0;
  double most = 0;
  for (int64_t j = 0; j < directions; ++j) {
    double sum = 0;
    for (int64_t c = 0; c < dim; ++c) {
      sum += static_cast<double>(x[c]) *
             static_cast<double>(turn[c * directions + j]);
    }
    if (std::fabs(sum) > std::fabs(most)) {
      most = sum;
      best = sum < 0 ? j + directions : j;
    }
  }
  return best;
}

// The buckets of every row, [batch][heads][rows], in all rounds.
std::vector<std::vector<int64_t>> PlainBuckets(const VariantArgs& a,
                                               const ConstTensorView& x) {
  const int64_t rounds = static_cast<int64_t>(a.knobs[4]);
  const int64_t directions = static_cast<int64_t>(a.knobs[5]);
  const int64_t dim = x.head_dim();
  std::vector<float> turns(static_cast<size_t>(rounds * dim * directions));
  sparse::DrawDirections(SerialExecutor(), static_cast<int64_t>(a.knobs[2]),
                         rounds, dim, directions, turns.data());
  std::vector<std::vector<int64_t>> buckets;
  for (int64_t i = 0; i < x.batch() * x.heads() * x.seqlen(); ++i) {
    const int64_t head = i / x.seqlen();
    const float* row =
        RowAt(x, head / x.heads(), i % x.seqlen(), head % x.heads());
    buckets.emplace_back();
    for (int64_t round = 0; round < rounds; ++round) {
      buckets.back().push_back(PlainBucket(
          turns.data() + round * dim * directions, dim, directions, row));
    }
  }
  return buckets;
}

bool Meet(const std::vector<int64_t>& x, const std::vector<int64_t>& y) {
  for (size_t round = 0; round < x.size(); ++round) {
    if (x[round] == y[round]) return true;
  }
  return false;
}

void Reference(const VariantArgs& a, double* out) {
  const AttentionArgs& t = a.args;
  const int64_t dim = t.key.head_dim();
  const int64_t features = static_cast<int64_t>(a.knobs[1]);
  const double scale = static_cast<double>(ops::SoftmaxScale(a.params, dim));
  const Positions at(a.params, a.knobs, t.query.seqlen(), t.key.seqlen());
  std::vector<float> w(static_cast<size_t>(features * dim));
  DrawRows(a, dim, w.data());
  const int64_t kv_heads = t.key.heads();
  std::vector<std::vector<double>> keys;  // [batch][kv heads][keys]
  for (int64_t i = 0; i < t.key.batch() * kv_heads * at.keys; ++i) {
    const int64_t head = i / at.keys;
    keys.push_back(PlainExponents(
        w, scale, RowAt(t.key, head / kv_heads, i % at.keys, head % kv_heads),
        1, dim));
  }
  std::vector<std::vector<int64_t>> query_buckets, key_buckets;
  if (Hashes(a.knobs)) {
    query_buckets = PlainBuckets(a, t.query);
    key_buckets = PlainBuckets(a, t.key);
  }
  sparse::ForEachPlainRow(
      a, out, [&](int64_t b, int64_t h, int64_t kv, int64_t row, double* to) {
        const float* query = RowAt(t.query, b, row, h);
        const std::vector<double> of_query =
            PlainExponents(w, scale, query, scale < 0 ? -1 : 1, dim);
        const size_t first_key =
            static_cast<size_t>((b * kv_heads + kv) * at.keys);
        const size_t q = static_cast<size_t>(
            (b * t.query.heads() + h) * t.query.seqlen() + row);
        sparse::PlainSoftmax softmax(t.value.head_dim());
        for (int64_t j = 0; j < at.keys; ++j) {
          const int64_t away = j - row - at.offset;
          if (at.causal && away > 0) continue;
          const float* key = RowAt(t.key, b, j, kv);
          const size_t k = first_key + static_cast<size_t>(j);
          const bool near = Hashes(a.knobs)
                                ? Meet(query_buckets[q], key_buckets[k])
                                : away >= -at.before && away <= at.after;
          softmax.Add(near ? sparse::PlainScore(a.params, query, key, dim)
                           : PlainFar(of_query, keys[k]),
                      RowAt(t.value, b, j, kv));
        }
        softmax.AddTo(1, to);
      });
}

// Pairs whose rows are hashed at random meet so often.
double ShareAlike(const double* knobs) {
  return knobs[5] == 0 ? 1 : std::min(1.0, knobs[4] / (2 * knobs[5]));
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const Positions at(params, knobs, shape.seqlen_q, shape.seqlen_k);
  const bool hashes = Hashes(knobs);
  const int64_t features = static_cast<int64_t>(knobs[1]);
  const double heads = static_cast<double>(shape.batch * shape.num_heads);
  const double width = static_cast<double>(features + shape.head_dim_v + 1);
  // Key blocks that rows read, keys that they add, and that they take out.
  double blocks = 0, single = 0, whole = 0;
  for (int64_t first = 0; first < shape.seqlen_q; first += kBlock) {
    const int64_t end = std::min(first + kBlock, shape.seqlen_q);
    int64_t covered = 0;
    for (int64_t key = 0; key < at.keys; key += kBlock) {
      const int64_t key_end = std::min(key + kBlock, at.keys);
      if (hashes ? key_end > at.Seen(first)
                 : !at.IsFar(first, end, key, key_end)) {
        continue;
      }
      ++blocks;
      covered += key_end - key;
    }
    for (int64_t row = first; row < end; ++row) {
      const int64_t seen = at.Seen(row);
      const int64_t near =
          std::min(at.End(row), seen) - std::min(at.Begin(row), seen);
      single += static_cast<double>(seen - covered - (hashes ? 0 : near));
      whole += static_cast<double>(covered);
    }
  }
  const AttentionParams masks = hashes ? params : at.Masks(params);
  const double alike = hashes ? ShareAlike(knobs) : 1;
  const double near = alike * ops::VisiblePairs(shape, masks);
  Cost cost = ops::SoftmaxCost(shape, near, ops::VisibleKeyRows(shape, masks));
  if (hashes) {
    single = (1 - alike) * single + alike * whole;
    const double hashed =
        static_cast<double>(shape.batch * shape.head_dim *
                            (shape.seqlen_q * shape.num_heads +
                             shape.seqlen_k * shape.num_kv_heads));
    cost.AddSelecting(2 * knobs[4] * knobs[5] * hashed, 4 * knobs[4] * hashed);
  }
  const Cost rest = sparse::ResidualCost(shape, features, kBlock, blocks);
  cost.flops +=
      rest.flops + MapFlops(shape, features) + 2 * heads * width * single;
  cost.bytes += rest.bytes;
  return cost;
}

}  // namespace

Variant scatterbrain() {
  return {.summary =
              "Softmax for keys that hash alike, or near ones, and "
              "random features for the rest, in one sum.",
          .paper = "Chen et al. 2021, arXiv:2110.15343",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 6,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
