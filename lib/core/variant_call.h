// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What no variant that selects serves: it reads the keys of whole sequences,
// where they stand, before it makes its lists.
#ifndef HEED_LIB_CORE_VARIANT_CALL_H_
#define HEED_LIB_CORE_VARIANT_CALL_H_

#include "heed/attention.h"
#include "heed/status.h"

namespace heed::internal {

inline Status CheckSelects(const AttentionArgs& args) {
  const char* argument = nullptr;
  if (args.key_intervals.query_block_size != 0) argument = "key_intervals";
  if (args.ragged.num_sequences != 0) argument = "ragged";
  if (args.pages.any()) {
    argument = args.pages.by_pointers() ? "key_pages" : "page_table";
  }
  if (argument == nullptr) return Status();
  return Status(StatusCode::kUnsupported, argument,
                "a sparse variant makes its own lists of keys");
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_VARIANT_CALL_H_
