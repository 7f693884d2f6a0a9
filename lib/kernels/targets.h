// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The instruction sets that kernels are compiled for, and what this CPU offers.
#ifndef HEED_LIB_KERNELS_TARGETS_H_
#define HEED_LIB_KERNELS_TARGETS_H_

#include "heed/export.h"
#include "lib/kernels/kernel_table.h"

namespace heed::internal {

// Best first.
enum class Target { kAvx512, kAvx2, kSse4, kSve2, kSve, kNeon, kPlain };
inline constexpr int kNumTargets = 7;

// "avx512" and so on: the name in heed/target.h, plans and kernels.
const char* NameOf(Target target);

// The target of that name. False where there is none.
bool FindTarget(const char* name, Target* target);

// The CPU features whose absence makes `target` unusable.
const char* RequirementsOf(Target target);

// Whether this library has kernels for `target`.
bool Compiled(Target target);

// What to say of a target that is not usable.
inline constexpr char kNotOffered[] =
    "this CPU or operating system does not offer it";

// Whether the CPU and the operating system offer it. Asked once per process.
bool Usable(Target target);

// The first target that is compiled and usable, but for SVE with vectors of 16
// bytes, where NEON spends fewer instructions on the same lanes.
Target BestTarget();

// The attention table of a target, or null where it is not compiled.
const AttentionTable* TableOf(Target target);

// The same by name, for tests, which must reach every table; null also where
// the CPU does not offer it.
HEED_API const AttentionTable* FindAttentionTable(const char* target);

// The parts of TableOf: those compiled by Highway, and the plain one.
const AttentionTable* HighwayTable(Target target);
extern const AttentionTable kPlainTable;

}  // namespace heed::internal

#endif  // HEED_LIB_KERNELS_TARGETS_H_
