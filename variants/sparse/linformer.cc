// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to k linear combinations of all keys and values (Linformer, Wang et
// al. 2020, arXiv:2006.04768):
//
//   out = softmax(scale Q (E K)^T) (F V),  E and F of k rows, one column a key
//
// E and F are trained: inputs proj_k and proj_v of k * seqlen_k rows, column by
// column of one row after another. Where none are given they take means: row i
// of k averages keys [i n / k, (i + 1) n / k), the pooling that the paper names
// beside trained maps; k of n and more keys are then the keys themselves. A
// combination mixes all positions, so there is no causal form.
//
// The cost is that of means: given projections cost a product of k rows and all
// keys and values besides, which a cost of extents and knobs cannot know of.
//
// reference_quirks: one implementation shares a single E for keys and values
// among all layers, which is to give both inputs the same numbers.
#include <heed/linear_variant.h>
#include <heed/parts_variant.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "k",
     .summary = "Combinations of keys that rows attend to.",
     .default_value = 256,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
};
constexpr Input kInputs[] = {
    {"proj_k", "E, k rows of seqlen_k numbers.", false, -0.1, 0.1, true},
    {"proj_v", "F, k rows of seqlen_k numbers.", false, -0.1, 0.1, true},
};

// Means take no more rows than there are keys.
int64_t RowsOf(const VariantArgs& a) {
  const int64_t k = static_cast<int64_t>(a.knobs[0]);
  return a.inputs != nullptr ? k : std::min(k, a.args.key.seqlen());
}

// Sets to[rows][x.cols] to the combinations of one head.
void Project(const VariantArgs& a, int index, int64_t head,
             const ops::ConstMatrix& x, const ops::Matrix& to) {
  if (a.inputs != nullptr) {
    const ConstTensorView& given = a.inputs[index];
    const int64_t step = given.stride[1] / static_cast<int64_t>(sizeof(float));
    const ops::ConstMatrix map = {RowAt(given, 0, 0, head), to.rows, x.rows,
                                  x.rows * step, step};
    ops::MatMul(map, x, to);
    return;
  }
  for (int64_t i = 0; i < to.rows; ++i) {
    const ops::ConstMatrix of =
        ops::RowRange(x, i * x.rows / to.rows, (i + 1) * x.rows / to.rows);
    ops::MeanPool(of, of.rows, ops::RowRange(to, i, i + 1));
  }
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t rows = RowsOf(a), heads = t.key.heads();
  const int64_t dim = t.key.head_dim(), dim_v = t.value.head_dim();
  Status status = sparse::CheckParts(a, /*sinks=*/false);
  for (int i = 0; status.ok() && i < 2; ++i) {
    status = CheckWeights(a, kInputs, i, rows * t.key.seqlen());
  }
  if (!status.ok()) return status;
  const int64_t all = t.key.batch() * heads;
  float* const keys = a.scratch.Array<float>(all, rows, dim);
  float* const values = a.scratch.Array<float>(all, rows, dim_v);
  if (keys == nullptr || values == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "the combinations could not be allocated");
  }
  a.phases.Enter(Phase::kEstimate);
  ops::ParallelFor(a.executor, all, [&](int64_t i, int /*worker*/) {
    Project(a, 0, i % heads, ops::Head(t.key, i / heads, i % heads),
            ops::Dense(keys + i * rows * dim, rows, dim));
    Project(a, 1, i % heads, ops::Head(t.value, i / heads, i % heads),
            ops::Dense(values + i * rows * dim_v, rows, dim_v));
  });
  a.phases.Enter(Phase::kAttend);
  AttentionArgs args = t;
  args.key =
      Bhsd(static_cast<const float*>(keys), t.key.batch(), heads, rows, dim);
  args.value = Bhsd(static_cast<const float*>(values), t.key.batch(), heads,
                    rows, dim_v);
  return ops::Attend(a.params, args, a);
}

// The combinations of one head in double, a row after another.
std::vector<double> PlainProject(const VariantArgs& a, int index,
                                 const ConstTensorView& x, int64_t batch,
                                 int64_t head) {
  const int64_t rows = RowsOf(a), keys = x.seqlen(), dim = x.head_dim();
  std::vector<double> made(static_cast<size_t>(rows * dim));
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t begin = i * keys / rows, end = (i + 1) * keys / rows;
    for (int64_t j = a.inputs ? 0 : begin; j < (a.inputs ? keys : end); ++j) {
      const double by =
          a.inputs ? InputAt(a, kInputs, index, 0, i * keys + j, head, 0)
                   : 1 / static_cast<double>(end - begin);
      const float* row = RowAt(x, batch, j, head);
      for (int64_t c = 0; c < dim; ++c) {
        made[static_cast<size_t>(i * dim + c)] +=
            by * static_cast<double>(row[c]);
      }
    }
  }
  return made;
}

void Reference(const VariantArgs& a, double* out) {
  const AttentionArgs& t = a.args;
  const int64_t rows = RowsOf(a), heads = t.key.heads();
  const int64_t dim = t.key.head_dim(), dim_v = t.value.head_dim();
  std::vector<std::vector<double>> keys, values;
  for (int64_t i = 0; i < t.key.batch() * heads; ++i) {
    keys.push_back(PlainProject(a, 0, t.key, i / heads, i % heads));
    values.push_back(PlainProject(a, 1, t.value, i / heads, i % heads));
  }
  sparse::ForEachPlainRow(
      a, out, [&](int64_t b, int64_t h, int64_t kv, int64_t row, double* to) {
        const size_t head = static_cast<size_t>(b * heads + kv);
        sparse::PlainSoftmax softmax(dim_v);
        for (int64_t i = 0; i < rows; ++i) {
          softmax.Add(sparse::PlainScore(a.params, RowAt(t.query, b, row, h),
                                         keys[head].data() + i * dim, dim),
                      values[head].data() + i * dim_v);
        }
        softmax.AddTo(1, to);
      });
}

// With means for maps, as a run without inputs has them.
Cost EstimateCost(const AttentionShape& shape, const AttentionParams&,
                  const double* knobs) {
  AttentionShape small = shape;
  small.seqlen_k = std::min(static_cast<int64_t>(knobs[0]), shape.seqlen_k);
  const double width = static_cast<double>(shape.batch * shape.num_kv_heads) *
                       static_cast<double>(shape.head_dim + shape.head_dim_v);
  Cost cost = ops::SoftmaxCost(small, static_cast<double>(shape.seqlen_q) *
                                          static_cast<double>(small.seqlen_k));
  cost.AddSelecting(
      width * static_cast<double>(shape.seqlen_k),
      4 * width * static_cast<double>(shape.seqlen_k + small.seqlen_k));
  return cost;
}

}  // namespace

Variant linformer() {
  return {.summary = "Linear combinations of keys and values, given or means.",
          .paper = "Wang et al. 2020, arXiv:2006.04768",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 1,
          .inputs = kInputs,
          .num_inputs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference,
          .non_causal = true};
}

}  // namespace heed::variants
