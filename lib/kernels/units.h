// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Units: special instructions that kernels of lib/arch use, and on which CPUs
// they pay.
#ifndef HEED_LIB_KERNELS_UNITS_H_
#define HEED_LIB_KERNELS_UNITS_H_

#include "lib/kernels/cpu_bits.h"
#include "lib/kernels/target_list.h"
#include "lib/kernels/targets.h"

namespace heed::internal {

enum class Unit {
#define HEED_UNIT(name, ...) k##name,
  HEED_UNITS(HEED_UNIT)
#undef HEED_UNIT
};

// A row of the list.
struct UnitFacts {
  const char* name;
  const char* needs;
  Target target;
  CpuBits cpu;
};

inline constexpr UnitFacts kUnitFacts[] = {
#define HEED_UNIT(name, text, target, suffix, cpu, needs, flags) \
  {text, needs, Target::k##target, cpu},
    HEED_UNITS(HEED_UNIT)
#undef HEED_UNIT
};
inline constexpr int kNumUnits =
    static_cast<int>(sizeof(kUnitFacts) / sizeof(kUnitFacts[0]));

constexpr const UnitFacts& FactsOf(Unit unit) {
  return kUnitFacts[static_cast<int>(unit)];
}

// Whether a CPU that offers a unit should use it, and why.
struct UnitChoice {
  bool use;
  const char* reason;
};

// Whether a unit pays is a question of the CPU, not of the flag. The first row
// that fits decides; where none does, the unit is left alone.
//
// avx512_bf16: vdpbf16ps does two multiplications and additions a lane. Its
// rate in operations, over that of FMAs of f32, by the peak probes of bench:
//   AMD Zen 4 (family 0x19)             2.00 (235 against 117.5 GFLOP/s)
//   AMD Zen 5 (family 0x1a)             1.9 (511 against 270 GFLOP/s)
//   Intel Granite Rapids                0.5 (122 against 242 GFLOP/s)
//   Intel Emerald Rapids                0.5 (89 against 179 GFLOP/s)
// Other CPUs of Intel with it have not been measured; those since Sapphire
// Rapids have tiles, which are what they multiply bf16 with.
struct UnitRow {
  Unit unit;
  const uint32_t (&maker)[3];
  uint32_t first_family, last_family;
  UnitChoice choice;
};

inline constexpr UnitRow kUnitRows[] = {
    {Unit::kAvx512Bf16,
     kAmd,
     0x19,
     0x1a,
     {true, "twice the rate of FMAs on Zen 4 and Zen 5"}},
    {Unit::kAvx512Bf16,
     kIntel,
     6,
     UINT32_MAX,
     {false, "half the rate of FMAs where it was measured on Intel"}},
};

constexpr UnitChoice ChooseUnit(Unit unit, const CpuModel& model) {
  for (const UnitRow& row : kUnitRows) {
    if (row.unit == unit && model.IsOf(row.maker) &&
        model.family >= row.first_family && model.family <= row.last_family) {
      return row.choice;
    }
  }
  return {false, "its rate was not measured on this CPU"};
}

// The unit of that name. False where there is none.
bool FindUnit(const char* name, Unit* unit);

// Whether the CPU and the operating system offer it, and whether this CPU
// should use it. Asked once per process.
bool Usable(Unit unit);
UnitChoice ChoiceOf(Unit unit);

}  // namespace heed::internal

#endif  // HEED_LIB_KERNELS_UNITS_H_
