// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Reads numbers out of metadata.
#include "lib/eval/capture_params.h"

#include <charconv>
#include <cmath>
#include <system_error>

#include "lib/io/input_error.h"
#include "lib/io/quoted.h"

namespace heed::eval {
namespace {

using io::InputError;
using Metadata = std::map<std::string, std::string>;

[[noreturn]] void Refuse(const std::string& key, const std::string& text,
                         const char* needed) {
  throw InputError("the metadata says " + key + " = " + io::Quoted(text) +
                   "; " + needed + " is needed");
}

template <typename Number>
bool Parse(const std::string& text, Number* number) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, *number);
  return error == std::errc() && stop == end;
}

void ReadBool(const Metadata& metadata, const char* key, bool* value) {
  const auto it = metadata.find(key);
  if (it == metadata.end()) return;
  if (it->second != "true" && it->second != "false") {
    Refuse(key, it->second, "true or false");
  }
  *value = it->second == "true";
}

void ReadFloat(const Metadata& metadata, const char* key, float* value) {
  const auto it = metadata.find(key);
  if (it == metadata.end()) return;
  float number = 0.0f;
  if (!Parse(it->second, &number) || !std::isfinite(number)) {
    Refuse(key, it->second, "a finite number");
  }
  *value = number;
}

void ReadInteger(const Metadata& metadata, const char* key, int64_t* value) {
  const auto it = metadata.find(key);
  if (it == metadata.end()) return;
  int64_t number = 0;
  if (!Parse(it->second, &number)) Refuse(key, it->second, "a whole number");
  *value = number;
}

}  // namespace

AttentionParams ReadParams(const Metadata& metadata,
                           const CaptureParams& overrides) {
  AttentionParams params;
  params.causal = true;
  ReadBool(metadata, "causal", &params.causal);
  ReadFloat(metadata, "softmax_scale", &params.softmax_scale);
  ReadFloat(metadata, "softcap", &params.softcap);
  ReadInteger(metadata, "window_left", &params.window_left);
  ReadInteger(metadata, "window_right", &params.window_right);
  ReadInteger(metadata, "sink_size", &params.sink_size);
  const CaptureParams& o = overrides;
  params.causal = o.causal.value_or(params.causal);
  params.softmax_scale = o.softmax_scale.value_or(params.softmax_scale);
  params.softcap = o.softcap.value_or(params.softcap);
  params.window_left = o.window_left.value_or(params.window_left);
  params.window_right = o.window_right.value_or(params.window_right);
  params.sink_size = o.sink_size.value_or(params.sink_size);
  return params;
}

}  // namespace heed::eval
