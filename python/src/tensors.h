// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Tensors that Python objects lend for a call: by the buffer protocol where
// there is one, else by DLPack, by its table of C functions where there is one.
// Nothing is copied.
#ifndef HEED_PYTHON_SRC_TENSORS_H_
#define HEED_PYTHON_SRC_TENSORS_H_

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "heed/status.h"
#include "heed/tensor.h"

namespace heed::python {

namespace nb = nanobind;

struct ManagedTensor;

std::string TypeName(nb::handle object);

// Raise TypeError and ValueError.
[[noreturn]] void RaiseType(const std::string& sentence);
[[noreturn]] void RaiseValue(const std::string& sentence);

// Raises what a refused call means in Python: MemoryError where memory was
// short, else ValueError with the status's sentence.
void RaiseUnlessOk(const Status& status);

// The order of a tensor's axes in Python.
enum class Layout { kBshd, kBhsd, kThd };
Layout LayoutOf(nb::handle name);

inline constexpr int kMostAxes = 8;

// A borrowed tensor; the object lives as long as this does.
class Tensor {
 public:
  Tensor() = default;
  // `name` is for sentences, and must stay. None makes an absent tensor.
  Tensor(nb::handle object, const char* name, bool writable = false);
  // Memory that no Python object stands for, dense, in C's order. At most
  // kMostAxes.
  Tensor(const char* name, void* data, char kind, int bits,
         const int64_t* extents, int ndim);
  ~Tensor();
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;

  bool absent() const { return kind_ == 0; }
  int ndim() const { return ndim_; }
  int64_t extent(int axis) const { return extent_[axis]; }
  int64_t stride(int axis) const { return stride_[axis]; }  // bytes
  void* data() const { return data_; }
  nb::handle object() const { return object_; }
  const char* name() const { return name_; }
  // 'f' float, 'B' bfloat16, 'i' and 'u' integers, '?' bool, 'c' complex, and
  // the bits of an element.
  char kind() const { return kind_; }
  int bits() const { return bits_; }
  std::string DTypeName() const;

  // Whether the two lie in one another, from first to last byte. False of what
  // is absent, has no elements or leaves the address space.
  bool Meets(const Tensor& other) const;

  // The view of a query, key, value or result in this layout. Raises for a
  // dtype or rank that attention has not.
  TensorView View(Layout layout) const { return ViewAs(layout, FloatType()); }
  // The same of elements that are said to be something else: codes.
  TensorView ViewAs(Layout layout, DType dtype) const;
  // The same of [batch, heads, seqlen], or in kThd [heads, tokens]: of lse.
  TensorView RowView(Layout layout) const;
  // A view of these extents, in the order of axes given by `order` (positions
  // in the extents of numpy's broadcasting, of `extents`): for biases, masks
  // and slopes.
  ConstTensorView Broadcast(std::initializer_list<int64_t> extents,
                            std::initializer_list<int> order) const;

 private:
  bool ImportBuffer(bool writable);
  void ImportDlpack(nb::handle object, bool writable);
  void Take(const nb::dlpack::dltensor& tensor);
  template <class Array>
  void TakeArray(const Array& array);
  [[noreturn]] void RefuseRank(int needs, const char* axes) const;
  DType FloatType() const;
  // [*begin, *end) of its bytes; false where there are none.
  bool Range(int64_t* begin, int64_t* end) const;

  nb::object object_;
  const char* name_ = "";
  void* data_ = nullptr;
  int ndim_ = 0;
  int64_t extent_[kMostAxes] = {};
  int64_t stride_[kMostAxes] = {};
  char kind_ = 0;
  int bits_ = 0;
  bool has_buffer_ = false;
  Py_buffer buffer_ = {};
  ManagedTensor* lent_ = nullptr;
  nb::ndarray<nb::ro> array_;
  nb::ndarray<> writable_array_;
};

// Raises ValueError where the two meet.
void RefuseOverlap(const Tensor& written, const Tensor& read);

// Whole numbers of an argument: an array of int32 or int64, or a sequence. Of
// dense int32 no copy is made.
class Integers {
 public:
  Integers(nb::handle object, const char* name, int ndim);

  bool absent() const { return absent_; }
  int64_t rows() const { return rows_; }  // of ndim 1: 1
  int64_t size() const { return size_; }  // of a row
  const int32_t* data() const { return data_; }

 private:
  void Copy(int64_t row, int64_t column, int64_t value);

  Tensor tensor_;
  bool absent_ = false;
  int64_t rows_ = 1;
  int64_t size_ = 0;
  const int32_t* data_ = nullptr;
  std::vector<int32_t> copied_;
  const char* name_;
};

// Makes an uninitialised tensor as the library of `like` makes them (torch for
// its tensors, else numpy), of its dtype or of f32.
nb::object NewTensor(const Tensor& like, const std::vector<int64_t>& extents,
                     bool f32);

}  // namespace heed::python

#endif  // HEED_PYTHON_SRC_TENSORS_H_
