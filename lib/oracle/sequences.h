// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Ragged batches and pages for the oracles: each sequence as a dense call.
#ifndef HEED_LIB_ORACLE_SEQUENCES_H_
#define HEED_LIB_ORACLE_SEQUENCES_H_

#include <cstdint>
#include <functional>

#include "heed/attention.h"

namespace heed::oracle {

// Calls f(params, args) with dense arguments: once with those given where they
// are dense already, else once a sequence, in order, with its rows as a view,
// its keys as a view or copied out of their pages, and its offset in the
// parameters. What a sequence does not own stays out of reach.
using DenseCall =
    std::function<void(const AttentionParams&, const AttentionArgs&)>;
void ForEachSequence(const AttentionParams& params, const AttentionArgs& args,
                     const DenseCall& f);

// Calls f(params, args, out, lse) in the same way for oracles that write packed
// rows: out and lse, which may be null, move on by a sequence's rows.
template <typename T, typename F>
void ForEachSequence(const AttentionParams& params, const AttentionArgs& args,
                     T* out, T* lse, F f) {
  ForEachSequence(params, args,
                  [&](const AttentionParams& of_one, const AttentionArgs& one) {
                    f(of_one, one, out, lse);
                    const int64_t rows = one.query.batch() *
                                         one.query.seqlen() * one.query.heads();
                    if (out != nullptr) out += rows * one.value.head_dim();
                    if (lse != nullptr) lse += rows;
                  });
}

}  // namespace heed::oracle

#endif  // HEED_LIB_ORACLE_SEQUENCES_H_
