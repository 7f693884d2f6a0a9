// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What layers refuse before anything is computed.
#ifndef HEED_LIB_LAYERS_CHECK_MULTI_HEAD_H_
#define HEED_LIB_LAYERS_CHECK_MULTI_HEAD_H_

#include <cstdint>

#include "heed/layers.h"
#include "lib/core/check.h"

namespace heed::internal {

// Whether rows of several sequences stand behind one another.
inline bool IsPacked(const MultiHeadArgs& args) {
  return args.cu_seqlens_q != nullptr;
}

inline int64_t NumSequences(const MultiHeadArgs& args) {
  return IsPacked(args) ? args.num_sequences : args.query.batch();
}

// The rows of a sequence, counted over the whole batch.
struct SequenceRows {
  int64_t first, count;
};

inline SequenceRows RowsOf(const int32_t* sums, const ConstTensorView& rows,
                           int64_t sequence) {
  if (sums == nullptr) return {sequence * rows.seqlen(), rows.seqlen()};
  return {sums[sequence], sums[sequence + 1] - sums[sequence]};
}

inline SequenceRows QueryRows(const MultiHeadArgs& args, int64_t sequence) {
  return RowsOf(args.cu_seqlens_q, args.query, sequence);
}

// Needs args with key and cu_seqlens_k filled in.
inline SequenceRows KeyRows(const MultiHeadArgs& args, int64_t sequence) {
  return RowsOf(args.cu_seqlens_k, args.key, sequence);
}

// Sets every 0 of the parameters that stands for another one.
MultiHeadParams Resolved(MultiHeadParams params);

// Resolved parameters and the shape, but for what MakePlan checks.
Status CheckMultiHeadShape(const MultiHeadParams& params,
                           const MultiHeadShape& shape);

// Rows, projections and caches of a call, and what overlaps; of lengths, pages
// and positions only whether they are there. Needs args with key, value and
// cu_seqlens_k filled in.
Status CheckMultiHeadArgs(const MultiHeadPlan& plan, const MultiHeadArgs& args);

// That what is written meets nothing else of the call (check_apart.cc): out and
// caches; and the workspace, its first `bytes`.
Status CheckApart(const MultiHeadArgs& args);
Status CheckOutsideWorkspace(const MultiHeadArgs& args, Workspace workspace,
                             size_t bytes);

// The same for pages that have pointers. Needs attention's part of the call,
// checked, in that workspace.
Status CheckPagesOutside(const MultiHeadArgs& args,
                         const AttentionArgs& attention, Workspace workspace,
                         size_t bytes);

// Refuses an output that meets packed weights.
Status CheckLinearApart(const PackedLinear& linear, const TensorName& name,
                        const ConstTensorView& output,
                        const TensorName& output_name);

}  // namespace heed::internal

#endif  // HEED_LIB_LAYERS_CHECK_MULTI_HEAD_H_
