// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The public list of kernel tables.
#include "heed/target.h"

#include "lib/kernels/kernels.h"

namespace heed {
namespace {

using internal::Target;

const char* Reason(Target target) {
  if (!internal::Usable(target)) return internal::kNotOffered;
  if (target == internal::BestTarget()) return "used: the best that is usable";
  if (target < internal::BestTarget()) {
    return "usable, but its vectors are as short as NEON's, which needs fewer "
           "instructions";
  }
  return "usable, but a better one is";
}

}  // namespace

int NumTargets() {
  int count = 0;
  for (int i = 0; i < internal::kNumTargets; ++i) {
    if (internal::Compiled(static_cast<Target>(i))) ++count;
  }
  return count;
}

TargetInfo GetTarget(int index) {
  TargetInfo info = {nullptr, nullptr, false, nullptr, 0, false};
  for (int i = 0; i < internal::kNumTargets; ++i) {
    const Target target = static_cast<Target>(i);
    if (!internal::Compiled(target)) continue;
    if (index-- != 0) continue;
    const internal::Kernels* kernels = internal::KernelsOf(target);
    info.name = internal::NameOf(target);
    info.needs = internal::FactsOf(target).needs;
    info.usable = internal::Usable(target);
    info.reason = Reason(target);
    info.vector_bytes = info.usable ? kernels->attention.attend.lanes() * 4 : 0;
    info.same_bits = internal::FactsOf(target).same_bits;
    return info;
  }
  return info;
}

int NumUnits() { return internal::kNumUnits; }

UnitInfo GetUnit(int index) {
  if (index < 0 || index >= internal::kNumUnits) return {};
  const internal::Unit unit = static_cast<internal::Unit>(index);
  const internal::UnitFacts& facts = internal::FactsOf(unit);
  const internal::Kernels* kernels = internal::KernelsOf(facts.target);
  const bool compiled =
      kernels != nullptr && kernels->attention.attend_bf16.name != nullptr;
  const internal::UnitChoice choice = internal::ChoiceOf(unit);
  UnitInfo info;
  info.name = facts.name;
  info.target = internal::NameOf(facts.target);
  info.serves = "query, key and value of bf16";
  info.needs = facts.needs;
  info.usable = compiled && internal::Usable(unit);
  info.used = info.usable && choice.use;
  info.reason = !compiled      ? "has no kernels in this library"
                : !info.usable ? internal::kNotOffered
                               : choice.reason;
  return info;
}

const char* DefaultTarget() { return internal::NameOf(internal::BestTarget()); }

}  // namespace heed
