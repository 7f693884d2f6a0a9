// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends fully in some heads, and to the latest keys and the first few in the
// others: DuoAttention (Xiao et al. 2024, arXiv:2410.10819). Which heads need
// all keys (retrieval heads) the paper learns for each layer of a model, half
// of them by default; here they are given. All query heads of a key head are of
// one kind.
//
// In a streaming head a query at position p sees key j where j < sink_size or
// p - j < recent_size.
#include <heed/sparse_variant.h>

#include <algorithm>
#include <cstdint>

namespace heed::variants {
namespace {

// Bits that a knob can hold.
constexpr int64_t kBits = 53;

constexpr Knob kKnobs[] = {
    {.name = "retrieval_heads",
     .summary = "Key heads that see all keys, as bits: 1 is head 0, 2 head 1, "
                "4 head 2; head 53 is as head 0.",
     .default_value = 0x15555555555555,
     .min = 0,
     .max = 0x1fffffffffffff,
     .integer = true,
     .has_exact = true,
     .exact_value = 0x1fffffffffffff},
    {.name = "sink_size",
     .summary = "First keys that every query sees.",
     .default_value = 64,
     .min = 0,
     .max = sparse::kAll,
     .integer = true},
    {.name = "recent_size",
     .summary = "Latest keys that a query sees, its own position among them.",
     .default_value = 256,
     .min = 1,
     .max = sparse::kAll,
     .integer = true},
};

struct Duo : patterns::Pattern {
  int64_t retrieval, sink, recent;
  int64_t group;

  Duo(const double* knobs, int64_t heads, int64_t kv_heads)
      : retrieval(static_cast<int64_t>(knobs[0])),
        sink(static_cast<int64_t>(knobs[1])),
        recent(static_cast<int64_t>(knobs[2])),
        group(std::max<int64_t>(heads / std::max<int64_t>(kv_heads, 1), 1)) {}

  bool Retrieves(int64_t head) const {
    return retrieval >> (head / group % kBits) & 1;
  }
  bool Keep(int64_t head, int64_t query, int64_t key) const {
    return Retrieves(head) || key < sink || query - key < recent;
  }
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    if (Retrieves(row.head)) return f(0, row.end);
    f(0, sink);
    f(row.query - recent + 1, row.end);
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const Duo pattern(knobs, shape.num_heads, shape.num_kv_heads);
  return sparse::PatternCost(shape, params, pattern, /*per_head=*/true);
}

Status RunVariant(const VariantArgs& a) {
  SparseOptions options;
  options.per_head = true;
  return sparse::AttendPattern(
      a, Duo(a.knobs, a.args.query.heads(), a.args.key.heads()), options);
}

}  // namespace

Variant duo_attention() {
  return {
      .summary = "All keys in some heads, sinks and a window in the others.",
      .paper = "Xiao et al. 2024, arXiv:2410.10819",
      .semantics = Semantics::kExactOnSelection,
      .knobs = kKnobs,
      .num_knobs = 3,
      .cost = EstimateCost,
      .run = RunVariant};
}

}  // namespace heed::variants
