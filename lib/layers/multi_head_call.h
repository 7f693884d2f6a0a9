// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A layer's call on its way: checked, and the parts that it is made of.
#ifndef HEED_LIB_LAYERS_MULTI_HEAD_CALL_H_
#define HEED_LIB_LAYERS_MULTI_HEAD_CALL_H_

#include <cstdint>

#include "heed/append.h"
#include "heed/layers.h"
#include "lib/layers/check_multi_head.h"
#include "lib/layers/multi_head_memory.h"

namespace heed::internal {

struct MultiHeadCall {
  const MultiHeadPlan& plan;
  MultiHeadArgs args;  // with key, value and cu_seqlens_k filled in
  MultiHeadMemory memory;
  // Projected rows.
  TensorView query, key, value, attended;
  AppendArgs append;  // with a cache
  AttentionArgs attention;
  Workspace workspace;  // of attention

  bool appends() const {
    return plan.shape.cache && args.key.seqlen() > 0 && NumSequences(args) > 0;
  }
};

// Fills in what runs, and checks what CheckMultiHeadArgs left: lengths, pages
// and positions.
Status PrepareMultiHead(MultiHeadCall* call);

}  // namespace heed::internal

#endif  // HEED_LIB_LAYERS_MULTI_HEAD_CALL_H_
