// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Where compare's tensors come from: a safetensors file of captured queries,
// keys and values, or a synthetic problem.
#ifndef HEED_LIB_EVAL_TENSOR_SOURCE_H_
#define HEED_LIB_EVAL_TENSOR_SOURCE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lib/eval/capture_params.h"
#include "lib/eval/workload.h"
#include "lib/io/number_list.h"
#include "lib/io/problem.h"

namespace heed::eval {

// One attention call. Its tensors are f32 whatever the file holds.
struct Layer {
  std::string name;  // "layer.2", or the problem string
  // The numbers that its query heads have in the file; empty: 0, 1, ...
  std::vector<int64_t> heads;
  Tensors tensors;
};

struct TensorSource {
  std::string name;                             // path or problem string
  std::map<std::string, std::string> metadata;  // of the file
  // Calls: one a layer, or `queries` of each where they are decoded one by one.
  std::vector<Layer> layers;
  int64_t queries = 0;
};

struct CaptureOptions {
  // How the file's tensors are laid out: kBshd is [seqlen, heads, head_dim],
  // kBhsd [heads, seqlen, head_dim], either with a batch axis in front or
  // without. Memory is laid out the same.
  Layout layout = Layout::kBshd;
  // By number; empty: all. A single number must be in the file, a range must
  // hold one that is.
  std::vector<io::NumberRange> layers;
  int64_t tokens = 0;  // only the first so many positions; 0: all
  // Query heads by number from 0, and the key heads that they read; empty: all.
  // As many must stay on each of these key heads.
  std::vector<io::NumberRange> heads;
  CaptureParams params;
};

// Reads "<prefix>query", "<prefix>key" and "<prefix>value" (or q, k, v) for
// every prefix in the file, in order of the last number in it, which is the
// layer's. A prefix is empty or ends with one of ". _ / -". The metadata and
// options.params set the parameters. Throws InputError, in one sentence, where
// the file cannot be used or the shapes do not fit together.
TensorSource LoadCapture(const std::string& path,
                         const CaptureOptions& options);

// Draws the tensors of a problem string. Throws InputError for a string that is
// not one, or one that asks for more than 2^36 elements.
TensorSource MakeSynthetic(const std::string& problem,
                           const WorkloadOptions& options);

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_TENSOR_SOURCE_H_
