// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The frame of a file that is compiled once per target. Include before
// hwy/foreach_target.h.
#ifndef HEED_LIB_KERNELS_HWY_TARGETS_H_
#define HEED_LIB_KERNELS_HWY_TARGETS_H_

#include "lib/kernels/target_list.h"
#include "lib/kernels/targets.h"

#define HEED_NOTHING(...)

// Whether HWY_TARGET has a row. What Highway must compile as its static target
// (SCALAR, EMU128 or SSE2) may have none: the plain tables serve such machines.
#define HEED_OR_IS_TARGET(name, text, suffix, ...) || HWY_TARGET == HWY_##suffix
#define HEED_COMPILE_TARGET (0 HEED_TARGETS(HEED_OR_IS_TARGET, HEED_NOTHING))

// Whether HWY_TARGET is the target of the unit whose file this is: such a file
// defines HEED_UNIT_FILE_<name> as 1 first.
#define HEED_OR_IS_UNIT(name, text, target, suffix, ...) \
  || (HEED_UNIT_FILE_##name && HWY_TARGET == HWY_##suffix)
#define HEED_COMPILE_UNIT (0 HEED_UNITS(HEED_OR_IS_UNIT))

// The row of HWY_TARGET, a constant. Only with HEED_COMPILE_TARGET.
#define HEED_IF_TARGET(name, text, suffix, ...) \
  HWY_TARGET == HWY_##suffix ? ::heed::internal::Target::k##name:
#define HEED_THIS_TARGET \
  HEED_TARGETS(HEED_IF_TARGET, HEED_NOTHING)::heed::internal::Target::kPlain
#define HEED_TARGET_FACTS ::heed::internal::FactsOf(HEED_THIS_TARGET)

// For the HWY_ONCE part: the addresses of `kTable` in the namespace of each
// target, in the order of Target; null where it was not compiled.
#define HEED_TABLE_OF(name, text, suffix, ...) HWY_CHOOSE_##suffix(kTable),
#define HEED_NO_TABLE(...) nullptr,
#define HEED_TABLES HEED_TARGETS(HEED_TABLE_OF, HEED_NO_TABLE)

#endif  // HEED_LIB_KERNELS_HWY_TARGETS_H_
