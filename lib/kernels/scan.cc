// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The scan of heed/linear.h, compiled once per target.
#include <cstddef>
#include <cstdint>

#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernels.h"
#include "lib/kernels/scan_table.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/scan.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"
#include "lib/kernels/scan_apply-inl.h"
#include "lib/kernels/scan_prepare-inl.h"
#include "lib/kernels/scan_step-inl.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {

void Divide(const float* from, float by, int64_t count, float* to) {
  const MatMulTag d;
  const size_t N = hn::Lanes(d);
  const size_t n = static_cast<size_t>(count);
  size_t i = 0;
  if (by != 0.0f) {
    const auto divisor = hn::Set(d, by);
    for (; i + N <= n; i += N) {
      hn::StoreU(hn::Div(hn::LoadU(d, from + i), divisor), d, to + i);
    }
  }
  for (; i < n; ++i) to[i] = by == 0.0f ? 0.0f : from[i] / by;
}

constexpr internal::ScanTable kTable = {
    /*scratch_floats=*/&ScratchFloats,
    /*prepare=*/&Prepare,
    /*apply=*/&Apply,
    /*step=*/&Step,
    /*divide=*/&Divide,
};

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#if HWY_ONCE
namespace heed::internal {

const ScanTable* HighwayScan(Target target) {
  static constexpr const ScanTable* kTables[] = {HEED_TABLES};
  return kTables[static_cast<int>(target)];
}

}  // namespace heed::internal
#endif  // HWY_ONCE
