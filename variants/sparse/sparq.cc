// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends, row by row, to the tokens that score highest on the query's largest
// channels: SparQ (Ribar et al. 2023, arXiv:2312.04985), made for decoding. The
// choice is SparqChoice (heed/estimators.h).
//
// The paper mixes the result with the mean of all values, by the weight that
// the choice missed. That is sparq_mean: here softmax attention over the choice
// is computed.
#include <heed/estimators.h>
#include <heed/row_variant.h>

namespace heed::variants {
namespace {

Status RunVariant(const VariantArgs& a) {
  sparse::SparqChoice choice;
  const Status status = choice.Prepare(a);
  if (!status.ok()) return status;
  return sparse::AttendRows(
      a, sparse::ListOf::kGroup,
      [&](const sparse::QueryRow& row, sparse::RowChoice* kept) {
        choice.Choose(row, kept);
      });
}

}  // namespace

Variant sparq() {
  return {.summary =
              "For each row of a group, the keys that score best on the "
              "queries' largest channels.",
          .paper = "Ribar et al. 2023, arXiv:2312.04985",
          .semantics = Semantics::kExactOnSelection,
          .knobs = sparse::SparqChoice::kKnobs,
          .num_knobs = sparse::SparqChoice::kNumKnobs,
          .cost = sparse::SparqChoice::CostOf,
          .run = RunVariant};
}

}  // namespace heed::variants
