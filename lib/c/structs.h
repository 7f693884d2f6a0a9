// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// How structs of the C door are read and written: by the size that the caller
// compiled, never by this library's.
#ifndef HEED_LIB_C_STRUCTS_H_
#define HEED_LIB_C_STRUCTS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "heed/heed_c.h"
#include "heed/status.h"
#include "heed/tensor.h"

namespace heed::internal {

// The size of a struct's first version, which callers may still have. A struct
// that grows gets a specialisation with the size that it had, and its new
// fields mean at 0 what was so before.
template <typename T>
inline constexpr uint64_t kFirstSize = sizeof(T);

// No struct will ever be larger: what claims to be was not initialised.
inline constexpr uint64_t kLargestStruct = 4096;

inline Status InvalidStruct(const char* name, const char* message) {
  return Status(StatusCode::kInvalidArgument, name, message);
}

// Checks what stands in front of a struct whose versions have `first` bytes and
// more.
inline Status CheckStructSize(uint64_t size, uint64_t first, const char* name) {
  if (size < first) {
    return InvalidStruct(name, "has a struct_size below its first version's")
        .WithValue(static_cast<int64_t>(size))
        .WithBound(static_cast<int64_t>(first), BoundKind::kAtLeast)
        .WithUnit("bytes");
  }
  if (size > kLargestStruct || size % 8 != 0) {
    return InvalidStruct(name, "has a struct_size that no version has")
        .WithValue(static_cast<int64_t>(
            std::min(size, static_cast<uint64_t>(INT64_MAX))));
  }
  return Status();
}

// Returns the struct_size of a struct, which need not be aligned.
inline uint64_t SizeIn(const void* from) {
  uint64_t size;
  std::memcpy(&size, from, sizeof(size));
  return size;
}

// Copies the caller's struct to *to. Fields that the caller does not have are 0
// there; those that this version does not have must be 0.
template <typename T>
Status ReadStruct(const T* from, const char* name, T* to) {
  if (from == nullptr) return InvalidStruct(name, "is null");
  const uint64_t size = SizeIn(from);
  const Status status = CheckStructSize(size, kFirstSize<T>, name);
  if (!status.ok()) return status;
  const char* const bytes = reinterpret_cast<const char*>(from);
  for (uint64_t i = sizeof(T); i < size; ++i) {
    if (bytes[i] != 0) {
      return Status(StatusCode::kUnsupported, name,
                    "has fields set that this version does not know")
          .WithValue(static_cast<int64_t>(size))
          .WithBound(sizeof(T))
          .WithUnit("bytes");
    }
  }
  std::memset(to, 0, sizeof(T));
  std::memcpy(to, bytes, std::min(size, static_cast<uint64_t>(sizeof(T))));
  return Status();
}

// Checks a struct that is to be written.
template <typename T>
Status CheckOutStruct(const T* to, const char* name) {
  if (to == nullptr) return InvalidStruct(name, "is null");
  return CheckStructSize(SizeIn(to), kFirstSize<T>, name);
}

// Writes the fields that the caller has, but for struct_size, which is right.
template <typename T>
void WriteStruct(const T& from, T* to) {
  constexpr uint64_t kHead = sizeof(uint64_t);
  const uint64_t size = std::min(SizeIn(to), static_cast<uint64_t>(sizeof(T)));
  std::memcpy(reinterpret_cast<char*>(to) + kHead,
              reinterpret_cast<const char*>(&from) + kHead, size - kHead);
}

// Sets the defaults of the caller's struct of `size` bytes: zeros but for what
// is not in `defaults`.
template <typename T>
int32_t InitStruct(T defaults, T* to, uint64_t size) {
  if (to == nullptr || !CheckStructSize(size, kFirstSize<T>, "").ok()) {
    return HEED_INVALID_ARGUMENT;
  }
  std::memset(static_cast<void*>(to), 0, size);
  std::memcpy(to, &size, sizeof(size));
  WriteStruct(defaults, to);
  return HEED_OK;
}

// Returns a view as one of C.
inline heed_tensor TensorOfC(const ConstTensorView& view) {
  const auto& [data, dtype, extent, stride] = view;
  heed_tensor to = {};
  to.struct_size = sizeof(to);
  to.data = const_cast<void*>(data);
  to.dtype = static_cast<int32_t>(dtype);
  std::copy(extent, extent + 4, to.extent);
  std::copy(stride, stride + 4, to.stride);
  return to;
}

// Reads fields one after another, and keeps the first refusal.
class FieldReader {
 public:
  template <typename Void>
  FieldReader& Tensor(const heed_tensor& from, const char* name,
                      BasicTensorView<Void>* to) {
    auto& [data, dtype, extent, stride] = *to;
    data = from.data;
    dtype = static_cast<DType>(from.dtype);
    std::copy(from.extent, from.extent + 4, extent);
    std::copy(from.stride, from.stride + 4, stride);
    if (from.struct_size == 0 && to->absent()) {
      *to = {};
    } else if (from.struct_size != sizeof(heed_tensor)) {
      Keep(InvalidStruct(name, "has not the struct_size of a heed_tensor")
               .WithValue(static_cast<int64_t>(
                   std::min(from.struct_size, uint64_t{INT64_MAX})))
               .WithBound(sizeof(heed_tensor), BoundKind::kNeeds)
               .WithUnit("bytes"));
    }
    return Reserved(from.reserved, name);
  }

  FieldReader& Bool(int32_t from, const char* name, bool* to) {
    *to = from != 0;
    if (from != 0 && from != 1) {
      Keep(InvalidStruct(name, "must be 0 or 1").WithValue(from));
    }
    return *this;
  }

  FieldReader& Reserved(int32_t from, const char* name) {
    if (from != 0) {
      Keep(InvalidStruct(name, "has a reserved field that is not 0")
               .WithValue(from));
    }
    return *this;
  }

  FieldReader& Keep(const Status& status) {
    if (status_.ok()) status_ = status;
    return *this;
  }

  const Status& status() const { return status_; }

 private:
  Status status_;
};

// Reads a tensor that must be there.
template <typename View>
Status Given(const heed_tensor* tensor, const char* name, View* view) {
  if (tensor == nullptr) return InvalidStruct(name, "is null");
  return FieldReader().Tensor(*tensor, name, view).status();
}

// Reads a tensor that may be absent.
template <typename View>
Status Optional(const heed_tensor* tensor, const char* name, View* view) {
  return tensor == nullptr ? Status() : Given(tensor, name, view);
}

}  // namespace heed::internal

#endif  // HEED_LIB_C_STRUCTS_H_
