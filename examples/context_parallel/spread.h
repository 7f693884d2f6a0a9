// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Who holds what: tokens, heads and keys by rank.
#ifndef HEED_EXAMPLES_CONTEXT_PARALLEL_SPREAD_H_
#define HEED_EXAMPLES_CONTEXT_PARALLEL_SPREAD_H_

#include <heed/states.h>
#include <heed/tensor.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

namespace context_parallel {

struct Range {
  int64_t begin = 0, end = 0;
  int64_t count() const { return end - begin; }
};

// Returns part `part` of [0, total) cut into neighbouring parts of one size, or
// of two that differ by 1.
inline Range PartOf(int64_t total, int64_t parts, int64_t part) {
  return {total * part / parts, total * (part + 1) / parts};
}

// Returns the view of some heads, as heed::TokensOf does of tokens.
template <typename Void>
heed::BasicTensorView<Void> HeadsOf(heed::BasicTensorView<Void> view,
                                    Range heads) {
  using Byte = std::conditional_t<std::is_const_v<Void>, const char, char>;
  view.data = static_cast<Byte*>(view.data) + heads.begin * view.stride[2];
  view.extent[2] = heads.count();
  return view;
}

// How a sequence's keys are spread for states: in blocks, block b on rank b mod
// `ranks`. A block begins at a multiple of 4,096, or heed refuses it. (Dealing
// out tokens one by one, p mod ranks, would break the spans that states are of,
// and with them the bits.)
struct KeySpread {
  int ranks = 1;
  int64_t block_keys = heed::kStateKeys;

  // Whole groups of spans need a sixteenth of the states.
  bool whole_groups() const { return block_keys % heed::kGroupStateKeys == 0; }
};

// Every rank has one block, of a sequence that never grows beyond `capacity`. A
// short one then lies on the first ranks alone.
inline KeySpread Contiguous(int ranks, int64_t capacity) {
  const int64_t spans = (capacity + heed::kStateKeys - 1) / heed::kStateKeys;
  return {ranks,
          std::max<int64_t>((spans + ranks - 1) / ranks, 1) * heed::kStateKeys};
}

// Spans are dealt out: ranks have as many keys but for one span, however far
// the sequence grows, and no key ever moves.
inline KeySpread SpanCyclic(int ranks) { return {ranks, heed::kStateKeys}; }

// One block of a sequence's keys.
struct KeyBlock {
  Range keys;
  int rank = 0;
  int64_t first_own = 0;  // how many keys its rank has before it
  heed::Shard shard;
  int64_t num_states = 0;
};

// Returns the blocks of a sequence in order of position.
inline std::vector<KeyBlock> BlocksOf(const KeySpread& spread,
                                      int64_t num_keys) {
  std::vector<KeyBlock> blocks;
  std::vector<int64_t> own(static_cast<size_t>(spread.ranks));
  for (int64_t first = 0; first < num_keys; first += spread.block_keys) {
    KeyBlock block;
    block.keys = {first, std::min(first + spread.block_keys, num_keys)};
    block.rank = static_cast<int>(first / spread.block_keys % spread.ranks);
    block.shard = {first, spread.whole_groups()};
    block.num_states = heed::NumStates(block.shard, block.keys.count());
    int64_t& held = own[static_cast<size_t>(block.rank)];
    block.first_own = held;
    held += block.keys.count();
    blocks.push_back(block);
  }
  return blocks;
}

}  // namespace context_parallel

#endif  // HEED_EXAMPLES_CONTEXT_PARALLEL_SPREAD_H_
