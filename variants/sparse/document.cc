// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends within documents that were packed into one sequence: a query sees the
// keys of its own (as in Llama 3, Dubey et al. 2024, arXiv:2407.21783). A
// yardstick for packed batches: real documents come as ScoreInputs'
// key_documents, which the exact kernel serves, or as patterns::Documents.
//
// Document i begins at i * length + floor(draw(i) * length), document 0 at key
// 0: lengths are drawn from 1 to 2 length and are `length` in the mean. Rows
// before the first key belong to the first document, rows beyond the last key
// to the last.
#include <heed/estimators.h>

#include <algorithm>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "length",
     .summary = "Keys of a document, in the mean.",
     .default_value = 512,
     .min = 1,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = sparse::kAll},
    {.name = "seed",
     .summary = "Where documents begin.",
     .default_value = 1,
     .min = 0,
     .max = sparse::kAll,
     .integer = true},
};

struct Packed : patterns::Pattern {
  int64_t length, seed, last;  // key

  Packed(const double* knobs, int64_t keys)
      : length(static_cast<int64_t>(knobs[0])),
        seed(static_cast<int64_t>(knobs[1])),
        last(std::max<int64_t>(keys - 1, 0)) {}

  int64_t BeginOf(int64_t document) const {
    if (document == 0) return 0;
    const float draw = sparse::DrawOf(seed, 0, 0, document);
    // In double, as a length may have more bits than a float.
    return document * length +
           static_cast<int64_t>(static_cast<double>(draw) *
                                static_cast<double>(length));
  }
  int64_t DocumentOf(int64_t position) const {
    position = std::clamp<int64_t>(position, 0, last);
    const int64_t document = position / length;
    return BeginOf(document) <= position ? document : document - 1;
  }
  bool Keep(int64_t, int64_t query, int64_t key) const {
    return DocumentOf(query) == DocumentOf(key);
  }
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    const int64_t document = DocumentOf(row.query);
    f(BeginOf(document), BeginOf(document + 1));
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return sparse::PatternCost(shape, params, Packed(knobs, shape.seqlen_k));
}

Status RunVariant(const VariantArgs& a) {
  return sparse::AttendPattern(a, Packed(a.knobs, a.args.key.seqlen()));
}

}  // namespace

Variant document() {
  return {.summary = "The keys of the query's own document, of several packed.",
          .paper = "Dubey et al. 2024, arXiv:2407.21783",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 2,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
