// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// States of a scan that can go back: for speculative decoding, whose drafts may
// be refused, and for prefixes that are used again. The last states of each
// sequence stay in a ring; a run reads the newest and writes the next place, so
// that keeping them costs no copy.
#ifndef HEED_SCAN_SNAPSHOTS_H_
#define HEED_SCAN_SNAPSHOTS_H_

#include <cstddef>
#include <cstdint>

#include "heed/attention.h"
#include "heed/executor.h"
#include "heed/export.h"
#include "heed/linear.h"
#include "heed/status.h"
#include "heed/tensor.h"

namespace heed {

// A ring in the caller's memory: a small value that runs and rollbacks change.
struct ScanSnapshots {
  int64_t sequences = 0;
  int64_t slots = 0;   // snapshots of each sequence, the newest among them
  int64_t newest = 0;  // slot
  // [slots][sequences]: tokens that the state there has seen, -1: no snapshot.
  int64_t* tokens = nullptr;
  // [slots * sequences, ...] as final_state and final_sum of ScanArgs.
  TensorView states;
  TensorView sums;  // absent without normalise
};

// Returns the bytes of a ring for the sequences of a plan: of its batch, or
// num_sequences where that is more. SIZE_MAX where they leave 63 bits.
HEED_API size_t ScanSnapshotBytes(const ScanPlan& plan, int64_t slots);

// Makes a ring of `slots` snapshots, at least 2, in `memory`, aligned to 64
// bytes: every sequence has seen no token, and its state is zero. Errors:
// kInvalidArgument for a plan that was not made and for fewer slots; kOverflow
// for so many that their bytes leave 63 bits; kWorkspace for memory that is too
// small or misaligned. *snapshots is untouched then.
HEED_API Status MakeScanSnapshots(const ScanPlan& plan, int64_t slots,
                                  Workspace memory, ScanSnapshots* snapshots);

// Runs `args`, whose states and sums must be absent, from the newest states on;
// what follows becomes the newest, beside those kept before. A call of one
// token a sequence keeps a snapshot after each, a longer one a snapshot at its
// end. A call that has no keys reads only. Refuses what RunScan does, calls of
// other sequences than the ring's, plans that normalise where the ring's did
// not, and the reverse, and an out in the ring's memory; then the ring is as it
// was. Whether states are transposed must be as in the plan of the ring.
HEED_API Status RunScanSnapshots(const ScanPlan& plan, const ScanArgs& args,
                                 Workspace workspace, const Executor& executor,
                                 ScanSnapshots* snapshots);

// Returns how many tokens a sequence's newest state has seen; -1 where there is
// no such sequence.
HEED_API int64_t TokensSeen(const ScanSnapshots& snapshots, int64_t sequence);

// Brings a sequence back to the state that had seen `tokens` tokens, and
// forgets later ones; others stay as they are. Copies one state. Errors:
// kInvalidArgument where there is no such sequence, or no snapshot of it at
// that place; nothing has changed then.
HEED_API Status RollBack(ScanSnapshots* snapshots, int64_t sequence,
                         int64_t tokens);

}  // namespace heed

#endif  // HEED_SCAN_SNAPSHOTS_H_
