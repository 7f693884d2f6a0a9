// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Decoding and chunks of prompts over a cache that is spread by keys: each rank
// computes the states of all heads over its keys, states go to the ranks that
// have the heads, and there they are merged in order of position.
//
// What travels is unmerged, and to all ranks at once. A ring that merges as it
// goes, each rank beginning with its own keys, has other bits on every rank; a
// root that merges all would get all the traffic.
#ifndef HEED_EXAMPLES_CONTEXT_PARALLEL_EXCHANGED_STATES_H_
#define HEED_EXAMPLES_CONTEXT_PARALLEL_EXCHANGED_STATES_H_

#include <heed/attention.h>
#include <heed/states.h>

#include <vector>

#include "spread.h"

namespace context_parallel {

// One sequence of a step: 1 row decodes, more are a chunk. Keys include those
// of the rows; all ranks have them.
struct SequenceSize {
  int64_t num_rows = 0;
  int64_t num_keys = 0;
};

// A step of sequences of any lengths: states take one sequence a call, but all
// of them travel at once.
struct StateExchange {
  KeySpread spread;
  int64_t num_heads = 0;
  int64_t head_dim_v = 0;
  std::vector<SequenceSize> sequences;

  Range Heads(int rank) const { return PartOf(num_heads, spread.ranks, rank); }
  // States of a head that a rank computes, counted by rows.
  int64_t RowStates(int rank) const;
  // Floats that one rank sends to another: they lie head by head, so that what
  // goes to a rank is one piece.
  int64_t Floats(int from, int to) const {
    return Heads(to).count() * RowStates(from) * (2 + head_dim_v);
  }
};

// What a rank has of a sequence: the query rows of all heads, [1, num_rows,
// num_heads, head_dim], and its own keys in order of position, [1, keys,
// num_kv_heads, ...].
struct SequencePart {
  heed::ConstTensorView query, key, value;
};

// Before the exchange: writes the states of the keys of `rank`. The masks are
// those of the whole sequence.
heed::Status ComputeStates(const StateExchange& exchange, int rank,
                           const heed::AttentionParams& params,
                           const std::vector<SequencePart>& parts,
                           const heed::Executor& executor, float* send);

// After it: writes out, a sequence each, [1, num_rows, heads of the rank,
// head_dim_v], from what all ranks sent, in the order of the ranks.
heed::Status MergeStates(const StateExchange& exchange, int rank,
                         const float* received,
                         const std::vector<heed::TensorView>& out);

}  // namespace context_parallel

#endif  // HEED_EXAMPLES_CONTEXT_PARALLEL_EXCHANGED_STATES_H_
