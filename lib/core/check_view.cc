// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// One view: its elements and the memory they lie in.
#include <cstdint>

#include "lib/core/check.h"
#include "lib/kernels/kernel_table.h"

namespace heed::internal {
namespace {

// The view with the head_dim of its bytes where elements are packed: then an
// "element" below is a byte.
ConstTensorView Unpacked(ConstTensorView view) {
  if (view.dtype == DType::kU4) {
    view.extent[3] = BytesOf(view.dtype, view.extent[3]);
  }
  return view;
}

// Sets *bytes to the distance from the first element to the end of the last.
// Returns false where it leaves 63 bits.
bool ExtentBytes(const ConstTensorView& view, int64_t* bytes) {
  int64_t total = SizeOf(view.dtype);
  for (int i = 0; i < 4; ++i) {
    int64_t step;
    if (__builtin_mul_overflow(view.extent[i] - 1, view.stride[i], &step) ||
        __builtin_add_overflow(total, step, &total)) {
      return false;
    }
  }
  *bytes = total;
  return true;
}

bool HasElements(const ConstTensorView& view) {
  for (const int64_t extent : view.extent) {
    if (extent == 0) return false;
  }
  return true;
}

// Whether two elements of an output could be the same: each stride, from small
// to large, must step over everything inside it.
bool SelfOverlap(const ConstTensorView& view) {
  int order[4] = {0, 1, 2, 3};
  for (int i = 1; i < 4; ++i) {
    for (int j = i; j > 0 && view.stride[order[j]] < view.stride[order[j - 1]];
         --j) {
      const int swap = order[j];
      order[j] = order[j - 1];
      order[j - 1] = swap;
    }
  }
  int64_t inside = SizeOf(view.dtype);  // cannot overflow: checked before
  for (const int i : order) {
    if (view.extent[i] <= 1) continue;
    if (view.stride[i] < inside) return true;
    inside += (view.extent[i] - 1) * view.stride[i];
  }
  return false;
}

}  // namespace

MemoryRange MemoryOf(const ConstTensorView& view) {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(view.data);
  if (!HasElements(view)) return {begin, begin};
  int64_t bytes;
  if (!ExtentBytes(UsedStrides(Unpacked(view)), &bytes)) {
    return {begin, UINTPTR_MAX};
  }
  return {begin, begin + static_cast<uintptr_t>(bytes)};
}

bool IsFloat(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16;
}

Status CheckF32(const ConstTensorView& view, const TensorName& name) {
  if (view.dtype == DType::kF32) return Status();
  return Status(StatusCode::kUnsupported, name.argument, "must be f32");
}

Status CheckType(const ConstTensorView& view, const TensorName& name) {
  if (view.absent() || view.dtype == name.type) return Status();
  if (name.any_float && IsFloat(view.dtype)) return Status();
  const char* const message = name.any_float ? "must be f32, bf16 or f16"
                              : name.type == DType::kBool ? "must be bool"
                              : name.type == DType::kI32  ? "must be i32"
                              : name.type == DType::kU64  ? "must be u64"
                                                          : "must be f32";
  return Status(StatusCode::kUnsupported, name.argument, message);
}

Status CheckView(const ConstTensorView& packed, const TensorName& name,
                 TensorRole role, bool elsewhere) {
  const char* const argument = name.argument;
  if (SizeOf(packed.dtype) == 0) {
    return Status(StatusCode::kUnsupported, argument, "has an unknown dtype");
  }
  for (int i = 0; i < 4; ++i) {
    if (packed.extent[i] < 0) {
      return Invalid(argument, "has a negative extent")
          .WithIndex(i)
          .WithValue(packed.extent[i])
          .WithBound(0, BoundKind::kSaid);
    }
  }
  if (packed.dtype == DType::kU4 && packed.extent[3] % 2 != 0) {
    return Invalid(argument, "must have an even head_dim, as u4 are packed")
        .WithIndex(3)
        .WithValue(packed.extent[3])
        .WithBound(2, BoundKind::kSaid);
  }
  const ConstTensorView view = Unpacked(packed);
  if (!HasElements(view)) return Status();
  if (elsewhere && view.data != nullptr) {
    return Invalid(argument, "must have no data, as its pages have pointers");
  }
  if (!elsewhere && view.data == nullptr) return Invalid(argument, "is null");
  const int64_t element = SizeOf(view.dtype);
  for (int i = 0; i < 4; ++i) {
    if (view.extent[i] <= 1) continue;
    if (view.stride[i] < 0) {
      return Status(StatusCode::kUnsupported, argument, "has a negative stride")
          .WithIndex(i)
          .WithValue(view.stride[i])
          .WithBound(0, BoundKind::kSaid)
          .WithUnit("bytes");
    }
    if (view.stride[i] % element != 0) {
      return Invalid(argument,
                     "has a stride that is no multiple of its element")
          .WithIndex(i)
          .WithValue(view.stride[i])
          .WithBound(element, BoundKind::kOver)
          .WithUnit("bytes");
    }
  }
  const bool repeats = name.may_repeat && view.stride[3] == 0;
  if (view.extent[3] > 1 && view.stride[3] != element && !repeats) {
    return Status(StatusCode::kUnsupported, argument,
                  "must have an innermost stride of one element")
        .WithIndex(3)
        .WithValue(view.stride[3])
        .WithBound(element, BoundKind::kNeeds)
        .WithUnit("bytes");
  }
  const uintptr_t address = reinterpret_cast<uintptr_t>(view.data);
  if (address % static_cast<uintptr_t>(element) != 0) {
    return Invalid(argument, "is not aligned to its element")
        .WithBound(element, BoundKind::kNeeds)
        .WithUnit("bytes");
  }
  const ConstTensorView used = UsedStrides(view);
  int64_t bytes;
  if (!ExtentBytes(used, &bytes) ||
      static_cast<uint64_t>(bytes) > UINTPTR_MAX - address) {
    return Status(StatusCode::kOverflow, argument,
                  "leaves the address space by its extents times strides");
  }
  if (role == TensorRole::kOutput && SelfOverlap(used)) {
    return Invalid(argument, "has two elements that share memory");
  }
  return Status();
}

Status CheckRowsBecome(const ConstTensorView& source,
                       const ConstTensorView& to) {
  for (int i = 0; i < 4; ++i) {
    if (to.extent[i] == source.extent[i]) continue;
    return Invalid("to", "has another shape than source")
        .WithIndex(i)
        .WithValue(to.extent[i])
        .WithBound(source.extent[i], BoundKind::kNeeds);
  }
  if (source.head_dim() >= 1 && source.head_dim() <= kMaxHeadDim) {
    return Status();
  }
  return Status(StatusCode::kUnsupported, "source",
                "must have a head_dim of 1 to 1024")
      .WithIndex(3)
      .WithValue(source.head_dim())
      .WithBound(kMaxHeadDim, BoundKind::kSaid);
}

Status CheckOverlap(const ConstTensorView& output,
                    const TensorName& output_name, const ConstTensorView& other,
                    const TensorName& other_name) {
  // One whose pages have pointers has no memory here.
  if (output.data == nullptr || other.data == nullptr) return Status();
  if (!MemoryOf(output).Meets(MemoryOf(other))) return Status();
  return Invalid(output_name.argument, other_name.overlaps);
}

}  // namespace heed::internal
