// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Every check of what a caller hands in: validation comes before any write.
#ifndef HEED_LIB_CORE_CHECK_H_
#define HEED_LIB_CORE_CHECK_H_

#include <cstddef>
#include <cstdint>

#include "heed/attention.h"
#include "heed/executor.h"
#include "lib/core/tensors.h"

namespace heed::internal {

inline Status Invalid(const char* argument, const char* message) {
  return Status(StatusCode::kInvalidArgument, argument, message);
}

// ---- Shapes and parameters: check_shape.cc ----------------------------------

// Dtypes that attention is defined for, extents, and what overflows.
Status CheckShape(const AttentionShape& shape);

// `rule` is made of the parameters.
Status CheckParams(const AttentionParams& params, const ScoreRule& rule);

// ---- Single views: check_view.cc --------------------------------------------

// Whether every tensor may be of this type: f32, bf16, f16.
bool IsFloat(DType dtype);

// Dtype, strides, alignment, null data, overflow of one tensor; or, of one
// whose memory is `elsewhere`, all but its memory, of which it has none.
Status CheckView(const ConstTensorView& view, const TensorName& name,
                 TensorRole role, bool elsewhere = false);

Status CheckF32(const ConstTensorView& view, const TensorName& name);

// The type of a tensor that has no field in the shape.
Status CheckType(const ConstTensorView& view, const TensorName& name);

// Refuses `to` where it has another shape than `source`, whose rows become its
// own, and a head_dim that is not offered.
Status CheckRowsBecome(const ConstTensorView& source,
                       const ConstTensorView& to);

// The memory from the first to behind the last element of a view.
struct MemoryRange {
  uintptr_t begin, end;
  bool Meets(const MemoryRange& other) const {
    return begin < other.end && other.begin < end && begin < end &&
           other.begin < other.end;
  }
};
MemoryRange MemoryOf(const ConstTensorView& view);

// Refuses `output` where the memory from its first to its last element meets
// that of the other.
Status CheckOverlap(const ConstTensorView& output,
                    const TensorName& output_name, const ConstTensorView& other,
                    const TensorName& other_name);

// ---- A call: check_args.cc --------------------------------------------------

// The tensors against each other, against the plan, and the key intervals.
Status CheckArgs(const Plan& plan, const AttentionArgs& args);

// Ragged batches and pages (check_ragged.cc): whether they fit each other and
// the plan; then, with tensors that were checked, every index.
Status CheckRaggedShape(const Plan& plan, const AttentionArgs& args);
Status CheckRagged(const Plan& plan, const AttentionArgs& args);

// Running sums of lengths: from 0 to `end`, never falling.
struct Sums {
  const char* argument;
  const int32_t* at;
  int64_t end;
  int64_t most;  // of one sequence
  const char* beyond_most;
};
Status CheckSums(const Sums& sums, int64_t num_sequences);

// Refuses what is written where it meets their index arrays, which tasks still
// read. Needs arguments that those took.
Status CheckArrayOverlaps(const AttentionArgs& args,
                          const ConstTensorView& output,
                          const TensorName& output_name);

// Size, alignment, and that no tensor lies in it. Needs arguments that were
// checked.
Status CheckWorkspace(const Plan& plan, const AttentionArgs& args,
                      Workspace workspace, int workers);

// What quantised keys and values are multiplied by (check_scales.cc). Needs
// tensors that were checked one by one and against the plan.
Status CheckScales(const AttentionArgs& args);
Status CheckScalesOf(const ScaledRows& rows, const TensorName& scale,
                     const TensorName& minimum);

// Score inputs (check_scores.cc): extents, and every number that is an index.
// Needs tensors that were checked one by one, and sequences.
Status CheckScores(const Plan& plan, const AttentionArgs& args);

// The size and the alignment alone.
Status CheckWorkspaceBytes(Workspace workspace, size_t need);

Status CheckExecutor(const Executor& executor);

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_CHECK_H_
