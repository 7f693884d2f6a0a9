// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Inputs of variants where the host has none.
#include <cstdint>

#include "heed/linear_variant.h"

namespace heed {
namespace {

// The finaliser of SplitMix64.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

}  // namespace

double DrawnAt(const Input& input, int index, int64_t batch, int64_t token,
               int64_t head, int64_t channel) {
  uint64_t x = static_cast<uint64_t>(index);
  for (const int64_t at : {batch, token, head, channel}) {
    x = Mix(x ^ static_cast<uint64_t>(at));
  }
  const double unit = static_cast<double>(x >> 11) * 0x1p-53;
  return input.low + (input.high - input.low) * unit;
}

Status InputOrDrawn(const VariantArgs& host, const Input* inputs, int index,
                    ConstTensorView* view) {
  if (host.inputs != nullptr) {
    *view = host.inputs[index];
    return Status();
  }
  const ConstTensorView& key = host.args.key;
  const Input& input = inputs[index];
  const int64_t dim = input.per_channel ? key.head_dim() : 1;
  float* at =
      host.scratch.Array<float>(key.batch() * key.seqlen() * key.heads() * dim);
  if (at == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "an input could not be allocated");
  }
  *view = Bshd(static_cast<const float*>(at), key.batch(), key.seqlen(),
               key.heads(), dim);
  for (int64_t b = 0; b < key.batch(); ++b) {
    for (int64_t t = 0; t < key.seqlen(); ++t) {
      for (int64_t h = 0; h < key.heads(); ++h) {
        for (int64_t c = 0; c < dim; ++c) {
          *at++ = static_cast<float>(DrawnAt(input, index, b, t, h, c));
        }
      }
    }
  }
  return Status();
}

}  // namespace heed
