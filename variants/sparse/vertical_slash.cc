// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to the columns and the diagonals that the last queries attend to
// most: the vertical-slash pattern of MInference (Jiang et al. 2024,
// arXiv:2407.02490), for prompts. With P the weights of the last `last_q` rows,
//
//   column j:        sum over rows of P[row][j]
//   diagonal delta:  sum over rows of P[row][position(row) - delta]
//
// Kept are the columns that score highest, the first 30 always among them, and
// the diagonals that do, the latest 100 always among them; the lowest index of
// equal ones. As in the paper's code, the 64 query rows of a block share their
// keys: a diagonal becomes the 64 keys that any of them has on it. Columns and
// diagonals are one set: no key counts twice. Masks hold besides.
#include <heed/estimators.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr int64_t kRows = 64;
constexpr int64_t kFirstColumns = 30;
constexpr int64_t kLatestDiagonals = 100;

constexpr Knob kKnobs[] = {
    {.name = "vertical_size",
     .summary = "Columns that are kept, the first 30 among them.",
     .default_value = 1000,
     .min = 0,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "slash_size",
     .summary = "Diagonals that are kept, the latest 100 among them.",
     .default_value = 6096,
     .min = 0,
     .max = sparse::kAll,
     .integer = true},
    {.name = "last_q",
     .summary = "Last query rows, which choose for all.",
     .default_value = 64,
     .min = 1,
     .max = 4096,
     .integer = true},
};

// Of each (batch, head): a mark for each column, and for each diagonal.
// Diagonal d stands for delta = first_delta + d.
struct Marks {
  int64_t keys, diagonals, first_delta;
  int64_t last_q;
  uint8_t* column;    // [batch * heads][keys]
  uint8_t* diagonal;  // [batch * heads][diagonals]
  float* score;       // [workers][last_q * keys + keys + diagonals]
  int32_t* index;     // [workers][diagonals]
};

void Choose(const VariantArgs& a, const Marks& marks, int64_t i, int worker) {
  const ConstTensorView& query = a.args.query;
  const int64_t keys = marks.keys;
  const int64_t rows = std::min(marks.last_q, query.seqlen());
  float* weight =
      marks.score + worker * ((marks.last_q + 1) * keys + marks.diagonals);
  float* column = weight + marks.last_q * keys;
  float* diagonal = column + keys;
  sparse::WeightsOf(a, i / query.heads(), i % query.heads(),
                    query.seqlen() - rows, query.seqlen(), keys, weight);
  std::fill(column, diagonal + marks.diagonals, 0.0f);
  for (int64_t row = 0; row < rows; ++row) {
    // Of the last row, key 0 stands on the last diagonal.
    float* of_row = diagonal + marks.diagonals - rows + row;
    for (int64_t key = 0; key < keys; ++key) {
      column[key] += weight[row * keys + key];
      of_row[-key] += weight[row * keys + key];
    }
  }
  std::fill(column, column + std::min(kFirstColumns, keys), INFINITY);
  for (int64_t d = 0; d < marks.diagonals; ++d) {
    const int64_t delta = marks.first_delta + d;
    if (delta >= 0 && delta < kLatestDiagonals) diagonal[d] = INFINITY;
  }
  const auto mark = [&](const float* score, int64_t count, double budget,
                        uint8_t* to) {
    int32_t* index = marks.index + worker * marks.diagonals;
    const int64_t kept =
        ops::TopK(score, count, static_cast<int64_t>(budget), index);
    std::fill(to, to + count, 0);
    for (int64_t k = 0; k < kept; ++k) to[index[k]] = 1;
  };
  mark(column, keys, a.knobs[0], marks.column + i * keys);
  mark(diagonal, marks.diagonals, a.knobs[1],
       marks.diagonal + i * marks.diagonals);
}

Status RunVariant(const VariantArgs& a) {
  const ConstTensorView& query = a.args.query;
  const int64_t heads = query.batch() * query.heads();
  const int64_t workers = a.executor.max_workers;
  const int64_t offset =
      sparse::OffsetOf(a.params, query.seqlen(), a.args.key.seqlen());
  Marks marks;
  marks.keys = a.args.key.seqlen();
  marks.last_q = static_cast<int64_t>(a.knobs[2]);
  const int64_t rows = std::min(marks.last_q, query.seqlen());
  marks.diagonals = marks.keys + rows;
  marks.first_delta = offset + query.seqlen() - marks.diagonals;
  marks.column = a.scratch.Array<uint8_t>(heads * marks.keys);
  marks.diagonal = a.scratch.Array<uint8_t>(heads * marks.diagonals);
  marks.score = a.scratch.Array<float>(
      workers * ((marks.last_q + 1) * marks.keys + marks.diagonals));
  marks.index = a.scratch.Array<int32_t>(workers * marks.diagonals);
  if (marks.column == nullptr || marks.diagonal == nullptr ||
      marks.score == nullptr || marks.index == nullptr) {
    return sparse::OutOfMemory();
  }
  a.phases.Enter(Phase::kEstimate);
  ops::ParallelFor(a.executor, query.seqlen() == 0 ? 0 : heads,
                   [&](int64_t i, int worker) { Choose(a, marks, i, worker); });
  // Blocks of a single key: above 0 where a column or a diagonal has it.
  const auto score = [&](const sparse::BlockRows& block, float* to) {
    const int64_t i = block.batch * query.heads() + block.head;
    const uint8_t* diagonal = marks.diagonal + i * marks.diagonals;
    std::fill(to, to + block.num_blocks, 0.0f);
    for (int64_t d = 0; d < marks.diagonals; ++d) {
      if (!diagonal[d]) continue;
      // From where a diagonal enters to where it has left.
      const int64_t begin = block.first + offset - marks.first_delta - d;
      const int64_t end = begin + block.end - block.first;
      if (end <= 0 || begin >= block.num_blocks) continue;
      to[std::max<int64_t>(begin, 0)] += 1.0f;
      if (end < block.num_blocks) to[end] -= 1.0f;
    }
    float open = 0;
    for (int64_t key = 0; key < block.num_blocks; ++key) {
      open += to[key];
      to[key] = open + static_cast<float>(marks.column[i * marks.keys + key]);
    }
  };
  const auto select = [](const sparse::BlockChoice& choice) {
    for (int64_t k = 0; k < choice.count; ++k) {
      choice.keep[k] |= choice.score[k] > 0;
    }
  };
  return sparse::AttendBlocks(a, {kRows, 1}, select, score);
}

// The most that it can be: how far diagonals and columns overlap, data say.
Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  Cost cost = ops::SoftmaxCost(shape, ops::VisiblePairs(shape, params));
  const double rows = std::min(knobs[2], static_cast<double>(shape.seqlen_q));
  const double keys = static_cast<double>(shape.batch * shape.seqlen_k) *
                      static_cast<double>(shape.head_dim);
  cost.AddSelecting(2 * rows * keys * static_cast<double>(shape.num_heads),
                    4 * keys * static_cast<double>(shape.num_kv_heads));
  return cost;
}

}  // namespace

Variant vertical_slash() {
  return {.summary = "Columns and diagonals that the last queries see most.",
          .paper = "Jiang et al. 2024, arXiv:2407.02490",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 3,
          .cost = EstimateCost,
          .run = RunVariant,
          .selects_ahead = true};
}

}  // namespace heed::variants
