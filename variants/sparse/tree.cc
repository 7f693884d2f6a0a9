// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends, among the last tokens, along a tree: a token of a speculative draft
// sees what stands before the draft, its ancestors and itself (SpecInfer, Miao
// et al. 2024, arXiv:2305.09781).
//
// The draft is the last `draft` keys, a tree of `branch` children a token in
// order of breadth: the parent of its token n is (n - 1) / branch, of token 0
// the last key before it. Queries outside the draft see everything. Trees of
// other shapes come as ScoreInputs' tree_mask, or as a pattern of a parent's
// array.
#include <heed/sparse_variant.h>

#include <algorithm>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {.name = "draft",
     .summary = "Last keys, which are a tree.",
     .default_value = 64,
     .min = 0,
     .max = sparse::kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = 0},
    {.name = "branch",
     .summary = "Children of a token.",
     .default_value = 2,
     .min = 1,
     .max = 65536,
     .integer = true},
};

struct Tree : patterns::Pattern {
  int64_t root, end;  // keys of the draft
  int64_t branch;

  Tree(const double* knobs, int64_t keys)
      : root(std::max<int64_t>(keys - static_cast<int64_t>(knobs[0]), 0)),
        end(keys),
        branch(static_cast<int64_t>(knobs[1])) {}

  // f(key) for a token of the draft and its ancestors in it.
  template <typename F>
  void ForEachAncestor(int64_t token, F f) const {
    int64_t n = token - root;
    f(root + n);
    while (n > 0) {
      n = (n - 1) / branch;
      f(root + n);
    }
  }
  bool Keep(int64_t, int64_t query, int64_t key) const {
    if (query < root || query >= end || key < root) return true;
    bool kept = false;
    ForEachAncestor(query, [&](int64_t at) { kept |= at == key; });
    return kept;
  }
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    if (row.query < root || row.query >= end) return f(0, end);
    f(0, root);
    ForEachAncestor(row.query, [&](int64_t at) { f(at, at + 1); });
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return sparse::PatternCost(shape, params, Tree(knobs, shape.seqlen_k));
}

Status RunVariant(const VariantArgs& a) {
  return sparse::AttendPattern(a, Tree(a.knobs, a.args.key.seqlen()));
}

}  // namespace

Variant tree() {
  return {
      .summary = "What stands before a draft, and a token's ancestors in it.",
      .paper = "Miao et al. 2024, arXiv:2305.09781",
      .semantics = Semantics::kExactOnSelection,
      .knobs = kKnobs,
      .num_knobs = 2,
      .cost = EstimateCost,
      .run = RunVariant};
}

}  // namespace heed::variants
