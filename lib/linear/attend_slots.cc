// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A memory of slots as two scans. The second is AttendLinear's; the first fades
// by the channels of what it returns, which no scan does.
#include <algorithm>
#include <cstdint>

#include "heed/linear_slots.h"

namespace heed {
namespace {

// The keys of a head's slots, chunk by chunk: what stood before the chunk, and
// how much of each of its tokens a slot holds by now.
class SlotKeys {
 public:
  static int64_t Floats(int64_t dim, int64_t slots, int chunk) {
    return (dim + chunk + 2) * slots;
  }

  SlotKeys(const VariantArgs& host, const SlotCall& call, int64_t batch,
           int64_t kv_head, float* memory)
      : host_(host.args),
        call_(call),
        batch_(batch),
        kv_head_(kv_head),
        keys_(ops::Head(host.args.key, batch, kv_head)),
        slots_(call.write.head_dim()),
        state_(ops::Dense(memory, keys_.cols, slots_)),
        held_(ops::Dense(memory + keys_.cols * slots_, call.chunk, slots_)),
        kept_(memory + (keys_.cols + call.chunk) * slots_),
        decay_(kept_ + slots_) {
    std::fill(kept_, kept_ + slots_, 1.0f);
  }

  void Write(int64_t token) {
    if (count_ == call_.chunk) CloseChunk();
    ops::Exp(RowAt(call_.log_decay, batch_, token, kv_head_), decay_, slots_);
    Fade(kept_);
    for (int64_t u = 0; u < count_; ++u) Fade(held_.row(u));
    const float* write = RowAt(call_.write, batch_, token, kv_head_);
    std::copy(write, write + slots_, held_.row(count_++));
    end_ = token + 1;
  }

  // Sets weight[slots] to softmax of what a query scores.
  void Read(int64_t row, int64_t head, float* weight) const {
    const float* q = RowAt(host_.query, batch_, row, head);
    ops::MatMul(ops::Dense(q, 1, keys_.cols), state_,
                ops::Dense(weight, 1, slots_));
    for (int64_t m = 0; m < slots_; ++m) weight[m] *= kept_[m];
    for (int64_t u = 0; u < count_; ++u) {
      const float score = ops::Dot(q, keys_.row(end_ - count_ + u), keys_.cols);
      ops::Axpy(score, held_.row(u), weight, slots_);
    }
    ops::Scale(call_.scale, weight, slots_);
    ops::Softmax(weight, slots_);
  }

 private:
  void Fade(float* row) const {
    for (int64_t m = 0; m < slots_; ++m) row[m] *= decay_[m];
  }

  void CloseChunk() {
    for (int64_t c = 0; c < state_.rows; ++c) {
      float* row = state_.row(c);
      for (int64_t m = 0; m < slots_; ++m) row[m] *= kept_[m];
    }
    ops::MatMulAdd(ops::Transposed(ops::RowRange(keys_, end_ - count_, end_)),
                   ops::RowRange(held_, 0, count_), state_);
    std::fill(kept_, kept_ + slots_, 1.0f);
    count_ = 0;
  }

  const AttentionArgs& host_;
  const SlotCall& call_;
  const int64_t batch_, kv_head_;
  const ops::ConstMatrix keys_;
  const int64_t slots_;
  const ops::Matrix state_;  // [head_dim][slots], before the chunk
  const ops::Matrix held_;   // [chunk][slots], of each token
  float* const kept_;        // of what stood before the chunk
  float* const decay_;       // of the last token
  int64_t count_ = 0;        // tokens of the chunk
  int64_t end_ = 0;          // tokens written
};

}  // namespace

Status AttendSlots(const VariantArgs& host, const SlotCall& call) {
  Status status = CheckLinearCall(host);
  if (!status.ok()) return status;
  const AttentionArgs& t = host.args;
  const int64_t batch = t.query.batch(), rows = t.query.seqlen();
  const int64_t heads = t.query.heads(), slots = call.write.head_dim();
  float* weights = host.scratch.Array<float>(batch * rows, heads, slots);
  if (weights == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "weights of slots could not be allocated");
  }
  status = ForEachState(
      host, SlotKeys::Floats(t.key.head_dim(), slots, call.chunk),
      [&](int64_t b, int64_t kv, float* memory) {
        SlotKeys keys(host, call, b, kv, memory);
        InTokenOrder(
            host, kv, [&](int64_t j) { keys.Write(j); },
            [&](int64_t i, int64_t h) {
              keys.Read(i, h, weights + ((b * rows + i) * heads + h) * slots);
            });
      });
  if (!status.ok()) return status;
  VariantArgs values = host;
  values.args.query =
      Bshd(static_cast<const float*>(weights), batch, rows, heads, slots);
  values.args.key = call.write;
  LinearCall linear;
  linear.params.scale = 1;
  linear.log_decay = call.log_decay;
  linear.chunk = call.chunk;
  return AttendLinear(values, linear);
}

}  // namespace heed
