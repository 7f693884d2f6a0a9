// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// That new rows go to different places, where pages have pointers.
#include <cstdint>

#include "lib/core/check_places.h"
#include "lib/core/new_pages.h"

namespace heed::internal {
namespace {

// Addresses, of which a slice at a time is kept: those whose product with an
// odd number begins with the slice's.
class AddressSlice {
 public:
  AddressSlice(int slice_bits, uint64_t slice)
      : bits_(slice_bits), slice_(slice) {}

  enum class Added { kNew, kThere, kFull };
  Added Add(uintptr_t address) {
    const uint64_t hash = address * 0x9e3779b97f4a7c15u;
    if (bits_ != 0 && hash >> (64 - bits_) != slice_) return Added::kNew;
    uint64_t at = hash >> 20 & (kSlots - 1);
    while (slot_[at] != 0) {
      if (slot_[at] == address) return Added::kThere;
      at = (at + 1) & (kSlots - 1);
    }
    if (++count_ == kSlots) return Added::kFull;
    slot_[at] = address;
    return Added::kNew;
  }

 private:
  static constexpr uint64_t kSlots = 1024;
  const int bits_;
  const uint64_t slice_;
  uint64_t count_ = 0;
  uintptr_t slot_[kSlots] = {};
};

// That no two rows begin at one address, in the slices of so many bits. Sets
// *full where one has too many.
Status CheckAddresses(const AppendArgs& args, int slice_bits, bool* full) {
  *full = false;
  const PagedTensors tensors(args);
  Status status;
  for (uint64_t slice = 0; slice >> slice_bits == 0; ++slice) {
    AddressSlice addresses(slice_bits, slice);
    for (const PagedTensor& tensor : tensors) {
      if (tensor.pages == nullptr || tensor.may_repeat) continue;
      // Pages without elements have no place, and their pointers no meaning.
      const MemoryRange page_memory = MemoryOf(tensor.page);
      if (page_memory.begin == page_memory.end) continue;
      const int64_t step = UsedStrides(tensor.page).stride[1];
      status =
          ForEachNewPage(args, [&](int64_t entry, int64_t first, int64_t last) {
            const auto page = reinterpret_cast<uintptr_t>(tensor.pages[entry]);
            for (int64_t row = first; row < last && !*full; ++row) {
              const auto added =
                  addresses.Add(page + static_cast<uintptr_t>(row * step));
              *full = added == AddressSlice::Added::kFull;
              if (added == AddressSlice::Added::kThere) {
                return TwoInOnePlace(tensor.array.argument, entry);
              }
            }
            return Status();
          });
      if (!status.ok() || *full) return status;
    }
  }
  return status;
}

}  // namespace

// The same for pages that have pointers, over all that is written; and that the
// pages of one entry lie apart or between one another.
Status CheckPointedPlaces(const AppendArgs& args) {
  bool full = true;
  Status status;
  for (int slice_bits = 0; full && status.ok(); ++slice_bits) {
    status = CheckAddresses(args, slice_bits, &full);
  }
  const PagedTensors tensors(args);
  for (const PagedTensor& a : tensors) {
    for (const PagedTensor* b = tensors.begin(); b != &a; ++b) {
      if (!status.ok()) return status;
      if (a.pages == nullptr || b->pages == nullptr) continue;
      status = ForEachNewPage(args, [&](int64_t entry, int64_t, int64_t) {
        ConstTensorView page = a.page, other = b->page;
        page.data = a.pages[entry];
        other.data = b->pages[entry];
        if (!MemoryOf(page).Meets(MemoryOf(other)) || LieBetween(page, other)) {
          return Status();
        }
        return Invalid(a.array.argument, b->array.overlaps).WithIndex(entry);
      });
    }
  }
  return status;
}

}  // namespace heed::internal
