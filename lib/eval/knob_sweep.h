// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Variants with their knobs set, as users write them:
// "window_sink:window=256,512:sink=4" is two settings of one variant.
#ifndef HEED_LIB_EVAL_KNOB_SWEEP_H_
#define HEED_LIB_EVAL_KNOB_SWEEP_H_

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "heed/variant.h"
#include "lib/io/problem.h"

namespace heed::eval {

// A variant and a value for each of its knobs.
struct Setting {
  NamedVariant variant = {};
  std::array<double, kMaxKnobs> knobs = {};
};

// More settings than this from one text are refused: a slip of the keyboard.
inline constexpr size_t kMaxSettings = 256;

// Returns all variants of this build, by name. Inline, so that reading settings
// needs no variant to be linked.
inline std::vector<NamedVariant> AllVariants() {
  std::vector<NamedVariant> variants;
  for (int i = 0; i < NumVariants(); ++i) variants.push_back(GetVariant(i));
  return variants;
}

// Returns the variant's default setting.
Setting DefaultSetting(const NamedVariant& variant);

// Reads "name", "name:knob=value" or "name:knob=v1,v2:knob=v3": every
// combination of the listed values, the last knob varying fastest; knobs not
// named keep their defaults. Throws InputError, suggesting the nearest name,
// for variants and knobs that do not exist, and for values that are not
// numbers, out of range, or fractions where whole numbers are asked.
std::vector<Setting> ParseSettings(std::string_view text,
                                   const std::vector<NamedVariant>& variants);

// Returns the index of the knob that says how much a variant that selects keys
// may keep: the first that can be opened up to exact attention. -1 for variants
// without.
int BudgetKnob(const Variant& variant);

// Returns the settings to run on a problem where the user names none: every
// variant at its defaults. Those that select keys run at a quarter, half, once
// and twice the default of their budget, as far as that costs less than keeping
// all. Those that do not serve the problem (CheckServes) are left out.
std::vector<Setting> DefaultSweep(const std::vector<NamedVariant>& variants,
                                  const io::Problem& problem);

// Returns the text that ParseSettings reads back: "window_sink:window=256:
// sink=4", without the blank.
std::string FormatSetting(const Setting& setting);

// Returns the same without the knobs at their defaults; ParseSettings reads it
// back, too.
std::string ShortSetting(const Setting& setting);

// Returns a knob's value in as few digits as read back to it.
std::string FormatKnobValue(double value);

// Returns the nearest of `names` to a mistyped one by Levenshtein distance, or
// "" where none is close (a third of its letters, at least two).
std::string NearestName(std::string_view name,
                        const std::vector<std::string>& names);

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_KNOB_SWEEP_H_
