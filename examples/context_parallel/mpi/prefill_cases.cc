// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Prompts: each rank draws the numbers of its own tokens alone.
#include <heed/heed.h>

#include "cases.h"
#include "exchanged_heads.h"
#include "gathered_keys.h"

namespace context_parallel {
namespace {

// One process's call.
std::vector<float> WholePrompt(const heed::AttentionParams& params,
                               const Prompt& prompt) {
  const Range tokens = {0, prompt.num_tokens};
  const auto q = Drawn(kQuery, tokens, prompt.num_heads);
  const auto k = Drawn(kKey, tokens, prompt.num_kv_heads);
  const auto v = Drawn(kValue, tokens, prompt.num_kv_heads);
  std::vector<float> out = Floats(static_cast<int64_t>(q.size()));
  const auto view = [&](auto& floats, int64_t heads) {
    return heed::Thd(floats.data(), tokens.count(), heads, kDim);
  };
  heed::AttentionArgs args;
  args.query = view(q, prompt.num_heads);
  args.key = view(k, prompt.num_kv_heads);
  args.value = view(v, prompt.num_kv_heads);
  args.out = view(out, prompt.num_heads);
  Check(heed::Attention(params, args));
  return out;
}

std::string Named(const char* how, const std::string& masks,
                  const Prompt& prompt) {
  return std::string("prefill, ") + how + ", " +
         std::to_string(prompt.num_heads) + "/" +
         std::to_string(prompt.num_kv_heads) + " heads, " + masks;
}

}  // namespace

bool GatherKeys(Ranks* ranks, const std::string& masks,
                const heed::AttentionParams& params, const Prompt& prompt) {
  const int64_t heads = prompt.num_heads, kv_heads = prompt.num_kv_heads;
  const int64_t tokens = prompt.num_tokens;
  const auto zigzag = [&](int rank) {
    return ZigzagOf(tokens, ranks->size(), rank);
  };
  const ZigzagTokens own = zigzag(ranks->rank());

  // A token's keys lie beside its values, so that one message has both, and own
  // tokens stand where they will among all.
  const int64_t row = 2 * kv_heads * kDim;
  std::vector<float> query, kv = Floats(tokens * row);
  for (const Range& piece : {own.low, own.high}) {
    const std::vector<float> rows = Drawn(kQuery, piece, heads);
    query.insert(query.end(), rows.begin(), rows.end());
    for (int64_t token = piece.begin; token < piece.end; ++token) {
      const Range one = {token, token + 1};
      float* to = kv.data() + token * row;
      to = Draw(kKey, one, kv_heads * kDim, to);
      Draw(kValue, one, kv_heads * kDim, to);
    }
  }
  ranks->GatherRows([&](int rank) { return zigzag(rank).low; }, row, kv.data());
  ranks->GatherRows([&](int rank) { return zigzag(rank).high; }, row,
                    kv.data());

  std::vector<float> out = Floats(static_cast<int64_t>(query.size()));
  const heed::ConstTensorView both =
      heed::Thd<const float>(kv.data(), tokens, 2 * kv_heads, kDim);
  heed::AttentionArgs args;
  args.query = heed::Thd<const float>(query.data(), own.count(), heads, kDim);
  args.key = HeadsOf(both, {0, kv_heads});
  args.value = HeadsOf(both, {kv_heads, 2 * kv_heads});
  args.out = heed::Thd(out.data(), own.count(), heads, kDim);
  Check(AttendGathered(params, own, args, heed::SerialExecutor()));

  const std::vector<float> whole = WholePrompt(params, prompt);
  const heed::ConstTensorView want =
      heed::Thd(whole.data(), tokens, heads, kDim);
  const auto same = [&](int64_t first, Range piece) {
    return SameBits(heed::TokensOf(args.out, first, piece.count()),
                    heed::TokensOf(want, piece.begin, piece.count()));
  };
  return Report(ranks, Named("keys gathered", masks, prompt),
                same(0, own.low) && same(own.low.count(), own.high),
                8 * tokens * kv_heads * kDim * (ranks->size() - 1));
}

bool ExchangeHeads(Ranks* ranks, const std::string& masks,
                   const heed::AttentionParams& params, const Prompt& prompt) {
  const int64_t heads = prompt.num_heads, kv_heads = prompt.num_kv_heads;
  const HeadExchange exchange = {
      ranks->size(), prompt.num_tokens, heads, kv_heads, kDim, kDim};
  const int rank = ranks->rank();
  const Range own = exchange.Tokens(rank);
  const auto there = [&](int from, int to) {
    return exchange.FloatsThere(from, to);
  };
  const auto back = [&](int from, int to) {
    return exchange.FloatsBack(from, to);
  };

  const std::vector<float> q = Drawn(kQuery, own, heads);
  const std::vector<float> k = Drawn(kKey, own, kv_heads);
  const std::vector<float> v = Drawn(kValue, own, kv_heads);
  std::vector<float> send = Floats(ranks->SumTo(there));
  PackTokens(exchange, heed::Thd(q.data(), own.count(), heads, kDim),
             heed::Thd(k.data(), own.count(), kv_heads, kDim),
             heed::Thd(v.data(), own.count(), kv_heads, kDim), send.data());
  const std::vector<float> rows = ranks->AllToAll(send, there);
  send = Floats(ranks->SumTo(back));
  Check(AttendHeads(exchange, rank, params, rows.data(), heed::SerialExecutor(),
                    send.data()));
  const std::vector<float> parts = ranks->AllToAll(send, back);
  std::vector<float> out = Floats(own.count() * heads * kDim);
  UnpackOut(exchange, rank, parts.data(),
            heed::Thd(out.data(), own.count(), heads, kDim));

  const std::vector<float> whole = WholePrompt(params, prompt);
  const bool same = SameBits(
      heed::Thd(out.data(), own.count(), heads, kDim),
      heed::TokensOf(heed::Thd(whole.data(), prompt.num_tokens, heads, kDim),
                     own.begin, own.count()));
  const int64_t size = ranks->size();
  const bool even =
      heads % size == 0 && (kv_heads % size == 0 || size % kv_heads == 0);
  return Report(ranks, Named("heads exchanged", masks, prompt), same,
                even ? 8 * (heads + std::max(kv_heads, size)) * kDim *
                           prompt.num_tokens * (size - 1) / size
                     : -1);
}

}  // namespace context_parallel
