// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "python/src/tensors.h"

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "heed/types.h"
#include "python/src/exchange.h"

namespace heed::python {
namespace {

// The kind and bits that a buffer's format stands for; 0 where it is not one
// number.
char KindOfFormat(const char* format, int64_t item_bytes, int* bits) {
  if (format == nullptr) format = "B";
  if (*format == '@' || *format == '=' || *format == '<') ++format;
  if (format[0] == '\0' || format[1] != '\0') return 0;
  *bits = static_cast<int>(8 * item_bytes);
  switch (*format) {
    case 'f':
    case 'd':
    case 'e':
    case 'g':
      return 'f';
    case 'b':
    case 'h':
    case 'i':
    case 'l':
    case 'q':
    case 'n':
      return 'i';
    case 'B':
    case 'H':
    case 'I':
    case 'L':
    case 'Q':
    case 'N':
      return 'u';
    case '?':
      return '?';
    default:
      return 0;
  }
}

char KindOfCode(uint8_t code) {
  switch (static_cast<nb::dlpack::dtype_code>(code)) {
    case nb::dlpack::dtype_code::Float:
      return 'f';
    case nb::dlpack::dtype_code::Bfloat:
      return 'B';
    case nb::dlpack::dtype_code::Int:
      return 'i';
    case nb::dlpack::dtype_code::UInt:
      return 'u';
    case nb::dlpack::dtype_code::Bool:
      return '?';
    case nb::dlpack::dtype_code::Complex:
      return 'c';
    default:
      return '8';  // a narrow float
  }
}

bool NeedsGradients(nb::handle object) {
  static PyObject* const name = PyUnicode_InternFromString("requires_grad");
  const nb::object needs = nb::steal(PyObject_GetAttr(object.ptr(), name));
  if (needs.is_valid() && PyObject_IsTrue(needs.ptr()) == 1) return true;
  PyErr_Clear();
  return false;
}

// DLPack's number of a device, where a tensor has one that DLPack knows.
int DeviceOf(nb::handle object, const std::string& name) {
  try {
    const nb::object device = object.attr("__dlpack_device__")();
    return nb::cast<int>(device[0]);
  } catch (nb::python_error& error) {
    const nb::str reason(error.value());
    RaiseValue(name + ": is not in the memory of the CPU (" + reason.c_str() +
               ")");
  } catch (const nb::cast_error&) {
    RaiseType(name + ": its __dlpack_device__ is not one");
  }
}

}  // namespace

std::string TypeName(nb::handle object) {
  return Py_TYPE(object.ptr())->tp_name;
}

void RaiseType(const std::string& sentence) {
  throw nb::type_error(sentence.c_str());
}

void RaiseValue(const std::string& sentence) {
  throw nb::value_error(sentence.c_str());
}

void RaiseUnlessOk(const Status& status) {
  if (status.ok()) return;
  const std::string sentence = ToString(status);
  if (status.code() == StatusCode::kOutOfMemory) {
    PyErr_SetString(PyExc_MemoryError, sentence.c_str());
    throw nb::python_error();
  }
  RaiseValue(sentence);
}

Layout LayoutOf(nb::handle name) {
  const char* text =
      PyUnicode_Check(name.ptr()) ? PyUnicode_AsUTF8(name.ptr()) : nullptr;
  if (text == nullptr) {
    PyErr_Clear();
    RaiseType("layout: needs a string, got " + TypeName(name));
  }
  if (std::strcmp(text, "bshd") == 0) return Layout::kBshd;
  if (std::strcmp(text, "bhsd") == 0) return Layout::kBhsd;
  if (std::strcmp(text, "thd") == 0) return Layout::kThd;
  RaiseValue("layout: '" + std::string(text) +
             "' is not offered: \"bshd\", \"bhsd\" or \"thd\"");
}

// Made first as an empty one, so that what was lent is given back where the
// rest raises.
Tensor::Tensor(nb::handle object, const char* name, bool writable) : Tensor() {
  object_ = nb::borrow(object);
  name_ = name;
  if (object.is_none()) return;
  if (PyObject_CheckBuffer(object.ptr()) && ImportBuffer(writable)) return;
  ImportDlpack(object, writable);
}

Tensor::Tensor(const char* name, void* data, char kind, int bits,
               const int64_t* extents, int ndim)
    : name_(name), data_(data), ndim_(ndim), kind_(kind), bits_(bits) {
  int64_t bytes = bits / 8;
  for (int i = ndim - 1; i >= 0; --i) {
    extent_[i] = extents[i];
    stride_[i] = bytes;
    bytes *= extents[i];
  }
}

Tensor::~Tensor() {
  if (has_buffer_) PyBuffer_Release(&buffer_);
  if (lent_ != nullptr && lent_->deleter != nullptr) lent_->deleter(lent_);
}

// False where the object has a dtype that the protocol can't tell.
bool Tensor::ImportBuffer(bool writable) {
  PyObject* source = object_.ptr();
  nb::object view;
  char kind = 0;
  if (PyObject_GetBuffer(source, &buffer_, PyBUF_RECORDS_RO) != 0) {
    PyErr_Clear();
    // numpy's bfloat16, of ml_dtypes, has no format. It is seen as bits.
    if (!nb::hasattr(object_, "dtype") || !nb::hasattr(object_, "view")) {
      return false;
    }
    const nb::str dtype(nb::object(object_.attr("dtype")));
    if (std::string_view(dtype.c_str()) != "bfloat16") return false;
    view = object_.attr("view")("uint16");
    if (PyObject_GetBuffer(view.ptr(), &buffer_, PyBUF_RECORDS_RO) != 0) {
      throw nb::python_error();
    }
    kind = 'B';
  }
  has_buffer_ = true;
  if (writable && buffer_.readonly) {
    RaiseValue(std::string(name_) + ": is read-only");
  }
  if (buffer_.ndim > kMostAxes) RefuseRank(4, "");
  int bits = 0;
  const char found = KindOfFormat(buffer_.format, buffer_.itemsize, &bits);
  if (found == 0) {
    RaiseType(std::string(name_) + ": its elements are not numbers (format '" +
              (buffer_.format == nullptr ? "" : buffer_.format) + "')");
  }
  kind_ = kind == 0 ? found : kind;
  bits_ = bits;
  data_ = buffer_.buf;
  ndim_ = buffer_.ndim;
  for (int i = 0; i < ndim_; ++i) {
    extent_[i] = buffer_.shape[i];
    stride_[i] = buffer_.strides[i];
  }
  return true;
}

void Tensor::ImportDlpack(nb::handle object, bool writable) {
  const std::string name = name_;
  lent_ = LendByTable(object);
  if (lent_ == nullptr && !nb::hasattr(object, "__dlpack__")) {
    RaiseType(name + ": needs a tensor (buffer protocol or DLPack), got " +
              TypeName(object));
  }
  if (NeedsGradients(object)) {
    RaiseValue(name +
               ": needs gradients, which this door has not: use "
               "heed.torch.attention, or detach() it");
  }
  const auto need_cpu = [&name](int type) {
    if (type == nb::device::cpu::value) return;
    RaiseValue(name + ": is not in the memory of the CPU (DLPack device type " +
               std::to_string(type) + ")");
  };
  if (lent_ != nullptr) {
    need_cpu(lent_->tensor.device.device_type);
    if (writable && lent_->read_only()) RaiseValue(name + ": is read-only");
    Take(lent_->tensor);
    return;
  }
  need_cpu(DeviceOf(object, name));
  if (writable) {
    if (!nb::try_cast(object, writable_array_, false)) {
      RaiseValue(name + ": is read-only, or cannot be lent by DLPack");
    }
    TakeArray(writable_array_);
  } else {
    if (!nb::try_cast(object, array_, false)) {
      RaiseValue(name + ": cannot be lent by DLPack as it is");
    }
    TakeArray(array_);
  }
}

void Tensor::Take(const nb::dlpack::dltensor& tensor) {
  ndim_ = tensor.ndim;
  if (ndim_ > kMostAxes) RefuseRank(4, "");
  if (tensor.dtype.lanes > 1) {
    RaiseType(std::string(name_) + ": its elements are vectors");
  }
  kind_ = KindOfCode(tensor.dtype.code);
  bits_ = tensor.dtype.bits;
  data_ = static_cast<char*>(tensor.data) + tensor.byte_offset;
  for (int i = 0; i < ndim_; ++i) {
    extent_[i] = tensor.shape[i];
    stride_[i] = tensor.strides[i] * (bits_ / 8);
  }
}

template <class Array>
void Tensor::TakeArray(const Array& array) {
  int64_t extents[kMostAxes], strides[kMostAxes];
  nb::dlpack::dltensor tensor;
  tensor.ndim = static_cast<int32_t>(array.ndim());
  tensor.dtype = array.dtype();
  tensor.data = const_cast<void*>(static_cast<const void*>(array.data()));
  tensor.shape = extents;
  tensor.strides = strides;
  for (int i = 0; i < tensor.ndim && i < kMostAxes; ++i) {
    const size_t axis = static_cast<size_t>(i);
    extents[i] = static_cast<int64_t>(array.shape(axis));
    strides[i] = array.stride(axis);
  }
  Take(tensor);
}

std::string Tensor::DTypeName() const {
  const std::string bits = std::to_string(bits_);
  switch (kind_) {
    case 'f':
      return "float" + bits;
    case 'B':
      return "bfloat" + bits;
    case 'i':
      return "int" + bits;
    case 'u':
      return "uint" + bits;
    case '?':
      return "bool";
    case 'c':
      return "complex" + bits;
    default:
      return "a float of " + bits + " bits";
  }
}

DType Tensor::FloatType() const {
  if (kind_ == 'f' && bits_ == 32) return DType::kF32;
  if (kind_ == 'f' && bits_ == 16) return DType::kF16;
  if (kind_ == 'B' && bits_ == 16) return DType::kBF16;
  RaiseType(std::string(name_) + ": " + DTypeName() +
            " is not offered: float32, bfloat16 or float16");
}

void Tensor::RefuseRank(int needs, const char* axes) const {
  RaiseValue(std::string(name_) + ": needs " + std::to_string(needs) + " axes" +
             axes + ", got " +
             std::to_string(has_buffer_ ? buffer_.ndim : ndim_));
}

bool Tensor::Range(int64_t* begin, int64_t* end) const {
  if (absent()) return false;
  *begin = static_cast<int64_t>(reinterpret_cast<intptr_t>(data_));
  if (__builtin_add_overflow(*begin, int64_t{bits_ / 8}, end)) return false;
  for (int i = 0; i < ndim_; ++i) {
    if (extent_[i] == 0) return false;
    int64_t step;
    int64_t* const side = stride_[i] < 0 ? begin : end;
    if (__builtin_mul_overflow(extent_[i] - 1, stride_[i], &step) ||
        __builtin_add_overflow(*side, step, side)) {
      return false;
    }
  }
  return true;
}

bool Tensor::Meets(const Tensor& other) const {
  int64_t begin, end, other_begin, other_end;
  return Range(&begin, &end) && other.Range(&other_begin, &other_end) &&
         begin < other_end && other_begin < end;
}

void RefuseOverlap(const Tensor& written, const Tensor& read) {
  if (!written.Meets(read)) return;
  RaiseValue(std::string(written.name()) + ": overlaps " + read.name());
}

TensorView Tensor::ViewAs(Layout layout, DType dtype) const {
  TensorView view;
  view.data = data_;
  view.dtype = dtype;
  const int thd = layout == Layout::kThd;
  if (ndim_ != 4 - thd) {
    RefuseRank(4 - thd, thd ? " [tokens, heads, head_dim]"
                        : layout == Layout::kBshd
                            ? " [batch, seqlen, heads, head_dim]"
                            : " [batch, heads, seqlen, head_dim]");
  }
  view.extent[0] = 1;
  for (int i = 0; i < ndim_; ++i) {
    const bool swapped = layout == Layout::kBhsd && (i == 1 || i == 2);
    view.extent[swapped ? 3 - i : i + thd] = extent_[i];
    view.stride[swapped ? 3 - i : i + thd] = stride_[i];
  }
  return view;
}

TensorView Tensor::RowView(Layout layout) const {
  TensorView view;
  view.data = data_;
  view.dtype = FloatType();
  const int thd = layout == Layout::kThd;
  if (ndim_ != 3 - thd) {
    RefuseRank(3 - thd, thd ? " [heads, tokens]" : " [batch, heads, seqlen]");
  }
  view.extent[0] = 1;
  if (!thd) {
    view.extent[0] = extent_[0];
    view.stride[0] = stride_[0];
  }
  view.extent[1] = extent_[2 - thd];
  view.stride[1] = stride_[2 - thd];
  view.extent[2] = extent_[1 - thd];
  view.stride[2] = stride_[1 - thd];
  view.extent[3] = 1;
  view.stride[3] = bits_ / 8;
  return view;
}

ConstTensorView Tensor::Broadcast(std::initializer_list<int64_t> extents,
                                  std::initializer_list<int> order) const {
  ConstTensorView view;
  view.data = data_;
  view.dtype = kind_ == '?' ? DType::kBool : FloatType();
  const int axes = static_cast<int>(extents.size());
  if (ndim_ > axes) {
    RaiseValue(std::string(name_) + ": needs at most " + std::to_string(axes) +
               " axes, got " + std::to_string(ndim_));
  }
  const int* place = order.begin();
  for (int64_t& extent : view.extent) extent = 1;
  for (int i = 0; i < axes; ++i, ++place) {
    const int64_t extent = extents.begin()[i];
    const int own = i - (axes - ndim_);
    view.extent[*place] = extent;
    view.stride[*place] = 0;
    if (own < 0 || (extent_[own] == 1 && extent != 1)) continue;
    if (extent_[own] != extent) {
      RaiseValue(std::string(name_) + ": axis " + std::to_string(own) +
                 " has " + std::to_string(extent_[own]) + " elements, needs " +
                 std::to_string(extent) + " or 1");
    }
    view.stride[*place] = stride_[own];
  }
  return view;
}

nb::object NewTensor(const Tensor& like, const std::vector<int64_t>& extents,
                     bool f32) {
  nb::object shape =
      nb::steal(PyTuple_New(static_cast<Py_ssize_t>(extents.size())));
  for (size_t i = 0; i < extents.size(); ++i) {
    PyTuple_SetItem(shape.ptr(), static_cast<Py_ssize_t>(i),
                    PyLong_FromLongLong(extents[i]));
  }
  if (!shape.is_valid()) throw nb::python_error();
  const nb::handle object = like.object();
  const bool buffer = object.is_valid() && PyObject_CheckBuffer(object.ptr());
  if (object.is_valid() && !buffer && nb::hasattr(object, "new_empty")) {
    const nb::object make = object.attr("new_empty");
    if (!f32) return make(shape);
    return make(shape, nb::arg("dtype") =
                           nb::module_::import_("torch").attr("float32"));
  }
  // Kept for ever: what belongs to the interpreter outlives static objects.
  static PyObject* const* const numpy = [] {
    static PyObject* kept[3];
    const nb::module_ module = nb::module_::import_("numpy");
    kept[0] = nb::object(module.attr("empty")).release().ptr();
    kept[1] = nb::object(module.attr("dtype")("f4")).release().ptr();
    kept[2] = nb::object(module.attr("dtype")("f2")).release().ptr();
    return kept;
  }();
  nb::object dtype;
  if (f32 || (like.kind() == 'f' && like.bits() == 32)) {
    dtype = nb::borrow(numpy[1]);
  } else if (like.kind() == 'f' && like.bits() == 16) {
    dtype = nb::borrow(numpy[2]);
  } else if (buffer && nb::hasattr(object, "dtype")) {
    dtype = object.attr("dtype");  // ml_dtypes' bfloat16
  } else {
    RaiseType("out: numpy has no " + like.DTypeName() +
              " of its own, so it must be given");
  }
  return nb::handle(numpy[0])(shape, dtype);
}

}  // namespace heed::python
