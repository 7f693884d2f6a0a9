// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The program's cases. Each rank compares its part with one process's call.
#ifndef HEED_EXAMPLES_CONTEXT_PARALLEL_MPI_CASES_H_
#define HEED_EXAMPLES_CONTEXT_PARALLEL_MPI_CASES_H_

#include <heed/attention.h>

#include <cstdint>
#include <string>
#include <vector>

#include "exchanged_states.h"
#include "numbers.h"
#include "ranks.h"

namespace context_parallel {

constexpr int64_t kDim = 32;

struct Prompt {
  int64_t num_tokens, num_heads, num_kv_heads;
};

// Each prints one line and returns whether all ranks have the same bits as one
// process, and received what the formula says.
bool GatherKeys(Ranks* ranks, const std::string& masks,
                const heed::AttentionParams& params, const Prompt& prompt);
bool ExchangeHeads(Ranks* ranks, const std::string& masks,
                   const heed::AttentionParams& params, const Prompt& prompt);
bool ExchangeStates(Ranks* ranks, const std::string& what,
                    const heed::AttentionParams& params,
                    const StateExchange& step, int64_t num_kv_heads);

// ---- What cases share -------------------------------------------------------

// Ends all ranks with the status's sentence.
void Check(const heed::Status& status);

// So many floats.
std::vector<float> Floats(int64_t count);

// Numbers of some tokens of a tensor, [tokens][heads][kDim].
std::vector<float> Drawn(Tensor tensor, Range tokens, int64_t heads);

// Whether rows of f32, batch 1, are the same to the bit.
bool SameBits(const heed::ConstTensorView& a, const heed::ConstTensorView& b);

// Says what came out on all ranks. `formula` are the bytes that all ranks
// together should have received, or -1 where ranks do not divide heads evenly.
bool Report(Ranks* ranks, const std::string& what, bool same, int64_t formula);

}  // namespace context_parallel

#endif  // HEED_EXAMPLES_CONTEXT_PARALLEL_MPI_CASES_H_
