// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What spreading a layer costs and gains: the compute time of one rank,
// measured on one core of this machine, beside the time that its traffic takes
// at 10 and 100 Gb/s. No MPI: one rank's share is computed, for no others.
//
//   example_what_pays [RANKS PROMPT_TOKENS [SEQUENCES KEYS]]
//
// RANKS are 2, 4 or 8. Returns non-zero where the two ways to spread a prompt
// give different bits, or bytes are not those of docs/scale.md.
#include <heed/heed.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "exchanged_heads.h"
#include "exchanged_states.h"
#include "gathered_keys.h"
#include "numbers.h"

namespace context_parallel {
namespace {

constexpr int64_t kHeads = 32, kKvHeads = 8, kDim = 128;
constexpr int64_t kGroup = kHeads / kKvHeads;

void Check(const heed::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", heed::ToString(status).c_str());
  std::exit(1);
}

std::vector<float> Drawn(Tensor tensor, int64_t tokens, int64_t heads) {
  std::vector<float> numbers(static_cast<size_t>(tokens * heads * kDim));
  Draw(tensor, {0, tokens}, heads * kDim, numbers.data());
  return numbers;
}

// Milliseconds, the best of three where that is short.
template <typename F>
double Time(F f) {
  double best = 1e300;
  for (int i = 0; i < 3 && (i == 0 || best < 2000); ++i) {
    const auto start = std::chrono::steady_clock::now();
    f();
    const std::chrono::duration<double, std::milli> time =
        std::chrono::steady_clock::now() - start;
    best = std::min(best, time.count());
  }
  return best;
}

// Prints one line, with the cores of a rank at which computing takes no longer
// than the network; returns whether the bytes that a rank receives are as said.
bool Print(const char* what, double compute, double bytes, double formula) {
  const double slow = bytes * 8 / 10e9 * 1e3, fast = slow / 10;
  std::printf("%-26s %11.1f %12.3f %10.3f %7.0f %10.3f %7.0f\n", what, compute,
              bytes / 1e6, slow, compute / slow, fast, compute / fast);
  const bool as_said = bytes == formula;
  if (!as_said) std::printf("  NOT the formula's %.0f bytes\n", formula);
  return as_said;
}

// One key head and its queries are computed, for all ranks' are alike: times
// are so many times that.
bool Prompt(int ranks, int64_t tokens) {
  const std::vector<float> q = Drawn(kQuery, tokens, kGroup),
                           k = Drawn(kKey, tokens, 1),
                           v = Drawn(kValue, tokens, 1);
  const heed::ConstTensorView query =
      heed::Thd<const float>(q.data(), tokens, kGroup, kDim);
  heed::AttentionParams params;
  params.causal = true;

  const ZigzagTokens own = ZigzagOf(tokens, ranks, 0);
  std::vector<float> rows;
  for (const Range& piece : {own.low, own.high}) {
    const float* const first = q.data() + piece.begin * kGroup * kDim;
    rows.insert(rows.end(), first, first + piece.count() * kGroup * kDim);
  }
  std::vector<float> out(rows.size());
  heed::AttentionArgs args;
  args.query = heed::Thd<const float>(rows.data(), own.count(), kGroup, kDim);
  args.key = heed::Thd<const float>(k.data(), tokens, 1, kDim);
  args.value = heed::Thd<const float>(v.data(), tokens, 1, kDim);
  args.out = heed::Thd(out.data(), own.count(), kGroup, kDim);
  const double gathered =
      kKvHeads * Time([&] {
        Check(AttendGathered(params, own, args, heed::SerialExecutor()));
      });

  // What a rank of the exchange has to itself: all tokens of its heads.
  const HeadExchange one = {1, tokens, kGroup, 1, kDim, kDim};
  std::vector<float> packed(static_cast<size_t>(one.FloatsThere(0, 0)));
  std::vector<float> sent(static_cast<size_t>(one.FloatsBack(0, 0)));
  PackTokens(one, query, args.key, args.value, packed.data());
  const double exchanged =
      kKvHeads / ranks * Time([&] {
        Check(AttendHeads(one, 0, params, packed.data(), heed::SerialExecutor(),
                          sent.data()));
      });

  const HeadExchange all = {ranks, tokens, kHeads, kKvHeads, kDim, kDim};
  double floats = 0;
  for (int from = 1; from < ranks; ++from) {
    floats +=
        static_cast<double>(all.FloatsThere(from, 0) + all.FloatsBack(from, 0));
  }
  const double others = (ranks - 1.0) / ranks;
  bool good =
      Print("prompt, keys gathered", gathered,
            8.0 * kKvHeads * kDim * static_cast<double>(tokens - own.count()),
            8.0 * static_cast<double>(tokens) * kKvHeads * kDim * others);
  good &= Print("prompt, heads exchanged", exchanged, 4 * floats,
                8.0 * (kHeads + kKvHeads) * kDim * static_cast<double>(tokens) /
                    ranks * others);

  // Both are the same rows.
  const size_t low = static_cast<size_t>(own.low.count() * kGroup * kDim);
  const float* const high = sent.data() + own.high.begin * kGroup * kDim;
  if (std::memcmp(out.data(), sent.data(), low * sizeof(float)) != 0 ||
      std::memcmp(out.data() + low, high, (out.size() - low) * sizeof(float))) {
    std::printf("  OTHER BITS\n");
    good = false;
  }
  return good;
}

// One sequence is computed: times and bytes are so many times that.
bool Decode(int ranks, int64_t sequences, int64_t keys) {
  const StateExchange exchange = {
      Contiguous(ranks, keys), kHeads, kDim, {{1, keys}}};
  const int64_t own = std::min(exchange.spread.block_keys, keys);
  const std::vector<float> q = Drawn(kQuery, 1, kHeads),
                           k = Drawn(kKey, own, kKvHeads),
                           v = Drawn(kValue, own, kKvHeads);
  const std::vector<SequencePart> parts = {
      {heed::Thd<const float>(q.data(), 1, kHeads, kDim),
       heed::Thd<const float>(k.data(), own, kKvHeads, kDim),
       heed::Thd<const float>(v.data(), own, kKvHeads, kDim)}};
  heed::AttentionParams params;
  params.causal = true;
  int64_t sent = 0, received = 0, others = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    sent += exchange.Floats(0, rank);
    received += exchange.Floats(rank, 0);
    if (rank != 0) others += exchange.Floats(rank, 0);
  }
  // For the time of merging any numbers will do.
  std::vector<float> states(static_cast<size_t>(sent)),
      everyones(static_cast<size_t>(received), 1.0f);
  std::vector<float> out(static_cast<size_t>(exchange.Heads(0).count() * kDim));
  const double computed = Time([&] {
    Check(ComputeStates(exchange, 0, params, parts, heed::SerialExecutor(),
                        states.data()));
  });
  const double merged = Time([&] {
    Check(MergeStates(
        exchange, 0, everyones.data(),
        {heed::Thd(out.data(), 1, exchange.Heads(0).count(), kDim)}));
  });
  const double batch = static_cast<double>(sequences);
  std::printf("(a rank reads %.1f GB/s; merging takes %.3f ms a sequence)\n",
              static_cast<double>(own * kKvHeads * kDim * 8) / computed / 1e6,
              merged);
  // Where keys divide evenly, every rank holds as many states.
  const int64_t covered =
      exchange.spread.whole_groups() ? heed::kGroupStateKeys : heed::kStateKeys;
  const int64_t states_of_all = (keys + covered - 1) / covered;
  const double formula = 4.0 * kHeads * (kDim + 2) * batch * (ranks - 1) /
                         ranks * static_cast<double>(states_of_all / ranks);
  const double bytes = 4.0 * batch * static_cast<double>(others);
  return Print("decode, states exchanged", (computed + merged) * batch, bytes,
               states_of_all % ranks == 0 ? formula : bytes);
}

bool RunAll(int ranks, int64_t tokens, int64_t sequences, int64_t keys) {
  std::printf(
      "A layer of %lld heads over %lld of dimension %lld, causal, f32, over %d "
      "ranks of one core\n"
      "%lld tokens of a prompt; %lld sequences of %lld keys\n\n"
      "%-26s %11s %12s %10s %7s %10s %7s\n",
      static_cast<long long>(kHeads), static_cast<long long>(kKvHeads),
      static_cast<long long>(kDim), ranks, static_cast<long long>(tokens),
      static_cast<long long>(sequences), static_cast<long long>(keys), "a rank",
      "compute ms", "received MB", "10 Gb/s ms", "cores", "100 Gb/s", "cores");
  const bool prompt = Prompt(ranks, tokens);
  return Decode(ranks, sequences, keys) && prompt;
}

}  // namespace
}  // namespace context_parallel

int main(int argc, char** argv) {
  const auto number = [&](int i, int64_t otherwise) -> int64_t {
    return argc > i ? std::atoll(argv[i]) : otherwise;
  };
  const int64_t ranks = number(1, 4), tokens = number(2, 512);
  const int64_t sequences = number(3, 8), keys = number(4, 16384);
  if (ranks < 2 || ranks > 8 || 8 % ranks != 0 || tokens < 2 * ranks ||
      tokens % (2 * ranks) != 0 || sequences < 1 || keys < 1) {
    std::fprintf(
        stderr,
        "usage: %s [RANKS PROMPT_TOKENS [SEQUENCES KEYS]]\n"
        "RANKS are 2, 4 or 8, PROMPT_TOKENS are a multiple of 2 RANKS\n",
        argv[0]);
    return 2;
  }
  return context_parallel::RunAll(static_cast<int>(ranks), tokens, sequences,
                                  keys)
             ? 0
             : 1;
}
