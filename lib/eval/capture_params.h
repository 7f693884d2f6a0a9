// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a captured call computed: from the file's metadata, or as its reader
// says.
#ifndef HEED_LIB_EVAL_CAPTURE_PARAMS_H_
#define HEED_LIB_EVAL_CAPTURE_PARAMS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "heed/attention.h"

namespace heed::eval {

// Each overrides what the metadata says.
struct CaptureParams {
  std::optional<bool> causal;
  std::optional<float> softmax_scale;
  std::optional<float> softcap;
  std::optional<int64_t> window_left;
  std::optional<int64_t> window_right;
  std::optional<int64_t> sink_size;
};

// Returns AttentionParams from the metadata keys of the same names: causal
// ("true" or "false", true where it is absent), softmax_scale, softcap,
// window_left, window_right, sink_size. Other keys say nothing. Throws
// InputError for a value that is none.
AttentionParams ReadParams(const std::map<std::string, std::string>& metadata,
                           const CaptureParams& overrides);

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_CAPTURE_PARAMS_H_
