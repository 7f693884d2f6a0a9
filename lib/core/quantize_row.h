// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// One row quantised, by the rules of QuantizeKv.
#ifndef HEED_LIB_CORE_QUANTIZE_ROW_H_
#define HEED_LIB_CORE_QUANTIZE_ROW_H_

#include <cstdint>

#include "heed/types.h"

namespace heed::internal {

constexpr bool IsFloat8(DType dtype) {
  return dtype == DType::kF8E4M3 || dtype == DType::kF8E5M2;
}

struct QuantizedRow {
  DType dtype;
  bool given_scale;  // read, not written
  int64_t groups;    // of kU4
};

// Writes the `dim` elements of `row`, its scales and (kU4 alone) minima.
void QuantizeRow(const float* row, int64_t dim, const QuantizedRow& how,
                 float* scale, float* minimum, void* to);

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_QUANTIZE_ROW_H_
