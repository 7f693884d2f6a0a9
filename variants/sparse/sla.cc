// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Sparse-linear attention (SLA, Zhang et al. 2025, arXiv:2509.24006): pairs of
// blocks are critical, marginal or negligible by how their means score,
//
//   scale * mean(query block) . mean(key block),
//
// and a row gets
//
//   out = softmax attention to the critical blocks
//       + Proj (phi(q) sum phi(k) v / phi(q) sum phi(k)),  over the marginal,
//
// negligible blocks counting for nothing. Of the key blocks that rows of a
// query block see, critical are a share k_h, those that score highest, rounded
// down, at least one, and in it any that a causal mask cuts; negligible are a
// share k_l of them, those that score lowest of the others. Of equal scores the
// first is the higher. lse is that of the critical part. phi is softmax over
// channels, elu + 1 or relu. Proj is trained, an input of head_dim_v rows of as
// many numbers; where none is given it is the identity. Blocks are cut from row
// 0 and key 0 on.
//
// reference_quirks: the paper's code has no negligible blocks, adds linear
// attention over all keys, critical ones too, and 1e-5 to its sum of weights;
// it may leave a query block without a critical one; its proj_l has a bias and
// is one for all heads, where Proj is a matrix for each key head.
//
// Products phi(q) phi(k) are in f32: where softmax puts query and keys on
// different channels so far that all of a row's products are below 1e-38, as
// numbers beyond some 40 do, the row gets nothing of its marginal blocks.
#include <heed/estimators.h>
#include <heed/linear_variant.h>
#include <heed/parts_variant.h>
#include <heed/residual_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "k_h",
     .summary = "Share of the key blocks that are critical.",
     .default_value = 0.05,
     .min = 0,
     .max = 1,
     .integer = false,
     .has_exact = true,
     .exact_value = 1},
    {.name = "k_l",
     .summary = "Share of the key blocks that are negligible.",
     .default_value = 0.1,
     .min = 0,
     .max = 1,
     .integer = false},
    {.name = "b_q",
     .summary = "Query rows of a block.",
     .default_value = 64,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "b_kv",
     .summary = "Keys of a block.",
     .default_value = 64,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "feature_map",
     .summary = "phi. 0: softmax over channels; 1: elu + 1; 2: relu.",
     .default_value = 0,
     .min = 0,
     .max = 2,
     .integer = true},
};
constexpr Input kInputs[] = {{"proj", "Proj, a row for each channel of out.",
                              true, -0.1, 0.1, true, true}};

// Blocks of rows, and what each sees of the blocks of keys.
struct Grid {
  AttentionParams params;
  int64_t rows, keys, query_block, key_block, query_blocks, key_blocks;

  Grid(const AttentionParams& masks, const double* knobs, int64_t seqlen_q,
       int64_t seqlen_k)
      : params(masks),
        rows(seqlen_q),
        keys(seqlen_k),
        query_block(static_cast<int64_t>(knobs[2])),
        key_block(static_cast<int64_t>(knobs[3])),
        query_blocks((seqlen_q + query_block - 1) / query_block),
        key_blocks((seqlen_k + key_block - 1) / key_block) {}
  int64_t First(int64_t i) const { return i * query_block; }
  int64_t End(int64_t i) const {
    return std::min(First(i) + query_block, rows);
  }
  // Key blocks of which some row sees a key, and of which all see all.
  int64_t Touched(int64_t i) const {
    return (SeenBy(End(i) - 1) + key_block - 1) / key_block;
  }
  int64_t Whole(int64_t i) const {
    const int64_t seen = SeenBy(First(i));
    return seen == keys ? key_blocks : seen / key_block;
  }
  // Of so many blocks that a query block touches.
  int64_t Critical(const double* knobs, int64_t touched, int64_t cut) const {
    const double share = knobs[0] * static_cast<double>(touched);
    return std::min(touched,
                    std::max({int64_t{1}, static_cast<int64_t>(share), cut}));
  }
  int64_t Negligible(const double* knobs, int64_t touched) const {
    return static_cast<int64_t>(knobs[1] * static_cast<double>(touched));
  }

 private:
  int64_t SeenBy(int64_t row) const {
    return ops::VisibleTo(params, rows, keys, row).end;
  }
};

// The map of rows to features that are not negative.
void Map(const void* self, const FeatureRows& rows, float* log_scale) {
  const int kind = *static_cast<const int*>(self);
  const int64_t dim = rows.x.cols;
  for (int64_t i = 0; i < rows.x.rows; ++i) {
    const float* const x = rows.x.row(i);
    float* const phi = rows.phi.row(i);
    std::copy(x, x + dim, phi);
    log_scale[i] = 0;
    if (kind == 0) ops::Softmax(phi, dim);
    if (kind == 1) ops::Exp(phi, phi, dim);
    for (int64_t c = 0; c < dim && kind == 1; ++c) {
      if (x[c] > 0) phi[c] = x[c] + 1;
    }
    for (int64_t c = 0; c < dim && kind == 2; ++c) {
      phi[c] = x[c] < 0 ? 0.0f : x[c];  // NaN stays NaN
    }
  }
}

// What chooses, and which blocks it chose.
struct Choice {
  const VariantArgs* a;
  Grid grid;
  const float* key_means;  // [batch * kv heads][key blocks][head_dim]
  float* mean;             // [workers][head_dim]
  float* score;            // [workers][key blocks]
  int32_t* order;          // the same
  uint8_t* critical;       // [batch * heads][query blocks][key blocks]
  uint8_t* marginal;       // the same

  bool Prepare() {
    const int64_t workers = a->executor.max_workers;
    const int64_t lists =
        a->args.query.batch() * a->args.query.heads() * grid.query_blocks;
    key_means = sparse::KeyMeans(*a, grid.key_block);
    mean = a->scratch.Array<float>(workers, a->args.query.head_dim());
    score = a->scratch.Array<float>(workers, grid.key_blocks);
    order = a->scratch.Array<int32_t>(workers, grid.key_blocks);
    critical = a->scratch.Array<uint8_t>(lists, grid.key_blocks);
    marginal = a->scratch.Array<uint8_t>(lists, grid.key_blocks);
    return key_means && mean && score && order && critical && marginal;
  }

  void Make(int64_t list, int worker) const;
};

void Choice::Make(int64_t list, int worker) const {
  const AttentionArgs& t = a->args;
  const int64_t dim = t.query.head_dim(), all = grid.key_blocks;
  const int64_t i = list % grid.query_blocks, head = list / grid.query_blocks;
  const int64_t b = head / t.query.heads(), h = head % t.query.heads();
  const int64_t kv = h / (t.query.heads() / t.key.heads());
  const int64_t touched = grid.Touched(i), whole = grid.Whole(i);
  uint8_t* const high = critical + list * all;
  uint8_t* const low = marginal + list * all;
  std::fill(high, high + all, 0);
  std::fill(low, low + all, 0);
  std::fill(high + whole, high + touched, 1);
  float* const query = mean + worker * dim;
  float* const scores = score + worker * all;
  int32_t* const index = order + worker * all;
  const ops::ConstMatrix rows =
      ops::RowRange(ops::Head(t.query, b, h), grid.First(i), grid.End(i));
  ops::MeanPool(rows, rows.rows, ops::Dense(query, 1, dim));
  const float* const keys = key_means + (b * t.key.heads() + kv) * all * dim;
  const float scale = ops::SoftmaxScale(a->params, dim);
  for (int64_t j = 0; j < whole; ++j) {
    scores[j] = scale * ops::Dot(query, keys + j * dim, dim);
  }
  const int64_t cut = touched - whole;
  const int64_t best = grid.Critical(a->knobs, touched, cut) - cut;
  const int64_t kept =
      std::max(whole - grid.Negligible(a->knobs, touched), best);
  ops::TopK(scores, whole, kept, index);
  for (int64_t k = 0; k < kept; ++k) low[index[k]] = 1;
  ops::TopK(scores, whole, best, index);
  for (int64_t k = 0; k < best; ++k) {
    high[index[k]] = 1;
    low[index[k]] = 0;
  }
}

// Writes what the rows of a list read of their marginal blocks to part 1.
void ReadMarginal(const VariantArgs& a, const Choice& choice,
                  const sparse::LinearResidual& residual, float* projected,
                  const TensorView& out, int64_t list, int worker) {
  const Grid& grid = choice.grid;
  const int64_t i = list % grid.query_blocks, head = list / grid.query_blocks;
  const int64_t b = head / out.heads(), h = head % out.heads();
  const int64_t kv = h / (out.heads() / a.args.key.heads());
  const int64_t dim_v = out.head_dim();
  residual.Gather(b, kv, choice.marginal + list * grid.key_blocks,
                  grid.key_blocks, worker);
  float* const mean = projected + worker * dim_v;
  for (int64_t first = grid.First(i); first < grid.End(i);
       first += residual.kRows) {
    const int64_t count = std::min(residual.kRows, grid.End(i) - first);
    residual.Read(b, h, first, count, worker);
    for (int64_t row = 0; row < count; ++row) {
      const float* const sum = residual.Of(row, worker).sum;
      float* const to = RowAt(out, b, first + row, h);
      const float total = sum[dim_v];
      for (int64_t c = 0; c < dim_v; ++c) {
        mean[c] = total == 0 ? 0.0f : sum[c] / total;
      }
      if (a.inputs == nullptr) {
        std::copy(mean, mean + dim_v, to);
        continue;
      }
      for (int64_t c = 0; c < dim_v; ++c) {
        to[c] = ops::Dot(RowAt(a.inputs[0], 0, c, kv), mean, dim_v);
      }
    }
  }
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int kind = static_cast<int>(a.knobs[4]);
  sparse::Parts parts;
  sparse::LinearResidual residual;
  Choice choice = {
      &a,      Grid(a.params, a.knobs, t.query.seqlen(), t.key.seqlen()),
      nullptr, nullptr,
      nullptr, nullptr,
      nullptr, nullptr};
  Status status = parts.Prepare(a, 2, /*sinks=*/false);
  if (status.ok()) status = CheckWeights(a, kInputs, 0, t.value.head_dim());
  const int64_t lists =
      t.query.batch() * t.query.heads() * choice.grid.query_blocks;
  if (status.ok() && lists * choice.grid.key_blocks == 0) {
    return ops::Attend(a.params, t, a);
  }
  float* const projected = a.scratch.Array<float>(
      a.executor.max_workers, std::max<int64_t>(t.value.head_dim(), 1));
  if (status.ok() && (!choice.Prepare() || projected == nullptr)) {
    status = sparse::OutOfMemory();
  }
  if (status.ok()) {
    status = residual.Prepare(a, {t.key.head_dim(), &kind, &Map},
                              choice.grid.key_block);
  }
  if (!status.ok()) return status;
  a.phases.Enter(Phase::kSelect);
  ops::ParallelFor(a.executor, lists, [&](int64_t list, int worker) {
    choice.Make(list, worker);
  });
  a.phases.Enter(Phase::kBuild);
  const VariantArgs exact = parts.Call(0), rest = parts.Call(1);
  SparsePlan plan;
  status = PlanFromBlockMap(
      exact.params,
      {t.query.batch(), t.query.heads(), t.query.seqlen(), t.key.seqlen(),
       choice.grid.query_block, choice.grid.key_block},
      choice.critical, a.scratch, &plan);
  if (status.ok()) status = sparse::AttendPlan(exact, plan);
  if (!status.ok()) return status;
  ops::ParallelFor(a.executor, lists, [&](int64_t list, int worker) {
    ReadMarginal(a, choice, residual, projected, rest.args.out, list, worker);
  });
  parts.AddGated([](int, int64_t, int64_t, int64_t) { return 1.0f; });
  parts.PutLse(0);
  return status;
}

std::vector<double> PlainPhi(int kind, const float* x, int64_t dim) {
  std::vector<double> phi(x, x + dim);
  double most = -INFINITY, sum = 0;
  for (const double at : phi) most = std::max(most, at);
  for (double& at : phi) {
    if (kind == 0) at = std::exp(at - most);
    if (kind == 1) at = at > 0 ? at + 1 : std::exp(at);
    if (kind == 2) at = std::max(at, 0.0);
    sum += at;
  }
  for (double& at : phi) at /= kind == 0 ? sum : 1;
  return phi;
}

// 2: critical; 1: marginal; 0: negligible.
std::vector<int> PlainKinds(const VariantArgs& a, const Grid& grid, int64_t b,
                            int64_t h, int64_t kv, int64_t i) {
  const AttentionArgs& t = a.args;
  const int64_t touched = grid.Touched(i);
  const int64_t whole = grid.Whole(i);
  const std::vector<double> query =
      sparse::PlainMean(t.query, b, grid.First(i), grid.End(i), h);
  std::vector<double> score;
  for (int64_t j = 0; j < whole; ++j) {
    const std::vector<double> key =
        sparse::PlainMean(t.key, b, j * grid.key_block,
                          std::min((j + 1) * grid.key_block, grid.keys), kv);
    double sum = 0;
    for (size_t c = 0; c < key.size(); ++c) sum += query[c] * key[c];
    score.push_back(sum * static_cast<double>(
                              ops::SoftmaxScale(a.params, t.key.head_dim())));
  }
  std::vector<size_t> order(score.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t x, size_t y) { return score[x] > score[y]; });
  const int64_t cut = touched - whole;
  const int64_t best = grid.Critical(a.knobs, touched, cut) - cut;
  const int64_t kept =
      std::max(whole - grid.Negligible(a.knobs, touched), best);
  std::vector<int> kinds(static_cast<size_t>(touched), 2);
  for (int64_t k = 0; k < whole; ++k) {
    kinds[order[static_cast<size_t>(k)]] = k < best ? 2 : k < kept ? 1 : 0;
  }
  return kinds;
}

void PlainHead(const VariantArgs& a, const Grid& grid, int64_t b, int64_t h,
               int64_t kv, double* out) {
  const AttentionArgs& t = a.args;
  const int64_t dim = t.key.head_dim(), dim_v = t.value.head_dim();
  const int kind = static_cast<int>(a.knobs[4]);
  std::vector<std::vector<int>> kinds;
  for (int64_t i = 0; i < grid.query_blocks; ++i) {
    kinds.push_back(PlainKinds(a, grid, b, h, kv, i));
  }
  std::vector<std::vector<double>> key_phi;
  for (int64_t j = 0; j < grid.keys; ++j) {
    key_phi.push_back(PlainPhi(kind, RowAt(t.key, b, j, kv), dim));
  }
  for (int64_t row = 0; row < grid.rows; ++row) {
    double* const to = out + row * t.query.heads() * dim_v;
    const float* query = RowAt(t.query, b, row, h);
    const std::vector<int>& of =
        kinds[static_cast<size_t>(row / grid.query_block)];
    const int64_t seen =
        ops::VisibleTo(a.params, grid.rows, grid.keys, row).end;
    const std::vector<double> phi = PlainPhi(kind, query, dim);
    sparse::PlainSoftmax softmax(dim_v);
    std::vector<double> sum(static_cast<size_t>(dim_v));
    double total = 0;
    for (int64_t j = 0; j < seen; ++j) {
      const float* key = RowAt(t.key, b, j, kv);
      const float* value = RowAt(t.value, b, j, kv);
      const int of_block = of[static_cast<size_t>(j / grid.key_block)];
      if (of_block == 2) {
        softmax.Add(sparse::PlainScore(a.params, query, key, dim), value);
      }
      if (of_block != 1) continue;
      const std::vector<double>& of_key = key_phi[static_cast<size_t>(j)];
      double weight = 0;
      for (size_t c = 0; c < phi.size(); ++c) weight += phi[c] * of_key[c];
      total += weight;
      for (size_t c = 0; c < sum.size(); ++c) {
        sum[c] += weight * static_cast<double>(value[c]);
      }
    }
    softmax.AddTo(1, to);
    for (size_t c = 0; c < sum.size() && total != 0; ++c) {
      for (size_t x = 0; x < sum.size(); ++x) {
        const double by =
            a.inputs == nullptr
                ? (c == x ? 1.0 : 0.0)
                : InputAt(a, kInputs, 0, 0, static_cast<int64_t>(c), kv,
                          static_cast<int64_t>(x));
        to[c] += by * sum[x] / total;
      }
    }
  }
}

void Reference(const VariantArgs& a, double* out) {
  const Grid grid(a.params, a.knobs, a.args.query.seqlen(),
                  a.args.key.seqlen());
  sparse::ForEachPlainHead(a, out,
                           [&](int64_t b, int64_t h, int64_t kv, double* to) {
                             if (grid.keys > 0)
                               PlainHead(a, grid, b, h, kv, to);
                           });
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const Grid grid(params, knobs, shape.seqlen_q, shape.seqlen_k);
  double critical = 0, marginal = 0, scored = 0;
  for (int64_t i = 0; i < grid.query_blocks && grid.keys > 0; ++i) {
    const int64_t touched = grid.Touched(i);
    const int64_t whole = grid.Whole(i);
    const int64_t high = grid.Critical(knobs, touched, touched - whole);
    critical += static_cast<double>(high);
    marginal += static_cast<double>(
        std::max<int64_t>(touched - high - grid.Negligible(knobs, touched), 0));
    scored += static_cast<double>(whole);
  }
  const double heads = static_cast<double>(shape.batch * shape.num_heads);
  const double dim = static_cast<double>(shape.head_dim);
  Cost cost =
      ops::SoftmaxCost(shape, std::min(critical * knobs[2] * knobs[3],
                                       ops::VisiblePairs(shape, params)));
  cost.at_most = true;
  const Cost rest =
      sparse::ResidualCost(shape, shape.head_dim, grid.key_block, marginal);
  cost.flops += rest.flops;
  cost.bytes += rest.bytes;
  const double pooled =
      dim *
      (heads * static_cast<double>(shape.seqlen_q) +
       static_cast<double>(shape.batch * shape.num_kv_heads * shape.seqlen_k));
  cost.AddSelecting(2 * heads * dim * scored + pooled, 4 * pooled);
  return cost;
}

}  // namespace

Variant sla() {
  return {.summary =
              "Critical blocks exactly, marginal ones by linear attention, the "
              "rest not at all.",
          .paper = "Zhang et al. 2025, arXiv:2509.24006",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 5,
          .inputs = kInputs,
          .num_inputs = 1,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference,
          .reference_of_all_rows = true};
}

}  // namespace heed::variants
