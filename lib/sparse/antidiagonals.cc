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

// Tiles of query rows whose scores are made at a time.
constexpr int64_t kTileRows = 16;

bool Sees(const ops::VisibleKeys& see, int64_t key) {
  return key < see.sink_end || (key >= see.begin && key < see.end);
}

bool SeesWhole(const ops::VisibleKeys& see, int64_t begin, int64_t end) {
  return end <= see.sink_end ||
         (end <= see.end && (begin >= see.begin || see.begin == see.sink_end));
}

}  // namespace

// The query rows of one row of tiles, and what the first and the last see.
struct Antidiagonals::TileRow {
  int64_t first, end;
  ops::VisibleKeys first_sees, last_sees;
};

bool Antidiagonals::Prepare(const VariantArgs& a, int64_t key_block,
                            int64_t stride) {
  const ConstTensorView& key = a.args.key;
  a_ = &a;
  key_block_ = key_block;
  stride_ = stride;
  whole_ = key.seqlen() / stride;
  tiles_ = heed::internal::BlocksOf(key.seqlen(), stride);
  scale_ = ops::SoftmaxScale(a.params, key.head_dim());
  keys_ = a.scratch.Array<float>(key.batch() * key.heads() * stride *
                                 key.head_dim() * whole_);
  score_ = a.scratch.Array<float>(a.executor.max_workers * kTileRows * tiles_);
  if (keys_ == nullptr || score_ == nullptr) return false;
  a.phases.Enter(Phase::kEstimate);
  Transpose();
  return true;
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

// Sets score[i][j] to the sum over the antidiagonal, whatever masks say.
void Antidiagonals::ScoreWhole(const BlockRows& rows, int64_t first_tile,
                               int64_t tiles, float* score) const {
  const AttentionArgs& t = a_->args;
  const int64_t dim = t.query.head_dim();
  const ops::ConstMatrix query = ops::Head(t.query, rows.batch, rows.head);
  const int64_t columns =
      std::min(rows.num_blocks * (key_block_ / stride_), whole_);
  const int64_t head = rows.batch * t.key.heads() + rows.kv_head;
  for (int64_t k = 0; k < stride_; ++k) {
    const ops::ConstMatrix q = {query.row(first_tile + stride_ - 1 - k), tiles,
                                dim, query.row_stride * stride_};
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
float Antidiagonals::ScorePairs(const BlockRows& rows, const TileRow& at,
                                int64_t j) const {
  const AttentionArgs& t = a_->args;
  float sum = 0;
  int64_t count = 0;
  for (int64_t row = at.first; row < at.end; ++row) {
    const int64_t key = j * stride_ + stride_ - 1 - (row - at.first);
    if (key >= t.key.seqlen()) continue;
    if (!Sees(ops::VisibleTo(a_->params, t.query.seqlen(), t.key.seqlen(), row),
              key)) {
      continue;
    }
    sum += ops::Dot(RowAt(t.query, rows.batch, row, rows.head),
                    RowAt(t.key, rows.batch, key, rows.kv_head),
                    t.query.head_dim());
    ++count;
  }
  return count == 0 ? -INFINITY : sum / static_cast<float>(count);
}

// Turns a row's sums into weights, and adds them to its blocks.
void Antidiagonals::Weigh(const BlockRows& rows, const TileRow& at,
                          float* score, float* mass) const {
  const int64_t per_block = key_block_ / stride_;
  const int64_t columns = std::min(rows.num_blocks * per_block, tiles_);
  for (int64_t j = 0; j < columns; ++j) {
    const int64_t begin = j * stride_;
    const int64_t end = begin + stride_;
    const bool whole = at.end - at.first == stride_ && j < whole_ &&
                       SeesWhole(at.first_sees, begin, end) &&
                       SeesWhole(at.last_sees, begin, end);
    score[j] = scale_ * (whole ? score[j] / static_cast<float>(stride_)
                               : ScorePairs(rows, at, j));
  }
  // A scale below 0 has turned -inf around.
  for (int64_t j = 0; scale_ < 0 && j < columns; ++j) {
    if (score[j] == INFINITY) score[j] = -INFINITY;
  }
  ops::Softmax(score, columns);
  for (int64_t j = 0; j < columns; ++j) mass[j / per_block] += score[j];
}

void Antidiagonals::Of(const BlockRows& rows, float* mass) const {
  const ConstTensorView& query = a_->args.query;
  float* const score = score_ + rows.worker * kTileRows * tiles_;
  std::fill(mass, mass + rows.num_blocks, 0.0f);
  for (int64_t first = rows.first; first < rows.end;
       first += kTileRows * stride_) {
    const int64_t end = std::min(first + kTileRows * stride_, rows.end);
    ScoreWhole(rows, first, (end - first) / stride_, score);
    for (int64_t row = first; row < end; row += stride_) {
      TileRow at;
      at.first = row;
      at.end = std::min(row + stride_, end);
      const auto see = [&](int64_t i) {
        return ops::VisibleTo(a_->params, query.seqlen(), a_->args.key.seqlen(),
                              i);
      };
      at.first_sees = see(at.first);
      at.last_sees = see(at.end - 1);
      Weigh(rows, at, score + (row - first) / stride_ * tiles_, mass);
    }
  }
}

}  // namespace heed::sparse
