// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// This library's exact kernel: the line that every other variant is held
// against.
#include <heed/ops.h>
#include <heed/variant.h>

namespace heed::variants {
namespace {

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* /*knobs*/) {
  return ops::SoftmaxCost(shape, ops::VisiblePairs(shape, params),
                          ops::VisibleKeyRows(shape, params));
}

Status RunVariant(const VariantArgs& a) {
  return ops::Attend(a.params, a.args, a);
}

}  // namespace

Variant exact() {
  return {.summary =
              "Exact blocked softmax attention, never forming the "
              "score matrix.",
          .paper = "Dao et al. 2022, arXiv:2205.14135",
          .semantics = Semantics::kExact,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
