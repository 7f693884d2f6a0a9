// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What no sparse variant serves.
#ifndef HEED_LIB_SPARSE_VARIANT_CALL_H_
#define HEED_LIB_SPARSE_VARIANT_CALL_H_

#include "heed/status.h"
#include "heed/variant.h"

namespace heed::sparse {

inline Status CheckCall(const VariantArgs& a) {
  const char* argument = nullptr;
  if (a.args.key_intervals.query_block_size != 0) argument = "key_intervals";
  if (a.args.ragged.num_sequences != 0) argument = "ragged";
  if (a.args.pages.any()) {
    argument = a.args.pages.by_pointers() ? "key_pages" : "page_table";
  }
  if (argument == nullptr) return Status();
  return Status(StatusCode::kUnsupported, argument,
                "a sparse variant makes its own lists of keys");
}

}  // namespace heed::sparse

#endif  // HEED_LIB_SPARSE_VARIANT_CALL_H_
