// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What heed compare is given: tensors, lengths and settings.
#ifndef HEED_TOOLS_HEED_COMPARE_INPUT_H_
#define HEED_TOOLS_HEED_COMPARE_INPUT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "lib/eval/knob_sweep.h"
#include "lib/eval/tensor_source.h"
#include "tools/heed/options.h"

namespace heed::tool {

// All of these throw InputError for what cannot be.

// Returns the file that is read; "" for a synthetic problem.
std::string InputPath(const Options& options);

// Returns the lengths to compare at, rising; 0 is the whole input. Ranges
// double.
std::vector<int64_t> ReadLengths(const Options& options);

// Returns the input at a length, with its last tokens decoded one by one where
// that is asked for.
eval::TensorSource ReadSource(const Options& options, int64_t length);

// Returns the settings that were named.
std::vector<eval::Setting> ReadSettings(const Options& options);

// Refuses settings without a causal form where the input is causal.
void CheckCausalForms(const std::vector<eval::Setting>& settings,
                      const eval::TensorSource& source);

// Notes on standard error where the other layout would fit better: a file of
// [heads, seqlen, ...] read as [seqlen, heads, ...] often fits too.
void WarnOfLayout(const eval::TensorSource& source, const Options& options);

}  // namespace heed::tool

#endif  // HEED_TOOLS_HEED_COMPARE_INPUT_H_
