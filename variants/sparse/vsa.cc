// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Video sparse attention (VSA, Zhang et al. 2025, arXiv:2505.13389): tokens
// stand in frames of height times width, one after another, row by row, and are
// cut into cubes of tile_t times tile_h times tile_w; cubes at the far ends are
// as small as they are. With means of queries, keys and values over cubes,
//
//   score(i, j) = scale * mean query(i) . mean key(j)
//   out = gate_compress * (softmax(score) mean values)[the row's cube]
//       + gate_fine * softmax attention to all tokens of the topk cubes
//                     that score highest for the row's cube, the first of equal
//
// Gates are numbers for each channel of the token at the row's position and its
// key head, trained maps of what the layer reads: inputs, drawn where none are
// given. Queries and keys are each arranged from their first on. All cubes see
// all others, so there is no causal form.
//
// reference_quirks: the paper's code has no gate for the fine part, which is to
// give ones; cubes of 64 or 256 tokens, and no others; and sequences that whole
// cubes fill, short ones being padded.
#include <heed/estimators.h>
#include <heed/linear_variant.h>
#include <heed/parts_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "topk",
     .summary = "Cubes that a cube attends to.",
     .default_value = 32,
     .min = 1,
     .max = sparse::kAll,
     .integer = true},
    {.name = "height",
     .summary = "Tokens of a frame, from top to bottom.",
     .default_value = 8,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "width",
     .summary = "Tokens of a frame, from left to right.",
     .default_value = 8,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "tile_t",
     .summary = "Frames of a cube.",
     .default_value = 4,
     .min = 1,
     .max = 1024,
     .integer = true},
    {.name = "tile_h",
     .summary = "Tokens of a cube, from top to bottom.",
     .default_value = 4,
     .min = 1,
     .max = 1024,
     .integer = true},
    {.name = "tile_w",
     .summary = "Tokens of a cube, from left to right.",
     .default_value = 4,
     .min = 1,
     .max = 1024,
     .integer = true},
};
constexpr Input kInputs[] = {
    {"gate_compress", "Share of the coarse part.", true, 0, 1, false, true},
    {"gate_fine", "Share of the chosen cubes.", true, 0, 1, false, true},
};

// The cubes of a sequence that have tokens: cube c has the tokens token[i] for
// i in [begin[c], begin[c + 1]).
struct Cubes {
  int64_t tokens = 0;
  int64_t count = 0;
  int32_t* token = nullptr;  // [tokens]
  int32_t* begin = nullptr;  // [tokens + 1]
  int32_t* cube = nullptr;   // [tokens], of a token
  int32_t* place = nullptr;  // [tokens], of a token

  bool Prepare(const VariantArgs& a, int64_t seqlen);
};

bool Cubes::Prepare(const VariantArgs& a, int64_t seqlen) {
  tokens = seqlen;
  token = a.scratch.Array<int32_t>(seqlen);
  begin = a.scratch.Array<int32_t>(seqlen + 1);
  cube = a.scratch.Array<int32_t>(seqlen);
  place = a.scratch.Array<int32_t>(seqlen);
  if (!token || !begin || !cube || !place) return false;
  // No larger than what is filled, so that there are as few empty cubes.
  const int64_t width = static_cast<int64_t>(a.knobs[2]);
  const int64_t height = static_cast<int64_t>(a.knobs[1]);
  const int64_t wide = std::min(width, seqlen);
  const int64_t high = std::min(height, (seqlen + width - 1) / width);
  const int64_t frames = (seqlen + height * width - 1) / (height * width);
  const int64_t step[] = {static_cast<int64_t>(a.knobs[3]),
                          static_cast<int64_t>(a.knobs[4]),
                          static_cast<int64_t>(a.knobs[5])};
  int32_t at = 0;
  begin[0] = 0;
  const auto take = [&](int64_t t0, int64_t h0, int64_t w0) {
    for (int64_t t = t0; t < std::min(t0 + step[0], frames); ++t) {
      for (int64_t h = h0; h < std::min(h0 + step[1], high); ++h) {
        for (int64_t w = w0; w < std::min(w0 + step[2], wide); ++w) {
          const int64_t i = (t * height + h) * width + w;
          if (i >= seqlen) continue;
          cube[i] = static_cast<int32_t>(count);
          place[i] = at;
          token[at++] = static_cast<int32_t>(i);
        }
      }
    }
    if (at > begin[count]) begin[++count] = at;
  };
  for (int64_t t = 0; t < frames; t += step[0]) {
    for (int64_t h = 0; h < high; h += step[1]) {
      for (int64_t w = 0; w < wide; w += step[2]) take(t, h, w);
    }
  }
  return true;
}

// Tokens of all heads in order of their cubes, and their means.
struct Arranged {
  float* rows = nullptr;   // [batch * heads][tokens][head_dim]
  float* means = nullptr;  // [batch * heads][cubes][head_dim]

  bool Prepare(const VariantArgs& a, const Cubes& cubes,
               const ConstTensorView& x);
  ConstTensorView View(const ConstTensorView& x) const {
    return Bhsd(static_cast<const float*>(rows), x.batch(), x.heads(),
                x.seqlen(), x.head_dim());
  }
};

bool Arranged::Prepare(const VariantArgs& a, const Cubes& cubes,
                       const ConstTensorView& x) {
  const int64_t heads = x.batch() * x.heads(), dim = x.head_dim();
  rows = a.scratch.Array<float>(heads, cubes.tokens, dim);
  means = a.scratch.Array<float>(heads, cubes.count, dim);
  if (rows == nullptr || means == nullptr) return false;
  ops::ParallelFor(a.executor, heads, [&](int64_t i, int /*worker*/) {
    const ops::Matrix all =
        ops::Dense(rows + i * cubes.tokens * dim, cubes.tokens, dim);
    for (int64_t at = 0; at < cubes.tokens && dim > 0; ++at) {
      const float* const from =
          RowAt(x, i / x.heads(), cubes.token[at], i % x.heads());
      std::copy(from, from + dim, all.row(at));
    }
    for (int64_t c = 0; c < cubes.count; ++c) {
      const ops::ConstMatrix of = ops::RowRange(
          ops::ConstMatrix(all), cubes.begin[c], cubes.begin[c + 1]);
      ops::MeanPool(of, of.rows,
                    ops::Dense(means + (i * cubes.count + c) * dim, 1, dim));
    }
  });
  return true;
}

// A call in cubes.
struct Run {
  const VariantArgs* a;
  Cubes of_rows, of_keys;
  Arranged query, key, value;
  float* score = nullptr;     // [workers][query cubes][key cubes]
  int32_t* order = nullptr;   // [workers][key cubes]
  uint8_t* chosen = nullptr;  // [batch * heads][query cubes][key cubes]
  float* coarse = nullptr;    // [batch * heads][query cubes][head_dim_v]
  float* fine = nullptr;      // [batch * heads][rows][head_dim_v]

  bool Prepare();
  void AttendCoarsely(int64_t head, int worker) const;
  Status AttendFinely() const;
  void Put(const ConstTensorView* gates) const;
};

bool Run::Prepare() {
  const AttentionArgs& t = a->args;
  if (!of_rows.Prepare(*a, t.query.seqlen()) ||
      !of_keys.Prepare(*a, t.key.seqlen())) {
    return false;
  }
  a->phases.Enter(Phase::kEstimate);
  if (!query.Prepare(*a, of_rows, t.query) ||
      !key.Prepare(*a, of_keys, t.key) ||
      !value.Prepare(*a, of_keys, t.value)) {
    return false;
  }
  const int64_t heads = t.query.batch() * t.query.heads();
  const int64_t workers = a->executor.max_workers;
  const int64_t dim_v = t.value.head_dim();
  score = a->scratch.Array<float>(workers * of_rows.count, of_keys.count);
  order = a->scratch.Array<int32_t>(workers, of_keys.count);
  chosen = a->scratch.Array<uint8_t>(heads * of_rows.count, of_keys.count);
  coarse = a->scratch.Array<float>(heads, of_rows.count, dim_v);
  fine = a->scratch.Array<float>(heads, of_rows.tokens, dim_v);
  return score && order && chosen && coarse && fine;
}

void Run::AttendCoarsely(int64_t head, int worker) const {
  const AttentionArgs& t = a->args;
  const int64_t heads = t.query.heads(), kv_heads = t.key.heads();
  const int64_t rows = of_rows.count, columns = of_keys.count;
  const int64_t kv =
      head / heads * kv_heads + head % heads / (heads / kv_heads);
  const int64_t dim = t.query.head_dim(), dim_v = t.value.head_dim();
  const ops::Matrix scores =
      ops::Dense(score + worker * rows * columns, rows, columns);
  int32_t* const index = order + worker * columns;
  ops::MatMul(ops::Dense(query.means + head * rows * dim, rows, dim),
              ops::Transposed(ops::ConstMatrix(
                  ops::Dense(key.means + kv * columns * dim, columns, dim))),
              scores);
  ops::Scale(ops::SoftmaxScale(a->params, dim), scores.data, rows * columns);
  for (int64_t i = 0; i < rows; ++i) {
    uint8_t* const keep = chosen + (head * rows + i) * columns;
    std::fill(keep, keep + columns, 0);
    const int64_t count = ops::TopK(scores.row(i), columns,
                                    static_cast<int64_t>(a->knobs[0]), index);
    for (int64_t j = 0; j < count; ++j) keep[index[j]] = 1;
    ops::Softmax(scores.row(i), columns);
  }
  ops::MatMul(scores,
              ops::Dense(value.means + kv * columns * dim_v, columns, dim_v),
              ops::Dense(coarse + head * rows * dim_v, rows, dim_v));
}

Status Run::AttendFinely() const {
  const AttentionArgs& t = a->args;
  VariantArgs call = *a;
  call.args.query = query.View(t.query);
  call.args.key = key.View(t.key);
  call.args.value = value.View(t.value);
  call.args.out = Bhsd(fine, t.query.batch(), t.query.heads(), t.query.seqlen(),
                       t.value.head_dim());
  call.args.lse = TensorView();
  call.selection = SelectionRecorder();
  return sparse::AttendRows(
      call, sparse::ListOf::kHead,
      [&](const sparse::QueryRow& row, sparse::RowChoice* choice) {
        const int64_t cube = of_rows.cube[of_rows.token[row.index]];
        const uint8_t* const keep =
            chosen +
            ((row.batch * t.query.heads() + row.head) * of_rows.count + cube) *
                of_keys.count;
        for (int64_t j = 0; j < of_keys.count; ++j) {
          if (keep[j]) choice->Keep(of_keys.begin[j], of_keys.begin[j + 1]);
        }
      });
}

int64_t TokenOf(const VariantArgs& a, int64_t row) {
  const int64_t keys = a.args.key.seqlen();
  const int64_t at =
      row + sparse::OffsetOf(a.params, a.args.query.seqlen(), keys);
  return std::clamp<int64_t>(at, 0, keys - 1);
}

void Run::Put(const ConstTensorView* gates) const {
  const TensorView &out = a->args.out, &lse = a->args.lse;
  const int64_t dim_v = out.head_dim();
  const int64_t group = out.heads() / a->args.key.heads();
  ops::ParallelFor(
      a->executor, out.batch() * out.heads(), [&](int64_t head, int) {
        const int64_t b = head / out.heads(), h = head % out.heads();
        for (int64_t row = 0; row < out.seqlen(); ++row) {
          const float* const by[] = {
              RowAt(gates[0], b, TokenOf(*a, row), h / group),
              RowAt(gates[1], b, TokenOf(*a, row), h / group)};
          const float* const means =
              coarse + (head * of_rows.count + of_rows.cube[row]) * dim_v;
          const float* const exact =
              fine + (head * of_rows.tokens + of_rows.place[row]) * dim_v;
          float* const to = RowAt(out, b, row, h);
          for (int64_t c = 0; c < dim_v; ++c) {
            to[c] = by[0][c] * means[c] + by[1][c] * exact[c];
          }
          if (!lse.absent()) *RowAt(lse, b, row, h) = NAN;
        }
      });
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  ConstTensorView gates[2];
  Status status = sparse::CheckParts(a, /*sinks=*/false);
  if (status.ok() && a.params.softcap != 0) {
    status = Status(StatusCode::kUnsupported, "softcap",
                    "must be 0: cubes are chosen by products as they are");
  }
  for (int i = 0; status.ok() && i < 2; ++i) {
    status = InputOrDrawn(a, kInputs, i, kAnyNumber, &gates[i]);
  }
  if (!status.ok()) return status;
  const int64_t heads = t.query.batch() * t.query.heads();
  if (heads * t.query.seqlen() * t.key.seqlen() * t.value.head_dim() == 0) {
    return ops::Attend(a.params, t, a);
  }
  Run run = {};
  run.a = &a;
  if (!run.Prepare()) return sparse::OutOfMemory();
  a.phases.Enter(Phase::kSelect);
  ops::ParallelFor(a.executor, heads, [&](int64_t i, int worker) {
    run.AttendCoarsely(i, worker);
  });
  status = run.AttendFinely();
  if (status.ok()) run.Put(gates);
  return status;
}

// The cube of a token, by its place among those that a full grid would have.
int64_t PlainCube(const double* knobs, int64_t token) {
  const int64_t height = static_cast<int64_t>(knobs[1]);
  const int64_t width = static_cast<int64_t>(knobs[2]);
  const int64_t tile_h = static_cast<int64_t>(knobs[4]);
  const int64_t tile_w = static_cast<int64_t>(knobs[5]);
  const int64_t high = (height + tile_h - 1) / tile_h;
  const int64_t wide = (width + tile_w - 1) / tile_w;
  const int64_t frame = token / (height * width);
  return (frame / static_cast<int64_t>(knobs[3]) * high +
          token / width % height / tile_h) *
             wide +
         token % width / tile_w;
}

// Of a sequence of one head: which cubes there are, rising, and their means.
struct PlainCubes {
  std::vector<int64_t> names;
  std::vector<size_t> of;  // a token's
  std::vector<std::vector<double>> means;

  PlainCubes(const double* knobs, const ConstTensorView& x, int64_t b,
             int64_t h) {
    for (int64_t i = 0; i < x.seqlen(); ++i) {
      names.push_back(PlainCube(knobs, i));
    }
    const std::vector<int64_t> all = names;
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    std::vector<double> count(names.size());
    means.resize(names.size(),
                 std::vector<double>(static_cast<size_t>(x.head_dim())));
    for (size_t i = 0; i < all.size(); ++i) {
      of.push_back(static_cast<size_t>(
          std::lower_bound(names.begin(), names.end(), all[i]) -
          names.begin()));
      ++count[of[i]];
      for (size_t c = 0; c < means[0].size(); ++c) {
        means[of[i]][c] +=
            static_cast<double>(RowAt(x, b, static_cast<int64_t>(i), h)[c]);
      }
    }
    for (size_t j = 0; j < names.size(); ++j) {
      for (double& x_c : means[j]) x_c /= count[j];
    }
  }
};

void PlainHead(const VariantArgs& a, int64_t b, int64_t h, int64_t kv,
               double* out) {
  const AttentionArgs& t = a.args;
  const int64_t dim = t.key.head_dim(), dim_v = t.value.head_dim();
  const double scale = static_cast<double>(ops::SoftmaxScale(a.params, dim));
  const PlainCubes query(a.knobs, t.query, b, h), key(a.knobs, t.key, b, kv);
  const PlainCubes value(a.knobs, t.value, b, kv);
  std::vector<std::vector<double>> coarse;
  std::vector<std::vector<bool>> kept;
  for (const std::vector<double>& of : query.means) {
    std::vector<double> score;
    sparse::PlainSoftmax softmax(dim_v);
    for (size_t j = 0; j < key.means.size(); ++j) {
      double sum = 0;
      for (size_t c = 0; c < of.size(); ++c) sum += of[c] * key.means[j][c];
      score.push_back(scale * sum);
      softmax.Add(score.back(), value.means[j].data());
    }
    coarse.emplace_back(static_cast<size_t>(dim_v));
    softmax.AddTo(1, coarse.back().data());
    std::vector<size_t> order(score.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t x, size_t y) { return score[x] > score[y]; });
    kept.emplace_back(score.size());
    for (size_t j = 0; j < order.size(); ++j) {
      kept.back()[order[j]] = static_cast<double>(j) < a.knobs[0];
    }
  }
  for (int64_t row = 0; row < t.query.seqlen(); ++row) {
    const size_t cube = query.of[static_cast<size_t>(row)];
    sparse::PlainSoftmax softmax(dim_v);
    for (int64_t j = 0; j < t.key.seqlen(); ++j) {
      if (!kept[cube][key.of[static_cast<size_t>(j)]]) continue;
      softmax.Add(sparse::PlainScore(a.params, RowAt(t.query, b, row, h),
                                     RowAt(t.key, b, j, kv), dim),
                  RowAt(t.value, b, j, kv));
    }
    std::vector<double> fine(static_cast<size_t>(dim_v));
    softmax.AddTo(1, fine.data());
    for (int64_t c = 0; c < dim_v; ++c) {
      const auto gate = [&](int i) {
        return InputAt(a, kInputs, i, b, TokenOf(a, row), kv, c);
      };
      out[row * t.query.heads() * dim_v + c] =
          gate(0) * coarse[cube][static_cast<size_t>(c)] +
          gate(1) * fine[static_cast<size_t>(c)];
    }
  }
}

void Reference(const VariantArgs& a, double* out) {
  sparse::ForEachPlainHead(a, out,
                           [&](int64_t b, int64_t h, int64_t kv, double* to) {
                             if (a.args.key.seqlen() > 0)
                               PlainHead(a, b, h, kv, to);
                           });
}

// With whole cubes.
Cost EstimateCost(const AttentionShape& shape, const AttentionParams&,
                  const double* knobs) {
  const double size = knobs[3] * knobs[4] * knobs[5];
  const double rows = static_cast<double>(shape.seqlen_q);
  const double keys = static_cast<double>(shape.seqlen_k);
  const double heads = static_cast<double>(shape.batch * shape.num_heads);
  const double kv_heads = static_cast<double>(shape.batch * shape.num_kv_heads);
  const double dim = static_cast<double>(shape.head_dim);
  const double dim_v = static_cast<double>(shape.head_dim_v);
  const double coarse = std::ceil(rows / size) * std::ceil(keys / size);
  const double all = heads * rows * dim + kv_heads * keys * (dim + dim_v);
  Cost cost = ops::SoftmaxCost(shape, rows * std::min(keys, knobs[0] * size));
  cost.at_most = true;
  cost.flops += 2 * heads * coarse * dim_v + 3 * heads * rows * dim_v;
  cost.bytes += 4 * heads * rows * dim_v * 4;
  // Rows are read, written in order of their cubes, and read again.
  cost.AddSelecting(all + 2 * heads * coarse * dim, 4 * 3 * all);
  return cost;
}

}  // namespace

Variant vsa() {
  return {.summary =
              "Cubes of video tokens: all by their means, the best token by "
              "token, added by gates.",
          .paper = "Zhang et al. 2025, arXiv:2505.13389",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 6,
          .inputs = kInputs,
          .num_inputs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference,
          .non_causal = true,
          .reference_of_all_rows = true};
}

}  // namespace heed::variants
