// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Three truths about attention. None of them links or shares code with the
// library; they see only its view types. Tensors are f32, bf16 or f16, keys and
// values also quantised.
#ifndef HEED_LIB_ORACLE_ORACLE_H_
#define HEED_LIB_ORACLE_ORACLE_H_

#include <cstdint>

#include "heed/attention.h"

namespace heed::oracle {

// Whether query row `row` of `args` may see the key at position `key`, by the
// text of AttentionParams. For all oracles, so it is written once, in the
// plainest way.
bool Visible(const AttentionParams& params, const AttentionArgs& args,
             int64_t batch, int64_t head, int64_t row, int64_t key);

// The page that defines the output bits (docs/numerics.md). Scalar, std::fma.
// Writes args.out, rounded once to its type, and args.lse.
void AttentionBits(const AttentionParams& params, const AttentionArgs& args);

// Plain double with libm, two passes. out[batch][seqlen_q][num_heads]
// [head_dim_v] and lse[batch][seqlen_q][num_heads], either may be null.
void AttentionDouble(const AttentionParams& params, const AttentionArgs& args,
                     double* out, double* lse);

// The same by xsimd in double: for sizes where AttentionDouble takes too long.
void AttentionFast(const AttentionParams& params, const AttentionArgs& args,
                   double* out, double* lse);

// Textbook attention in float (three steps, std::exp), `out` rounded to the
// type of args.out, which need not exist: its error against AttentionDouble is
// the yardstick of every tolerance.
void AttentionPlainFloat(const AttentionParams& params,
                         const AttentionArgs& args, float* out, float* lse);

}  // namespace heed::oracle

#endif  // HEED_LIB_ORACLE_ORACLE_H_
