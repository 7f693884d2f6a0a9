// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The instruction sets that kernels are compiled for, and what this CPU offers.
#ifndef HEED_LIB_KERNELS_TARGETS_H_
#define HEED_LIB_KERNELS_TARGETS_H_

#include "lib/kernels/cpu_bits.h"
#include "lib/kernels/target_list.h"

namespace heed::internal {

// Best first.
enum class Target {
#define HEED_TARGET(name, ...) k##name,
  HEED_TARGETS(HEED_TARGET, HEED_TARGET)
#undef HEED_TARGET
};

// Accumulators of a micro-kernel, in vectors.
struct TileSize {
  int rows, vectors;
};

// A row of the list.
struct TargetFacts {
  const char* name;
  const char* needs;  // CPU features whose absence makes it unusable
  CpuBits cpu;
  bool same_bits;
  TileSize attend;
  TileSize matmul;
  bool scalable;       // the length of a vector is the CPU's
  int decode_rows;     // rows up to which the decode kernel is faster
  const char* kernel;  // the micro-kernel's name
  const char* decode_kernel;
};

inline constexpr TargetFacts kTargetFacts[] = {
#define HEED_HIGHWAY(name, text, suffix, same_bits, rows, vectors, lanes,  \
                     matmul_rows, matmul_vectors, decode_rows, cpu, needs, \
                     flags)                                                \
  {text,                                                                   \
   needs,                                                                  \
   cpu,                                                                    \
   same_bits,                                                              \
   {rows, vectors},                                                        \
   {matmul_rows, matmul_vectors},                                          \
   sizeof(lanes) == sizeof(""),                                            \
   decode_rows,                                                            \
   "attend_f32_" #rows "x" #vectors lanes "_" text,                        \
   "decode_f32" lanes "_" text},
#define HEED_PORTABLE(name, text, same_bits, needs) \
  {text,   needs, {}, same_bits,          {1, 1},   \
   {1, 1}, false, 0,  "attend_f32_" text, nullptr},
    HEED_TARGETS(HEED_HIGHWAY, HEED_PORTABLE)
#undef HEED_HIGHWAY
#undef HEED_PORTABLE
};
inline constexpr int kNumTargets =
    static_cast<int>(sizeof(kTargetFacts) / sizeof(kTargetFacts[0]));

constexpr const TargetFacts& FactsOf(Target target) {
  return kTargetFacts[static_cast<int>(target)];
}

constexpr const char* NameOf(Target target) { return FactsOf(target).name; }

// The target of that name. False where there is none.
bool FindTarget(const char* name, Target* target);

// What to say of a target that is not usable.
inline constexpr char kNotOffered[] =
    "this CPU or operating system does not offer it";

// Whether the CPU and the operating system offer it. Asked once per process.
bool Usable(Target target);

}  // namespace heed::internal

#endif  // HEED_LIB_KERNELS_TARGETS_H_
