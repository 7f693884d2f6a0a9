// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The arguments of a call: tensors against the plan and each other, key
// intervals, workspace and executor.
#include <cstdint>

#include "lib/core/check.h"
#include "lib/core/check_pages.h"
#include "lib/core/sequences.h"

namespace heed::internal {
namespace {

// Refuses a view whose extent along `axis` is another than `want`.
Status CheckExtent(const ConstTensorView& view, int axis, int64_t want,
                   const TensorName& name, const char* message) {
  if (view.extent[axis] == want) return Status();
  return Invalid(name.argument, message)
      .WithIndex(axis)
      .WithValue(view.extent[axis])
      .WithBound(want, BoundKind::kNeeds);
}

// The batch that tensors of queries and of keys must have.
struct Batches {
  int64_t query, key;
  const char* of_query;
  const char* of_key;
};

Batches BatchesOf(const AttentionArgs& args) {
  const Ragged& ragged = args.ragged;
  const char* const kSame = "must be the query's batch";
  if (ragged.num_sequences == 0) {
    return {args.query.batch(), args.query.batch(), kSame, kSame};
  }
  const char* const kPacked = "must be 1, as rows are packed";
  const char* const kEach = "must be the number of sequences";
  Batches b = {ragged.num_sequences, ragged.num_sequences, kEach, kEach};
  if (ragged.cu_seqlens_q != nullptr) {
    b.query = 1;
    b.of_query = kPacked;
  }
  if (ragged.cu_seqlens_k != nullptr) {
    b.key = 1;
    b.of_key = kPacked;
  }
  if (InPages(args)) {
    b.key = args.pages.by_pointers() ? 1 : args.key.batch();
    b.of_key = args.pages.by_pointers() ? "must be 1, as pages have pointers"
                                        : "must have the pages of key";
  }
  return b;
}

// Whether the seqlen of query or key is not the most that a sequence has.
bool Elsewhere(const AttentionArgs& args, const TensorName& name) {
  const Ragged& ragged = args.ragged;
  if (&name == &kQueryName) return ragged.cu_seqlens_q != nullptr;
  return ragged.seqlens_k != nullptr || ragged.cu_seqlens_k != nullptr;
}

Status CheckExtents(const Plan& plan, const AttentionArgs& args) {
  const AttentionShape& shape = plan.shape;
  const Batches batches = BatchesOf(args);
  const ConstTensorView& q = args.query;
  const ConstTensorView& k = args.key;
  const ConstTensorView& v = args.value;
  const ConstTensorView out = args.out;
  struct {
    const ConstTensorView& view;
    int axis;
    int64_t want;
    const TensorName& name;
    const char* message;
  } const checks[] = {
      {q, 0, batches.query, kQueryName, batches.of_query},
      {q, 2, shape.num_heads, kQueryName, "must be the plan's num_heads"},
      {q, 3, shape.head_dim, kQueryName, "must be the plan's head_dim"},
      {k, 0, batches.key, kKeyName, batches.of_key},
      {k, 2, shape.num_kv_heads, kKeyName, "must be the plan's num_kv_heads"},
      {k, 3, shape.head_dim, kKeyName, "must be the query's head_dim"},
      {v, 0, batches.key, kValueName, batches.of_key},
      {v, 1, k.seqlen(), kValueName, "must be the key's seqlen"},
      {v, 2, shape.num_kv_heads, kValueName, "must be the key's heads"},
      {v, 3, shape.head_dim_v, kValueName, "must be the plan's head_dim_v"},
      {out, 0, q.batch(), kOutName, "must be the query's batch"},
      {out, 1, q.seqlen(), kOutName, "must be the query's seqlen"},
      {out, 2, q.heads(), kOutName, "must be the query's heads"},
      {out, 3, shape.head_dim_v, kOutName, "must be the value's head_dim"},
  };
  for (const auto& check : checks) {
    const Status status = CheckExtent(check.view, check.axis, check.want,
                                      check.name, check.message);
    if (!status.ok()) return status;
  }
  if (!args.lse.absent()) {
    const int64_t want[4] = {q.batch(), q.seqlen(), q.heads(), 1};
    for (int i = 0; i < 4; ++i) {
      const Status status =
          CheckExtent(args.lse, i, want[i], kLseName,
                      "must be that of [batch, seqlen_q, num_heads, 1]");
      if (!status.ok()) return status;
    }
  }
  struct {
    const ConstTensorView& view;
    int axis;
    int64_t most;
    const TensorName& name;
    const char* message;
  } const maxima[] = {
      {q, 0, shape.batch, kQueryName, "is larger than the plan's batch"},
      {q, 1, shape.seqlen_q, kQueryName, "is larger than the plan's seqlen_q"},
      {k, 1, shape.seqlen_k, kKeyName, "is larger than the plan's seqlen_k"},
  };
  const bool ragged = args.ragged.num_sequences != 0;
  for (const auto& check : maxima) {
    const int64_t extent = check.view.extent[check.axis];
    // Those of packed rows and pages are no sequence's: see CheckRagged.
    if (ragged && (check.axis == 0 || Elsewhere(args, check.name))) continue;
    if (extent <= check.most) continue;
    return Invalid(check.name.argument, check.message)
        .WithIndex(check.axis)
        .WithValue(extent)
        .WithBound(check.most);
  }
  return Status();
}

// Each output against every tensor before it in the list.
Status CheckOverlaps(const Plan& plan, const AttentionArgs& args) {
  // Gathered first: most tensors of the list are absent.
  struct Given {
    ConstTensorView view;
    const TensorName* name;
    TensorRole role;
  } given[kMostTensors];
  int count = 0;
  ForEachTensor(args, plan.shape.scores,
                [&](const auto& view, const TensorName& name, TensorRole role) {
                  if (!view.absent()) given[count++] = {view, &name, role};
                });
  for (int i = 0; i < count; ++i) {
    if (given[i].role != TensorRole::kOutput) continue;
    for (int j = 0; j < i; ++j) {
      const Status status = CheckOverlap(given[i].view, *given[i].name,
                                         given[j].view, *given[j].name);
      if (!status.ok()) return status;
    }
  }
  return Status();
}

Status CheckKeyIntervals(const AttentionArgs& args) {
  const KeyIntervals& lists = args.key_intervals;
  const char* const kName = "key_intervals";
  if (lists.query_block_size == 0) return Status();
  if (lists.query_block_size < 0) {
    return Invalid(kName, "query_block_size must not be negative")
        .WithValue(lists.query_block_size)
        .WithBound(0, BoundKind::kSaid);
  }
  const int64_t seqlen_q = args.query.seqlen();
  const int64_t blocks = seqlen_q / lists.query_block_size +
                         (seqlen_q % lists.query_block_size != 0);
  int64_t want;
  if (__builtin_mul_overflow(args.query.batch(), args.query.heads(), &want) ||
      __builtin_mul_overflow(want, blocks, &want) ||
      __builtin_add_overflow(want, int64_t{1}, &want)) {
    return Status(StatusCode::kOverflow, kName,
                  "has more lists than 63 bits count");
  }
  if (lists.num_offsets != want) {
    return Invalid(kName,
                   "num_offsets must be batch * num_heads * query blocks + 1")
        .WithValue(lists.num_offsets)
        .WithBound(want, BoundKind::kNeeds);
  }
  if (lists.offsets == nullptr) return Invalid(kName, "offsets are null");
  if (lists.num_intervals < 0 ||
      (lists.num_intervals > 0 && lists.intervals == nullptr)) {
    return Invalid(kName, "intervals are null or num_intervals is negative");
  }
  if (lists.offsets[0] != 0) return Invalid(kName, "offsets must start at 0");
  if (lists.offsets[want - 1] != lists.num_intervals) {
    return Invalid(kName, "the last offset must equal num_intervals")
        .WithValue(lists.offsets[want - 1])
        .WithBound(lists.num_intervals, BoundKind::kNeeds);
  }
  // All offsets before any interval is read through them.
  for (int64_t list = 0; list + 1 < want; ++list) {
    if (lists.offsets[list + 1] < lists.offsets[list]) {
      return Invalid(kName, "offsets must not fall").WithIndex(list + 1);
    }
  }
  for (int64_t list = 0; list + 1 < want; ++list) {
    int64_t after = 0;
    for (int64_t i = lists.offsets[list]; i < lists.offsets[list + 1]; ++i) {
      const KeyInterval& interval = lists.intervals[i];
      if (interval.begin < after || interval.end <= interval.begin ||
          interval.end > args.key.seqlen()) {
        return Invalid(kName,
                       "intervals must be non-empty, sorted, disjoint and "
                       "inside [0, seqlen_k)")
            .WithIndex(i);
      }
      after = interval.end;
    }
  }
  return Status();
}

}  // namespace

Status CheckArgs(const Plan& plan, const AttentionArgs& args) {
  if (!plan.shape.scores && args.scores.any()) {
    return Invalid("scores", "are given to a plan made without");
  }
  Status status;
  ForEachTensor(
      args, plan.shape.scores,
      [&](const auto& view, const TensorName& name, TensorRole role) {
        if (!status.ok()) return;
        if (name.dtype == nullptr) {
          if (view.absent()) return;
          status = CheckType(view, name);
        } else if (view.dtype != plan.shape.*name.dtype) {
          status = Invalid(name.argument, "dtype differs from the plan's");
        }
        if (!status.ok()) return;
        status = CheckView(view, name, role, InOwnPages(args.pages, name));
      });
  if (!status.ok()) return status;
  status = CheckRaggedShape(plan, args);
  if (!status.ok()) return status;
  status = CheckExtents(plan, args);
  if (!status.ok()) return status;
  if (args.kv_scales.key_rotated != plan.shape.key_rotated) {
    return Invalid("key_rotated", "differs from the plan's");
  }
  if (args.kv_scales.value_rotated != plan.shape.value_rotated) {
    return Invalid("value_rotated", "differs from the plan's");
  }
  status = CheckScales(args);
  if (!status.ok()) return status;
  status = CheckOverlaps(plan, args);
  if (!status.ok()) return status;
  status = CheckRagged(plan, args);
  if (!status.ok()) return status;
  status = CheckKeyIntervals(args);
  if (!status.ok()) return status;
  status = CheckArrayOverlaps(args, args.out, kOutName);
  if (!status.ok()) return status;
  status = CheckArrayOverlaps(args, args.lse, kLseName);
  if (!status.ok()) return status;
  return plan.shape.scores ? CheckScores(plan, args) : Status();
}

Status CheckWorkspaceBytes(Workspace workspace, size_t need) {
  if (workspace.data == nullptr || workspace.bytes < need) {
    return Status(StatusCode::kWorkspace, "workspace", "is too small")
        .WithValue(static_cast<int64_t>(
            workspace.data == nullptr ? 0 : workspace.bytes))
        .WithBound(static_cast<int64_t>(need), BoundKind::kNeeds)
        .WithUnit("bytes");
  }
  if (reinterpret_cast<uintptr_t>(workspace.data) % kWorkspaceAlignment != 0) {
    return Status(StatusCode::kWorkspace, "workspace",
                  "is not aligned to kWorkspaceAlignment")
        .WithBound(static_cast<int64_t>(kWorkspaceAlignment), BoundKind::kNeeds)
        .WithUnit("bytes");
  }
  return Status();
}

Status CheckWorkspace(const Plan& plan, const AttentionArgs& args,
                      Workspace workspace, int workers) {
  const size_t need = WorkspaceBytes(plan, workers);
  Status status = CheckWorkspaceBytes(workspace, need);
  if (!status.ok()) return status;
  // As a row of floats: the size is a multiple of the alignment.
  const ConstTensorView memory =
      Bshd(static_cast<const float*>(workspace.data), 1, 1, 1,
           static_cast<int64_t>(need / sizeof(float)));
  const TensorName workspace_name = {"workspace", "overlaps workspace"};
  status = CheckArrayOverlaps(args, memory, workspace_name);
  ForEachTensor(args, plan.shape.scores,
                [&](const auto& view, const TensorName& name, TensorRole) {
                  if (!status.ok() || view.absent()) return;
                  status = CheckOverlap(memory, workspace_name, view, name);
                });
  return status;
}

Status CheckExecutor(const Executor& executor) {
  if (executor.parallel_for == nullptr) {
    return Invalid("executor", "has no parallel_for");
  }
  if (executor.max_workers < 1) {
    return Invalid("executor", "needs at least one worker")
        .WithValue(executor.max_workers)
        .WithBound(1, BoundKind::kSaid);
  }
  return Status();
}

}  // namespace heed::internal
