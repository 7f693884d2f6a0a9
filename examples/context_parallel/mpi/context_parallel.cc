// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attention over several processes with the bits of one:
//
//   mpirun -n 4 example_context_parallel
//
// Prefill with keys gathered and with heads exchanged, a step of decoding and
// chunks with states exchanged. Every rank compares its part of the result with
// one process's call on the whole, and what came to all ranks is compared with
// the formulas of docs/scale.md. Returns non-zero where either differs.
#include <mpi.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "cases.h"

namespace context_parallel {

void Check(const heed::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", heed::ToString(status).c_str());
  MPI_Abort(MPI_COMM_WORLD, 1);
}

std::vector<float> Floats(int64_t count) {
  return std::vector<float>(static_cast<size_t>(count));
}

std::vector<float> Drawn(Tensor tensor, Range tokens, int64_t heads) {
  std::vector<float> numbers = Floats(tokens.count() * heads * kDim);
  Draw(tensor, tokens, heads * kDim, numbers.data());
  return numbers;
}

bool SameBits(const heed::ConstTensorView& a, const heed::ConstTensorView& b) {
  for (int64_t s = 0; s < a.seqlen(); ++s) {
    for (int64_t h = 0; h < a.heads(); ++h) {
      if (std::memcmp(heed::RowAt(a, 0, s, h), heed::RowAt(b, 0, s, h),
                      static_cast<size_t>(a.head_dim()) * sizeof(float)) != 0) {
        return false;
      }
    }
  }
  return true;
}

bool Report(Ranks* ranks, const std::string& what, bool same, int64_t formula) {
  const int64_t wrong = ranks->Sum(same ? 0 : 1);
  const int64_t bytes = ranks->Sum(ranks->TakeReceived());
  const bool as_said = formula < 0 || bytes == formula;
  if (ranks->rank() == 0) {
    const char* const compared = formula < 0 ? ""
                                 : as_said   ? ", as by the formula"
                                             : ", NOT as by the formula";
    std::printf("%-58s %s, %8lld bytes%s\n", what.c_str(),
                wrong == 0 ? "same bits" : "OTHER BITS",
                static_cast<long long>(bytes), compared);
  }
  return wrong == 0 && as_said;
}

namespace {

heed::AttentionParams Causal(int64_t window_left, int64_t sink_size) {
  heed::AttentionParams params;
  params.causal = true;
  params.window_left = window_left;
  params.sink_size = sink_size;
  return params;
}

bool RunAll(Ranks* ranks) {
  // Prompts beyond one span of keys where states are at stake, and the window's
  // sinks end in the second one.
  const heed::AttentionParams causal = Causal(-1, 0);
  bool good = GatherKeys(ranks, "causal", causal, {5001, 4, 2});
  good &= GatherKeys(ranks, "window and sinks", Causal(700, 50), {5001, 4, 2});
  good &= ExchangeHeads(ranks, "causal", causal, {2412, 12, 12});
  good &=
      ExchangeHeads(ranks, "window and sinks", Causal(700, 50), {2412, 12, 1});

  // Four sequences that decode, and two with a chunk of a prompt each.
  const std::vector<SequenceSize> sizes = {{1, 30000}, {1, 300},   {64, 9000},
                                           {1, 8192},  {1, 20001}, {5, 4097}};
  for (const auto& [how, spread] :
       {std::pair("contiguous", Contiguous(ranks->size(), 30000)),
        {"span by span", SpanCyclic(ranks->size())}}) {
    const StateExchange step = {spread, 12, kDim, sizes};
    const std::string spread_as = std::string(how) + ", ";
    good &= ExchangeStates(ranks, spread_as + "causal", causal, step, 4);
    good &= ExchangeStates(ranks, spread_as + "window and sinks",
                           Causal(3000, 4100), step, 4);
  }
  return good;
}

}  // namespace
}  // namespace context_parallel

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  context_parallel::Ranks ranks(MPI_COMM_WORLD);
  if (ranks.rank() == 0) {
    std::printf("%d ranks; bytes are what all of them received\n",
                ranks.size());
  }
  const bool good = context_parallel::RunAll(&ranks);
  MPI_Finalize();
  return good ? 0 : 1;
}
