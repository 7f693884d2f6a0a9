// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attention to a sequence whose keys lie in several places, with the bits of
// one call: what travels are states of spans, unfinished (docs/numerics.md,
// step 4). MergeStates of heed/attention.h takes any parts of finished results,
// to rounding.
//
//   each place:   RunStates(plan, args, shard, workspace, executor, states)
//   one of them:  InitStates(memory, &total)
//                 AppendStates(states, shard, num_keys, &total) for each shard,
//                 in order of position
//                 FinishStates(total, value_rotated, out, lse)
#ifndef HEED_STATES_H_
#define HEED_STATES_H_

#include <cstdint>

#include "heed/attention.h"
#include "heed/executor.h"
#include "heed/export.h"
#include "heed/status.h"
#include "heed/tensor.h"

namespace heed {

// Keys that one state covers: a span, or a group of 16 spans.
inline constexpr int64_t kStateKeys = 4096;
inline constexpr int64_t kGroupStateKeys = 65536;

// Some neighbouring keys of a sequence.
struct Shard {
  // The position of key 0: a multiple of what a state covers.
  int64_t first_key = 0;
  // A state covers a whole group: a sixteenth of the states.
  bool whole_groups = false;
};

// Returns the states of a shard of so many keys.
inline int64_t NumStates(const Shard& shard, int64_t num_keys) {
  const int64_t keys = shard.whole_groups ? kGroupStateKeys : kStateKeys;
  return num_keys / keys + (num_keys % keys != 0);
}

// Attends to a shard: args.key and args.value are its keys, args.out and
// args.lse stay absent. State j of batch b, of the shard's keys from j times
// what a state covers on, is written to batch j * batch + b of `states`, f32
// [NumStates * batch, seqlen_q, num_heads, 2 + head_dim_v], each row (m, l,
// acc).
//
// Masks are the plan's, counted from key 0 of the shard: where the whole
// sequence has causal_offset o and sink_size n, this shard has o - first_key
// and max(0, n - first_key). kBottomRight is refused where a mask needs a
// position. Key intervals count from key 0 too.
//
// The plan and the workspace are as for Run, with the plan's out_dtype of no
// matter. Refuses what Run refuses, first_key that is no such multiple, ragged
// calls, pages and score inputs; then nothing has been written.
HEED_API Status RunStates(const Plan& plan, const AttentionArgs& args,
                          const Shard& shard, Workspace workspace,
                          const Executor& executor, const TensorView& states);

// The state of all keys so far, of which the group of spans at hand is kept
// apart, as its spans merge among themselves first. The memory is the caller's:
// f32 [2 * batch, seqlen_q, num_heads, 2 + head_dim_v]. May be copied, sent and
// gone on with elsewhere.
struct RunningStates {
  TensorView memory;
  int64_t next_key = 0;  // no state covers a key from here on
};

// Makes *total the state of no key.
HEED_API Status InitStates(const TensorView& memory, RunningStates* total);

// Merges a shard's states, or a slice of them that begins at shard.first_key,
// into *total. num_keys is the number of keys that they are of. States come in
// rising order of position: of all that were appended, none may cover a later
// key. Positions that no row sees may be left out.
HEED_API Status AppendStates(const ConstTensorView& states, const Shard& shard,
                             int64_t num_keys, RunningStates* total);

// Writes out (f32, bf16 or f16) and, unless it is absent, lse, as Run would
// have with all keys, and rotates rows back where values were rotated. The
// total stays as it is.
HEED_API Status FinishStates(const RunningStates& total, bool value_rotated,
                             const TensorView& out, const TensorView& lse);

}  // namespace heed

#endif  // HEED_STATES_H_
