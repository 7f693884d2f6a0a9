// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A step of sequences that decode and chunks of prompts, over a cache that is
// spread by keys: each rank draws its own keys alone.
#include <heed/heed.h>

#include "cases.h"

namespace context_parallel {
namespace {

// Numbers of sequence s: tokens of different sequences are different ones.
Range TokensOfSequence(size_t s, Range tokens) {
  const int64_t first = static_cast<int64_t>(s) << 24;
  return {first + tokens.begin, first + tokens.end};
}

// The rows of all sequences, packed, with all heads.
std::vector<float> Rows(const StateExchange& step) {
  std::vector<float> rows;
  for (size_t s = 0; s < step.sequences.size(); ++s) {
    const SequenceSize& size = step.sequences[s];
    const std::vector<float> own = Drawn(
        kQuery,
        TokensOfSequence(s, {size.num_keys - size.num_rows, size.num_keys}),
        step.num_heads);
    rows.insert(rows.end(), own.begin(), own.end());
  }
  return rows;
}

// The keys, or values, of sequence s that a rank has.
std::vector<float> OwnKeys(const StateExchange& step, size_t s, int rank,
                           Tensor tensor, int64_t num_kv_heads) {
  std::vector<float> own;
  for (const KeyBlock& block :
       BlocksOf(step.spread, step.sequences[s].num_keys)) {
    if (block.rank != rank) continue;
    const std::vector<float> keys =
        Drawn(tensor, TokensOfSequence(s, block.keys), num_kv_heads);
    own.insert(own.end(), keys.begin(), keys.end());
  }
  return own;
}

// One process's call: ragged, keys packed.
std::vector<float> WholeStep(const heed::AttentionParams& params,
                             const StateExchange& step, int64_t num_kv_heads) {
  const KeySpread one_rank;
  StateExchange whole = step;
  whole.spread = one_rank;
  std::vector<int32_t> rows = {0}, keys = {0};
  std::vector<float> k, v;
  for (size_t s = 0; s < step.sequences.size(); ++s) {
    const SequenceSize& size = step.sequences[s];
    rows.push_back(rows.back() + static_cast<int32_t>(size.num_rows));
    keys.push_back(keys.back() + static_cast<int32_t>(size.num_keys));
    for (auto& [all, tensor] : {std::pair(&k, kKey), {&v, kValue}}) {
      const std::vector<float> own = OwnKeys(whole, s, 0, tensor, num_kv_heads);
      all->insert(all->end(), own.begin(), own.end());
    }
  }
  const std::vector<float> q = Rows(step);
  std::vector<float> out = Floats(static_cast<int64_t>(q.size()));
  heed::AttentionArgs args;
  args.query = heed::Thd(q.data(), rows.back(), step.num_heads, kDim);
  args.key = heed::Thd<const float>(k.data(), keys.back(), num_kv_heads, kDim);
  args.value =
      heed::Thd<const float>(v.data(), keys.back(), num_kv_heads, kDim);
  args.out = heed::Thd(out.data(), rows.back(), step.num_heads, kDim);
  args.ragged.num_sequences = static_cast<int64_t>(step.sequences.size());
  args.ragged.cu_seqlens_q = rows.data();
  args.ragged.cu_seqlens_k = keys.data();
  Check(heed::Attention(params, args));
  return out;
}

}  // namespace

bool ExchangeStates(Ranks* ranks, const std::string& what,
                    const heed::AttentionParams& params,
                    const StateExchange& step, int64_t num_kv_heads) {
  const int rank = ranks->rank();
  const auto floats = [&](int from, int to) { return step.Floats(from, to); };
  const std::vector<float> query = Rows(step);
  const int64_t num_rows =
      static_cast<int64_t>(query.size()) / (step.num_heads * kDim);
  const heed::ConstTensorView rows =
      heed::Thd(query.data(), num_rows, step.num_heads, kDim);
  const Range heads = step.Heads(rank);
  std::vector<float> merged = Floats(num_rows * heads.count() * kDim);
  const heed::TensorView all_out =
      heed::Thd(merged.data(), num_rows, heads.count(), kDim);

  std::vector<std::vector<float>> memory;
  std::vector<SequencePart> parts;
  std::vector<heed::TensorView> out;
  int64_t first_row = 0;
  for (size_t s = 0; s < step.sequences.size(); ++s) {
    const auto own = [&](Tensor tensor) {
      memory.push_back(OwnKeys(step, s, rank, tensor, num_kv_heads));
      const std::vector<float>& keys = memory.back();
      return heed::Thd(
          keys.data(),
          static_cast<int64_t>(keys.size()) / (num_kv_heads * kDim),
          num_kv_heads, kDim);
    };
    const int64_t count = step.sequences[s].num_rows;
    SequencePart part;
    part.query = heed::TokensOf(rows, first_row, count);
    part.key = own(kKey);
    part.value = own(kValue);
    parts.push_back(part);
    out.push_back(heed::TokensOf(all_out, first_row, count));
    first_row += count;
  }

  std::vector<float> send = Floats(ranks->SumTo(floats));
  Check(ComputeStates(step, rank, params, parts, heed::SerialExecutor(),
                      send.data()));
  const std::vector<float> received = ranks->AllToAll(send, floats);
  Check(MergeStates(step, rank, received.data(), out));

  const std::vector<float> whole = WholeStep(params, step, num_kv_heads);
  const bool same = SameBits(
      all_out,
      HeadsOf(heed::Thd(whole.data(), num_rows, step.num_heads, kDim), heads));
  const int64_t size = ranks->size();
  int64_t row_states = 0;
  for (int from = 0; from < size; ++from) row_states += step.RowStates(from);
  return Report(ranks, "step, states exchanged, " + what, same,
                step.num_heads % size == 0 ? 4 * step.num_heads * (kDim + 2) *
                                                 row_states * (size - 1) / size
                                           : -1);
}

}  // namespace context_parallel
