// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Far keys through features: which are read in blocks, which one by one, and
// which in logarithms.
#include "heed/far_field.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "heed/estimators.h"
#include "heed/sparse_variant.h"
#include "lib/core/double_math.h"
#include "lib/sparse/plan_memory.h"

namespace heed::sparse {
namespace {

// Of rows that read together, and of keys: a word of bits each.
constexpr int64_t kBlock = 64;
static_assert(kBlock <= LinearResidual::kRows);

// A sum of products of features below this, of at most 1 each, has lost digits
// to what f32 rounds to 0.
constexpr float kLeastSum = 1e-28f;

float LogOf(float x) {
  return static_cast<float>(heed::internal::Log2(static_cast<double>(x)) *
                            heed::internal::kDoubleLn2);
}

// Whether a row that read `sums` must be read in logarithms: where what is near
// is not beyond comparison.
bool NeedsLogs(const LinearResidual::Sums& sums, float total, float near_lse) {
  constexpr float kLogLeast = -64.0f, kBeyond = 18.0f;
  return total < kLeastSum && sums.log_scale > -INFINITY &&
         near_lse < sums.log_scale + kLogLeast + kBeyond;
}

// Calls f(begin, end) for the runs of ones of a block's word, in keys.
template <typename F>
void ForEachRun(uint64_t word, int64_t block, F f) {
  while (word != 0) {
    const int begin = std::countr_zero(word);
    const int count = std::countr_one(word >> begin);
    f(block * kBlock + begin, block * kBlock + begin + count);
    if (begin + count == 64) break;
    word &= ~uint64_t{0} << (begin + count);
  }
}

}  // namespace

void MarkKeys(int64_t begin, int64_t end, uint64_t* words) {
  heed::internal::SetBitRange(begin, end, words);
}

// The rows of a head that a task reads.
struct FarField::Rows {
  int64_t batch, head, kv_head;
  int64_t first, end;
  const uint64_t* near;  // [rows][key blocks]
  const uint8_t* gathered;
};

// A worker's own memory, for rows in logarithms.
struct FarField::Room {
  float* query;  // [features]
  float* keys;   // [kBlock][features]
  float* sum;    // [head_dim_v]

  Room(float* at, int64_t features)
      : query(at), keys(query + features), sum(keys + kBlock * features) {}

  // The floats that it takes.
  static int64_t Size(int64_t features, int64_t dim_v) {
    return (kBlock + 1) * features + dim_v;
  }
};

FarField::Room FarField::RoomOf(int worker) const {
  const int64_t dim_v = a_->args.value.head_dim();
  return Room(floats_ + worker * Room::Size(w_.rows, dim_v), w_.rows);
}

Status FarField::Prepare(const VariantArgs& a, const ops::ConstMatrix& w,
                         const NearKeys& near, Blocks blocks) {
  const int64_t workers = a.executor.max_workers;
  a_ = &a;
  w_ = w;
  scale_ = ops::SoftmaxScale(a.params, a.args.key.head_dim());
  near_ = near;
  how_ = blocks;
  keys_ = a.args.key.seqlen();
  blocks_ = heed::internal::BlocksOf(keys_, kBlock);
  offset_ = OffsetOf(a.params, a.args.query.seqlen(), keys_);
  floats_ = a.scratch.Array<float>(workers,
                                   Room::Size(w.rows, a.args.value.head_dim()));
  words_ = a.scratch.Array<uint64_t>(workers, kBlock, blocks_);
  gathered_ = a.scratch.Array<uint8_t>(workers, blocks_);
  if (!floats_ || !words_ || !gathered_) return OutOfMemory();
  return residual_.Prepare(a, {w.rows, this, &Map}, kBlock);
}

int64_t FarField::Seen(int64_t row) const {
  return a_->params.causal ? std::clamp<int64_t>(row + offset_ + 1, 0, keys_)
                           : keys_;
}

// The largest exponent of a row is its scale.
void FarField::Map(const void* self, const FeatureRows& rows,
                   float* log_scale) {
  const FarField& f = *static_cast<const FarField*>(self);
  const int64_t m = rows.phi.cols;
  const float factor =
      static_cast<float>(1 / std::sqrt(static_cast<double>(m)));
  ops::MatMul(rows.x, ops::Transposed(f.w_), rows.phi);
  for (int64_t i = 0; i < rows.x.rows; ++i) {
    const float* const x = rows.x.row(i);
    float* const phi = rows.phi.row(i);
    if (!rows.key && f.scale_ < 0) ops::Scale(-1.0f, phi, m);
    const float most = ops::Largest(phi, m);
    for (int64_t r = 0; r < m; ++r) phi[r] -= most;
    ops::Exp(phi, phi, m);
    ops::Scale(factor, phi, m);
    log_scale[i] =
        most - 0.5f * std::fabs(f.scale_) * ops::Dot(x, x, rows.x.cols);
  }
}

void FarField::Attend(const TensorView& near_lse,
                      const VariantArgs& part) const {
  const ConstTensorView& query = a_->args.query;
  const int64_t lists = query.batch() * query.heads() *
                        heed::internal::BlocksOf(query.seqlen(), kBlock);
  ops::ParallelFor(a_->executor, lists, [&](int64_t list, int worker) {
    AttendRows(near_lse, part, list, worker);
  });
}

void FarField::AttendRows(const TensorView& near_lse, const VariantArgs& part,
                          int64_t list, int worker) const {
  const TensorView& out = part.args.out;
  const int64_t lists = heed::internal::BlocksOf(out.seqlen(), kBlock);
  const int64_t head = list / lists, dim_v = out.head_dim();
  uint64_t* const near = words_ + worker * kBlock * blocks_;
  uint8_t* const gathered = gathered_ + worker * blocks_;
  Rows rows;
  rows.batch = head / out.heads();
  rows.head = head % out.heads();
  rows.kv_head = rows.head / (out.heads() / a_->args.key.heads());
  rows.first = list % lists * kBlock;
  rows.end = std::min(rows.first + kBlock, out.seqlen());
  rows.near = near;
  rows.gathered = gathered;
  std::fill(near, near + (rows.end - rows.first) * blocks_, 0);
  for (int64_t row = rows.first; row < rows.end; ++row) {
    near_.mark(near_.self, rows.batch, rows.head, row,
               near + (row - rows.first) * blocks_);
  }
  // Those that all of the rows see whole, and where keys are read one by one,
  // those that none has a near key in.
  for (int64_t j = 0; j < blocks_; ++j) {
    bool whole = std::min((j + 1) * kBlock, keys_) <= Seen(rows.first);
    for (int64_t i = 0; how_ == Blocks::kKeyByKey && i < rows.end - rows.first;
         ++i) {
      whole &= near[i * blocks_ + j] == 0;
    }
    gathered[j] = whole;
  }
  residual_.Gather(rows.batch, rows.kv_head, gathered, blocks_, worker);
  residual_.Read(rows.batch, rows.head, rows.first, rows.end - rows.first,
                 worker);
  for (int64_t row = rows.first; row < rows.end; ++row) {
    ReadRow(rows, row, worker);
    const LinearResidual::Sums read = residual_.Of(row - rows.first, worker);
    const float total = read.sum[dim_v];
    float* const to = RowAt(out, rows.batch, row, rows.head);
    float* const lse = RowAt(part.args.lse, rows.batch, row, rows.head);
    if (NeedsLogs(read, total, *RowAt(near_lse, rows.batch, row, rows.head))) {
      ReadInLogs(rows, row, worker, to, lse);
      continue;
    }
    for (int64_t c = 0; c < dim_v; ++c) {
      to[c] = total == 0 ? 0.0f : read.sum[c] / total;
    }
    *lse = total == 0 ? -INFINITY : read.log_scale + LogOf(total);
  }
}

// The keys of a block that a row sees and that are not near it.
uint64_t FarField::FarOf(const Rows& rows, int64_t row, int64_t block) const {
  const int64_t count =
      std::clamp<int64_t>(Seen(row) - block * kBlock, 0, kBlock);
  if (count == 0) return 0;
  return ~rows.near[(row - rows.first) * blocks_ + block] &
         ~uint64_t{0} >> (kBlock - count);
}

void FarField::AddFar(const Rows& rows, int64_t row, int64_t block,
                      int worker) const {
  ForEachRun(FarOf(rows, row, block), block, [&](int64_t begin, int64_t end) {
    residual_.AddKeys(row - rows.first, rows.batch, rows.kv_head, begin, end,
                      worker);
  });
}

// Makes of what a row has read of the gathered blocks what it reads of all.
void FarField::ReadRow(const Rows& rows, int64_t row, int worker) const {
  const int64_t i = row - rows.first, dim_v = a_->args.value.head_dim();
  if (how_ == Blocks::kTakenOut) {
    const float all = residual_.Of(i, worker).sum[dim_v];
    for (int64_t j = 0; j < blocks_; ++j) {
      if (!rows.gathered[j]) continue;
      ForEachRun(rows.near[i * blocks_ + j], j,
                 [&](int64_t begin, int64_t end) {
                   residual_.RemoveKeys(i, rows.batch, rows.kv_head, begin, end,
                                        worker);
                 });
    }
    const float left = residual_.Of(i, worker).sum[dim_v];
    if (!(left > 0 && left >= kLeastLeft * all)) {
      residual_.Forget(i, worker);
      for (int64_t j = 0; j < blocks_; ++j) {
        if (rows.gathered[j]) AddFar(rows, row, j, worker);
      }
    }
  }
  for (int64_t j = 0; j * kBlock < Seen(row); ++j) {
    if (!rows.gathered[j]) AddFar(rows, row, j, worker);
  }
}

void FarField::ReadInLogs(const Rows& rows, int64_t row, int worker, float* out,
                          float* lse) const {
  const int64_t m = w_.rows, dim_v = a_->args.value.head_dim();
  const float half = 0.5f * std::fabs(scale_);
  const Room room = RoomOf(worker);
  const ops::ConstMatrix x = ops::Head(a_->args.query, rows.batch, rows.head);
  const ops::ConstMatrix all =
      ops::Head(a_->args.key, rows.batch, rows.kv_head);
  ops::MatMul(ops::RowRange(x, row, row + 1), ops::Transposed(w_),
              ops::Dense(room.query, 1, m));
  if (scale_ < 0) ops::Scale(-1.0f, room.query, m);
  const float of_query = half * ops::Dot(x.row(row), x.row(row), x.cols);
  std::fill(room.sum, room.sum + dim_v, 0.0f);
  float most = -INFINITY, total = 0;
  const auto add = [&](int64_t first, int64_t end) {
    ops::MatMul(ops::RowRange(all, first, end), ops::Transposed(w_),
                ops::Dense(room.keys, end - first, m));
    for (int64_t key = first; key < end; ++key) {
      float* const exponent = room.keys + (key - first) * m;
      ops::Axpy(1.0f, room.query, exponent, m);
      // Softmax's sum is m times the mean over features.
      float log_weight = ops::Softmax(exponent, m) - of_query -
                         half * ops::Dot(all.row(key), all.row(key), all.cols);
      if (log_weight > most) {
        float fade = most - log_weight;
        ops::Exp(&fade, &fade, 1);
        ops::Scale(fade, room.sum, dim_v);
        total *= fade;
        most = log_weight;
      }
      log_weight -= most;
      ops::Exp(&log_weight, &log_weight, 1);
      total += log_weight;
      ops::Axpy(log_weight,
                RowAt(a_->args.value, rows.batch, key, rows.kv_head), room.sum,
                dim_v);
    }
  };
  for (int64_t j = 0; j * kBlock < Seen(row); ++j) {
    ForEachRun(FarOf(rows, row, j), j, add);
  }
  for (int64_t c = 0; c < dim_v; ++c) out[c] = room.sum[c] / total;
  *lse = most + LogOf(total) - LogOf(static_cast<float>(m));
}

}  // namespace heed::sparse
