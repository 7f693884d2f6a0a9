// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The C door: states that merge, and rows that are quantised.
#include <cstdint>

#include "heed/attention.h"
#include "heed/heed_c.h"
#include "heed/kv.h"
#include "lib/c/convert.h"
#include "lib/c/report.h"
#include "lib/c/structs.h"

using heed::Status;
using namespace heed::internal;  // NOLINT

namespace {

// Reads a tensor that must be there.
template <typename View>
Status Given(const heed_tensor* tensor, const char* name, View* view) {
  if (tensor == nullptr) return InvalidStruct(name, "is null");
  return FieldReader().Tensor(*tensor, name, view).status();
}

// Reads a tensor that may be absent.
template <typename View>
Status Optional(const heed_tensor* tensor, const char* name, View* view) {
  return tensor == nullptr ? Status() : Given(tensor, name, view);
}

}  // namespace

int32_t heed_merge_states(const heed_tensor* out_a, const heed_tensor* lse_a,
                          const heed_tensor* out_b, const heed_tensor* lse_b,
                          const heed_tensor* out, const heed_tensor* lse,
                          heed_status* status) {
  return Reported(status, [&]() -> Status {
    heed::ConstTensorView out_a_view, lse_a_view, out_b_view, lse_b_view;
    heed::TensorView out_view, lse_view;
    const Status result = FieldReader()
                              .Keep(Given(out_a, "out_a", &out_a_view))
                              .Keep(Given(lse_a, "lse_a", &lse_a_view))
                              .Keep(Given(out_b, "out_b", &out_b_view))
                              .Keep(Given(lse_b, "lse_b", &lse_b_view))
                              .Keep(Given(out, "out", &out_view))
                              .Keep(Given(lse, "lse", &lse_view))
                              .status();
    if (!result.ok()) return result;
    return heed::MergeStates(out_a_view, lse_a_view, out_b_view, lse_b_view,
                             out_view, lse_view);
  });
}

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
