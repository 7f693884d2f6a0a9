// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/kernels/kernels.h"

namespace heed::internal {
namespace {

struct AllKernels {
  Kernels of[kNumTargets] = {};
  bool compiled[kNumTargets] = {};
};

// Overrides entries by what the files of lib/arch have.
void AddUnits(AllKernels* all) {
  const int i = static_cast<int>(FactsOf(Unit::kAvx512Bf16).target);
  const AttendKernel* kernel = Avx512Bf16Attend();
  if (all->compiled[i] && kernel != nullptr) {
    all->of[i].attention.attend_bf16 = *kernel;
  }
}

AllKernels Fill() {
  AllKernels all;
  for (int i = 0; i < kNumTargets; ++i) {
    const Target target = static_cast<Target>(i);
    const bool plain = target == Target::kPlain;
    const AttentionTable* attention =
        plain ? &kPlainTable : HighwayAttention(target);
    const OpsTable* ops = plain ? &kPlainOpsTable : HighwayOps(target);
    const ScanTable* scan = plain ? &kPlainScanTable : HighwayScan(target);
    if (attention == nullptr || ops == nullptr || scan == nullptr) continue;
    all.of[i] = {*attention, *ops, *scan};
    if (const AttendKernel* decode = plain ? nullptr : HighwayDecode(target)) {
      all.of[i].attention.decode = *decode;
      all.of[i].attention.decode_rows = FactsOf(target).decode_rows;
    }
    all.compiled[i] = true;
  }
  AddUnits(&all);
  return all;
}

bool Offered(Target target) { return Compiled(target) && Usable(target); }

// Whether a later target of fixed length has as many lanes.
bool FixedHasAsManyLanes(Target target) {
  const int lanes = KernelsOf(target)->attention.attend.lanes();
  for (int i = static_cast<int>(target) + 1; i < kNumTargets; ++i) {
    const Target other = static_cast<Target>(i);
    if (!FactsOf(other).scalable && Offered(other) &&
        KernelsOf(other)->attention.attend.lanes() >= lanes) {
      return true;
    }
  }
  return false;
}

}  // namespace

const Kernels* KernelsOf(Target target) {
  static const AllKernels all = Fill();
  const int i = static_cast<int>(target);
  return all.compiled[i] ? &all.of[i] : nullptr;
}

const Kernels* FindKernels(const char* target) {
  Target found;
  if (!FindTarget(target, &found) || !Usable(found)) return nullptr;
  return KernelsOf(found);
}

Target BestTarget() {
  for (int i = 0; i < kNumTargets; ++i) {
    const Target target = static_cast<Target>(i);
    if (!Offered(target)) continue;
    if (FactsOf(target).scalable && FixedHasAsManyLanes(target)) continue;
    return target;
  }
  return Target::kPlain;
}

}  // namespace heed::internal
