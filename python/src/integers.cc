// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Lists of whole numbers: lengths, offsets, tables of pages.
#include <cstdint>
#include <cstring>
#include <string>

#include "python/src/tensors.h"

namespace heed::python {

Integers::Integers(nb::handle object, const char* name, int ndim)
    : tensor_(!object.is_none() && (PyObject_CheckBuffer(object.ptr()) ||
                                    nb::hasattr(object, "__dlpack__"))
                  ? object
                  : nb::handle(Py_None),
              name),
      name_(name) {
  if (object.is_none()) {
    absent_ = true;
    return;
  }
  if (tensor_.absent()) {
    if (ndim != 1 || !PySequence_Check(object.ptr())) {
      RaiseType(std::string(name) + ": needs an array of int32, got " +
                TypeName(object));
    }
    size_ = static_cast<int64_t>(nb::len(object));
    copied_.resize(static_cast<size_t>(size_) + 1);
    for (int64_t i = 0; i < size_; ++i) {
      const nb::object number = object[i];
      const long long value = PyLong_AsLongLong(number.ptr());
      if (value == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        RaiseType(std::string(name) + ": needs whole numbers of 32 bits");
      }
      Copy(0, i, value);
    }
    data_ = copied_.data();
    return;
  }
  const bool wide = tensor_.bits() == 64;
  if (tensor_.kind() != 'i' || (!wide && tensor_.bits() != 32)) {
    RaiseType(std::string(name) + ": needs int32, got " + tensor_.DTypeName());
  }
  if (tensor_.ndim() != ndim) {
    RaiseValue(std::string(name) + ": needs " + std::to_string(ndim) +
               " axes, got " + std::to_string(tensor_.ndim()));
  }
  if (ndim == 2) rows_ = tensor_.extent(0);
  size_ = tensor_.extent(ndim - 1);
  const bool dense = !wide && (size_ <= 1 || tensor_.stride(ndim - 1) == 4) &&
                     (rows_ <= 1 || tensor_.stride(0) == 4 * size_) &&
                     reinterpret_cast<uintptr_t>(tensor_.data()) % 4 == 0;
  if (dense && rows_ * size_ > 0) {
    data_ = static_cast<const int32_t*>(tensor_.data());
    return;
  }
  copied_.resize(static_cast<size_t>(rows_ * size_) + 1);
  for (int64_t row = 0; row < rows_; ++row) {
    for (int64_t i = 0; i < size_; ++i) {
      const char* from = static_cast<const char*>(tensor_.data()) +
                         (ndim == 2 ? row * tensor_.stride(0) : 0) +
                         i * tensor_.stride(ndim - 1);
      int64_t value = 0;
      int32_t narrow = 0;
      if (wide) {
        std::memcpy(&value, from, sizeof(value));
      } else {
        std::memcpy(&narrow, from, sizeof(narrow));
        value = narrow;
      }
      Copy(row, i, value);
    }
  }
  data_ = copied_.data();
}

void Integers::Copy(int64_t row, int64_t column, int64_t value) {
  if (value < INT32_MIN || value > INT32_MAX) {
    RaiseValue(std::string(name_) + "[" + std::to_string(column) +
               "]: leaves 32 bits (got " + std::to_string(value) + ")");
  }
  copied_[static_cast<size_t>(row * size_ + column)] =
      static_cast<int32_t>(value);
}

}  // namespace heed::python
