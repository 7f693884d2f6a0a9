// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Textbook attention in the input type, as a framework without a fused kernel
// computes it: all scores of some rows, softmax, product with the values
// (Vaswani et al. 2017, arXiv:1706.03762). The yardstick for time and error.
#include <heed/ops.h>
#include <heed/variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

// Query rows whose scores are held at a time.
constexpr int64_t kRows = 64;

Cost EstimateCost(const AttentionShape& shape,
                  const AttentionParams& /*params*/, const double* /*knobs*/) {
  // The products are whole; masked scores are computed and thrown away.
  const double pairs =
      static_cast<double>(shape.seqlen_q) * static_cast<double>(shape.seqlen_k);
  Cost cost = ops::SoftmaxCost(shape, pairs);
  // Scores: written, masked and turned into weights (read, written), read.
  cost.bytes += 4.0 * 4.0 * pairs * static_cast<double>(shape.batch) *
                static_cast<double>(shape.num_heads);
  return cost;
}

// Step 2 for one row: scale, softcap, mask, softmax. Returns its lse.
float Normalise(const VariantArgs& a, int64_t b, int64_t h, int64_t row,
                float* score) {
  const int64_t keys = a.args.key.seqlen();
  const float cap = a.params.softcap;
  ops::Scale(ops::SoftmaxScale(a.params, a.args.query.head_dim()), score, keys);
  int64_t masked = 0;  // keys before this one are done
  ops::ForEachVisible(a.params, a.args, b, h, row,
                      [&](int64_t begin, int64_t end) {
                        std::fill(score + masked, score + begin, -INFINITY);
                        for (int64_t j = begin; cap != 0 && j < end; ++j) {
                          score[j] = cap * std::tanh(score[j] / cap);
                        }
                        masked = end;
                      });
  std::fill(score + masked, score + keys, -INFINITY);
  return ops::Softmax(score, keys);
}

// Step 3 where a value is NaN or infinite: a row's masked keys have weight 0,
// and 0 times infinity is NaN, so only the visible keys are multiplied.
void AverageVisible(const VariantArgs& a, int64_t b, int64_t h, int64_t row,
                    const float* weight, const ops::ConstMatrix& value,
                    const ops::Matrix& out) {
  std::fill(out.data, out.data + out.cols, 0.0f);
  ops::ForEachVisible(
      a.params, a.args, b, h, row, [&](int64_t begin, int64_t end) {
        ops::MatMulAdd(ops::Dense(weight + begin, 1, end - begin),
                       ops::RowRange(value, begin, end), out);
      });
}

// Rows [first, first + kRows) of one head.
void AttendRows(const VariantArgs& a, int64_t b, int64_t h, int64_t first,
                float* scratch) {
  const AttentionArgs& t = a.args;
  const int64_t kv_head = h / (t.query.heads() / t.key.heads());
  const int64_t end = std::min(first + kRows, t.query.seqlen());
  const ops::ConstMatrix query =
      ops::RowRange(ops::Head(t.query, b, h), first, end);
  const ops::ConstMatrix key = ops::Head(t.key, b, kv_head);
  const ops::ConstMatrix value = ops::Head(t.value, b, kv_head);
  const ops::Matrix out = ops::RowRange(ops::Head(t.out, b, h), first, end);
  const ops::Matrix score = ops::Dense(scratch, query.rows, key.rows);

  ops::MatMul(query, ops::Transposed(key), score);
  for (int64_t i = 0; i < score.rows; ++i) {
    const float lse = Normalise(a, b, h, first + i, score.row(i));
    if (!t.lse.absent()) *RowAt(t.lse, b, first + i, h) = lse;
  }

  bool finite = true;
  for (int64_t j = 0; finite && j < value.rows; ++j) {
    finite = ops::AllFinite(value.row(j), value.cols);
  }
  if (finite) {
    ops::MatMul(score, value, out);
    return;
  }
  for (int64_t i = 0; i < score.rows; ++i) {
    AverageVisible(a, b, h, first + i, score.row(i), value,
                   ops::RowRange(out, i, i + 1));
  }
}

// Masks and softcap are all that it knows.
Status CheckServed(const AttentionArgs& args) {
  const char* argument = nullptr;
  if (args.scores.any()) argument = "scores";
  if (args.key_intervals.query_block_size != 0) argument = "key_intervals";
  if (args.ragged.num_sequences != 0) argument = "num_sequences";
  if (args.pages.any()) argument = "pages";
  if (argument == nullptr) return Status();
  return Status(StatusCode::kUnsupported, argument,
                "the naive loops know masks and softcap only");
}

Status RunVariant(const VariantArgs& a) {
  const Status served = CheckServed(a.args);
  if (!served.ok()) return served;
  const ConstTensorView& query = a.args.query;
  const int64_t keys = a.args.key.seqlen();
  const int64_t blocks = (query.seqlen() + kRows - 1) / kRows;
  const int64_t workers = a.executor.max_workers;
  float* scratch = a.scratch.Array<float>(workers * kRows * keys);
  if (scratch == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "the scores of 64 rows a worker could not be allocated");
  }
  ops::ParallelFor(a.executor, query.batch() * query.heads() * blocks,
                   [&](int64_t i, int worker) {
                     const int64_t head = i / blocks;
                     AttendRows(a, head / query.heads(), head % query.heads(),
                                i % blocks * kRows,
                                scratch + worker * kRows * keys);
                   });
  return Status();
}

}  // namespace

Variant naive() {
  return {.summary =
              "Textbook attention in three steps: all scores of 64 rows, "
              "softmax, product.",
          .paper = "Vaswani et al. 2017, arXiv:1706.03762",
          .semantics = Semantics::kExact,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
