// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The one registry: all kernels of a target.
#ifndef HEED_LIB_KERNELS_KERNELS_H_
#define HEED_LIB_KERNELS_KERNELS_H_

#include "heed/export.h"
#include "lib/kernels/kernel_table.h"
#include "lib/kernels/ops_table.h"
#include "lib/kernels/scan_table.h"
#include "lib/kernels/targets.h"
#include "lib/kernels/units.h"

namespace heed::internal {

// By value, so that a file for special instructions can override entries of a
// table that another file filled.
struct Kernels {
  AttentionTable attention;
  OpsTable ops;
  ScanTable scan;
};

// The kernels of a target, or null where this library has none for it. Filled
// once per process, for good.
const Kernels* KernelsOf(Target target);

// The same by name, for tests, which must reach every table; null also where
// the CPU does not offer it.
HEED_API const Kernels* FindKernels(const char* target);

// Whether this library has kernels for `target`.
inline bool Compiled(Target target) { return KernelsOf(target) != nullptr; }

// The first target that is compiled and usable, but for vectors whose length is
// the CPU's where they are as short as those of a later, fixed one: that spends
// fewer instructions on the same lanes.
Target BestTarget();

// The most query rows of a tile of a decode kernel.
inline constexpr int kMostDecodeRows = 64;

// What KernelsOf is filled from: what Highway compiled, null elsewhere, and the
// plain tables.
const AttentionTable* HighwayAttention(Target target);
const AttendKernel* HighwayDecode(Target target);
const OpsTable* HighwayOps(Target target);
const ScanTable* HighwayScan(Target target);
// What a file of lib/arch adds; null where the compiler does not know it.
const AttendKernel* Avx512Bf16Attend();
extern const AttentionTable kPlainTable;
extern const OpsTable kPlainOpsTable;
extern const ScanTable kPlainScanTable;

}  // namespace heed::internal

#endif  // HEED_LIB_KERNELS_KERNELS_H_
