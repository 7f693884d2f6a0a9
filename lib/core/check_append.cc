// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What AppendKv refuses.
#include <algorithm>
#include <cstdint>

#include "lib/core/append.h"
#include "lib/core/check.h"
#include "lib/core/check_places.h"
#include "lib/core/new_pages.h"
#include "lib/core/quantize_row.h"
#include "lib/core/rope.h"
#include "lib/kernels/kernel_table.h"

namespace heed::internal {
namespace {

constexpr TensorName kKeyCacheName = {"key_cache", "overlaps key_cache"};
constexpr TensorName kValueCacheName = {"value_cache", "overlaps value_cache"};

// Keys or values.
struct Half {
  const ConstTensorView& from;
  const TensorName& from_name;
  const TensorView& cache;
  const TensorName& cache_name;
  const TensorView& scale;
  const TensorName& scale_name;
  const TensorView& minimum;
  const TensorName& minimum_name;
  // Where their pages begin that have pointers.
  void* const* cache_pages;
  void* const* scale_pages;
  void* const* minimum_pages;
};

Status CheckExtent(const ConstTensorView& view, const TensorName& name,
                   int axis, int64_t want, const char* message) {
  if (view.extent[axis] == want) return Status();
  return Invalid(name.argument, message)
      .WithIndex(axis)
      .WithValue(view.extent[axis])
      .WithBound(want, BoundKind::kNeeds);
}

// One half by itself.
Status CheckHalf(const AppendArgs& args, const Half& half) {
  if (half.from.absent()) {
    const ConstTensorView rest[] = {half.cache, half.scale, half.minimum};
    for (const ConstTensorView& view : rest) {
      if (view.absent()) continue;
      return Invalid(half.from_name.argument, "is missing: its cache is given");
    }
    return Status();
  }
  if (!IsFloat(half.from.dtype)) {
    return Status(StatusCode::kUnsupported, half.from_name.argument,
                  "must be f32, bf16 or f16");
  }
  const DType to = half.cache.dtype;
  if (!IsFloat(to) && !IsQuantised(to)) {
    return Status(StatusCode::kUnsupported, half.cache_name.argument,
                  "must be f32, bf16, f16 or a quantised type");
  }
  if (args.given_scales && !IsFloat8(to)) {
    return Status(StatusCode::kUnsupported, "given_scales",
                  "is for float8 alone");
  }
  Status status = CheckF32(half.scale, half.scale_name);
  if (status.ok()) status = CheckF32(half.minimum, half.minimum_name);
  if (status.ok()) {
    status = CheckView(half.from, half.from_name, TensorRole::kInput);
  }
  if (status.ok()) {
    status = CheckView(half.cache, half.cache_name, TensorRole::kOutput,
                       half.cache_pages != nullptr);
  }
  const TensorRole scale_role =
      args.given_scales ? TensorRole::kInput : TensorRole::kOutput;
  if (status.ok()) {
    status = CheckView(half.scale, half.scale_name, scale_role,
                       half.scale_pages != nullptr);
  }
  if (status.ok()) {
    status = CheckView(half.minimum, half.minimum_name, TensorRole::kOutput,
                       half.minimum_pages != nullptr);
  }
  if (!status.ok()) return status;
  if (half.from.head_dim() < 1 || half.from.head_dim() > kMaxHeadDim) {
    return Status(StatusCode::kUnsupported, half.from_name.argument,
                  "must have a head_dim of 1 to 1024")
        .WithIndex(3)
        .WithValue(half.from.head_dim())
        .WithBound(kMaxHeadDim, BoundKind::kSaid);
  }
  for (const int axis : {2, 3}) {
    status =
        CheckExtent(half.cache, half.cache_name, axis, half.from.extent[axis],
                    "has other heads or head_dim than its new rows");
    if (!status.ok()) return status;
  }
  if (IsQuantised(to) && !args.given_scales && half.scale.absent()) {
    return Invalid(half.scale_name.argument,
                   "is missing: there is nowhere to write it");
  }
  return CheckScalesOf({half.cache, half.scale, half.minimum}, half.scale_name,
                       half.minimum_name);
}

// The halves against each other and against the sequences.
Status CheckExtents(const AppendArgs& args) {
  const ConstTensorView& like = NewRowsOf(args);
  if (!args.key.absent() && !args.value.absent()) {
    for (const int axis : {0, 1, 2}) {
      Status status =
          CheckExtent(args.value, kValueName, axis, args.key.extent[axis],
                      "has another shape than key");
      if (status.ok() && axis < 2) {
        status = CheckExtent(args.value_cache, kValueCacheName, axis,
                             args.key_cache.extent[axis],
                             "has another shape than key_cache");
      }
      if (!status.ok()) return status;
    }
  }
  if (args.num_sequences < 0) {
    return Invalid("num_sequences", "is negative")
        .WithValue(args.num_sequences)
        .WithBound(0, BoundKind::kSaid);
  }
  const TensorName& name = args.key.absent() ? kValueName : kKeyName;
  Status status = args.cu_seqlens == nullptr
                      ? CheckExtent(like, name, 0, args.num_sequences,
                                    "must have a batch of num_sequences")
                      : CheckExtent(like, name, 0, 1,
                                    "must have a batch of 1 with cu_seqlens");
  if (!status.ok() || args.pages.page_table != nullptr) return status;
  const bool pointers = args.pages.by_pointers();
  return CheckExtent(args.key.absent() ? args.value_cache : args.key_cache,
                     args.key.absent() ? kValueCacheName : kKeyCacheName, 0,
                     pointers ? 1 : args.num_sequences,
                     pointers ? "must be 1, as pages have pointers"
                              : "must have a batch of num_sequences");
}

template <typename T>
ConstTensorView ArrayView(const T* array, int64_t count) {
  if (array == nullptr) return ConstTensorView();
  return Bshd(reinterpret_cast<const int8_t*>(array), 1, 1, 1,
              count * static_cast<int64_t>(sizeof(T)));
}

// Outputs against everything else.
Status CheckOverlaps(const AppendArgs& args) {
  const int64_t rows = NewRowsOf(args).batch() * NewRowsOf(args).seqlen();
  const int64_t entries =
      args.num_sequences == 0
          ? 0
          : (args.num_sequences - 1) * args.pages.table_stride +
                args.pages.pages_per_sequence;
  const PagedTensors paged(args);
  const struct {
    ConstTensorView view;
    TensorName name;
    bool output;
  } all[] = {
      {args.key_cache, kKeyCacheName, true},
      {args.value_cache, kValueCacheName, true},
      {args.key_scale, kKeyScaleName, !args.given_scales},
      {args.value_scale, kValueScaleName, !args.given_scales},
      {args.key_minimum, kKeyMinimumName, true},
      {args.value_minimum, kValueMinimumName, true},
      {args.key, kKeyName, false},
      {args.value, kValueName, false},
      {TableView(args.rope, args.rope.cos), {"cos", "overlaps cos"}, false},
      {TableView(args.rope, args.rope.sin), {"sin", "overlaps sin"}, false},
      {ArrayView(args.past_lengths, args.num_sequences),
       {"past_lengths", "overlaps past_lengths"},
       false},
      {ArrayView(args.cu_seqlens, args.num_sequences + 1),
       {"cu_seqlens", "overlaps cu_seqlens"},
       false},
      {ArrayView(args.rope_positions, rows),
       {"rope_positions", "overlaps rope_positions"},
       false},
      {ArrayView(args.pages.page_table, entries),
       {"page_table", "overlaps page_table"},
       false},
      {ArrayView(paged.all[0].pages, entries), paged.all[0].array, false},
      {ArrayView(paged.all[1].pages, entries), paged.all[1].array, false},
      {ArrayView(paged.all[2].pages, entries), paged.all[2].array, false},
      {ArrayView(paged.all[3].pages, entries), paged.all[3].array, false},
      {ArrayView(paged.all[4].pages, entries), paged.all[4].array, false},
      {ArrayView(paged.all[5].pages, entries), paged.all[5].array, false},
  };
  for (const auto& output : all) {
    for (const auto& other : all) {
      if (!output.output || &other == &output) continue;
      const Status status =
          CheckOverlap(output.view, output.name, other.view, other.name);
      if (status.ok() || LieBetween(output.view, other.view)) continue;
      return status;
    }
  }
  for (const PagedTensor& tensor : paged) {
    for (const auto& other : all) {
      if (tensor.pages == nullptr || tensor.may_repeat) break;
      if (other.view.data == nullptr) continue;
      const Status status =
          CheckPagesApart(args.pages, tensor, other.view, other.name.overlaps,
                          NewEntriesOf(args));
      if (!status.ok()) return status;
    }
  }
  return Status();
}

}  // namespace

Status CheckAppend(const AppendArgs& args) {
  if (args.key.absent() && args.value.absent()) {
    return Invalid("key", "is missing, and so is value");
  }
  const Half halves[] = {
      {args.key, kKeyName, args.key_cache, kKeyCacheName, args.key_scale,
       kKeyScaleName, args.key_minimum, kKeyMinimumName, args.pages.key_pages,
       args.pages.key_scale_pages, args.pages.key_minimum_pages},
      {args.value, kValueName, args.value_cache, kValueCacheName,
       args.value_scale, kValueScaleName, args.value_minimum, kValueMinimumName,
       args.pages.value_pages, args.pages.value_scale_pages,
       args.pages.value_minimum_pages}};
  for (const Half& half : halves) {
    const Status status = CheckHalf(args, half);
    if (!status.ok()) return status;
  }
  Status status = CheckExtents(args);
  if (status.ok()) status = CheckPlaces(args);
  if (!status.ok()) return status;
  if (!args.key.absent()) {
    const int64_t rows = args.key.batch() * args.key.seqlen();
    status = CheckRope(args.rope, args.key.head_dim(), args.rope_positions,
                       args.key.heads() == 0 ? 0 : rows, "rope_positions");
    if (status.ok() && args.rope.rotary_dim != 0 &&
        args.rope_positions == nullptr) {
      status = CheckRopeReaches(args);
    }
  } else if (args.rope.rotary_dim != 0) {
    status = Invalid("rotary_dim", "is given without keys to turn");
  }
  if (!status.ok()) return status;
  return CheckOverlaps(args);
}

}  // namespace heed::internal
