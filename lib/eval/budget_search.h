// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The cheapest budget with which a variant reaches a quality.
#ifndef HEED_LIB_EVAL_BUDGET_SEARCH_H_
#define HEED_LIB_EVAL_BUDGET_SEARCH_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/eval/compare.h"

namespace heed::eval {

// What to reach, as a mean over layers.
struct Quality {
  bool mass = true;  // mass_mean of at least `value`, else
  double value = 0;  // rel_l2 of at most `value`
};

// Reads "mass=0.95" or "rel_l2=0.01". Throws InputError for what is neither, or
// a number that no variant could miss or reach: mass in (0, 1), rel_l2 > 0.
Quality ParseQuality(std::string_view text);
std::string FormatQuality(const Quality& quality);

// Returns the smallest number in [low, high] that reaches, by bisection: where
// larger numbers than one that reaches reach too, as with budgets. Else it
// reaches and the number before it does not. Returns high + 1 where `high` does
// not reach. Asks about 2 + log2(high - low) times.
int64_t SmallestReaching(int64_t low, int64_t high,
                         const std::function<bool(int64_t)>& reaches);

struct BudgetSearch {
  // The settings with their budgets as found; as given those without a budget,
  // or whose budget keeps much at both its ends, as that of `strided`.
  std::vector<Setting> settings;
  std::vector<Setting> missed;  // no budget reaches the quality
};

// Finds for each setting the smallest value of its budget knob that reaches the
// quality on the source; its other knobs stay. Whole numbers are tried up to
// the number of keys, others on a grid of a thousandth of the knob's range.
BudgetSearch SearchBudgets(const TensorSource& source,
                           const std::vector<Setting>& settings,
                           const Quality& quality,
                           const CompareOptions& options,
                           const ProgressFunction& progress);

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_BUDGET_SEARCH_H_
