// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Truths about the scan of heed/linear.h. They know neither maps nor the
// library's code; tensors are f32, bf16 or f16.
#ifndef HEED_LIB_ORACLE_RECURRENCE_H_
#define HEED_LIB_ORACLE_RECURRENCE_H_

#include <cstdint>

#include "heed/linear.h"

namespace heed::oracle {

// The recurrence token by token, in plain double with libm.
// out[batch][seqlen][heads][head_dim_v]; state[sequences][state heads]
// [head_dim][head_dim_v] and sum[sequences][state heads][head_dim] after the
// last token. Any may be null.
void RecurrenceDouble(const ScanParams& params, const ScanArgs& args,
                      double* out, double* state, double* sum);

// The same rows of out without any state: pair by pair, each weight a product
// of the decays between the two tokens, and what is erased by forward
// substitution over all tokens before. Shares with the recurrence only how
// elements are read.
void QuadraticDouble(const ScanParams& params, const ScanArgs& args,
                     double* out);

// The page that defines the output bits for a chunk length: scalar, std::fma.
// Writes args.out, final_state and final_sum.
void ScanBits(const ScanParams& params, const ScanArgs& args, int64_t chunk);

}  // namespace heed::oracle

#endif  // HEED_LIB_ORACLE_RECURRENCE_H_
