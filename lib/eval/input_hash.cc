// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Eight bytes at a time through the finaliser of splitmix64.
#include "lib/eval/input_hash.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <cstring>

#include "lib/io/problem.h"

namespace heed::eval {
namespace {

uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

uint64_t HashBytes(const char* bytes, size_t count, uint64_t hash) {
  while (count > 0) {
    uint64_t word = 0;
    const size_t taken = std::min(count, sizeof(word));
    std::memcpy(&word, bytes, taken);
    hash = Mix(hash ^ word);
    bytes += taken;
    count -= taken;
  }
  return hash;
}

uint64_t HashTensor(const ConstTensorView& view, uint64_t hash) {
  hash = Mix(hash ^ static_cast<uint64_t>(view.dtype));
  for (const int64_t extent : view.extent) {
    hash = Mix(hash ^ static_cast<uint64_t>(extent));
  }
  if (view.absent()) return hash;
  const size_t bytes =
      static_cast<size_t>(BytesOf(view.dtype, view.head_dim()));
  for (int64_t b = 0; b < view.batch(); ++b) {
    for (int64_t s = 0; s < view.seqlen(); ++s) {
      for (int64_t h = 0; h < view.heads(); ++h) {
        hash = HashBytes(internal::BytesAt(view, b, s, h), bytes, hash);
      }
    }
  }
  return hash;
}

}  // namespace

uint64_t HashInputs(const Tensors& tensors, uint64_t seed) {
  uint64_t hash = Mix(seed);
  for (const Tensor* tensor :
       {&tensors.query, &tensors.key, &tensors.value, &tensors.key_scale,
        &tensors.key_minimum, &tensors.value_scale, &tensors.value_minimum}) {
    hash = HashTensor(tensor->view, hash);
  }
  return hash;
}

std::vector<LayerIdentity> IdentifyLayers(const TensorSource& source) {
  const size_t calls =
      source.queries > 0 ? static_cast<size_t>(source.queries) : 1;
  std::vector<LayerIdentity> layers;
  for (size_t first = 0; first < source.layers.size(); first += calls) {
    const size_t end = std::min(first + calls, source.layers.size());
    uint64_t hash = 0;
    for (size_t call = first; call < end; ++call) {
      hash = HashInputs(source.layers[call].tensors, hash);
    }
    std::array<char, 17> text = {};
    std::snprintf(text.data(), text.size(), "%016llx",
                  static_cast<unsigned long long>(hash));
    layers.push_back({source.layers[first].name,
                      io::FormatProblem(source.layers[end - 1].tensors.problem),
                      text.data()});
  }
  return layers;
}

}  // namespace heed::eval
