// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "heed/scan_snapshots.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "lib/core/check.h"
#include "lib/kernels/carver.h"
#include "lib/linear/scan_layout.h"
#include "lib/linear/scan_tensors.h"

namespace heed {
namespace {

int64_t SequencesOf(const ScanPlan& plan) {
  return std::max(plan.shape.batch, plan.shape.num_sequences);
}

// Whether such a ring leaves 63 bits.
bool Overflows(const ScanPlan& plan, int64_t slots) {
  const int64_t dim = internal::KeyDim(plan.shape);
  // Of a snapshot, with its share of the padding; at most about 2^54.
  const int64_t bytes =
      256 + 4 * plan.num_state_heads * dim * (plan.shape.head_dim_v + 1);
  int64_t count = 0;
  return __builtin_mul_overflow(slots, SequencesOf(plan), &count) ||
         __builtin_mul_overflow(count, bytes, &count);
}

// The ring in memory at `carver`.
ScanSnapshots Carve(const ScanPlan& plan, int64_t slots,
                    internal::Carver& carver) {
  ScanSnapshots ring;
  ring.sequences = SequencesOf(plan);
  ring.slots = slots;
  const int64_t count = slots * ring.sequences, heads = plan.num_state_heads;
  int64_t dim = internal::KeyDim(plan.shape), dim_v = plan.shape.head_dim_v;
  ring.tokens = carver.Take<int64_t>(count);
  float* const states = carver.Take<float>(count * heads * dim * dim_v);
  float* const sums =
      carver.Take<float>(plan.params.normalise ? count * heads * dim : 0);
  if (plan.params.normalise) ring.sums = Bshd(sums, count, 1, heads, dim);
  if (plan.params.state_transposed) std::swap(dim, dim_v);
  ring.states = Bshd(states, count, heads, dim, dim_v);
  return ring;
}

// Refuses out where it lies in any place of the ring.
Status CheckApart(const ScanSnapshots& ring, const TensorView& out) {
  if (out.absent()) return Status();
  const Status status = internal::CheckView(out, internal::kScanOutName,
                                            internal::TensorRole::kOutput);
  if (!status.ok()) return status;
  const TensorView& last = ring.sums.absent() ? ring.states : ring.sums;
  const char* const begin = reinterpret_cast<const char*>(ring.tokens);
  const char* const end =
      static_cast<const char*>(last.data) + last.extent[0] * last.stride[0];
  static constexpr internal::TensorName kRing = {"snapshots",
                                                 "overlaps the snapshots"};
  return internal::CheckOverlap(
      out, internal::kScanOutName,
      Bshd(reinterpret_cast<const float*>(begin), 1, 1, 1, (end - begin) / 4),
      kRing);
}

// The states of a slot, of all sequences or of one.
TensorView Rows(TensorView view, int64_t first, int64_t count) {
  if (view.absent()) return view;
  view.data = static_cast<char*>(view.data) + first * view.stride[0];
  view.extent[0] = count;
  return view;
}
TensorView SlotOf(const ScanSnapshots& ring, const TensorView& view,
                  int64_t slot) {
  return Rows(view, slot * ring.sequences, ring.sequences);
}

int64_t& TokensAt(const ScanSnapshots& ring, int64_t slot, int64_t sequence) {
  return ring.tokens[slot * ring.sequences + sequence];
}

void Copy(const ScanSnapshots& ring, const TensorView& view, int64_t from,
          int64_t to, int64_t sequence) {
  if (view.absent()) return;
  const TensorView source = Rows(view, from * ring.sequences + sequence, 1);
  const TensorView target = Rows(view, to * ring.sequences + sequence, 1);
  const char* const bytes = static_cast<const char*>(source.data);
  std::copy(bytes, bytes + view.stride[0], static_cast<char*>(target.data));
}

}  // namespace

size_t ScanSnapshotBytes(const ScanPlan& plan, int64_t slots) {
  if (Overflows(plan, slots)) return SIZE_MAX;
  internal::Carver carver(nullptr);
  Carve(plan, std::max<int64_t>(slots, 0), carver);
  return static_cast<size_t>(carver.used());
}

Status MakeScanSnapshots(const ScanPlan& plan, int64_t slots, Workspace memory,
                         ScanSnapshots* snapshots) {
  if (snapshots == nullptr) return internal::Invalid("snapshots", "is null");
  if (plan.table == nullptr) return internal::Invalid("plan", "was not made");
  if (slots < 2) {
    return internal::Invalid("slots", "must hold a state and the one before")
        .WithValue(slots)
        .WithBound(2, BoundKind::kAtLeast);
  }
  if (Overflows(plan, slots)) {
    return Status(StatusCode::kOverflow, "slots", "take more than 63 bits")
        .WithValue(slots);
  }
  const Status status =
      internal::CheckWorkspaceBytes(memory, ScanSnapshotBytes(plan, slots));
  if (!status.ok()) return status;
  internal::Carver carver(memory.data);
  ScanSnapshots ring = Carve(plan, slots, carver);
  std::fill(ring.tokens, ring.tokens + slots * ring.sequences, -1);
  std::fill(ring.tokens, ring.tokens + ring.sequences, 0);
  for (const TensorView& view : {ring.states, ring.sums}) {
    if (view.absent()) continue;
    char* const bytes = static_cast<char*>(view.data);
    std::fill(bytes, bytes + view.extent[0] * view.stride[0], 0);
  }
  *snapshots = ring;
  return Status();
}

Status RunScanSnapshots(const ScanPlan& plan, const ScanArgs& args,
                        Workspace workspace, const Executor& executor,
                        ScanSnapshots* snapshots) {
  if (snapshots == nullptr || snapshots->tokens == nullptr) {
    return internal::Invalid("snapshots", "was not made");
  }
  ScanSnapshots& ring = *snapshots;
  for (const auto& [given, name] :
       {std::pair(!args.initial_state.absent(), "initial_state"),
        std::pair(!args.final_state.absent(), "final_state"),
        std::pair(!args.initial_sum.absent(), "initial_sum"),
        std::pair(!args.final_sum.absent(), "final_sum")}) {
    if (given) return internal::Invalid(name, "is the ring's, and is given");
  }
  if (plan.params.normalise == ring.sums.absent()) {
    return internal::Invalid("snapshots",
                             "hold sums where the plan has none, or have none");
  }
  const Status apart = CheckApart(ring, args.out);
  if (!apart.ok()) return apart;
  const bool keys = !args.key.absent();
  const bool ragged = args.cu_seqlens != nullptr;
  const int64_t sequences = ragged ? args.num_sequences
                            : keys ? args.key.batch()
                                   : args.query.batch();
  if (sequences != ring.sequences) {
    return internal::Invalid("num_sequences", "must be those of the ring")
        .WithValue(sequences)
        .WithBound(ring.sequences, BoundKind::kNeeds);
  }
  const int64_t next = (ring.newest + 1) % ring.slots;
  ScanArgs call = args;
  call.initial_state = SlotOf(ring, ring.states, ring.newest);
  call.initial_sum = SlotOf(ring, ring.sums, ring.newest);
  if (keys) {
    call.final_state = SlotOf(ring, ring.states, next);
    call.final_sum = SlotOf(ring, ring.sums, next);
  }
  const Status status = RunScan(plan, call, workspace, executor);
  if (!status.ok() || !keys) return status;
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t count = ragged ? args.cu_seqlens[s + 1] - args.cu_seqlens[s]
                                 : args.key.seqlen();
    TokensAt(ring, next, s) = TokensAt(ring, ring.newest, s) + count;
  }
  ring.newest = next;
  return status;
}

int64_t TokensSeen(const ScanSnapshots& snapshots, int64_t sequence) {
  if (snapshots.tokens == nullptr || sequence < 0 ||
      sequence >= snapshots.sequences) {
    return -1;
  }
  return TokensAt(snapshots, snapshots.newest, sequence);
}

Status RollBack(ScanSnapshots* snapshots, int64_t sequence, int64_t tokens) {
  if (snapshots == nullptr || snapshots->tokens == nullptr) {
    return internal::Invalid("snapshots", "was not made");
  }
  const ScanSnapshots& ring = *snapshots;
  if (sequence < 0 || sequence >= ring.sequences) {
    return internal::Invalid("sequence", "is none of the ring's")
        .WithValue(sequence)
        .WithBound(ring.sequences);
  }
  int64_t slot = 0;
  while (slot < ring.slots &&
         (tokens < 0 || TokensAt(ring, slot, sequence) != tokens)) {
    ++slot;
  }
  if (slot == ring.slots) {
    return internal::Invalid("tokens", "has no snapshot of this sequence")
        .WithIndex(sequence)
        .WithValue(tokens);
  }
  if (slot != ring.newest) {
    Copy(ring, ring.states, slot, ring.newest, sequence);
    Copy(ring, ring.sums, slot, ring.newest, sequence);
  }
  TokensAt(ring, ring.newest, sequence) = tokens;
  for (int64_t s = 0; s < ring.slots; ++s) {
    int64_t& at = TokensAt(ring, s, sequence);
    if (at > tokens) at = -1;
  }
  return Status();
}

}  // namespace heed
