// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attention of few query rows to many keys, compiled once per target.
#include <cstddef>
#include <cstdint>

#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernels.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/decode.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"
#include "lib/kernels/decode_step-inl.h"
#include "lib/kernels/decode_tile-inl.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {

int DecodeLanes() { return 1; }

constexpr internal::AttendKernel kTable = {
    /*name=*/HEED_TARGET_FACTS.decode_kernel,
    /*same_bits=*/HEED_TARGET_FACTS.same_bits,
    /*lanes=*/&DecodeLanes,
    /*max_group_vectors=*/internal::kMostDecodeRows,
    /*tile_bytes=*/&DecodeTileBytes,
    /*state_bytes=*/&DecodeStateBytes,
    /*open=*/&DecodeOpen,
    /*pack=*/&DecodePack,
    /*clear=*/&DecodeClear,
    /*step=*/&DecodeBlock,
    /*merge=*/&DecodeMerge,
    /*save=*/&DecodeSave,
    /*finish=*/&DecodeFinish,
    /*score=*/&DecodeScoreBlock,
    /*weigh=*/&DecodeWeighBlock,
};

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#if HWY_ONCE
namespace heed::internal {

const AttendKernel* HighwayDecode(Target target) {
  static constexpr const AttendKernel* kTables[] = {HEED_TABLES};
  return kTables[static_cast<int>(target)];
}

}  // namespace heed::internal
#endif  // HWY_ONCE
