// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// One problem of the differential fuzzer: whole numbers with names. Text,
// parsing and shrinking go over the list of fields, so that a new feature of
// the library is fields here, a function that draws them (draw_case.cc) and the
// place where they are used (fuzz_tensors.cc, run_case.cc).
#ifndef HEED_TESTS_DIFFERENTIAL_FUZZ_CASE_H_
#define HEED_TESTS_DIFFERENTIAL_FUZZ_CASE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "heed/attention.h"

namespace heed::test {

// Where one tensor stands. The defaults are dense [batch][seqlen][heads][dim].
struct Placement {
  int64_t dtype = 0;  // as in DType
  int64_t order = 0;  // which of the six orders of batch, seqlen and heads
  int64_t pad = 0;    // unused elements behind each row, head, ...
  // Axes of stride 0, as bits: 1 batch, 2 seqlen, 4 heads, and, of biases and
  // masks, 8 keys.
  int64_t repeat = 0;
  int64_t wild = 0;   // absurd strides along extents of 1
  int64_t shift = 0;  // elements past the front guard page
  int64_t back = 0;   // against the back guard page instead
};

// Which score inputs a case has.
enum FuzzScore : int64_t {
  kFuzzBias = 1,
  kFuzzMask = 2,
  kFuzzAlibi = 4,
  kFuzzRelative = 8,
  kFuzzDecay = 16,
  kFuzzSink = 32,
  kFuzzPrefix = 64,
  kFuzzLengths = 128,
  kFuzzDocuments = 256,
  kFuzzTree = 512,
  kFuzzHook = 1024,
  kFuzzAllScores = 2047,
};

struct FuzzCase {
  // Extents.
  int64_t batch = 1, kv_heads = 1, group = 1, rows = 1, keys = 1, dim = 1,
          dim_v = 1;
  // Parameters.
  int64_t causal = 0;
  int64_t placed = 0, offset = 0;  // causal_offset, where it is placed
  int64_t left = -1, right = -1, sinks = 0;
  int64_t scale = 0, cap = 0;  // times 1,024
  // Memory.
  Placement query, key, value, out, lse;
  int64_t no_lse = 0;
  int64_t alias = 0;  // values are the first elements of the keys
  // What quantised keys and values are multiplied by: where it stands, whether
  // it is absent, 0 for groups of 32 and 1 for those of 64 (u4), rotation (of
  // any type).
  Placement key_scale, key_minimum, value_scale, value_minimum;
  int64_t no_key_scale = 0, no_value_scale = 0;
  int64_t key_groups = 0, value_groups = 0;
  int64_t key_rotated = 0, value_rotated = 0;
  // Numbers.
  int64_t seed = 0;
  int64_t fill = 0;      // eval::Fill
  int64_t raw = 0;       // quantised elements are random bits instead
  int64_t specials = 0;  // elements replaced
  int64_t kinds = 0;     // by which numbers, as bits: see kSpecials
  int64_t poison = 0;    // keys and values that no row sees are NaN or Inf
  // Key intervals: query_block_size, and how they are drawn.
  int64_t list_rows = 0, list_most = 0, list_longest = 1;
  // A ragged call of so many sequences (0: none); keys in pages of so many rows
  // (0: not), or packed.
  int64_t sequences = 0, page_size = 0, packed_keys = 0;
  // Pages have pointers: scales too (1), or are the same in every page (2).
  int64_t pointers = 0;
  // Keys that the first sequences share, so many of them (0: none).
  int64_t prefix = 0, sharers = 0;
  // Score inputs, as bits of FuzzScore; where biases, masks and the others
  // stand; and one of how many entries is hidden, less 1 (biases: 0 is none).
  int64_t scores = 0, hides = 0;
  Placement bias, mask, score;
  // The plan, and what the plan's extents exceed the call's by.
  int64_t lane_groups = 0, decode_rows = -1, slack = 0;
  // numerics kFast, and the unit by its name where it serves these types.
  int64_t fast = 0, named = 0;
  // The run: by tasks instead of Run, without barriers, workers, the seed of
  // the order of tasks (0: as they come), real threads.
  int64_t tasks = 0, free = 0, workers = 1, shuffle = 0, threads = 0;
};

// Calls f(name, field) for each field of a case.
template <class Case, class Function>
void ForEachField(Case& c, Function f) {
  f("batch", c.batch);
  f("kv_heads", c.kv_heads);
  f("group", c.group);
  f("rows", c.rows);
  f("keys", c.keys);
  f("dim", c.dim);
  f("dim_v", c.dim_v);
  f("causal", c.causal);
  f("placed", c.placed);
  f("offset", c.offset);
  f("left", c.left);
  f("right", c.right);
  f("sinks", c.sinks);
  f("scale", c.scale);
  f("cap", c.cap);
  const auto placement = [&](const std::string& name, auto& p) {
    f(name + ".dtype", p.dtype);
    f(name + ".order", p.order);
    f(name + ".pad", p.pad);
    f(name + ".repeat", p.repeat);
    f(name + ".wild", p.wild);
    f(name + ".shift", p.shift);
    f(name + ".back", p.back);
  };
  placement("query", c.query);
  placement("key", c.key);
  placement("value", c.value);
  placement("out", c.out);
  placement("lse", c.lse);
  f("no_lse", c.no_lse);
  f("alias", c.alias);
  placement("key_scale", c.key_scale);
  placement("key_minimum", c.key_minimum);
  placement("value_scale", c.value_scale);
  placement("value_minimum", c.value_minimum);
  f("no_key_scale", c.no_key_scale);
  f("no_value_scale", c.no_value_scale);
  f("key_groups", c.key_groups);
  f("value_groups", c.value_groups);
  f("key_rotated", c.key_rotated);
  f("value_rotated", c.value_rotated);
  f("seed", c.seed);
  f("fill", c.fill);
  f("raw", c.raw);
  f("specials", c.specials);
  f("kinds", c.kinds);
  f("poison", c.poison);
  f("list_rows", c.list_rows);
  f("list_most", c.list_most);
  f("list_longest", c.list_longest);
  f("sequences", c.sequences);
  f("page_size", c.page_size);
  f("packed_keys", c.packed_keys);
  f("pointers", c.pointers);
  f("prefix", c.prefix);
  f("sharers", c.sharers);
  f("scores", c.scores);
  f("hides", c.hides);
  placement("bias", c.bias);
  placement("mask", c.mask);
  placement("score", c.score);
  f("lane_groups", c.lane_groups);
  f("decode_rows", c.decode_rows);
  f("slack", c.slack);
  f("fast", c.fast);
  f("named", c.named);
  f("tasks", c.tasks);
  f("free", c.free);
  f("workers", c.workers);
  f("shuffle", c.shuffle);
  f("threads", c.threads);
}

// Returns the case of this number in the sequence of `seed`.
FuzzCase DrawCase(uint64_t seed, uint64_t number);

// Returns the same numbers, in other places of memory and run in other ways:
// the result's bits may not differ.
FuzzCase OtherWayOf(const FuzzCase& c);

// Makes fields agree that contradict one another, and the whole small enough
// for the page that defines the bits. Drawn cases are; shrunk ones are made so.
void MakeConsistent(FuzzCase* c);

AttentionParams ParamsOf(const FuzzCase& c);
AttentionShape ShapeOf(const FuzzCase& c);
DType DTypeOf(const Placement& placement);

// The fields that differ from the defaults, as "batch=2 rows=17".
std::string TextOf(const FuzzCase& c);
// Reads such a text; returns "" or what is wrong with it.
std::string ReadCase(std::string_view text, FuzzCase* c);

// Returns "" where every table gives what it must, else a sentence.
std::string RunCase(const FuzzCase& c);

// Returns a case that still fails and of which no field can be made simpler by
// itself. `fails` is asked at most `most` times.
FuzzCase Shrink(const FuzzCase& c, bool (*fails)(const FuzzCase&), int most);

}  // namespace heed::test

#endif  // HEED_TESTS_DIFFERENTIAL_FUZZ_CASE_H_
