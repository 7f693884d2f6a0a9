// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "exchanged_states.h"

#include <algorithm>
#include <cstdlib>
#include <memory>

namespace context_parallel {
namespace {

// The masks of a sequence, counted from the first key of a block.
heed::AttentionParams MasksOf(heed::AttentionParams params,
                              const SequenceSize& size, int64_t first_key) {
  if (params.causal_offset == heed::kBottomRight) {
    params.causal_offset = size.num_keys - size.num_rows;
  }
  params.causal_offset -= first_key;
  params.sink_size = std::max<int64_t>(0, params.sink_size - first_key);
  return params;
}

// A workspace that grows to what plans ask for. An engine makes one for its
// largest shape and keeps it.
class Memory {
 public:
  heed::Workspace AtLeast(size_t bytes) {
    const size_t unit = heed::kWorkspaceAlignment;
    if (bytes > workspace_.bytes) {
      workspace_.bytes = (bytes + unit - 1) / unit * unit;
      memory_.reset(std::aligned_alloc(unit, workspace_.bytes));
      workspace_.data = memory_.get();
    }
    return workspace_;
  }

 private:
  std::unique_ptr<void, void (*)(void*)> memory_{nullptr, &std::free};
  heed::Workspace workspace_;
};

// States as they travel, of some heads: [head][state of a row][2 +
// head_dim_v]. Returns those of one sequence and block, as heed sees them:
// [states, rows, heads, 2 + head_dim_v].
template <typename T>
heed::ViewOf<T> StatesView(T* first, int64_t num_states, int64_t rows,
                           int64_t heads, int64_t row_states,
                           int64_t state_floats) {
  return heed::Strided(first, num_states, rows, heads, state_floats,
                       rows * state_floats, state_floats,
                       row_states * state_floats);
}

// What came from one rank, of some heads.
struct Received {
  const float* next;   // blocks take what is theirs from the front
  int64_t row_states;  // of a head
};

heed::Status MergeSequence(const StateExchange& exchange, Range heads,
                           const SequenceSize& size,
                           std::vector<Received>* received,
                           std::vector<float>* memory,
                           const heed::TensorView& out) {
  const int64_t floats = 2 + exchange.head_dim_v;
  memory->resize(
      static_cast<size_t>(2 * size.num_rows * heads.count() * floats));
  heed::RunningStates total;
  heed::Status status = heed::InitStates(
      heed::Bshd(memory->data(), 2, size.num_rows, heads.count(), floats),
      &total);
  for (const KeyBlock& block : BlocksOf(exchange.spread, size.num_keys)) {
    if (!status.ok()) return status;
    Received& from = (*received)[static_cast<size_t>(block.rank)];
    status = heed::AppendStates(
        StatesView(from.next, block.num_states, size.num_rows, heads.count(),
                   from.row_states, floats),
        block.shard, block.keys.count(), &total);
    from.next += block.num_states * size.num_rows * floats;
  }
  if (!status.ok()) return status;
  return heed::FinishStates(total, false, out, {});
}

}  // namespace

int64_t StateExchange::RowStates(int rank) const {
  int64_t states = 0;
  for (const SequenceSize& size : sequences) {
    for (const KeyBlock& block : BlocksOf(spread, size.num_keys)) {
      if (block.rank == rank) states += block.num_states * size.num_rows;
    }
  }
  return states;
}

heed::Status ComputeStates(const StateExchange& exchange, int rank,
                           const heed::AttentionParams& params,
                           const std::vector<SequencePart>& parts,
                           const heed::Executor& executor, float* send) {
  const int64_t floats = 2 + exchange.head_dim_v;
  const int64_t row_states = exchange.RowStates(rank);
  Memory memory;
  for (size_t s = 0; s < parts.size(); ++s) {
    const SequenceSize& size = exchange.sequences[s];
    for (const KeyBlock& block : BlocksOf(exchange.spread, size.num_keys)) {
      if (block.rank != rank) continue;
      heed::AttentionArgs args;
      args.query = parts[s].query;
      args.key =
          heed::TokensOf(parts[s].key, block.first_own, block.keys.count());
      args.value =
          heed::TokensOf(parts[s].value, block.first_own, block.keys.count());
      // The masks belong to the plan, and a plan costs well under a
      // microsecond.
      heed::Plan plan;
      heed::Status status =
          heed::MakePlan(MasksOf(params, size, block.keys.begin),
                         heed::ShapeOf(args), {}, &plan);
      if (!status.ok()) return status;
      status = heed::RunStates(
          plan, args, block.shard,
          memory.AtLeast(heed::WorkspaceBytes(plan, executor.max_workers)),
          executor,
          StatesView(send, block.num_states, size.num_rows, exchange.num_heads,
                     row_states, floats));
      if (!status.ok()) return status;
      send += block.num_states * size.num_rows * floats;
    }
  }
  return heed::Status();
}

heed::Status MergeStates(const StateExchange& exchange, int rank,
                         const float* received,
                         const std::vector<heed::TensorView>& out) {
  const Range heads = exchange.Heads(rank);
  if (heads.count() == 0) return heed::Status();  // nothing was received
  std::vector<Received> from_ranks;
  for (int from = 0; from < exchange.spread.ranks; ++from) {
    const int64_t row_states = exchange.RowStates(from);
    from_ranks.push_back({received, row_states});
    received += heads.count() * row_states * (2 + exchange.head_dim_v);
  }
  std::vector<float> memory;
  for (size_t s = 0; s < out.size(); ++s) {
    const heed::Status status = MergeSequence(
        exchange, heads, exchange.sequences[s], &from_ranks, &memory, out[s]);
    if (!status.ok()) return status;
  }
  return heed::Status();
}

}  // namespace context_parallel
