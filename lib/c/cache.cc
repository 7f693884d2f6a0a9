// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The C door: rows that go to caches, quantised and turned, and dense masks
// that are read.
#include <cstdint>

#include "heed/append.h"
#include "heed/heed_c.h"
#include "heed/kv.h"
#include "heed/recognise_mask.h"
#include "heed/rope.h"
#include "lib/c/convert.h"
#include "lib/c/convert_cache.h"
#include "lib/c/report.h"
#include "lib/c/structs.h"

using heed::Status;
using namespace heed::internal;  // NOLINT

static_assert(HEED_MASK_ALL == static_cast<int>(heed::MaskForm::kAll));
static_assert(HEED_MASK_RULE == static_cast<int>(heed::MaskForm::kRule));
static_assert(HEED_MASK_LENGTHS == static_cast<int>(heed::MaskForm::kLengths));
static_assert(HEED_MASK_RANGES == static_cast<int>(heed::MaskForm::kRanges));
static_assert(HEED_MASK_OTHER == static_cast<int>(heed::MaskForm::kOther));

int32_t heed_quantize_kv(const heed_tensor* source,
                         const heed_quantize_options* options,
                         const heed_tensor* to, const heed_tensor* scale,
                         const heed_tensor* minimum, heed_status* status) {
  return Reported(status, [&]() -> Status {
    heed::ConstTensorView source_view;
    heed::QuantizeOptions used_options;
    heed::TensorView to_view, scale_view, minimum_view;
    const Status result = FieldReader()
                              .Keep(Given(source, "source", &source_view))
                              .Keep(Convert(options, &used_options))
                              .Keep(Given(to, "to", &to_view))
                              .Keep(Optional(scale, "scale", &scale_view))
                              .Keep(Optional(minimum, "minimum", &minimum_view))
                              .status();
    if (!result.ok()) return result;
    return heed::QuantizeKv(source_view, used_options, to_view, scale_view,
                            minimum_view);
  });
}

int32_t heed_apply_rope(const heed_tensor* source, const int32_t* positions,
                        const heed_rope* rope, const heed_tensor* to,
                        const heed_executor* executor, heed_status* status) {
  return Reported(status, [&]() -> Status {
    heed::ConstTensorView source_view;
    heed::TensorView to_view;
    heed::Rope used_rope;
    heed::Executor used_executor;
    const Status result = FieldReader()
                              .Keep(Given(source, "source", &source_view))
                              .Keep(Convert(rope, &used_rope))
                              .Keep(Given(to, "to", &to_view))
                              .Keep(Convert(executor, &used_executor))
                              .status();
    if (!result.ok()) return result;
    return heed::ApplyRope(source_view, positions, used_rope, to_view,
                           used_executor);
  });
}

int32_t heed_rope_frequencies(double theta, int64_t rotary_dim,
                              double* frequency, heed_status* status) {
  return Reported(status, [&] {
    return heed::RopeFrequencies(theta, rotary_dim, frequency);
  });
}

int32_t heed_fill_rope_tables(const double* frequency, int64_t rotary_dim,
                              int64_t first, int64_t count, float* cos,
                              float* sin, heed_status* status) {
  return Reported(status, [&] {
    return heed::FillRopeTables(frequency, rotary_dim, first, count, cos, sin);
  });
}

int32_t heed_append_kv(const heed_append_args* args,
                       const heed_executor* executor, heed_status* status) {
  return Reported(status, [&]() -> Status {
    heed::AppendArgs used_args;
    heed::Executor used_executor;
    const Status result = FieldReader()
                              .Keep(Convert(args, &used_args))
                              .Keep(Convert(executor, &used_executor))
                              .status();
    return result.ok() ? heed::AppendKv(used_args, used_executor) : result;
  });
}

int32_t heed_recognise_mask(const heed_tensor* mask,
                            const heed_mask_options* options,
                            heed_recognised_mask* recognised,
                            heed_status* status) {
  return Reported(status, [&]() -> Status {
    heed::ConstTensorView view;
    heed::MaskOptions used_options;
    heed::RecognisedMask found;
    Status result = FieldReader()
                        .Keep(Given(mask, "mask", &view))
                        .Keep(Convert(options, &used_options))
                        .Keep(CheckOutStruct(recognised, "recognised"))
                        .status();
    if (!result.ok()) return result;
    result = heed::RecogniseMask(view, used_options, &found);
    if (result.ok()) WriteStruct(ConvertBack(found), recognised);
    return result;
  });
}
