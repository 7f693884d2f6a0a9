// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The problem string: one text names a shape and its masks in test ids,
// benchmark rows and tool arguments, such as
// "b1_h32_kv8_d128_q512_k4096_f32_causal".
#ifndef HEED_LIB_IO_PROBLEM_H_
#define HEED_LIB_IO_PROBLEM_H_

#include <string>
#include <string_view>

#include "heed/attention.h"

namespace heed::io {

// What is computed on which shape; no tensors.
struct Problem {
  AttentionShape shape;
  AttentionParams params;
};

// Reads fields joined by '_', each at most once and in any order:
//
//   b<N> batch (1)   h<N> num_heads    kv<N> num_kv_heads (h)
//   d<N> head_dim    dv<N> head_dim_v (d)
//   q<N> seqlen_q    k<N> seqlen_k (q)
//   f32 | bf16 | f16 (f32)
//   kvi8 | kve4m3 | kve5m2 | kvu4: keys and values are quantised
//   rot: keys and values are rotated
//   causal   off<N> causal_offset   wl<N> window_left   wr<N> window_right
//   sink<N> sink_size   cap<X> softcap   scale<X> softmax_scale
//
// h, d and q are required; the others have the defaults in parentheses or of
// AttentionParams. Returns "" and sets *problem, or returns one sentence that
// names the field and leaves *problem alone. Whether the library serves the
// problem is for MakePlan to say.
std::string ParseProblem(std::string_view text, Problem* problem);

// Returns the canonical text: batch, heads, head_dim, both seqlens and dtype
// always, anything else where it is not the default. ParseProblem reads it back
// to an equal problem.
std::string FormatProblem(const Problem& problem);

// Equal in every field.
bool operator==(const Problem& a, const Problem& b);

}  // namespace heed::io

#endif  // HEED_LIB_IO_PROBLEM_H_
