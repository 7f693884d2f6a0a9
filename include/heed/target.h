// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Which kernel tables there are, and why one is used or not.
#ifndef HEED_TARGET_H_
#define HEED_TARGET_H_

#include "heed/export.h"

namespace heed {

// One kernel table: the kernels compiled for one instruction set.
struct TargetInfo {
  const char* name;    // "avx512", "avx2", "sse4", "neon", "sve", "plain" ...
  const char* needs;   // the CPU features it needs
  bool usable;         // this CPU and operating system offer them
  const char* reason;  // why it is not usable, or why it ranks where it does
  int vector_bytes;    // on this CPU; 0 where not usable
  bool same_bits;      // has FMA, so gives the bits of every other such table
};

// A unit: special instructions that replace a table's kernels for some types,
// where a plan's numerics are kFast.
struct UnitInfo {
  const char* name;    // "avx512_bf16"
  const char* target;  // the table that it adds to
  const char* serves;  // the types that it multiplies
  const char* needs;   // the CPU features it needs
  bool usable;         // compiled, and this CPU and operating system offer them
  bool used;           // plans take it by default
  const char* reason;  // why it is used or not
};

// Returns the number of kernel tables compiled into this library, best first.
HEED_API int NumTargets();

// Returns table `index` in [0, NumTargets()); the name is null outside.
HEED_API TargetInfo GetTarget(int index);

// The same for units, in no order.
HEED_API int NumUnits();
HEED_API UnitInfo GetUnit(int index);

// Returns the name of the table that a plan takes when its options name none:
// the first usable one, but for SVE with vectors of 16 bytes, where NEON is as
// wide and spends fewer instructions. The CPU is asked once per process.
HEED_API const char* DefaultTarget();

}  // namespace heed

#endif  // HEED_TARGET_H_
