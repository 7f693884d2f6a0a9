// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Estimators that pool keys, the true masses that they are held against, and
// draws.
#include "heed/estimators.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "heed/ops.h"
#include "lib/sparse/plan_memory.h"

namespace heed::sparse {

using heed::internal::BlocksOf;

Status OutOfMemory() {
  return Status(StatusCode::kOutOfMemory, "scratch",
                "what an estimator needs could not be allocated");
}

float DrawOf(int64_t seed, int64_t head, int64_t query_block,
             int64_t key_block) {
  // splitmix64 (Steele, Lea, Flood 2014), a number at a time.
  uint64_t state = 0;
  for (const int64_t number : {seed, head, query_block, key_block}) {
    state += static_cast<uint64_t>(number) + 0x9e3779b97f4a7c15;
    state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9;
    state = (state ^ (state >> 27)) * 0x94d049bb133111eb;
    state ^= state >> 31;
  }
  return static_cast<float>(state >> 40) / static_cast<float>(1 << 24);
}

const float* KeyMeans(const VariantArgs& a, int64_t key_block) {
  const ConstTensorView& key = a.args.key;
  const int64_t blocks = BlocksOf(key.seqlen(), key_block);
  const int64_t dim = key.head_dim();
  const int64_t heads = key.batch() * key.heads();
  float* const mean = a.scratch.Array<float>(heads * blocks * dim);
  if (mean == nullptr) return nullptr;
  a.phases.Enter(Phase::kEstimate);
  ops::ParallelFor(a.executor, heads, [&](int64_t i, int /*worker*/) {
    ops::MeanPool(ops::Head(key, i / key.heads(), i % key.heads()), key_block,
                  ops::Dense(mean + i * blocks * dim, blocks, dim));
  });
  return mean;
}

KeyBounds KeyBoundsOf(const VariantArgs& a, int64_t key_block) {
  const ConstTensorView& key = a.args.key;
  const int64_t blocks = BlocksOf(key.seqlen(), key_block);
  const int64_t dim = key.head_dim();
  const int64_t heads = key.batch() * key.heads();
  float* const least = a.scratch.Array<float>(heads * blocks * dim);
  float* const most = a.scratch.Array<float>(heads * blocks * dim);
  if (least == nullptr || most == nullptr) return KeyBounds();
  a.phases.Enter(Phase::kEstimate);
  ops::ParallelFor(a.executor, heads * blocks, [&](int64_t i, int /*worker*/) {
    const int64_t head = i / blocks;
    const int64_t begin = i % blocks * key_block;
    const int64_t end = std::min(begin + key_block, key.seqlen());
    const ops::ConstMatrix rows =
        ops::Head(key, head / key.heads(), head % key.heads());
    float* const low = least + i * dim;
    float* const high = most + i * dim;
    std::copy_n(rows.row(begin), dim, low);
    std::copy_n(rows.row(begin), dim, high);
    for (int64_t row = begin + 1; row < end; ++row) {
      const float* const x = rows.row(row);
      for (int64_t c = 0; c < dim; ++c) {
        low[c] = std::min(low[c], x[c]);
        high[c] = std::max(high[c], x[c]);
      }
    }
  });
  return {least, most, blocks};
}

const float* KeyNorms(const VariantArgs& a, int64_t key_block) {
  const ConstTensorView& key = a.args.key;
  const int64_t blocks = BlocksOf(key.seqlen(), key_block);
  const int64_t heads = key.batch() * key.heads();
  float* const norm = a.scratch.Array<float>(heads * blocks);
  if (norm == nullptr) return nullptr;
  a.phases.Enter(Phase::kEstimate);
  ops::ParallelFor(a.executor, heads * blocks, [&](int64_t i, int /*worker*/) {
    const int64_t head = i / blocks;
    const int64_t begin = i % blocks * key_block;
    const int64_t end = std::min(begin + key_block, key.seqlen());
    norm[i] = 0;
    for (int64_t row = begin; row < end; ++row) {
      const float* const x =
          RowAt(key, head / key.heads(), row, head % key.heads());
      norm[i] = std::max(norm[i], NormOf(x, key.head_dim()));
    }
  });
  return norm;
}

// In double, where no square of a float is lost.
float NormOf(const float* x, int64_t n) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) {
    squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  const float norm = static_cast<float>(std::sqrt(squares));
  return std::isfinite(norm) ? norm : INFINITY;
}

// By ops::Exp: the host's tanh rounds as it likes.
void CapScores(float cap, float* x, int64_t n) {
  ops::Scale(2.0f / cap, x, n);
  ops::Exp(x, x, n);
  for (int64_t i = 0; i < n; ++i) x[i] = cap * (1.0f - 2.0f / (x[i] + 1.0f));
}

namespace {

// Query rows whose scores are made at a time.
constexpr int64_t kMassRows = 64;

}  // namespace

bool TrueMasses::Prepare(const VariantArgs& a, int64_t key_block) {
  a_ = &a;
  key_block_ = key_block;
  score_ = a.scratch.Array<float>(a.executor.max_workers * kMassRows *
                                  a.args.key.seqlen());
  return score_ != nullptr;
}

void WeightsOf(const VariantArgs& a, int64_t batch, int64_t head, int64_t first,
               int64_t end, int64_t keys, float* weight) {
  const AttentionArgs& t = a.args;
  const int64_t kv_head = head / (t.query.heads() / t.key.heads());
  const float scale = ops::SoftmaxScale(a.params, t.query.head_dim());
  ops::MatMul(
      ops::RowRange(ops::Head(t.query, batch, head), first, end),
      ops::Transposed(ops::RowRange(ops::Head(t.key, batch, kv_head), 0, keys)),
      ops::Dense(weight, end - first, keys));
  for (int64_t row = first; row < end; ++row) {
    float* const x = weight + (row - first) * keys;
    const ops::VisibleKeys see =
        ops::VisibleTo(a.params, t.query.seqlen(), t.key.seqlen(), row);
    ops::Scale(scale, x, keys);
    if (a.params.softcap != 0) CapScores(a.params.softcap, x, keys);
    std::fill(x + std::min(see.sink_end, keys), x + std::min(see.begin, keys),
              -INFINITY);
    std::fill(x + std::min(see.end, keys), x + keys, -INFINITY);
    ops::Softmax(x, keys);
  }
}

void TrueMasses::Of(const BlockRows& rows, float* mass) const {
  const int64_t all = a_->args.key.seqlen();
  const int64_t keys = std::min(rows.num_blocks * key_block_, all);
  float* const weight = score_ + rows.worker * kMassRows * all;
  std::fill(mass, mass + rows.num_blocks, 0.0f);
  for (int64_t first = rows.first; first < rows.end; first += kMassRows) {
    const int64_t end = std::min(first + kMassRows, rows.end);
    WeightsOf(*a_, rows.batch, rows.head, first, end, keys, weight);
    for (int64_t row = 0; row < end - first; ++row) {
      for (int64_t j = 0; j < keys; ++j) {
        mass[j / key_block_] += weight[row * keys + j];
      }
    }
  }
}

}  // namespace heed::sparse
