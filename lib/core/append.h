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

// Batch and position in the cache of a sequence's position: a page and its row
// where there are pages.
struct Place {
  int64_t batch, position;
};
inline Place PlaceOf(const AppendArgs& args, int64_t page_size,
                     int64_t sequence, int64_t position) {
  if (args.pages.page_table == nullptr) return {sequence, position};
  return {args.pages.page_table[sequence * args.pages.table_stride +
                                position / page_size],
          position % page_size};
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_APPEND_H_
