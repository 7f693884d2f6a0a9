// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Dense masks that are a rule in truth: what a host hands over as a matrix,
// said in AttentionParams, so that hidden keys cost nothing.
#ifndef HEED_RECOGNISE_MASK_H_
#define HEED_RECOGNISE_MASK_H_

#include <cstdint>

#include "heed/attention.h"
#include "heed/export.h"
#include "heed/status.h"
#include "heed/tensor.h"

namespace heed {

// What a mask is: the first of these that it is.
enum class MaskForm : int32_t {
  // Hides nothing.
  kAll = 0,
  // causal, causal_offset and window_left of AttentionParams, the same for
  // every batch and head.
  kRule = 1,
  // A rule and, for each batch, a number of keys (Ragged::seqlens_k). Only
  // found where `begin` and `end` are given.
  kLengths = 2,
  // Each row sees one range of keys, such as a document's: see `begin` and
  // `end`.
  kRanges = 3,
  // None of these: holes, or numbers that do more than hide.
  kOther = 4,
};

struct MaskOptions {
  // A row in which every key has the lowest finite number does not hide its
  // keys: softmax then averages them all. True takes it as a row that sees
  // none, as whoever pads with such rows does not read them.
  bool lowest_hides_rows = false;
  // Where to write the keys [begin, end) that each row sees, [batch][num_heads]
  // [seqlen_q] each, and each batch's number of keys, or null. Written where
  // the form is not kOther (seqlens_k: for kLengths); else they may be.
  int32_t* begin = nullptr;
  int32_t* end = nullptr;
  int32_t* seqlens_k = nullptr;
};

struct RecognisedMask {
  MaskForm form = MaskForm::kOther;
  // Of kRule and kLengths; as in AttentionParams, and without effect otherwise.
  bool causal = false;
  int64_t causal_offset = 0;
  int64_t window_left = -1;
};

// Reads a mask [batch, seqlen_q, num_heads, seqlen_k], each number once: bool,
// where true sees; or f32, bf16 or f16 to be added to scores, where 0 sees, and
// -inf or the type's lowest finite number hides. Batches, heads and rows that
// repeat by a zero stride are read once for all. Extents up to 2^31 - 1.
//
// A rule says exactly what the mask says, for every row; rules of one effect
// are one rule (a window_right is a causal mask of another offset). Costs one
// pass at the speed of memory, less for kOther. Allocates nothing.
HEED_API Status RecogniseMask(const ConstTensorView& mask,
                              const MaskOptions& options,
                              RecognisedMask* recognised);

}  // namespace heed

#endif  // HEED_RECOGNISE_MASK_H_
