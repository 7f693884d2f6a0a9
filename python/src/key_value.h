// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Keys or values of a call: a tensor of floats, or quantised rows.
#ifndef HEED_PYTHON_SRC_KEY_VALUE_H_
#define HEED_PYTHON_SRC_KEY_VALUE_H_

#include <nanobind/nanobind.h>

#include "heed/attention.h"
#include "python/src/tensors.h"

namespace heed::python {

// What sentences call the parts.
struct KeyValueNames {
  const char* rows;
  const char* scale;
  const char* minimum;
};
inline constexpr KeyValueNames kKeyNames = {"k", "k.scale", "k.minimum"};
inline constexpr KeyValueNames kValueNames = {"v", "v.scale", "v.minimum"};
inline constexpr KeyValueNames kKeyCacheNames = {"k_cache", "k_cache.scale",
                                                 "k_cache.minimum"};
inline constexpr KeyValueNames kValueCacheNames = {"v_cache", "v_cache.scale",
                                                   "v_cache.minimum"};

// The DType of a name: "int8", "float8_e4m3", "float8_e5m2" or "uint4".
DType QuantisedType(nb::handle name);

class KeyValue {
 public:
  // `given` is a tensor, or what heed.Quantized hands over: the tuple (codes,
  // scale, minimum, dtype, rotated). None is refused.
  KeyValue(nb::handle given, const KeyValueNames& names, bool writable = false);

  bool rotated() const { return rotated_; }
  // Raises where something that is read meets one of its parts.
  void RefuseOverlap(const Tensor& read) const;
  TensorView View(Layout layout) const;
  // Absent where there is none.
  TensorView Scale(Layout layout) const { return Optional(scale_, layout); }
  TensorView Minimum(Layout layout) const { return Optional(minimum_, layout); }

 private:
  static TensorView Optional(const Tensor& tensor, Layout layout) {
    return tensor.absent() ? TensorView() : tensor.View(layout);
  }

  Tensor rows_, scale_, minimum_;
  bool quantised_ = false;
  bool rotated_ = false;
  DType dtype_ = DType::kF32;  // where quantised
};

// Fills the call's keys and values, and how they are to be read.
void SetKeyValue(const KeyValue& key, const KeyValue& value, Layout layout,
                 AttentionArgs* args);

}  // namespace heed::python

#endif  // HEED_PYTHON_SRC_KEY_VALUE_H_
