// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What runs of variants give that let means, combinations or features stand for
// keys: their out, and how far it is from what it should be.
#ifndef HEED_TESTS_VARIANTS_COARSE_RUN_H_
#define HEED_TESTS_VARIANTS_COARSE_RUN_H_

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "heed/tensor.h"
#include "lib/eval/workload.h"
#include "tests/variants/variant_run.h"

namespace heed::test {

// Variant `name` with its first knobs set as given, the others at the values of
// its first setting.
Setting SettingOf(const std::string& name, std::initializer_list<double> knobs);

// Runs a variant and returns its out.
std::vector<float> OutOf(const std::string& name, const eval::Tensors& t,
                         std::initializer_list<double> knobs,
                         const ConstTensorView* inputs = nullptr);

// The out of exact attention.
std::vector<double> ExactOut(const eval::Tensors& t);

double LargestError(const std::vector<float>& got,
                    const std::vector<double>& want);

// How far a variant is from its own reference.
double ErrorOfReference(const std::string& name, const eval::Tensors& t,
                        std::initializer_list<double> knobs,
                        const ConstTensorView* inputs);

// Every `repeat` tokens in a row become the same, of queries, keys and values.
void Repeat(const eval::Tensors& t, int64_t repeat);

// As many numbers, of both signs.
std::vector<float> Numbers(int64_t count);

// Sets queries and keys so that the score of a row of query block i and a key
// of key block j is score[i][j], and values so that channel j of out is what
// the keys of block j weigh together.
void SetBlocks(const eval::Tensors& t, int64_t query_block, int64_t key_block,
               const std::vector<std::vector<float>>& score);

// A letter for each channel of a row of out: x where it is not 0.
std::string Weighed(const eval::Tensors& t, int64_t row);

}  // namespace heed::test

#endif  // HEED_TESTS_VARIANTS_COARSE_RUN_H_
