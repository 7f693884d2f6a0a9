// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Positions that are added to tokens.
#include <algorithm>
#include <cstdint>

#include "heed/positions.h"
#include "lib/core/check.h"
#include "lib/core/double_math.h"
#include "lib/core/parallel.h"
#include "lib/core/rows_per_task.h"

namespace heed {
namespace {

using internal::Invalid;
using internal::TensorName;
using internal::TensorRole;

constexpr TensorName kXName = {"x", "overlaps x"};
constexpr TensorName kTableName = {"table", "overlaps table"};
constexpr TensorName kToName = {"to", "overlaps to"};

struct AddContext {
  ConstTensorView x, table;
  TensorView to;
  const int32_t* positions;
  int64_t rows_per_task;
};

void RunAdd(void* ctx, int64_t task, int /*worker*/) {
  const AddContext& c = *static_cast<const AddContext*>(ctx);
  const int64_t seqlen = c.x.seqlen();
  const int64_t first = task * c.rows_per_task;
  const int64_t last = std::min(first + c.rows_per_task, c.x.batch() * seqlen);
  for (int64_t row = first; row < last; ++row) {
    const float* const x = RowAt(c.x, row / seqlen, row % seqlen, 0);
    const float* const add = RowAt(c.table, 0, c.positions[row], 0);
    float* const to = RowAt(c.to, row / seqlen, row % seqlen, 0);
    for (int64_t i = 0; i < c.x.head_dim(); ++i) to[i] = x[i] + add[i];
  }
}

Status CheckRows(const ConstTensorView& view, const TensorName& name,
                 TensorRole role, const ConstTensorView& like) {
  Status status = internal::CheckF32(view, name);
  if (status.ok()) status = internal::CheckView(view, name, role);
  if (!status.ok()) return status;
  const int64_t want[] = {like.batch(), like.seqlen(), 1, like.head_dim()};
  for (int i = 0; i < 4; ++i) {
    if (view.extent[i] == want[i]) continue;
    return Invalid(name.argument, "must be [batch, seqlen, 1, dim] as x is")
        .WithIndex(i)
        .WithValue(view.extent[i])
        .WithBound(want[i], BoundKind::kNeeds);
  }
  return Status();
}

}  // namespace

Status FillSinusoids(int64_t dim, int64_t first, int64_t count, float* table) {
  if (dim < 2 || dim % 2 != 0 || dim > INT32_MAX) {
    return Invalid("dim", "must be even, 2 to 2^31 - 2").WithValue(dim);
  }
  if (first < 0 || first > INT32_MAX) {
    return Invalid("first", "must be 0 to 2^31 - 1").WithValue(first);
  }
  if (count < 0 || count > int64_t{INT32_MAX} + 1 - first) {
    return Invalid("count", "must leave positions below 2^31").WithValue(count);
  }
  if (count == 0) return Status();
  if (table == nullptr) return Invalid("table", "is null");
  const double log_theta = internal::Log2(10000);
  for (int64_t i = 0; i < dim / 2; ++i) {
    const double frequency = internal::Exp2(
        -log_theta * static_cast<double>(2 * i) / static_cast<double>(dim));
    for (int64_t p = 0; p < count; ++p) {
      const internal::SinCos at =
          internal::SinCosOf(static_cast<double>(first + p) * frequency);
      table[p * dim + 2 * i] = static_cast<float>(at.sin);
      table[p * dim + 2 * i + 1] = static_cast<float>(at.cos);
    }
  }
  return Status();
}

Status AddPositions(const ConstTensorView& x, const int32_t* positions,
                    const ConstTensorView& table, const TensorView& to,
                    const Executor& executor) {
  Status status = internal::CheckExecutor(executor);
  if (status.ok()) status = CheckRows(x, kXName, TensorRole::kInput, x);
  if (status.ok()) status = CheckRows(to, kToName, TensorRole::kOutput, x);
  if (status.ok()) {
    ConstTensorView like = x;
    like.extent[0] = 1;
    like.extent[1] = table.seqlen();
    status = CheckRows(table, kTableName, TensorRole::kInput, like);
  }
  if (status.ok() && !internal::SameView(x, to)) {
    status = internal::CheckOverlap(to, kToName, x, kXName);
  }
  if (status.ok()) {
    status = internal::CheckOverlap(to, kToName, table, kTableName);
  }
  if (!status.ok()) return status;
  const int64_t rows = x.head_dim() == 0 ? 0 : x.batch() * x.seqlen();
  if (rows == 0) return Status();
  if (positions == nullptr) return Invalid("positions", "is null");
  for (int64_t i = 0; i < rows; ++i) {
    if (positions[i] >= 0 && positions[i] < table.seqlen()) continue;
    return Invalid("positions", "is not among the table's positions")
        .WithIndex(i)
        .WithValue(positions[i])
        .WithBound(table.seqlen() - 1);
  }
  status = internal::CheckOverlap(to, kToName, Bshd(positions, 1, 1, 1, rows),
                                  {"positions", "overlaps positions"});
  if (!status.ok()) return status;
  AddContext context = {internal::UsedStrides(x), internal::UsedStrides(table),
                        internal::UsedStrides(to), positions,
                        internal::RowsPerTask(rows, executor.max_workers)};
  return internal::ParallelFor(executor, (rows - 1) / context.rows_per_task + 1,
                               executor.max_workers, &context, &RunAdd);
}

}  // namespace heed
