// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/differential/fuzz_case.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <vector>

namespace heed::test {
namespace {

// Multiply-adds that the page that defines the bits is asked for, reading an
// element counted as one: some 50 ms.
constexpr int64_t kMostWork = 2'000'000;

int64_t WorkOf(const FuzzCase& c) {
  return c.batch * c.kv_heads * c.group * c.rows * (c.keys + 1) *
         (c.dim + c.dim_v + 16);
}

std::vector<int64_t*> FieldsOf(FuzzCase& c) {
  std::vector<int64_t*> fields;
  ForEachField(c,
               [&](const auto&, int64_t& field) { fields.push_back(&field); });
  return fields;
}

constexpr DType kDTypes[] = {DType::kF32, DType::kBF16, DType::kF16};

DType DTypeAt(int64_t index) { return kDTypes[index]; }

}  // namespace

void MakeConsistent(FuzzCase* c) {
  // Keys last: long ones are drawn on purpose.
  while (WorkOf(*c) > kMostWork) {
    int64_t* const extents[] = {&c->rows,  &c->dim,      &c->dim_v,
                                &c->group, &c->kv_heads, &c->batch};
    int64_t* const largest = *std::max_element(
        std::begin(extents), std::end(extents),
        [](const int64_t* a, const int64_t* b) { return *a < *b; });
    *(*largest > 1 ? largest : &c->keys) /= 2;
  }
  if (c->alias != 0) {
    c->dim_v = std::min(c->dim_v, c->dim);
    c->value = c->key;
  }
  // Outputs may not repeat, and lse is f32.
  c->out.repeat = c->lse.repeat = c->lse.dtype = 0;
  if (c->placed == 0) c->offset = 0;
  if (c->tasks == 0) c->free = 0;
  // A unit's bits are not the page's.
  const AttentionShape shape = ShapeOf(*c);
  const bool units = shape.query_dtype == DType::kBF16 &&
                     shape.key_dtype == DType::kBF16 &&
                     shape.value_dtype == DType::kBF16;
  if (units && c->rotated == 0) c->fast = 0;
  if (c->list_rows == 0) {
    c->list_most = 0;
    c->list_longest = 1;
  }
}

AttentionParams ParamsOf(const FuzzCase& c) {
  AttentionParams params;
  params.softmax_scale = static_cast<float>(c.scale) / 1024;
  params.softcap = static_cast<float>(c.cap) / 1024;
  params.causal = c.causal != 0;
  if (c.placed != 0) params.causal_offset = c.offset;
  params.window_left = c.left;
  params.window_right = c.right;
  params.sink_size = c.sinks;
  return params;
}

AttentionShape ShapeOf(const FuzzCase& c) {
  AttentionShape shape;
  shape.query_dtype = DTypeAt(c.query.dtype);
  shape.key_dtype = DTypeAt(c.key.dtype);
  shape.value_dtype = DTypeAt(c.value.dtype);
  shape.out_dtype = DTypeAt(c.out.dtype);
  shape.batch = c.batch;
  shape.seqlen_q = c.rows;
  shape.seqlen_k = c.keys;
  shape.num_heads = c.kv_heads * c.group;
  shape.num_kv_heads = c.kv_heads;
  shape.head_dim = c.dim;
  shape.head_dim_v = c.dim_v;
  shape.key_rotated = (c.rotated & 1) != 0;
  shape.value_rotated = (c.rotated & 2) != 0;
  return shape;
}

std::string TextOf(const FuzzCase& c) {
  FuzzCase plain;
  const std::vector<int64_t*> defaults = FieldsOf(plain);
  std::string text;
  size_t i = 0;
  ForEachField(c, [&](const std::string& name, int64_t value) {
    if (value == *defaults[i++]) return;
    text += (text.empty() ? "" : " ") + name + "=" + std::to_string(value);
  });
  return text;
}

std::string ReadCase(std::string_view text, FuzzCase* c) {
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (word.empty()) continue;
    const size_t equals = std::min(word.find('='), word.size());
    bool read = false;
    ForEachField(*c, [&](const std::string& name, int64_t& field) {
      if (name != word.substr(0, equals)) return;
      const char* const end = word.data() + word.size();
      const char* const begin = std::min(word.data() + equals + 1, end);
      const auto result = std::from_chars(begin, end, field);
      read = result.ec == std::errc() && result.ptr == end;
    });
    if (!read) return "'" + std::string(word) + "' is no field and number";
  }
  return "";
}

FuzzCase Shrink(const FuzzCase& c, bool (*fails)(const FuzzCase&), int most) {
  FuzzCase smallest = c;
  FuzzCase plain;
  const std::vector<int64_t*> defaults = FieldsOf(plain);
  for (bool again = true; again && most > 0;) {
    again = false;
    for (size_t i = 0; i < defaults.size(); ++i) {
      const int64_t value = *FieldsOf(smallest)[i];
      const int64_t simple = *defaults[i];
      for (const int64_t tried : {simple, simple + (value - simple) / 2,
                                  value - (value > simple ? 1 : -1)}) {
        if (value == simple || tried == value) continue;
        FuzzCase simpler = smallest;
        *FieldsOf(simpler)[i] = tried;
        MakeConsistent(&simpler);
        if (TextOf(simpler) == TextOf(smallest)) continue;
        if (most-- <= 0) return smallest;
        if (!fails(simpler)) continue;
        smallest = simpler;
        again = true;
        break;
      }
    }
  }
  return smallest;
}

}  // namespace heed::test
