// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What variants do not serve: they read the keys of whole sequences, where they
// stand.
#ifndef HEED_LIB_CORE_VARIANT_CALL_H_
#define HEED_LIB_CORE_VARIANT_CALL_H_

#include "heed/attention.h"
#include "heed/status.h"

namespace heed::internal {

inline Status CheckNoPages(const AttentionArgs& args) {
  if (!args.pages.any()) return Status();
  return Status(StatusCode::kUnsupported,
                args.pages.by_pointers() ? "key_pages" : "page_table",
                "this variant reads keys where views say they are");
}

// Of variants that select.
inline Status CheckSelects(const AttentionArgs& args) {
  Status status = CheckNoPages(args);
  const char* argument = nullptr;
  if (args.key_intervals.query_block_size != 0) argument = "key_intervals";
  if (args.ragged.num_sequences != 0) argument = "ragged";
  if (!status.ok() || argument == nullptr) return status;
  return Status(StatusCode::kUnsupported, argument,
                "a sparse variant makes its own lists of keys");
}

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_VARIANT_CALL_H_
