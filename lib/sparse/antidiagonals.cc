// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// XAttention's estimate. Tiles that every row sees whole come from stride
// matrix products, one for each place of the antidiagonal; the few others, at
// the edges of masks, pair by pair.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "heed/estimators.h"
#include "heed/ops.h"
#include "lib/sparse/plan_memory.h"

namespace heed::sparse {
namespace {

// Tiles of query rows whose scores are made at a time: each time all keys
// before them are read once more. With 8, a query block's, estimating 8,192
// tokens of a head of 64 channels by strides of 16 took 3.2 ms, with 32 it
// takes 2.1 (Zen 5, AVX-512, one thread).
constexpr int64_t kTileRows = 32;

bool Sees(const ops::VisibleKeys& see, int64_t key) {
  return key < see.sink_end || (key >= see.begin && key < see.end);
}

}  // namespace

// The query rows of one row of tiles, and what the first and the last see.
struct Antidiagonals::TileRow {
  int64_t batch, head, kv_head;
  int64_t first, end;
  ops::VisibleKeys first_sees, last_sees;
};

bool Antidiagonals::Prepare(const VariantArgs& a, BlockGrid grid,
                            int64_t stride, TilePairs pairs) {
  const ConstTensorView& key = a.args.key;
  const int64_t heads = a.args.query.batch() * a.args.query.heads();
  a_ = &a;
  grid_ = grid;
  stride_ = stride;
  whole_ = key.seqlen() / stride;
  tiles_ = heed::internal::BlocksOf(key.seqlen(), stride);
  query_blocks_ =
      heed::internal::BlocksOf(a.args.query.seqlen(), grid.query_block);
  key_blocks_ = heed::internal::BlocksOf(key.seqlen(), grid.key_block);
  scale_ = ops::SoftmaxScale(a.params, key.head_dim());
  keys_ = a.scratch.Array<float>(key.batch() * key.heads() * stride,
                                 key.head_dim(), whole_);
  score_ = a.scratch.Array<float>(a.executor.max_workers * kTileRows, tiles_);
  mass_ = a.scratch.Array<float>(heads * query_blocks_, key_blocks_);
  key_of_ = a.scratch.Array<int32_t>(stride);
  row_of_ = a.scratch.Array<int32_t>(stride);
  if (!keys_ || !score_ || !mass_ || !key_of_ || !row_of_) return false;
  a.phases.Enter(Phase::kEstimate);
  Pair(pairs);
  Transpose();
  const int64_t together =
      std::max<int64_t>(kTileRows * stride / grid.query_block, 1);
  const int64_t runs = heed::internal::BlocksOf(query_blocks_, together);
  ops::ParallelFor(a.executor, heads * runs, [&](int64_t i, int worker) {
    const int64_t first = i % runs * together;
    Estimate(i / runs, first, std::min(first + together, query_blocks_),
             score_ + worker * kTileRows * tiles_);
  });
  return true;
}

void Antidiagonals::Pair(TilePairs pairs) {
  for (int64_t i = 0; i < stride_; ++i) {
    key_of_[i] = static_cast<int32_t>(
        pairs == TilePairs::kAntidiagonal ? stride_ - 1 - i : i);
  }
  // Shuffled after Fisher and Yates, the same always.
  for (int64_t i = stride_ - 1; pairs == TilePairs::kDrawn && i > 0; --i) {
    const float draw = DrawOf(stride_, 0, 0, i);
    const int64_t with =
        std::min(static_cast<int64_t>(draw * static_cast<float>(i + 1)), i);
    std::swap(key_of_[i], key_of_[with]);
  }
  for (int64_t i = 0; i < stride_; ++i) {
    row_of_[key_of_[i]] = static_cast<int32_t>(i);
  }
}

// So that the products run over keys as columns of unit stride.
void Antidiagonals::Transpose() {
  const ConstTensorView& key = a_->args.key;
  const int64_t dim = key.head_dim();
  constexpr int64_t kColumns = 16;  // a cache line of floats
  ops::ParallelFor(a_->executor, key.batch() * key.heads() * stride_,
                   [&](int64_t i, int /*worker*/) {
                     const int64_t head = i / stride_;
                     const ops::ConstMatrix rows =
                         ops::Head(key, head / key.heads(), head % key.heads());
                     float* const to = keys_ + i * dim * whole_;
                     for (int64_t j = 0; j < whole_; j += kColumns) {
                       const int64_t columns = std::min(kColumns, whole_ - j);
                       for (int64_t c = 0; c < dim; ++c) {
                         for (int64_t k = 0; k < columns; ++k) {
                           to[c * whole_ + j + k] =
                               rows.row((j + k) * stride_ + i % stride_)[c];
                         }
                       }
                     }
                   });
}

// Sets the masses of query blocks [begin, end) of a head.
void Antidiagonals::Estimate(int64_t head, int64_t begin, int64_t end,
                             float* score) const {
  const ConstTensorView &query = a_->args.query, &key = a_->args.key;
  float* const mass = mass_ + head * query_blocks_ * key_blocks_;
  std::fill(mass + begin * key_blocks_, mass + end * key_blocks_, 0.0f);
  const auto see = [&](int64_t i) {
    return ops::VisibleTo(a_->params, query.seqlen(), key.seqlen(), i);
  };
  TileRow at;
  at.batch = head / query.heads();
  at.head = head % query.heads();
  at.kv_head = at.head / (query.heads() / key.heads());
  const int64_t last = std::min(end * grid_.query_block, query.seqlen());
  for (int64_t first = begin * grid_.query_block; first < last;
       first += kTileRows * stride_) {
    const int64_t stop = std::min(first + kTileRows * stride_, last);
    const ops::VisibleKeys all = see(stop - 1);
    ScoreWhole(at, first, (stop - first) / stride_,
               std::min(std::max(all.sink_end, all.end) / stride_, whole_),
               score);
    for (int64_t row = first; row < stop; row += stride_) {
      at.first = row;
      at.end = std::min(row + stride_, stop);
      at.first_sees = see(at.first);
      at.last_sees = see(at.end - 1);
      Weigh(at, score + (row - first) / stride_ * tiles_,
            mass + row / grid_.query_block * key_blocks_);
    }
  }
}

// Sets score[i][j] to the sum over a tile's pairs, whatever masks say.
void Antidiagonals::ScoreWhole(const TileRow& at, int64_t first_row,
                               int64_t tiles, int64_t columns,
                               float* score) const {
  const AttentionArgs& t = a_->args;
  const int64_t dim = t.query.head_dim();
  const ops::ConstMatrix query = ops::Head(t.query, at.batch, at.head);
  const int64_t head = at.batch * t.key.heads() + at.kv_head;
  for (int64_t k = 0; k < stride_; ++k) {
    const ops::ConstMatrix q = {query.row(first_row + row_of_[k]), tiles, dim,
                                query.row_stride * stride_};
    const ops::ConstMatrix keys = {keys_ + (head * stride_ + k) * dim * whole_,
                                   dim, columns, whole_};
    const ops::Matrix to = {score, tiles, columns, tiles_};
    if (k == 0) {
      ops::MatMul(q, keys, to);
    } else {
      ops::MatMulAdd(q, keys, to);
    }
  }
}

// Returns the mean over the pairs that exist and that masks leave, or -inf.
float Antidiagonals::ScorePairs(const TileRow& at, int64_t j) const {
  const AttentionArgs& t = a_->args;
  float sum = 0;
  int64_t count = 0;
  for (int64_t row = at.first; row < at.end; ++row) {
    const int64_t key = j * stride_ + key_of_[row - at.first];
    if (key >= t.key.seqlen()) continue;
    if (!Sees(ops::VisibleTo(a_->params, t.query.seqlen(), t.key.seqlen(), row),
              key)) {
      continue;
    }
    sum +=
        ops::Dot(RowAt(t.query, at.batch, row, at.head),
                 RowAt(t.key, at.batch, key, at.kv_head), t.query.head_dim());
    ++count;
  }
  return count == 0 ? -INFINITY : sum / static_cast<float>(count);
}

// Turns a row's sums into weights, and adds them to its blocks.
void Antidiagonals::Weigh(const TileRow& at, float* score, float* mass) const {
  const int64_t per_block = grid_.key_block / stride_;
  const auto tiles_before = [&](int64_t key) {
    return heed::internal::BlocksOf(key, stride_);
  };
  // What the rows see only moves right from the first to the last: tiles of
  // [begin, end) all see whole, as do those of the sinks.
  const bool full = at.end - at.first == stride_;
  const int64_t columns = std::min(
      tiles_before(std::max(at.last_sees.sink_end, at.last_sees.end)), tiles_);
  const int64_t begin = tiles_before(
      at.last_sees.begin == at.last_sees.sink_end ? 0 : at.last_sees.begin);
  const int64_t end = full ? std::min(at.first_sees.end / stride_, whole_) : 0;
  const int64_t sinks =
      full ? std::min(at.first_sees.sink_end / stride_, whole_) : 0;
  for (int64_t j = 0; j < columns; ++j) {
    if (j >= begin && j < end) {
      score[j] = scale_ * (score[j] / static_cast<float>(stride_));
    } else {
      score[j] = scale_ * (j < sinks ? score[j] / static_cast<float>(stride_)
                                     : ScorePairs(at, j));
    }
  }
  // A scale below 0 has turned -inf around.
  for (int64_t j = 0; scale_ < 0 && j < columns; ++j) {
    if (score[j] == INFINITY) score[j] = -INFINITY;
  }
  ops::Softmax(score, columns);
  for (int64_t block = 0; block * per_block < columns; ++block) {
    const int64_t stop = std::min((block + 1) * per_block, columns);
    for (int64_t j = block * per_block; j < stop; ++j) mass[block] += score[j];
  }
}

void Antidiagonals::Of(const BlockRows& rows, float* mass) const {
  const int64_t head = rows.batch * a_->args.query.heads() + rows.head;
  const float* const of =
      mass_ + (head * query_blocks_ + rows.index) * key_blocks_;
  std::copy(of, of + rows.num_blocks, mass);
}

}  // namespace heed::sparse
