// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/kernels/row_fetch.h"

namespace heed::internal {

RowFetch RowFetchHere() {
  static const RowFetch here = RowFetchOf(ReadCpuModel());
  return here;
}

}  // namespace heed::internal
