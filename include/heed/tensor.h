// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Views of the caller's memory. A view owns nothing.
#ifndef HEED_TENSOR_H_
#define HEED_TENSOR_H_

#include <cstdint>
#include <type_traits>

#include "heed/types.h"

namespace heed {

// A strided 4-d tensor. Extents stand in the order [batch, seqlen, heads,
// head_dim] whatever the layout in memory; strides are in bytes, so that packed
// formats fit. The makers below take strides in elements or compute them.
//
// Rules, checked by the calls that take views: the innermost stride is one
// element; other strides are not negative. Neither is asked along an extent of
// at most 1, nor of a tensor without elements. A zero stride repeats an input
// and is refused for an output. Data is aligned to its element. Everything
// between rows is left untouched.
//
// Packed elements (kU4) are counted as elements in head_dim, which must be
// even, and their innermost stride is a byte for two of them.
template <typename Void>
struct BasicTensorView {
  Void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t extent[4] = {0, 0, 0, 0};
  int64_t stride[4] = {0, 0, 0, 0};

  int64_t batch() const { return extent[0]; }
  int64_t seqlen() const { return extent[1]; }
  int64_t heads() const { return extent[2]; }
  int64_t head_dim() const { return extent[3]; }
  // True where the view was never set: how optional arguments are absent.
  bool absent() const {
    return data == nullptr &&
           (extent[0] | extent[1] | extent[2] | extent[3]) == 0;
  }

  // A view that may be written is a view that may be read.
  operator BasicTensorView<const void>() const {
    BasicTensorView<const void> view;
    view.data = data;
    view.dtype = dtype;
    for (int i = 0; i < 4; ++i) {
      view.extent[i] = extent[i];
      view.stride[i] = stride[i];
    }
    return view;
  }
};

using TensorView = BasicTensorView<void>;             // may be written
using ConstTensorView = BasicTensorView<const void>;  // is only read

// The view type that a pointer to T makes: const pointers make const views.
template <typename T>
using ViewOf = BasicTensorView<
    typename std::conditional<std::is_const<T>::value, const void, void>::type>;

// Returns a view with explicit strides, in elements. Those of packed elements
// must be even, but for the innermost, 1: of an odd one no view is made that a
// call would take.
template <typename T>
ViewOf<T> Strided(T* data, int64_t batch, int64_t seqlen, int64_t heads,
                  int64_t head_dim, int64_t batch_stride, int64_t seqlen_stride,
                  int64_t heads_stride, int64_t head_dim_stride = 1) {
  using Element = typename std::remove_const<T>::type;
  const int64_t size = static_cast<int64_t>(sizeof(Element));
  const int64_t extent[4] = {batch, seqlen, heads, head_dim};
  const int64_t stride[4] = {batch_stride, seqlen_stride, heads_stride,
                             head_dim_stride};
  ViewOf<T> view;
  view.data = data;
  view.dtype = DTypeOf<Element>::value;
  for (int i = 0; i < 4; ++i) {
    view.extent[i] = extent[i];
    // Multiplied unsigned: an absurd stride wraps here without being undefined
    // and is refused, as an overflow of the tensor's extent, by the call.
    view.stride[i] = static_cast<int64_t>(static_cast<uint64_t>(stride[i]) *
                                          static_cast<uint64_t>(size));
    if (view.dtype == DType::kU4 && i < 3) {
      view.stride[i] = stride[i] % 2 == 0 ? stride[i] / 2 : -1;
    }
  }
  return view;
}

namespace internal {
constexpr int64_t WrapMul(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) *
                              static_cast<uint64_t>(b));
}
}  // namespace internal

// Dense [batch][seqlen][heads][head_dim].
template <typename T>
ViewOf<T> Bshd(T* data, int64_t batch, int64_t seqlen, int64_t heads,
               int64_t head_dim) {
  const int64_t row = internal::WrapMul(heads, head_dim);
  return Strided(data, batch, seqlen, heads, head_dim,
                 internal::WrapMul(seqlen, row), row, head_dim);
}

// Dense [batch][heads][seqlen][head_dim].
template <typename T>
ViewOf<T> Bhsd(T* data, int64_t batch, int64_t heads, int64_t seqlen,
               int64_t head_dim) {
  const int64_t head = internal::WrapMul(seqlen, head_dim);
  return Strided(data, batch, seqlen, heads, head_dim,
                 internal::WrapMul(heads, head), head_dim, head);
}

// Dense [tokens][heads][head_dim]: one sequence, batch 1.
template <typename T>
ViewOf<T> Thd(T* data, int64_t tokens, int64_t heads, int64_t head_dim) {
  return Bshd(data, 1, tokens, heads, head_dim);
}

// Dense [batch][heads][seqlen], one number a row, as `lse` is: a view with
// head_dim 1.
template <typename T>
ViewOf<T> Bhs(T* data, int64_t batch, int64_t heads, int64_t seqlen) {
  return Bhsd(data, batch, heads, seqlen, int64_t{1});
}

// Returns the view of positions [first, first + count) of a sequence, which it
// must have.
template <typename Void>
BasicTensorView<Void> TokensOf(BasicTensorView<Void> view, int64_t first,
                               int64_t count) {
  using Byte = typename std::conditional<std::is_const<Void>::value, const char,
                                         char>::type;
  if (view.absent()) return view;
  view.data = static_cast<Byte*>(view.data) + first * view.stride[1];
  view.extent[1] = count;
  return view;
}

namespace internal {
// Where the row of one (batch, position, head) stands, whatever its elements.
// Nothing is checked here.
inline const char* BytesAt(const ConstTensorView& view, int64_t batch,
                           int64_t position, int64_t head) {
  return static_cast<const char*>(view.data) + batch * view.stride[0] +
         position * view.stride[1] + head * view.stride[2];
}
inline char* BytesAt(const TensorView& view, int64_t batch, int64_t position,
                     int64_t head) {
  return static_cast<char*>(view.data) + batch * view.stride[0] +
         position * view.stride[1] + head * view.stride[2];
}
}  // namespace internal

// Returns the head_dim elements of one (batch, position, head) of an f32 view
// that was checked: nothing is checked here.
inline const float* RowAt(const ConstTensorView& view, int64_t batch,
                          int64_t position, int64_t head) {
  return reinterpret_cast<const float*>(
      internal::BytesAt(view, batch, position, head));
}
inline float* RowAt(const TensorView& view, int64_t batch, int64_t position,
                    int64_t head) {
  return reinterpret_cast<float*>(
      internal::BytesAt(view, batch, position, head));
}

}  // namespace heed

#endif  // HEED_TENSOR_H_
