// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Where the new rows of an append are and where they go.
#ifndef HEED_LIB_CORE_APPEND_H_
#define HEED_LIB_CORE_APPEND_H_

#include <cstdint>

#include "heed/append.h"

namespace heed::internal {

// Everything that AppendKv refuses (check_append.cc).
Status CheckAppend(const AppendArgs& args);

// The tensor that says how many new rows there are.
inline const ConstTensorView& NewRowsOf(const AppendArgs& args) {
  return args.key.absent() ? args.value : args.key;
}

// New rows [first, first + count) of one sequence, counted over all of them.
struct NewRows {
  int64_t first, count;
};
inline NewRows NewRowsOf(const AppendArgs& args, int64_t sequence) {
  if (args.cu_seqlens == nullptr) {
    const int64_t tokens = NewRowsOf(args).seqlen();
    return {sequence * tokens, tokens};
  }
  return {args.cu_seqlens[sequence],
          int64_t{args.cu_seqlens[sequence + 1]} - args.cu_seqlens[sequence]};
}

// Batch and position in the cache of a sequence's position; where there are
// pages, the entry of their table or arrays and the row.
struct Place {
  int64_t batch, position;
};
inline Place PlaceOf(const AppendArgs& args, int64_t page_size,
                     int64_t sequence, int64_t position) {
  if (!args.pages.any()) return {sequence, position};
  return {sequence * args.pages.table_stride + position / page_size,
          position % page_size};
}

// The view of a cache, or of its scales or minima, in which a place is batch 0;
// `array` is where its pages begin if they have pointers.
inline TensorView ViewAt(const Pages& pages, void* const* array,
                         TensorView view, int64_t batch) {
  if (view.absent()) return view;
  if (array != nullptr) {
    view.data = array[batch];
  } else if (!pages.by_pointers()) {
    if (pages.page_table != nullptr) batch = pages.page_table[batch];
    view.data = BytesAt(view, batch, 0, 0);
  }
  return view;
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_APPEND_H_
