// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends, row by row, to the blocks of keys to which the row pays most in a
// compressed view, and to a window: the selected branch of native sparse
// attention, beside its window (Yuan et al. 2025, arXiv:2502.11089), the heads
// of a group to the same. How blocks are chosen: NativeChoice of
// heed/estimators.h.
//
// The paper attends to means, blocks and window by themselves, and adds the
// three by trained gates: nsa_gated. Without gates, blocks and window are one
// softmax here, over each key once, and the means choose only. The paper's map
// to compressed keys is trained, too; here it is the mean.
#include <heed/estimators.h>
#include <heed/row_variant.h>

#include <algorithm>
#include <cstdint>

namespace heed::variants {
namespace {

Status RunVariant(const VariantArgs& a) {
  sparse::NativeChoice native;
  const Status status = native.Prepare(a);
  if (!status.ok()) return status;
  const auto choose = [&](const sparse::QueryRow& row,
                          sparse::RowChoice* choice) {
    native.Choose(row, choice);
    choice->Keep(row.position + 1 - static_cast<int64_t>(a.knobs[4]),
                 row.position + 1);
  };
  return sparse::AttendRows(a, sparse::ListOf::kGroup, choose);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  // Three blocks are kept however few are asked for.
  const double keys = std::max(knobs[0], 3.0) * knobs[1] + knobs[4];
  Cost cost =
      ops::SoftmaxCost(shape, sparse::CountRowPairs(shape, params, keys));
  cost.at_most = true;
  sparse::NativeChoice::AddCost(shape, params, knobs, &cost);
  return cost;
}

}  // namespace

Variant nsa() {
  return {.summary =
              "For each row of a group, the blocks that a compressed view "
              "finds heaviest, and a window.",
          .paper = "Yuan et al. 2025, arXiv:2502.11089",
          .semantics = Semantics::kExactOnSelection,
          .knobs = sparse::NativeChoice::kKnobs,
          .num_knobs = sparse::NativeChoice::kNumKnobs,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
