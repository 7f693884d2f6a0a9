// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Bisects each variant's budget on all calls of the source.
#include "lib/eval/budget_search.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>
#include <system_error>

#include "lib/eval/call_run.h"
#include "lib/eval/scratch_pool.h"
#include "lib/io/input_error.h"
#include "lib/io/quoted.h"

namespace heed::eval {
namespace {

constexpr int64_t kGrid = 1000;  // steps of a knob that is no whole number

// The values of a budget, from the one that keeps least: number 0. Whole ones
// are as many as keys, as far as the range allows: at that distance from the
// exact value where they fall, from the least on where they rise.
struct Budgets {
  double least, step;
  int64_t last;

  double Value(int64_t number) const {
    return least + step * static_cast<double>(number);
  }
};

Budgets BudgetsOf(const Knob& knob, int64_t keys) {
  const bool rising = knob.exact_value >= knob.default_value;
  const double least = rising ? knob.min : knob.max;
  const double range = knob.exact_value - least;
  if (!knob.integer) return {least, range / kGrid, kGrid};
  const double most = std::min(std::fabs(range), static_cast<double>(keys));
  const int64_t last = static_cast<int64_t>(most);
  if (rising) return {least, 1.0, last};
  return {knob.exact_value + most, -1.0, last};
}

bool Reaches(const Quality& quality, double mass, double error) {
  return quality.mass ? mass >= quality.value : error <= quality.value;
}

class Search {
 public:
  Search(const TensorSource& source, const Quality& quality,
         const CompareOptions& options)
      : quality_(quality) {
    for (const Layer& layer : source.layers) {
      calls_.push_back(std::make_unique<CallRun>(layer, options));
      const io::Problem& problem = layer.tensors.problem;
      if (problem.shape.seqlen_k >= keys_) longest_ = problem;
      keys_ = std::max(keys_, problem.shape.seqlen_k);
    }
  }

  // Whether what number 0 keeps is least. A window that is as long as its
  // stride is least where both are near the root of the keys.
  bool HasLeast(size_t knob_index, Setting setting) const {
    const Variant& variant = setting.variant.variant;
    if (variant.cost == nullptr) return true;
    const Budgets budgets = BudgetsOf(variant.knobs[knob_index], keys_);
    const auto flops = [&](int64_t number) {
      setting.knobs[knob_index] = budgets.Value(number);
      return variant.cost(longest_.shape, longest_.params, setting.knobs.data())
          .flops;
    };
    const double root = std::sqrt(static_cast<double>(budgets.last));
    return flops(0) <= flops(budgets.last - static_cast<int64_t>(root));
  }

  // Sets the budget; false where none reaches the quality.
  bool Find(size_t knob_index, Setting* setting) {
    const Budgets budgets =
        BudgetsOf(setting->variant.variant.knobs[knob_index], keys_);
    const auto at = [&](int64_t number) {
      setting->knobs[knob_index] = budgets.Value(number);
      return Reached(*setting);
    };
    const int64_t found = SmallestReaching(0, budgets.last, at);
    setting->knobs[knob_index] = budgets.Value(found);
    return found <= budgets.last;
  }

 private:
  bool Reached(const Setting& setting) {
    double mass = 0, error = 0;
    const double share = 1.0 / static_cast<double>(calls_.size());
    for (const auto& call : calls_) {
      const Measurement cell = call->Probe(setting, &scratch_);
      if (cell.gate != Gate::kPassed) return false;
      mass += share * cell.mass_mean;
      error += share * cell.rel_l2;
    }
    return Reaches(quality_, mass, error);
  }

  Quality quality_;
  std::vector<std::unique_ptr<CallRun>> calls_;
  ScratchPool scratch_;
  int64_t keys_ = 0;
  io::Problem longest_;  // which has these
};

}  // namespace

Quality ParseQuality(std::string_view text) {
  const size_t equals = text.find('=');
  const std::string_view name = text.substr(0, equals);
  Quality quality;
  quality.mass = name == "mass";
  const std::string_view number =
      equals == std::string_view::npos ? "" : text.substr(equals + 1);
  const char* end = number.data() + number.size();
  const auto [stop, error] = std::from_chars(number.data(), end, quality.value);
  const bool sound = error == std::errc() && stop == end && quality.value > 0 &&
                     std::isfinite(quality.value) &&
                     (!quality.mass || quality.value < 1);
  if (!sound || (name != "mass" && name != "rel_l2")) {
    throw io::InputError(
        "--at needs mass=X with X between 0 and 1, or rel_l2=X with X above 0, "
        "not " +
        io::Quoted(text));
  }
  return quality;
}

std::string FormatQuality(const Quality& quality) {
  return (quality.mass ? "mass=" : "rel_l2=") + FormatKnobValue(quality.value);
}

int64_t SmallestReaching(int64_t low, int64_t high,
                         const std::function<bool(int64_t)>& reaches) {
  if (!reaches(high)) return high + 1;
  if (low == high || reaches(low)) return low;
  // `low` does not reach and `high` does.
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (reaches(middle) ? high : low) = middle;
  }
  return high;
}

BudgetSearch SearchBudgets(const TensorSource& source,
                           const std::vector<Setting>& settings,
                           const Quality& quality,
                           const CompareOptions& options,
                           const ProgressFunction& progress) {
  const auto tell = [&](size_t done, const std::string& what) {
    if (!progress) return;
    progress({static_cast<double>(done) / static_cast<double>(settings.size()),
              what});
  };
  BudgetSearch result;
  tell(0, "computing the truth of " + source.name);
  Search search(source, quality, options);
  for (size_t i = 0; i < settings.size(); ++i) {
    Setting setting = settings[i];
    const int knob = BudgetKnob(setting.variant.variant);
    tell(i, "searching a budget of " + std::string(setting.variant.name));
    const bool kept = knob < 0 ||
                      !search.HasLeast(static_cast<size_t>(knob), setting) ||
                      search.Find(static_cast<size_t>(knob), &setting);
    (kept ? result.settings : result.missed)
        .push_back(kept ? setting : settings[i]);
  }
  return result;
}

}  // namespace heed::eval
