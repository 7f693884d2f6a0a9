// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Sorts heads by their errors.
#include "lib/eval/heads.h"

#include <algorithm>
#include <cmath>

namespace heed::eval {

std::vector<HeadRow> WorstHeads(const CompareResult& result, size_t setting) {
  std::vector<HeadRow> rows;
  for (size_t l = 0; l < result.layers.size(); ++l) {
    const std::vector<HeadMeasurement>& heads =
        result.by_layer[l][setting].total.heads;
    for (size_t h = 0; h < heads.size(); ++h) rows.push_back({l, h, heads[h]});
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const HeadRow& a, const HeadRow& b) {
                     const double x = a.lost.rel_l2, y = b.lost.rel_l2;
                     if (std::isnan(x) || std::isnan(y)) {
                       return std::isnan(x) && !std::isnan(y);
                     }
                     return x > y;
                   });
  return rows;
}

}  // namespace heed::eval
