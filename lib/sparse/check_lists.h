// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What lists of keys may hold, and the calls that they serve.
#ifndef HEED_LIB_SPARSE_CHECK_LISTS_H_
#define HEED_LIB_SPARSE_CHECK_LISTS_H_

#include <cstdint>

#include "heed/gather.h"

namespace heed::internal {

// The keys of a sequence.
inline int64_t KeysOf(const AttentionArgs& args, int64_t batch) {
  const bool ragged = args.ragged.num_sequences != 0;
  return ragged && args.ragged.seqlens_k != nullptr
             ? args.ragged.seqlens_k[batch]
             : args.key.seqlen();
}

// Refuses calls with what no lists serve.
Status CheckListedCall(const AttentionArgs& args);

// Checks every number of the lists, for a call that was checked. Errors name
// the array and the entry.
Status CheckLists(const KeyLists& lists, const AttentionArgs& args,
                  const Scratch& scratch);

}  // namespace heed::internal

#endif  // HEED_LIB_SPARSE_CHECK_LISTS_H_
