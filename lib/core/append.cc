// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// New rows on their way into a cache, row by row.
#include "lib/core/append.h"

#include <algorithm>
#include <cstdint>

#include "lib/core/check.h"
#include "lib/core/parallel.h"
#include "lib/core/quantize_row.h"
#include "lib/core/rope.h"
#include "lib/core/rows_per_task.h"
#include "lib/kernels/kernels.h"

namespace heed {
namespace {

using internal::BytesAt;

// Keys or values.
struct Half {
  ConstTensorView from;
  TensorView cache, scale, minimum;
  // Where their pages begin that have pointers.
  void* const* cache_pages;
  void* const* scale_pages;
  void* const* minimum_pages;
  bool rotate;
  Rope rope;  // absent for values
};

struct AppendContext {
  AppendArgs args;
  Half halves[2];
  const internal::OpsTable* ops;
  int64_t page_size;
  int64_t rows;
  int64_t rows_per_task;
};

struct Token {
  int64_t batch, row;     // where the new row is
  internal::Place place;  // where it goes
  int64_t position;       // for its rope
};

void AppendToken(const AppendContext& c, const Half& half, const Token& token) {
  const int64_t dim = half.from.head_dim();
  float row[internal::kMaxHeadDim];
  float one = 1.0f;
  const auto [batch, position] = token.place;
  const auto view_at = [&c, entry = batch](void* const* pages,
                                           const TensorView& view) {
    return internal::ViewAt(c.args.pages, pages, view, entry);
  };
  const TensorView cache = view_at(half.cache_pages, half.cache);
  const TensorView scale = view_at(half.scale_pages, half.scale);
  const TensorView minimum = view_at(half.minimum_pages, half.minimum);
  for (int64_t h = 0; h < half.from.heads(); ++h) {
    c.ops->widen(half.from.dtype, BytesAt(half.from, token.batch, token.row, h),
                 dim, row);
    if (half.rope.rotary_dim > 0) {
      internal::TurnRow(half.rope, token.position, row);
    }
    if (half.rotate) c.ops->rotate(row, dim);
    void* const to = BytesAt(cache, 0, position, h);
    if (!internal::IsQuantised(cache.dtype)) {
      c.ops->narrow(cache.dtype, row, dim, to);
      continue;
    }
    internal::QuantizeRow(
        row, dim,
        {cache.dtype, c.args.given_scales,
         scale.absent() ? 1 : scale.head_dim()},
        scale.absent() ? &one : RowAt(scale, 0, position, h),
        minimum.absent() ? nullptr : RowAt(minimum, 0, position, h), to);
  }
}

// The sequence that has new row `row`.
int64_t SequenceWith(const AppendArgs& args, int64_t row) {
  if (args.cu_seqlens == nullptr)
    return row / internal::NewRowsOf(args).seqlen();
  return std::upper_bound(args.cu_seqlens,
                          args.cu_seqlens + args.num_sequences + 1, row) -
         args.cu_seqlens - 1;
}

void RunAppend(void* ctx, int64_t task, int /*worker*/) {
  const AppendContext& c = *static_cast<const AppendContext*>(ctx);
  const AppendArgs& args = c.args;
  const int64_t first = task * c.rows_per_task;
  const int64_t last = std::min(first + c.rows_per_task, c.rows);
  int64_t sequence = SequenceWith(args, first);
  internal::NewRows rows = internal::NewRowsOf(args, sequence);
  for (int64_t at = first; at < last; ++at) {
    while (at >= rows.first + rows.count) {
      rows = internal::NewRowsOf(args, ++sequence);
    }
    Token token;
    token.batch = args.cu_seqlens == nullptr ? sequence : 0;
    token.row = args.cu_seqlens == nullptr ? at - rows.first : at;
    const int64_t position = args.past_lengths[sequence] + at - rows.first;
    token.place = internal::PlaceOf(args, c.page_size, sequence, position);
    token.position =
        args.rope_positions == nullptr ? position : args.rope_positions[at];
    for (const Half& half : c.halves) {
      if (!half.from.absent()) AppendToken(c, half, token);
    }
  }
}

}  // namespace

Status AppendKv(const AppendArgs& args, const Executor& executor) {
  Status status = internal::CheckExecutor(executor);
  if (status.ok()) status = internal::CheckAppend(args);
  if (!status.ok()) return status;
  const ConstTensorView& like = internal::NewRowsOf(args);
  AppendContext c;
  c.rows = like.batch() * like.seqlen();
  if (like.batch() == 0 || like.seqlen() == 0 || like.heads() == 0) {
    return Status();
  }
  using internal::UsedStrides;
  c.args = args;
  c.halves[0] = {UsedStrides(args.key),
                 UsedStrides(args.key_cache),
                 UsedStrides(args.key_scale),
                 UsedStrides(args.key_minimum),
                 args.pages.key_pages,
                 args.pages.key_scale_pages,
                 args.pages.key_minimum_pages,
                 args.key_rotated,
                 args.rope};
  c.halves[1] = {UsedStrides(args.value),
                 UsedStrides(args.value_cache),
                 UsedStrides(args.value_scale),
                 UsedStrides(args.value_minimum),
                 args.pages.value_pages,
                 args.pages.value_scale_pages,
                 args.pages.value_minimum_pages,
                 args.value_rotated,
                 Rope()};
  c.ops = &internal::KernelsOf(internal::BestTarget())->ops;
  c.page_size =
      (args.key.absent() ? args.value_cache : args.key_cache).seqlen();
  c.rows_per_task = internal::RowsPerTask(c.rows, executor.max_workers);
  return internal::ParallelFor(executor, (c.rows - 1) / c.rows_per_task + 1,
                               executor.max_workers, &c, &RunAppend);
}

}  // namespace heed
