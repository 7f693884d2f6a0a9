// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The numbers of a row: the one list that table, CSV, JSON, report and help are
// made of.
#ifndef HEED_TOOLS_HEED_NUMBERS_H_
#define HEED_TOOLS_HEED_NUMBERS_H_

#include <string>
#include <string_view>
#include <vector>

#include "lib/eval/compare.h"

namespace heed::tool {

// What two runs of the same thing agree in.
enum class NumberKind {
  kTime,     // measured: differs from run to run
  kMachine,  // the same wherever CPU, threads and kernel table are
  kQuality,  // the same wherever version and input are
};

struct NumberInfo {
  const char* key;      // in JSON and CSV
  const char* heading;  // of its column in tables; "" where it has none
  const char* meaning;  // as help and JSON give it
  NumberKind kind;
  // NaN where the row has no such number.
  double (*value)(const eval::Summary& row);
  // Puts a number back that was read from JSON; null for what follows from
  // others.
  void (*set)(eval::Summary* row, double value);
  std::string (*show)(double value);  // as tables do; "-" for NaN
};

// Returns all of them, in the order of the widest table.
const std::vector<NumberInfo>& Numbers();

// Returns the one of this key, which must exist.
const NumberInfo& NumberOf(std::string_view key);

// What else a row has: key and meaning.
struct FlagInfo {
  const char* key;
  const char* sign;  // in tables; "" where it has none
  const char* meaning;
};
const std::vector<FlagInfo>& Flags();

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_NUMBERS_H_
