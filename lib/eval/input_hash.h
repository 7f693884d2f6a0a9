// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Which input a comparison had: the same numbers have the same hash, wherever
// the file stands and however it is laid out.
#ifndef HEED_LIB_EVAL_INPUT_HASH_H_
#define HEED_LIB_EVAL_INPUT_HASH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "lib/eval/tensor_source.h"

namespace heed::eval {

// Returns 64 bits of the query, key and value (and their scales) of a call, in
// order of batch, position, head and channel. Differences by accident are
// found; it is no defence against someone who looks for equal ones. Costs one
// pass over the inputs.
uint64_t HashInputs(const Tensors& tensors, uint64_t seed = 0);

// A layer of the input.
struct LayerIdentity {
  std::string name;
  std::string problem;  // of its last call
  std::string hash;     // of all its calls, 16 hexadecimal digits
};

// Returns the layers as RunCompare tells them apart.
std::vector<LayerIdentity> IdentifyLayers(const TensorSource& source);

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_INPUT_HASH_H_
