// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/core/check_pages.h"

#include <cstdint>

namespace heed::internal {
namespace {

constexpr TensorName kKeyPages = {"key_pages", "overlaps key_pages"};
constexpr TensorName kValuePages = {"value_pages", "overlaps value_pages"};
constexpr TensorName kKeyScalePages = {"key_scale_pages",
                                       "overlaps key_scale_pages"};
constexpr TensorName kValueScalePages = {"value_scale_pages",
                                         "overlaps value_scale_pages"};
constexpr TensorName kKeyMinimumPages = {"key_minimum_pages",
                                         "overlaps key_minimum_pages"};
constexpr TensorName kValueMinimumPages = {"value_minimum_pages",
                                           "overlaps value_minimum_pages"};

// An array of pointers against its tensor and the other arrays.
Status CheckArray(const Pages& pages, const PagedTensor& tensor) {
  const char* const argument = tensor.array.argument;
  if (tensor.pages == nullptr) {
    const MemoryRange page = MemoryOf(tensor.page);
    if (!pages.by_pointers() || tensor.may_repeat || page.begin == page.end) {
      return Status();
    }
    return Invalid(argument, "is null");
  }
  if (pages.page_table != nullptr) {
    return Invalid(argument, "can not be given with page_table");
  }
  if (!pages.by_pointers()) {
    return Invalid(argument, "is given without key_pages and value_pages");
  }
  if (!tensor.page.absent()) return Status();
  return Invalid(argument, "is given without its tensor");
}

}  // namespace

PagedTensors::PagedTensors(const AttentionArgs& args)
    : all{{args.key, args.pages.key_pages, kKeyPages, false},
          {args.value, args.pages.value_pages, kValuePages, false},
          {args.kv_scales.key_scale, args.pages.key_scale_pages, kKeyScalePages,
           true},
          {args.kv_scales.value_scale, args.pages.value_scale_pages,
           kValueScalePages, true},
          {args.kv_scales.key_minimum, args.pages.key_minimum_pages,
           kKeyMinimumPages, true},
          {args.kv_scales.value_minimum, args.pages.value_minimum_pages,
           kValueMinimumPages, true}} {}

PagedTensors::PagedTensors(const AppendArgs& args)
    : all{{args.key_cache, args.pages.key_pages, kKeyPages, false},
          {args.value_cache, args.pages.value_pages, kValuePages, false},
          {args.key_scale, args.pages.key_scale_pages, kKeyScalePages,
           args.given_scales},
          {args.value_scale, args.pages.value_scale_pages, kValueScalePages,
           args.given_scales},
          {args.key_minimum, args.pages.key_minimum_pages, kKeyMinimumPages,
           args.given_scales},
          {args.value_minimum, args.pages.value_minimum_pages,
           kValueMinimumPages, args.given_scales}} {}

bool InOwnPages(const Pages& pages, const TensorName& name) {
  return (&name == &kKeyName && pages.key_pages != nullptr) ||
         (&name == &kValueName && pages.value_pages != nullptr) ||
         (&name == &kKeyScaleName && pages.key_scale_pages != nullptr) ||
         (&name == &kValueScaleName && pages.value_scale_pages != nullptr) ||
         (&name == &kKeyMinimumName && pages.key_minimum_pages != nullptr) ||
         (&name == &kValueMinimumName && pages.value_minimum_pages != nullptr);
}

Status CheckPagesFit(const Pages& pages, int64_t num_sequences,
                     const PagedTensors& tensors) {
  const char* const rows =
      pages.page_table != nullptr ? "page_table" : "key_pages";
  if (!pages.any() &&
      (pages.num_sequences != 0 || pages.pages_per_sequence != 0)) {
    return Invalid("page_table", "is null");
  }
  for (const PagedTensor& tensor : tensors) {
    const Status status = CheckArray(pages, tensor);
    if (!status.ok()) return status;
  }
  if (!pages.any()) return Status();
  if (pages.num_sequences != num_sequences) {
    return Invalid(rows, "must have a row for each sequence")
        .WithValue(pages.num_sequences)
        .WithBound(num_sequences, BoundKind::kNeeds);
  }
  if (pages.pages_per_sequence < 0) {
    return Invalid("pages_per_sequence", "must not be negative")
        .WithValue(pages.pages_per_sequence)
        .WithBound(0, BoundKind::kSaid);
  }
  if (pages.table_stride < 0) {
    return Invalid("table_stride", "must not be negative")
        .WithValue(pages.table_stride)
        .WithBound(0, BoundKind::kSaid);
  }
  int64_t entries;
  if (__builtin_mul_overflow(pages.table_stride, num_sequences, &entries) ||
      pages.pages_per_sequence > INT64_MAX / 8 ||
      entries > INT64_MAX / 8 - pages.pages_per_sequence) {
    return Status(StatusCode::kOverflow, "table_stride",
                  "leaves the address space")
        .WithValue(pages.table_stride)
        .WithBound(0, BoundKind::kSaid);
  }
  return Status();
}

}  // namespace heed::internal
