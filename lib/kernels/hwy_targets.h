// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The frame of a file that is compiled once per target: which of Highway's
// targets get a table. Include before hwy/foreach_target.h.
#ifndef HEED_LIB_KERNELS_HWY_TARGETS_H_
#define HEED_LIB_KERNELS_HWY_TARGETS_H_

// SSSE3 adds nothing to SSE4; the fixed-length SVE targets are right on one
// vector length only. What Highway must compile as its static target (SCALAR,
// EMU128 or SSE2) is skipped too: kPlainTable serves such machines.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE_256 | HWY_SVE2_128)

#define HEED_COMPILE_TARGET                            \
  (HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2 || \
   HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_NEON || \
   HWY_TARGET == HWY_SVE || HWY_TARGET == HWY_SVE2)

// Returns FUNCTION() of the namespace that `target` (a heed::internal::Target)
// was compiled in, or null. For the HWY_ONCE part, where FUNCTION returns a
// pointer to a table.
#define HEED_CHOOSE_TABLE(target, TableType, FUNCTION)           \
  [](::heed::internal::Target heed_target) -> const TableType* { \
    using Choose = const TableType* (*)();                       \
    Choose choose = nullptr;                                     \
    switch (heed_target) {                                       \
      case ::heed::internal::Target::kAvx512:                    \
        choose = HWY_CHOOSE_AVX3(FUNCTION);                      \
        break;                                                   \
      case ::heed::internal::Target::kAvx2:                      \
        choose = HWY_CHOOSE_AVX2(FUNCTION);                      \
        break;                                                   \
      case ::heed::internal::Target::kSse4:                      \
        choose = HWY_CHOOSE_SSE4(FUNCTION);                      \
        break;                                                   \
      case ::heed::internal::Target::kSve2:                      \
        choose = HWY_CHOOSE_SVE2(FUNCTION);                      \
        break;                                                   \
      case ::heed::internal::Target::kSve:                       \
        choose = HWY_CHOOSE_SVE(FUNCTION);                       \
        break;                                                   \
      case ::heed::internal::Target::kNeon:                      \
        choose = HWY_CHOOSE_NEON(FUNCTION);                      \
        break;                                                   \
      case ::heed::internal::Target::kPlain:                     \
        break;                                                   \
    }                                                            \
    return choose == nullptr ? nullptr : choose();               \
  }(target)

#endif  // HEED_LIB_KERNELS_HWY_TARGETS_H_
