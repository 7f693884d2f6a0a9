// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Rotary positions: plain products and sums, which compilers turn into vectors
// and every machine rounds alike.
#include "lib/core/rope.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "lib/core/check.h"
#include "lib/core/parallel.h"
#include "lib/core/rows_per_task.h"
#include "lib/kernels/kernels.h"

namespace heed {
namespace internal {

ConstTensorView TableView(const Rope& rope, const float* table) {
  if (rope.rotary_dim == 0) return ConstTensorView();
  return Bshd(table, 1, rope.num_positions, 1, rope.rotary_dim / 2);
}

Status CheckRope(const Rope& rope, int64_t head_dim, const int32_t* positions,
                 int64_t count, const char* positions_name) {
  if (rope.rotary_dim == 0) return Status();
  if (rope.rotary_dim < 0 || rope.rotary_dim > head_dim) {
    return Invalid("rotary_dim", "must be 0 to head_dim")
        .WithValue(rope.rotary_dim)
        .WithBound(head_dim);
  }
  if (rope.rotary_dim % 2 != 0) {
    return Invalid("rotary_dim", "must be even, as channels turn in pairs")
        .WithValue(rope.rotary_dim)
        .WithBound(2, BoundKind::kSaid);
  }
  if (rope.num_positions < 0) {
    return Invalid("num_positions", "is negative")
        .WithValue(rope.num_positions)
        .WithBound(0, BoundKind::kSaid);
  }
  constexpr TensorName kCos = {"cos", "overlaps cos"};
  constexpr TensorName kSin = {"sin", "overlaps sin"};
  Status status =
      CheckView(TableView(rope, rope.cos), kCos, TensorRole::kInput);
  if (status.ok()) {
    status = CheckView(TableView(rope, rope.sin), kSin, TensorRole::kInput);
  }
  if (!status.ok() || positions == nullptr) return status;
  for (int64_t i = 0; i < count; ++i) {
    if (positions[i] >= 0 && positions[i] < rope.num_positions) continue;
    return Invalid(positions_name, "is not among the tables' positions")
        .WithIndex(i)
        .WithValue(positions[i])
        .WithBound(rope.num_positions - 1);
  }
  return Status();
}

void TurnRow(const Rope& rope, int64_t position, float* row) {
  const int64_t half = rope.rotary_dim / 2;
  const float* cos = rope.cos + position * half;
  const float* sin = rope.sin + position * half;
  if (rope.interleaved) {
    for (int64_t i = 0; i < half; ++i) {
      const float a = row[2 * i];
      const float b = row[2 * i + 1];
      row[2 * i] = a * cos[i] - b * sin[i];
      row[2 * i + 1] = b * cos[i] + a * sin[i];
    }
    return;
  }
  for (int64_t i = 0; i < half; ++i) {
    const float a = row[i];
    const float b = row[half + i];
    row[i] = a * cos[i] - b * sin[i];
    row[half + i] = b * cos[i] + a * sin[i];
  }
}

}  // namespace internal

namespace {

using internal::Invalid;
using internal::TensorName;
using internal::TensorRole;

constexpr TensorName kSourceName = {"source", "overlaps source"};
constexpr TensorName kToName = {"to", "overlaps to"};

Status CheckViews(const ConstTensorView& source, const TensorView& to) {
  for (const auto& [dtype, name] :
       {std::pair{source.dtype, "source"}, std::pair{to.dtype, "to"}}) {
    if (internal::IsFloat(dtype)) continue;
    return Status(StatusCode::kUnsupported, name, "must be f32, bf16 or f16");
  }
  Status status = internal::CheckView(source, kSourceName, TensorRole::kInput);
  if (status.ok()) {
    status = internal::CheckView(to, kToName, TensorRole::kOutput);
  }
  if (status.ok()) status = internal::CheckRowsBecome(source, to);
  if (!status.ok()) return status;
  if (internal::SameView(source, to)) return Status();
  return internal::CheckOverlap(to, kToName, source, kSourceName);
}

struct RopeContext {
  ConstTensorView source;
  TensorView to;
  const int32_t* positions;
  Rope rope;
  const internal::OpsTable* ops;
  int64_t rows_per_task;
};

void RunRope(void* ctx, int64_t task, int /*worker*/) {
  const RopeContext& c = *static_cast<const RopeContext*>(ctx);
  const int64_t seqlen = c.source.seqlen();
  const int64_t first = task * c.rows_per_task;
  const int64_t last =
      std::min(first + c.rows_per_task, c.source.batch() * seqlen);
  float row[internal::kMaxHeadDim];
  for (int64_t at = first; at < last; ++at) {
    const int64_t b = at / seqlen;
    const int64_t s = at % seqlen;
    for (int64_t h = 0; h < c.source.heads(); ++h) {
      const int64_t dim = c.source.head_dim();
      c.ops->widen(c.source.dtype, internal::BytesAt(c.source, b, s, h), dim,
                   row);
      if (c.rope.rotary_dim > 0) {
        internal::TurnRow(c.rope, c.positions[at], row);
      }
      c.ops->narrow(c.to.dtype, row, dim, internal::BytesAt(c.to, b, s, h));
    }
  }
}

}  // namespace

Status ApplyRope(const ConstTensorView& source, const int32_t* positions,
                 const Rope& rope, const TensorView& to,
                 const Executor& executor) {
  Status status = internal::CheckExecutor(executor);
  if (status.ok()) status = CheckViews(source, to);
  if (!status.ok()) return status;
  const bool nothing =
      source.batch() == 0 || source.seqlen() == 0 || source.heads() == 0;
  const int64_t rows = nothing ? 0 : source.batch() * source.seqlen();
  if (rope.rotary_dim != 0 && positions == nullptr && rows > 0) {
    return Invalid("positions", "is null");
  }
  status = internal::CheckRope(rope, source.head_dim(), positions, rows,
                               "positions");
  if (!status.ok() || nothing) return status;
  const struct {
    ConstTensorView view;
    TensorName name;
  } inputs[] = {{internal::TableView(rope, rope.cos), {"cos", "overlaps cos"}},
                {internal::TableView(rope, rope.sin), {"sin", "overlaps sin"}},
                {Bshd(positions, 1, 1, 1, rope.rotary_dim == 0 ? 0 : rows),
                 {"positions", "overlaps positions"}}};
  for (const auto& input : inputs) {
    status = internal::CheckOverlap(to, kToName, input.view, input.name);
    if (!status.ok()) return status;
  }
  RopeContext context;
  context.source = internal::UsedStrides(source);
  context.to = internal::UsedStrides(to);
  context.positions = positions;
  context.rope = rope;
  context.ops = &internal::KernelsOf(internal::BestTarget())->ops;
  context.rows_per_task = internal::RowsPerTask(rows, executor.max_workers);
  return internal::ParallelFor(executor, (rows - 1) / context.rows_per_task + 1,
                               executor.max_workers, &context, &RunRope);
}

}  // namespace heed
