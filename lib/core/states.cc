// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// States in order of position: a chain within each group of spans, a chain over
// groups, and the end, row by row.
#include "lib/core/states.h"

#include <algorithm>
#include <cstdint>

#include "lib/core/check.h"
#include "lib/core/state_rows.h"
#include "lib/kernels/kernels.h"
#include "lib/kernels/ops_table.h"

namespace heed {
namespace internal {

Status CheckShard(const Shard& shard) {
  const int64_t keys = shard.whole_groups ? kGroupStateKeys : kStateKeys;
  if (shard.first_key >= 0 && shard.first_key % keys == 0) return Status();
  return Invalid("first_key", "must be a multiple of what a state covers")
      .WithValue(shard.first_key)
      .WithBound(keys, BoundKind::kOver);
}

}  // namespace internal

namespace {

using internal::ClearRow;
using internal::Invalid;
using internal::kStatesName;
using internal::MergeRow;
using internal::TensorName;
using internal::TensorRole;

constexpr TensorName kMemoryName = {"memory", "overlaps memory"};

Status CheckMemory(const TensorView& memory) {
  Status status = internal::CheckF32(memory, kMemoryName);
  if (status.ok()) {
    status = internal::CheckView(memory, kMemoryName, TensorRole::kOutput);
  }
  if (!status.ok()) return status;
  if (memory.batch() % 2 != 0) {
    return Invalid("memory",
                   "must be [2 * batch, seqlen_q, num_heads, 2 + "
                   "head_dim_v]")
        .WithIndex(0)
        .WithValue(memory.batch())
        .WithBound(2, BoundKind::kSaid);
  }
  if (memory.head_dim() < 2 || memory.head_dim() > 2 + internal::kMaxHeadDim) {
    return Invalid("memory", "must have rows of 2 + head_dim_v, at most 1026")
        .WithIndex(3)
        .WithValue(memory.head_dim())
        .WithBound(2 + internal::kMaxHeadDim, BoundKind::kSaid);
  }
  return Status();
}

template <typename F>
void ForEachRow(int64_t batch, const TensorView& like, F f) {
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t s = 0; s < like.seqlen(); ++s) {
      for (int64_t h = 0; h < like.heads(); ++h) f(b, s, h);
    }
  }
}

Status CheckOutputs(const RunningStates& total, const TensorView& out,
                    const TensorView& lse) {
  Status status = CheckMemory(total.memory);
  if (!status.ok()) return status;
  if (!internal::IsFloat(out.dtype)) {
    return Status(StatusCode::kUnsupported, "out", "must be f32, bf16 or f16");
  }
  status = internal::CheckView(out, internal::kOutName, TensorRole::kOutput);
  if (status.ok()) status = internal::CheckF32(lse, internal::kLseName);
  if (status.ok()) {
    status = internal::CheckView(lse, internal::kLseName, TensorRole::kOutput);
  }
  if (!status.ok()) return status;
  for (int i = 0; i < 4; ++i) {
    const int64_t want = i == 0   ? total.memory.batch() / 2
                         : i == 3 ? total.memory.head_dim() - 2
                                  : total.memory.extent[i];
    const int64_t want_lse = i == 3 ? 1 : want;
    const bool bad = out.extent[i] != want;
    if (!bad && (lse.absent() || lse.extent[i] == want_lse)) continue;
    return Invalid(bad ? "out" : "lse", "has another shape than the states")
        .WithIndex(i)
        .WithValue(bad ? out.extent[i] : lse.extent[i])
        .WithBound(bad ? want : want_lse, BoundKind::kNeeds);
  }
  status = internal::CheckOverlap(out, internal::kOutName, total.memory,
                                  kMemoryName);
  if (status.ok()) {
    status = internal::CheckOverlap(lse, internal::kLseName, total.memory,
                                    kMemoryName);
  }
  if (!status.ok()) return status;
  return internal::CheckOverlap(out, internal::kOutName, lse,
                                internal::kLseName);
}

}  // namespace

Status InitStates(const TensorView& memory, RunningStates* total) {
  if (total == nullptr) return Invalid("total", "is null");
  const Status status = CheckMemory(memory);
  if (!status.ok()) return status;
  total->memory = memory;
  total->next_key = 0;
  const TensorView rows = internal::UsedStrides(memory);
  ForEachRow(rows.batch(), rows, [&](int64_t b, int64_t s, int64_t h) {
    ClearRow(rows.head_dim(), RowAt(rows, b, s, h));
  });
  return Status();
}

Status AppendStates(const ConstTensorView& states, const Shard& shard,
                    int64_t num_keys, RunningStates* total) {
  if (total == nullptr) return Invalid("total", "is null");
  Status status = CheckMemory(total->memory);
  if (status.ok()) status = internal::CheckShard(shard);
  if (status.ok()) status = internal::CheckF32(states, kStatesName);
  if (status.ok()) {
    status = internal::CheckView(states, kStatesName, TensorRole::kInput);
  }
  if (!status.ok()) return status;
  const int64_t keys = shard.whole_groups ? kGroupStateKeys : kStateKeys;
  if (num_keys < 0 || num_keys > INT64_MAX - keys - shard.first_key) {
    return Invalid("num_keys", "is negative or leaves 64 bits")
        .WithValue(num_keys);
  }
  if (shard.first_key < total->next_key) {
    return Invalid("first_key", "lies before keys that were appended")
        .WithValue(shard.first_key)
        .WithBound(total->next_key, BoundKind::kAtLeast);
  }
  const int64_t batch = total->memory.batch() / 2;
  const int64_t count = NumStates(shard, num_keys);
  for (int i = 0; i < 4; ++i) {
    const int64_t want = i == 0 ? count * batch : total->memory.extent[i];
    if (states.extent[i] == want) continue;
    return Invalid("states", "have another shape than the total and num_keys")
        .WithIndex(i)
        .WithValue(states.extent[i])
        .WithBound(want, BoundKind::kNeeds);
  }
  status =
      internal::CheckOverlap(total->memory, kMemoryName, states, kStatesName);
  if (!status.ok() || count == 0) return status;

  const internal::OpsTable& ops =
      internal::KernelsOf(internal::BestTarget())->ops;
  const ConstTensorView from = internal::UsedStrides(states);
  const TensorView memory = internal::UsedStrides(total->memory);
  const int64_t size = memory.head_dim();
  const bool some = total->next_key > 0;
  const int64_t at_hand = (total->next_key - 1) / kGroupStateKeys;
  ForEachRow(batch, memory, [&](int64_t b, int64_t s, int64_t h) {
    float* const sum = RowAt(memory, b, s, h);
    float* const group = RowAt(memory, batch + b, s, h);
    bool open = some;
    int64_t number = at_hand;
    for (int64_t j = 0; j < count; ++j) {
      const float* const state = RowAt(from, j * batch + b, s, h);
      const int64_t next = (shard.first_key + j * keys) / kGroupStateKeys;
      if (open && next == number) {
        MergeRow(ops, state, size, group);
        continue;
      }
      if (open) MergeRow(ops, group, size, sum);
      std::copy_n(state, size, group);
      open = true;
      number = next;
    }
  });
  total->next_key = shard.first_key + count * keys;
  return Status();
}

Status FinishStates(const RunningStates& total, bool value_rotated,
                    const TensorView& out, const TensorView& lse) {
  const Status status = CheckOutputs(total, out, lse);
  if (!status.ok()) return status;
  const internal::OpsTable& ops =
      internal::KernelsOf(internal::BestTarget())->ops;
  const TensorView memory = internal::UsedStrides(total.memory);
  const TensorView to = internal::UsedStrides(out);
  const TensorView logs = internal::UsedStrides(lse);
  const int64_t batch = memory.batch() / 2;
  const int64_t dim = memory.head_dim() - 2;
  ForEachRow(batch, memory, [&](int64_t b, int64_t s, int64_t h) {
    float row[2 + internal::kMaxHeadDim];
    std::copy_n(RowAt(memory, b, s, h), 2 + dim, row);
    MergeRow(ops, RowAt(memory, batch + b, s, h), 2 + dim, row);
    internal::FinishRow(ops, dim, value_rotated, to.dtype, row,
                        internal::BytesAt(to, b, s, h),
                        logs.absent() ? nullptr : RowAt(logs, b, s, h));
  });
  return Status();
}

}  // namespace heed
