// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What differs in the quality of a row: of the whole, of its layers and heads.
#ifndef HEED_TOOLS_HEED_QUALITY_CHANGE_H_
#define HEED_TOOLS_HEED_QUALITY_CHANGE_H_

#include <string>
#include <vector>

#include "lib/io/json_value.h"

namespace heed::tool {

// The numbers of errors are sums in double, whose order may follow the CPU:
// between environments they agree to this share of themselves.
inline constexpr double kQualityRounding = 1e-6;

// Whether two numbers are equal, or both NaN, or differ by no more than this
// share of the larger.
bool SameQuality(double was, double now, double rounding);

struct QualityChange {
  std::string place;  // "rel_l2", "layers[1].gate", "layers[0].heads.rel_l2[3]"
  io::JsonValue was, now;
};

// Returns the gate and the numbers of kind kQuality that differ by more than
// `rounding`, each where it is seen first: in the row, else in the first layer
// where it differs, else in the first head; and row_rel_l2 at the first level,
// of the row or else of a layer; and those of its "sweep". Parts that only one
// has are not compared.
std::vector<QualityChange> QualityChanges(const io::JsonValue& was,
                                          const io::JsonValue& now,
                                          double rounding);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_QUALITY_CHANGE_H_
