// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "python/src/key_value.h"

#include <cstring>
#include <string>

#include "heed/kv.h"
#include "python/src/call.h"
#include "python/src/fast_call.h"

namespace heed::python {
namespace {

constexpr Py_ssize_t kParts = 5;

// A part of a tuple; of a tensor, which is its own first part.
nb::handle Part(nb::handle given, Py_ssize_t i) {
  if (!PyTuple_Check(given.ptr())) return i == 0 ? given : nb::none();
  return PyTuple_Size(given.ptr()) == kParts
             ? nb::handle(PyTuple_GetItem(given.ptr(), i))
             : nb::none();
}

}  // namespace

DType QuantisedType(nb::handle name) {
  const char* text =
      PyUnicode_Check(name.ptr()) ? PyUnicode_AsUTF8(name.ptr()) : nullptr;
  if (text == nullptr) {
    PyErr_Clear();
    RaiseType("dtype: needs a string, got " + TypeName(name));
  }
  if (std::strcmp(text, "int8") == 0) return DType::kI8;
  if (std::strcmp(text, "float8_e4m3") == 0) return DType::kF8E4M3;
  if (std::strcmp(text, "float8_e5m2") == 0) return DType::kF8E5M2;
  if (std::strcmp(text, "uint4") == 0) return DType::kU4;
  RaiseValue("dtype: '" + std::string(text) +
             "' is not offered: \"int8\", \"float8_e4m3\", \"float8_e5m2\" or "
             "\"uint4\"");
}

KeyValue::KeyValue(nb::handle given, const KeyValueNames& names, bool writable)
    : rows_(Part(given, 0), names.rows, writable),
      scale_(Part(given, 1), names.scale, writable),
      minimum_(Part(given, 2), names.minimum, writable) {
  if (rows_.absent()) {
    RaiseType(std::string(names.rows) + ": needs a tensor, got " +
              (given.is_none() ? "None" : TypeName(given)));
  }
  if (!PyTuple_Check(given.ptr())) return;
  quantised_ = true;
  dtype_ = QuantisedType(Part(given, 3));
  rotated_ = TruthOf(Part(given, 4), "rotated");
  if (rows_.bits() != 8 || rows_.kind() == '?') {
    RaiseType(std::string(names.rows) + ": codes need 8 bits an element, got " +
              rows_.DTypeName());
  }
}

void KeyValue::RefuseOverlap(const Tensor& read) const {
  for (const Tensor* part : {&rows_, &scale_, &minimum_}) {
    python::RefuseOverlap(*part, read);
  }
}

TensorView KeyValue::View(Layout layout) const {
  if (!quantised_) return rows_.View(layout);
  TensorView view = rows_.ViewAs(layout, dtype_);
  if (dtype_ == DType::kU4) view.extent[3] *= 2;
  return view;
}

void SetKeyValue(const KeyValue& key, const KeyValue& value, Layout layout,
                 AttentionArgs* args) {
  args->key = key.View(layout);
  args->value = value.View(layout);
  KvScales& scales = args->kv_scales;
  scales.key_scale = key.Scale(layout);
  scales.value_scale = value.Scale(layout);
  scales.key_minimum = key.Minimum(layout);
  scales.value_minimum = value.Minimum(layout);
  scales.key_rotated = key.rotated();
  scales.value_rotated = value.rotated();
}

namespace {

// Writes x as codes, scale and minimum, which may be None, all of them made.
nb::object Quantize(nb::handle x, nb::handle to, nb::handle layout_name) {
  const Layout layout = LayoutOf(layout_name);
  const Tensor source(x, "x");
  if (source.absent()) RaiseType("x: needs a tensor, got None");
  const KeyValue written(to, {"codes", "scale", "minimum"}, true);
  QuantizeOptions options;
  options.rotate = written.rotated();
  const ConstTensorView from = source.View(layout);
  const TensorView codes = written.View(layout), scale = written.Scale(layout),
                   minimum = written.Minimum(layout);
  Status status;
  {
    const nb::gil_scoped_release released;
    status = QuantizeKv(from, options, codes, scale, minimum);
  }
  RaiseUnlessOk(status);
  return nb::none();
}

}  // namespace

void BindKeyValue(nb::module_& m) {
  static PyMethodDef methods[] = {FastMethod<&Quantize>("quantize_kv"),
                                  {nullptr, nullptr, 0, nullptr}};
  PyModule_AddFunctions(m.ptr(), methods);
}

}  // namespace heed::python
