// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Reads and writes problem strings.
#include "lib/io/problem.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <system_error>

#include "lib/io/quoted.h"

namespace heed::io {
namespace {

// Extents stay below 2^31, as the key positions of the library do.
constexpr int64_t kMaxExtent = std::numeric_limits<int32_t>::max();

// Reads the number that follows a field's name; the whole of it.
std::string ParseInteger(std::string_view token, std::string_view name,
                         int64_t min, int64_t max, int64_t* value) {
  const std::string_view digits = token.substr(name.size());
  const char* end = digits.data() + digits.size();
  int64_t number = 0;
  const auto [stop, error] = std::from_chars(digits.data(), end, number);
  const bool overflow = error == std::errc::result_out_of_range;
  if ((error != std::errc() && !overflow) || stop != end) {
    return "problem field " + Quoted(token) + ": " + Quoted(name) +
           " must be followed by a whole number";
  }
  if (overflow || number < min || number > max) {
    return "problem field " + Quoted(token) + ": the number must be in [" +
           std::to_string(min) + ", " + std::to_string(max) + "]";
  }
  *value = number;
  return "";
}

std::string ParseFloat(std::string_view token, std::string_view name,
                       float* value) {
  const std::string_view digits = token.substr(name.size());
  const char* end = digits.data() + digits.size();
  float number = 0;
  const auto [stop, error] = std::from_chars(digits.data(), end, number);
  if (error != std::errc() || stop != end || !std::isfinite(number)) {
    return "problem field " + Quoted(token) + ": " + Quoted(name) +
           " must be followed by a finite number in the range of f32";
  }
  *value = number;
  return "";
}

// The field's name: the leading letters of its text.
std::string_view NameOfField(std::string_view token) {
  size_t length = 0;
  while (length < token.size() && token[length] >= 'a' &&
         token[length] <= 'z') {
    ++length;
  }
  return token.substr(0, length);
}

struct CacheType {
  const char* name;
  DType dtype;
};
constexpr CacheType kCacheTypes[] = {{"kvi8", DType::kI8},
                                     {"kve4m3", DType::kF8E4M3},
                                     {"kve5m2", DType::kF8E5M2},
                                     {"kvu4", DType::kU4}};

// Sets the field that `token` names. A dtype reads as the field "dtype"; that
// of a quantised cache goes to *cache.
std::string ParseField(std::string_view token, Problem* problem,
                       const CacheType** cache, std::string* field) {
  AttentionShape& shape = problem->shape;
  AttentionParams& params = problem->params;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    if (token == NameOf(dtype)) {
      shape.query_dtype = shape.key_dtype = dtype;
      shape.value_dtype = shape.out_dtype = dtype;
      *field = "dtype";
      return "";
    }
  }
  for (const CacheType& type : kCacheTypes) {
    if (token != type.name) continue;
    *cache = &type;
    *field = "cache dtype";
    return "";
  }
  if (token == "rot") {
    shape.key_rotated = shape.value_rotated = true;
    *field = "rot";
    return "";
  }
  if (token == "causal") {
    params.causal = true;
    *field = "causal";
    return "";
  }
  struct IntegerField {
    std::string_view name;
    int64_t* value;
    int64_t min, max;
  };
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  const IntegerField integers[] = {
      {"b", &shape.batch, 0, kMaxExtent},
      {"h", &shape.num_heads, 0, kMaxExtent},
      {"kv", &shape.num_kv_heads, 0, kMaxExtent},
      {"d", &shape.head_dim, 0, kMaxExtent},
      {"dv", &shape.head_dim_v, 0, kMaxExtent},
      {"q", &shape.seqlen_q, 0, kMaxExtent},
      {"k", &shape.seqlen_k, 0, kMaxExtent},
      {"off", &params.causal_offset, kMin + 1, kMax},
      {"wl", &params.window_left, 0, kMax},
      {"wr", &params.window_right, 0, kMax},
      {"sink", &params.sink_size, 0, kMax},
  };
  const std::string_view name = NameOfField(token);
  *field = name;
  for (const IntegerField& integer : integers) {
    if (name == integer.name) {
      return ParseInteger(token, name, integer.min, integer.max, integer.value);
    }
  }
  if (name == "cap") return ParseFloat(token, name, &params.softcap);
  if (name == "scale") return ParseFloat(token, name, &params.softmax_scale);
  return "problem field " + Quoted(token) +
         " is unknown; fields are b h kv d dv q k (each with a number), f32 "
         "bf16 f16, kvi8 kve4m3 kve5m2 kvu4, rot, causal, and off wl wr sink "
         "cap "
         "scale (each with a number)";
}

std::string FormatFloat(float value) {
  char text[64];
  const auto result = std::to_chars(text, text + sizeof(text), value);
  return std::string(text, result.ptr);
}

}  // namespace

std::string ParseProblem(std::string_view text, Problem* problem) {
  Problem parsed;
  parsed.shape.batch = 1;
  const CacheType* cache = nullptr;
  std::set<std::string> seen;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('_', begin), text.size());
    const std::string_view token = text.substr(begin, end - begin);
    std::string field;
    const std::string error = ParseField(token, &parsed, &cache, &field);
    if (!error.empty()) return error;
    if (!seen.insert(field).second) {
      return "problem field " + Quoted(token) + ": " + field +
             " is given twice";
    }
    begin = end + 1;
  }
  for (const char* required : {"h", "d", "q"}) {
    if (seen.count(required) == 0) {
      return "problem " + Quoted(text) + " lacks the field '" + required +
             "<number>'";
    }
  }
  if (seen.count("kv") == 0) parsed.shape.num_kv_heads = parsed.shape.num_heads;
  if (seen.count("dv") == 0) parsed.shape.head_dim_v = parsed.shape.head_dim;
  if (seen.count("k") == 0) parsed.shape.seqlen_k = parsed.shape.seqlen_q;
  // After the dtype of all tensors, wherever it stands.
  if (cache != nullptr) {
    parsed.shape.key_dtype = parsed.shape.value_dtype = cache->dtype;
  }
  *problem = parsed;
  return "";
}

std::string FormatProblem(const Problem& problem) {
  const AttentionShape& shape = problem.shape;
  const AttentionParams& params = problem.params;
  std::string text = "b" + std::to_string(shape.batch);
  const auto add = [&text](const char* name, int64_t value) {
    text += "_" + std::string(name) + std::to_string(value);
  };
  add("h", shape.num_heads);
  if (shape.num_kv_heads != shape.num_heads) add("kv", shape.num_kv_heads);
  add("d", shape.head_dim);
  if (shape.head_dim_v != shape.head_dim) add("dv", shape.head_dim_v);
  add("q", shape.seqlen_q);
  add("k", shape.seqlen_k);
  text += "_" + std::string(NameOf(shape.query_dtype));
  for (const CacheType& type : kCacheTypes) {
    if (shape.key_dtype == type.dtype) text += "_" + std::string(type.name);
  }
  if (shape.key_rotated) text += "_rot";
  if (params.causal) text += "_causal";
  if (params.causal_offset != kBottomRight) add("off", params.causal_offset);
  if (params.window_left >= 0) add("wl", params.window_left);
  if (params.window_right >= 0) add("wr", params.window_right);
  if (params.sink_size != 0) add("sink", params.sink_size);
  if (params.softcap != 0.0f) text += "_cap" + FormatFloat(params.softcap);
  if (params.softmax_scale != 0.0f) {
    text += "_scale" + FormatFloat(params.softmax_scale);
  }
  return text;
}

bool operator==(const Problem& a, const Problem& b) {
  const AttentionShape &s = a.shape, &t = b.shape;
  const AttentionParams &p = a.params, &r = b.params;
  return s.query_dtype == t.query_dtype && s.key_dtype == t.key_dtype &&
         s.value_dtype == t.value_dtype && s.out_dtype == t.out_dtype &&
         s.batch == t.batch && s.seqlen_q == t.seqlen_q &&
         s.seqlen_k == t.seqlen_k && s.num_heads == t.num_heads &&
         s.num_kv_heads == t.num_kv_heads && s.head_dim == t.head_dim &&
         s.head_dim_v == t.head_dim_v && s.key_rotated == t.key_rotated &&
         s.value_rotated == t.value_rotated &&
         p.softmax_scale == r.softmax_scale && p.softcap == r.softcap &&
         p.causal == r.causal && p.causal_offset == r.causal_offset &&
         p.window_left == r.window_left && p.window_right == r.window_right &&
         p.sink_size == r.sink_size;
}

}  // namespace heed::io
