// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends, row by row, to the keys that stand where the query does when both
// are sorted by hash: the sorted blocks of HyperAttention (Han et al. 2023,
// arXiv:2310.05869). The hash of x is lsh_num_projs signs of drawn products,
// read as a Gray code, so that neighbours in the order differ in one sign.
// Queries and keys are sorted by it, each for themselves and stably; keys are
// cut into blocks of block_size, queries into as many equal parts, and part i
// attends to block i. So the queries of a call must be many: a single one
// stands first among itself, and attends to the first block.
//
// The paper adds a sample of all keys, weighted by the inverse of its chance;
// without weights of single keys that is left out. Causal calls it cuts in
// halves down to min_seq_len, which is then dense; here the mask hides what
// comes later, and a row's own key is always kept. A last short block has the
// keys that it has (the paper's code pads it with zeros, which weigh).
#include <heed/estimators.h>
#include <heed/row_variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "block_size",
     .summary = "Keys of a block of those that are sorted.",
     .default_value = 256,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "lsh_num_projs",
     .summary = "Signs of a hash.",
     .default_value = 7,
     .min = 1,
     .max = 30,
     .integer = true},
    sparse::kSeedKnob,
};

// Sorts the rows of a head by hash: order[k] is the row in place k.
void SortByHash(const ConstTensorView& view, int64_t batch, int64_t head,
                const ops::ConstMatrix& turn, uint32_t* hash, int32_t* order) {
  float product[30];
  for (int64_t row = 0; row < view.seqlen(); ++row) {
    ops::MatMul(ops::Dense(RowAt(view, batch, row, head), 1, turn.rows), turn,
                ops::Dense(product, 1, turn.cols));
    uint32_t gray = 0;
    for (int64_t i = 0; i < turn.cols; ++i) gray = 2 * gray + (product[i] > 0);
    for (uint32_t shift = 16; shift > 0; shift /= 2) gray ^= gray >> shift;
    hash[row] = gray;
    order[row] = static_cast<int32_t>(row);
  }
  std::sort(order, order + view.seqlen(), [=](int32_t x, int32_t y) {
    return hash[x] != hash[y] ? hash[x] < hash[y] : x < y;
  });
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  const int64_t rows = t.query.seqlen(), keys = t.key.seqlen();
  const int64_t dim = t.query.head_dim(), heads = t.query.heads();
  const int64_t block = static_cast<int64_t>(a.knobs[0]);
  const int64_t signs = static_cast<int64_t>(a.knobs[1]);
  const int64_t seed = static_cast<int64_t>(a.knobs[2]);
  const int64_t blocks = std::max<int64_t>((keys + block - 1) / block, 1);
  const int64_t all = t.query.batch() * heads;
  const int64_t of_keys = t.key.batch() * t.key.heads();
  float* turn = a.scratch.Array<float>(dim * signs);
  uint32_t* hash =
      a.scratch.Array<uint32_t>(a.executor.max_workers * std::max(rows, keys));
  int32_t* key_order = a.scratch.Array<int32_t>(of_keys * keys);
  int32_t* query_order = a.scratch.Array<int32_t>(all * rows);
  int32_t* place = a.scratch.Array<int32_t>(all * rows);  // its inverse
  if (turn == nullptr || hash == nullptr || key_order == nullptr ||
      query_order == nullptr || place == nullptr) {
    return sparse::OutOfMemory();
  }
  a.phases.Enter(Phase::kEstimate);
  // Sums of four even draws: near enough to a sphere.
  for (int64_t i = 0; i < dim * signs; ++i) {
    turn[i] = -2;
    for (int64_t k = 0; k < 4; ++k) turn[i] += sparse::DrawOf(seed, 0, i, k);
  }
  const ops::ConstMatrix turned = ops::Dense(turn, dim, signs);
  ops::ParallelFor(a.executor, of_keys + all, [&](int64_t i, int worker) {
    uint32_t* own = hash + worker * std::max(rows, keys);
    if (i < of_keys) {
      SortByHash(t.key, i / t.key.heads(), i % t.key.heads(), turned, own,
                 key_order + i * keys);
      return;
    }
    i -= of_keys;
    int32_t* order = query_order + i * rows;
    SortByHash(t.query, i / heads, i % heads, turned, own, order);
    for (int64_t k = 0; k < rows; ++k) {
      place[i * rows + order[k]] = static_cast<int32_t>(k);
    }
  });
  const auto choose = [&](const sparse::QueryRow& row,
                          sparse::RowChoice* choice) {
    const int32_t* order =
        key_order + (row.batch * t.key.heads() + row.kv_head) * keys;
    const int64_t at =
        place[(row.batch * heads + row.head) * rows + row.index] * blocks /
        rows;
    choice->Keep(row.position, row.position + 1);
    for (int64_t k = at * block; k < std::min((at + 1) * block, keys); ++k) {
      choice->Keep(order[k], order[k] + 1);
    }
  };
  return sparse::AttendRows(a, sparse::ListOf::kHead, choose);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const double hashed =
      static_cast<double>(shape.batch * shape.head_dim) *
      static_cast<double>(shape.seqlen_q * shape.num_heads +
                          shape.seqlen_k * shape.num_kv_heads);
  Cost cost = ops::SoftmaxCost(
      shape, sparse::CountRowPairs(shape, params, knobs[0] + 1));
  cost.at_most = true;
  cost.AddSelecting(2 * knobs[1] * hashed, 4 * hashed);
  return cost;
}

}  // namespace

Variant hyperattention() {
  return {.summary =
              "For each row, the block of keys where it stands among them, "
              "sorted by hash.",
          .paper = "Han et al. 2023, arXiv:2310.05869",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 3,
          .cost = EstimateCost,
          .run = RunVariant,
          .selects_ahead = true};
}

}  // namespace heed::variants
