// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/kernels/units.h"

#include <cstring>

namespace heed::internal {
namespace {

struct Answers {
  bool usable[kNumUnits];
  UnitChoice choice[kNumUnits];
};

const Answers& Ask() {
  static const Answers answers = [] {
    Answers made = {};
    const CpuBits offered = ReadCpuBits();
    const CpuModel model = ReadCpuModel();
    for (int i = 0; i < kNumUnits; ++i) {
      made.usable[i] = offered.HasAll(kUnitFacts[i].cpu);
      made.choice[i] = ChooseUnit(static_cast<Unit>(i), model);
    }
    return made;
  }();
  return answers;
}

}  // namespace

bool FindUnit(const char* name, Unit* unit) {
  for (int i = 0; i < kNumUnits; ++i) {
    *unit = static_cast<Unit>(i);
    if (std::strcmp(FactsOf(*unit).name, name) == 0) return true;
  }
  return false;
}

bool Usable(Unit unit) { return Ask().usable[static_cast<int>(unit)]; }

UnitChoice ChoiceOf(Unit unit) { return Ask().choice[static_cast<int>(unit)]; }

}  // namespace heed::internal
