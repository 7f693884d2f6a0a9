// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/differential/fuzz_case.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>
#include <vector>

namespace heed::test {
namespace {

// Multiply-adds that the page that defines the bits is asked for, reading an
// element counted as one: some 50 ms.
constexpr int64_t kMostWork = 2'000'000;

int64_t WorkOf(const FuzzCase& c) {
  return c.batch * c.kv_heads * c.group * c.rows * (c.keys + 1) *
         (c.dim + c.dim_v + (c.scores != 0 ? 64 : 16));
}

std::vector<int64_t*> FieldsOf(FuzzCase& c) {
  std::vector<int64_t*> fields;
  ForEachField(c,
               [&](const auto&, int64_t& field) { fields.push_back(&field); });
  return fields;
}

// What head_dim must be a multiple of.
int64_t GranuleOf(const Placement& placement) {
  return DTypeOf(placement) == DType::kU4 ? 32 : 1;
}

// Halves the largest extent until the case is small enough.
void MakeSmall(FuzzCase* c) {
  const auto down = [](int64_t extent, int64_t granule) {
    return extent / granule * granule;
  };
  const int64_t key = GranuleOf(c->key), value = GranuleOf(c->value);
  // Keys last: long ones are drawn on purpose.
  while (WorkOf(*c) > kMostWork) {
    const std::pair<int64_t*, int64_t> extents[] = {
        {&c->rows, 1},  {&c->dim, key},    {&c->dim_v, value},
        {&c->group, 1}, {&c->kv_heads, 1}, {&c->batch, 1}};
    int64_t* largest = &c->keys;
    int64_t granule = 1, most = 1;
    for (const auto& [extent, least] : extents) {
      if (*extent <= least || *extent <= most) continue;
      largest = extent;
      granule = least;
      most = *extent;
    }
    *largest = down(*largest / 2, granule);
  }
}

}  // namespace

DType DTypeOf(const Placement& placement) {
  return static_cast<DType>(placement.dtype);
}

void MakeConsistent(FuzzCase* c) {
  if (c->alias != 0) {
    c->value = c->key;
    c->value_groups = c->key_groups;
  }
  const auto up = [](int64_t extent, int64_t granule) {
    return (extent + granule - 1) / granule * granule;
  };
  c->dim = up(c->dim, GranuleOf(c->key));
  c->dim_v = up(c->dim_v, GranuleOf(c->value));
  MakeSmall(c);
  if (c->alias != 0) c->dim_v = std::min(c->dim_v, c->dim);
  // Groups of 64 need so many channels.
  if (c->dim % 64 != 0) c->key_groups = 0;
  if (c->dim_v % 64 != 0) c->value_groups = 0;
  // Outputs may not repeat; lse and scales are f32.
  c->out.repeat = c->lse.repeat = 0;
  for (Placement* p : {&c->lse, &c->key_scale, &c->key_minimum, &c->value_scale,
                       &c->value_minimum, &c->mask, &c->score}) {
    p->dtype = 0;
  }
  for (Placement* p :
       {&c->query, &c->key, &c->value, &c->key_scale, &c->key_minimum,
        &c->value_scale, &c->value_minimum, &c->score}) {
    p->repeat &= 7;
  }
  c->query.dtype %= 3;
  c->out.dtype %= 3;
  c->bias.dtype %= 3;
  if (c->placed == 0) c->offset = 0;
  if (c->tasks == 0) c->free = 0;
  if (c->sequences < 0 || c->batch < 1) c->sequences = 0;
  if (c->sequences != 0) {
    // Without lists, and by the kernels whose bits do not depend on the rows.
    c->list_rows = c->fast = c->named = c->poison = 0;
    if (c->batch > 1) {
      c->sequences = c->batch;
      c->packed_keys = 0;
    }
  }
  if (c->sequences == 0 || c->batch > 1 || c->page_size > c->keys ||
      c->page_size < 0) {
    c->page_size = 0;
  }
  if (c->page_size == 0) c->pointers = c->prefix = 0;
  c->sharers = std::clamp<int64_t>(c->sharers, 0, c->sequences);
  if (c->sharers == 0) c->prefix = 0;
  if (c->prefix <= 0) c->prefix = c->sharers = 0;
  if (c->page_size != 0) {
    c->prefix = std::min(c->prefix, c->keys / c->page_size * c->page_size);
  }
  if (c->sequences == 0 || c->page_size != 0) c->packed_keys = 0;
  // One batch of keys for several sequences.
  if (c->sequences > 1 && c->batch == 1 && c->page_size == 0) {
    c->packed_keys = 1;
  }
  c->scores &= kFuzzAllScores;
  c->hides = std::clamp<int64_t>(c->hides, 0, 100);
  if (c->scores != 0) c->named = 0;  // no unit takes them
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
  shape.query_dtype = DTypeOf(c.query);
  shape.key_dtype = DTypeOf(c.key);
  shape.value_dtype = DTypeOf(c.value);
  shape.out_dtype = DTypeOf(c.out);
  shape.batch = c.batch;
  shape.seqlen_q = c.rows;
  shape.seqlen_k = c.keys;
  shape.num_heads = c.kv_heads * c.group;
  shape.num_kv_heads = c.kv_heads;
  shape.num_sequences = c.sequences;
  shape.head_dim = c.dim;
  shape.head_dim_v = c.dim_v;
  shape.key_rotated = c.key_rotated != 0;
  shape.value_rotated = c.value_rotated != 0;
  shape.scores = c.scores != 0;
  shape.shared_prefixes = c.prefix != 0;
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
