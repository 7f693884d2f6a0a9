// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// States of key blocks, and rows that read sums of them.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "heed/estimators.h"
#include "heed/ops.h"
#include "heed/residual_variant.h"
#include "lib/sparse/plan_memory.h"

namespace heed::sparse {
namespace {

// exp(x), without the math library.
float ExpOf(float x) {
  float y;
  ops::Exp(&x, &y, 1);
  return y;
}

}  // namespace

// A worker's own memory.
struct LinearResidual::Room {
  float* phi;         // [kRows][features], of queries, or of keys to begin with
  float* phi_scale;   // [kRows]
  float* sum;         // [features][width], of the blocks
  float* sum_scale;   // one
  float* read;        // [kRows][width]
  float* read_scale;  // [kRows]
  float* weight;      // [kRows], of single keys

  Room(float* at, int64_t features, int64_t width)
      : phi(at),
        phi_scale(phi + kRows * features),
        sum(phi_scale + kRows),
        sum_scale(sum + features * width),
        read(sum_scale + 1),
        read_scale(read + kRows * width),
        weight(read_scale + kRows) {}

  // The floats that it takes.
  static int64_t Size(int64_t features, int64_t width) {
    return kRows * (features + width + 3) + features * width + 1;
  }
};

LinearResidual::Room LinearResidual::RoomOf(int worker) const {
  return Room(room_ + worker * Room::Size(map_.features, width_), map_.features,
              width_);
}

Status LinearResidual::Prepare(const VariantArgs& a, const ResidualMap& map,
                               int64_t key_block) {
  const ConstTensorView &key = a.args.key, &value = a.args.value;
  const int64_t heads = key.batch() * key.heads();
  a_ = &a;
  map_ = map;
  key_block_ = key_block;
  keys_ = key.seqlen();
  blocks_ = heed::internal::BlocksOf(keys_, key_block);
  width_ = value.head_dim() + 1;
  phi_ = a.scratch.Array<float>(heads, keys_, map.features);
  scale_ = a.scratch.Array<float>(heads, keys_);
  value_ = a.scratch.Array<float>(heads, keys_, width_);
  state_ = a.scratch.Array<float>(heads * blocks_, map.features, width_);
  state_scale_ = a.scratch.Array<float>(heads, blocks_);
  room_ = a.scratch.Array<float>(a.executor.max_workers,
                                 Room::Size(map.features, width_));
  if (!phi_ || !scale_ || !value_ || !state_ || !state_scale_ || !room_) {
    return OutOfMemory();
  }
  a.phases.Enter(Phase::kEstimate);
  ops::ParallelFor(a.executor, heads * blocks_,
                   [&](int64_t i, int worker) { MakeState(i, worker); });
  return Status();
}

// Maps the keys of one block of one head, and sums them up.
void LinearResidual::MakeState(int64_t index, int worker) const {
  const ConstTensorView &key = a_->args.key, &value = a_->args.value;
  const Room room = RoomOf(worker);
  const int64_t head = index / blocks_, features = map_.features;
  const int64_t b = head / key.heads(), h = head % key.heads();
  const int64_t begin = index % blocks_ * key_block_;
  const int64_t end = std::min(begin + key_block_, keys_);
  const ops::Matrix phi = ops::Dense(phi_ + (head * keys_ + begin) * features,
                                     end - begin, features);
  float* const scale = scale_ + head * keys_ + begin;
  map_.map(
      map_.self,
      {ops::RowRange(ops::Head(key, b, h), begin, end), phi, h, true, b, begin},
      scale);
  float* const rows = value_ + (head * keys_ + begin) * width_;
  for (int64_t i = 0; i < end - begin; ++i) {
    const float* v = width_ > 1 ? RowAt(value, b, begin + i, h) : nullptr;
    std::copy(v, v + (width_ - 1), rows + i * width_);
    rows[(i + 1) * width_ - 1] = 1;
  }
  const float most = *std::max_element(scale, scale + (end - begin));
  const ops::Matrix state =
      ops::Dense(state_ + index * features * width_, features, width_);
  std::fill(state.data, state.data + features * width_, 0.0f);
  for (int64_t first = 0; first < end - begin; first += kRows) {
    const int64_t count = std::min(kRows, end - begin - first);
    for (int64_t i = 0; i < count; ++i) {
      float* const to = room.phi + i * features;
      std::copy(phi.row(first + i), phi.row(first + i) + features, to);
      const float by = ExpOf(scale[first + i] - most);
      if (by != 1) ops::Scale(by, to, features);
    }
    ops::MatMulAdd(ops::Transposed(
                       ops::ConstMatrix(ops::Dense(room.phi, count, features))),
                   ops::Dense(rows + first * width_, count, width_), state);
  }
  state_scale_[index] = most;
}

void LinearResidual::Gather(int64_t batch, int64_t kv_head,
                            const uint8_t* marked, int64_t blocks,
                            int worker) const {
  const Room room = RoomOf(worker);
  const int64_t size = map_.features * width_;
  const int64_t first = (batch * a_->args.key.heads() + kv_head) * blocks_;
  float most = -INFINITY;
  for (int64_t j = 0; j < blocks; ++j) {
    if (marked[j] && state_scale_[first + j] > most) {
      most = state_scale_[first + j];
    }
  }
  std::fill(room.sum, room.sum + size, 0.0f);
  for (int64_t j = 0; j < blocks; ++j) {
    if (!marked[j]) continue;
    ops::Axpy(ExpOf(state_scale_[first + j] - most),
              state_ + (first + j) * size, room.sum, size);
  }
  *room.sum_scale = most;
}

void LinearResidual::Read(int64_t batch, int64_t head, int64_t first,
                          int64_t count, int worker) const {
  const Room room = RoomOf(worker);
  const ops::Matrix phi = ops::Dense(room.phi, count, map_.features);
  map_.map(map_.self,
           {ops::RowRange(ops::Head(a_->args.query, batch, head), first,
                          first + count),
            phi, head, false, batch, first},
           room.phi_scale);
  ops::MatMul(phi, ops::Dense(room.sum, map_.features, width_),
              ops::Dense(room.read, count, width_));
  std::fill(room.read_scale, room.read_scale + count, *room.sum_scale);
}

void LinearResidual::AddKeys(int64_t i, int64_t batch, int64_t kv_head,
                             int64_t begin, int64_t end, int worker) const {
  AddKeys(i, batch, kv_head, begin, end, 1, worker);
}

void LinearResidual::RemoveKeys(int64_t i, int64_t batch, int64_t kv_head,
                                int64_t begin, int64_t end, int worker) const {
  AddKeys(i, batch, kv_head, begin, end, -1, worker);
}

void LinearResidual::Forget(int64_t i, int worker) const {
  const Room room = RoomOf(worker);
  std::fill(room.read + i * width_, room.read + (i + 1) * width_, 0.0f);
  room.read_scale[i] = -INFINITY;
}

void LinearResidual::AddKeys(int64_t i, int64_t batch, int64_t kv_head,
                             int64_t begin, int64_t end, float sign,
                             int worker) const {
  const Room room = RoomOf(worker);
  const int64_t features = map_.features;
  const int64_t head = (batch * a_->args.key.heads() + kv_head) * keys_;
  const float* const phi = room.phi + i * features;
  float* const row = room.read + i * width_;
  float* const weight = room.weight;
  for (; begin < end; begin += kRows) {
    const int64_t count = std::min(kRows, end - begin), at = head + begin;
    float most = room.read_scale[i];
    for (int64_t k = 0; k < count; ++k) {
      if (scale_[at + k] > most) most = scale_[at + k];
    }
    if (most > room.read_scale[i]) {
      ops::Scale(ExpOf(room.read_scale[i] - most), row, width_);
      room.read_scale[i] = most;
    }
    for (int64_t k = 0; k < count; ++k) weight[k] = scale_[at + k] - most;
    ops::Exp(weight, weight, count);
    for (int64_t k = 0; k < count; ++k) {
      weight[k] *= sign * ops::Dot(phi, phi_ + (at + k) * features, features);
    }
    ops::MatMulAdd(ops::Dense(weight, 1, count),
                   ops::Dense(value_ + at * width_, count, width_),
                   ops::Dense(row, 1, width_));
  }
}

LinearResidual::Sums LinearResidual::Of(int64_t i, int worker) const {
  const Room room = RoomOf(worker);
  return {room.read + i * width_, room.phi_scale[i] + room.read_scale[i]};
}

Cost ResidualCost(const AttentionShape& shape, int64_t features,
                  int64_t key_block, double block_pairs) {
  const double heads = static_cast<double>(shape.batch * shape.num_heads);
  const double keys =
      static_cast<double>(shape.batch * shape.num_kv_heads * shape.seqlen_k);
  const double width = static_cast<double>(shape.head_dim_v + 1);
  const double state = static_cast<double>(features) * width;
  Cost cost;
  cost.flops =
      2 * state *
      (keys + heads * (static_cast<double>(shape.seqlen_q) + block_pairs));
  // Keys and values again, features and values as copies, states read once for
  // each pair of blocks.
  cost.bytes =
      4 *
      (keys * (static_cast<double>(shape.head_dim + features) + 2 * width) +
       state * (keys / static_cast<double>(key_block) + heads * block_pairs));
  return cost;
}

}  // namespace heed::sparse
