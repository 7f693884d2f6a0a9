// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "exchanged_heads.h"

#include <algorithm>

namespace context_parallel {

Range HeadExchange::KvHeads(int rank) const {
  const int64_t group = num_heads / num_kv_heads;
  const Range heads = Heads(rank);
  if (heads.count() == 0) return {};
  return {heads.begin / group, (heads.end - 1) / group + 1};
}

int64_t HeadExchange::RowFloats(int rank) const {
  return Heads(rank).count() * head_dim +
         KvHeads(rank).count() * (head_dim + head_dim_v);
}

void PackTokens(const HeadExchange& exchange,
                const heed::ConstTensorView& query,
                const heed::ConstTensorView& key,
                const heed::ConstTensorView& value, float* send) {
  for (int to = 0; to < exchange.ranks; ++to) {
    const Range kv = exchange.KvHeads(to);
    const heed::ConstTensorView parts[3] = {HeadsOf(query, exchange.Heads(to)),
                                            HeadsOf(key, kv),
                                            HeadsOf(value, kv)};
    for (int64_t token = 0; token < query.seqlen(); ++token) {
      for (const heed::ConstTensorView& part : parts) {
        for (int64_t head = 0; head < part.heads(); ++head) {
          send = std::copy_n(heed::RowAt(part, 0, token, head), part.head_dim(),
                             send);
        }
      }
    }
  }
}

heed::Status AttendHeads(const HeadExchange& exchange, int rank,
                         const heed::AttentionParams& params,
                         const float* received, const heed::Executor& executor,
                         float* send) {
  const int64_t tokens = exchange.num_tokens;
  const int64_t dim = exchange.head_dim, dim_v = exchange.head_dim_v;
  const Range heads = exchange.Heads(rank), kv = exchange.KvHeads(rank);
  const int64_t row = exchange.RowFloats(rank);
  const auto packed = [&](const float* first, int64_t count, int64_t size) {
    return heed::Strided(first, 1, tokens, count, size, tokens * row, row,
                         size);
  };
  heed::AttentionArgs all;
  all.query = packed(received, heads.count(), dim);
  all.key = packed(received + heads.count() * dim, kv.count(), dim);
  all.value =
      packed(received + (heads.count() + kv.count()) * dim, kv.count(), dim_v);
  all.out = heed::Thd(send, tokens, heads.count(), dim_v);

  // Where heads of one key head went to several ranks, a rank may have unlike
  // numbers of them: a call a key head takes any.
  const int64_t group = exchange.num_heads / exchange.num_kv_heads;
  for (int64_t head = kv.begin; head < kv.end; ++head) {
    const int64_t begin = std::max(head * group, heads.begin) - heads.begin;
    const int64_t end = std::min((head + 1) * group, heads.end) - heads.begin;
    const int64_t own = head - kv.begin;
    heed::AttentionArgs args;
    args.query = HeadsOf(all.query, {begin, end});
    args.key = HeadsOf(all.key, {own, own + 1});
    args.value = HeadsOf(all.value, {own, own + 1});
    args.out = HeadsOf(all.out, {begin, end});
    const heed::Status status = heed::Attention(params, args, executor);
    if (!status.ok()) return status;
  }
  return heed::Status();
}

void UnpackOut(const HeadExchange& exchange, int rank, const float* received,
               const heed::TensorView& out) {
  for (int from = 0; from < exchange.ranks; ++from) {
    const heed::TensorView part = HeadsOf(out, exchange.Heads(from));
    for (int64_t token = 0; token < exchange.Tokens(rank).count(); ++token) {
      for (int64_t head = 0; head < part.heads(); ++head) {
        std::copy_n(received, part.head_dim(),
                    heed::RowAt(part, 0, token, head));
        received += part.head_dim();
      }
    }
  }
}

}  // namespace context_parallel
