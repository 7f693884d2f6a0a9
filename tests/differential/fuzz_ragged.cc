// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A case's tensors as those of a ragged call: batches with fewer keys, or one
// batch whose rows, and keys or pages of them, are shared out over sequences.
#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "lib/eval/workload.h"
#include "tests/differential/fuzz_tensors.h"

namespace heed::test {
namespace {

// `count` parts of [0, total], as running sums.
std::vector<int32_t> Parts(eval::Random& random, int64_t count, int64_t total) {
  std::vector<int32_t> sums = {0};
  for (int64_t i = 1; i < count; ++i) {
    sums.push_back(static_cast<int32_t>(random.Below(total + 1)));
  }
  sums.push_back(static_cast<int32_t>(total));
  std::sort(sums.begin(), sums.end());
  return sums;
}

// The rows of one batch as whole pages.
void Paginate(int64_t page_size, ConstTensorView* view) {
  if (view->absent()) return;
  view->extent[0] = view->seqlen() / page_size;
  view->extent[1] = page_size;
  if (view->extent[0] > 1) view->stride[0] = page_size * view->stride[1];
}

// Copies a list to the end of guarded memory.
template <typename T>
const T* Put(const GuardedMemory& memory, const std::vector<T>& list) {
  char* const at = memory.Place(list.size() * sizeof(T), Against::kBack);
  std::memcpy(at, list.data(), list.size() * sizeof(T));
  return reinterpret_cast<const T*>(at);
}

}  // namespace

void FuzzTensors::UsePointers(const FuzzCase& c) {
  pooled = args;
  if (c.pointers == 0) return;
  const auto tensors = [](AttentionArgs& of) {
    KvScales& scales = of.kv_scales;
    return std::array<ConstTensorView*, 6>{&of.key,
                                           &of.value,
                                           &scales.key_scale,
                                           &scales.value_scale,
                                           &scales.key_minimum,
                                           &scales.value_minimum};
  };
  Pages& pages = args.pages;
  void* const** const arrays[] = {
      &pages.key_pages,         &pages.value_pages,
      &pages.key_scale_pages,   &pages.value_scale_pages,
      &pages.key_minimum_pages, &pages.value_minimum_pages};
  const int64_t entries = pages.num_sequences * pages.table_stride;
  for (size_t i = 0; i < 6; ++i) {
    ConstTensorView& view = *tensors(args)[i];
    if (view.absent()) continue;
    if (i < 2 || c.pointers == 1) {
      std::vector<void*> pointers;
      for (int64_t entry = 0; entry < entries; ++entry) {
        const int32_t page = pages.page_table[entry];
        const char* const at = page == 0 ? static_cast<const char*>(view.data)
                                         : internal::BytesAt(view, page, 0, 0);
        pointers.push_back(const_cast<char*>(at));
      }
      *arrays[i] = Put(pointers_[i], pointers);
      view.data = nullptr;
    } else {
      tensors(pooled)[i]->stride[0] = 0;
    }
    view.extent[0] = 1;
  }
  pages.page_table = nullptr;
}

void FuzzTensors::SetRagged(const FuzzCase& c) {
  if (c.sequences == 0) return;
  eval::Random random(static_cast<uint64_t>(c.seed) + 11);
  Ragged& ragged = args.ragged;
  ragged.num_sequences = c.sequences;
  const size_t count = static_cast<size_t>(c.sequences);
  if (c.batch == 1) {
    ragged.cu_seqlens_q = Put(cu_q_, Parts(random, c.sequences, c.rows));
  }
  std::vector<int64_t> offsets(count, kBottomRight);
  for (int64_t& offset : offsets) {
    if (random.Below(2) == 0) offset = random.Below(2 * c.keys + 3) - c.keys;
  }
  if (random.Below(2) == 0) ragged.causal_offset = Put(places_, offsets);
  if (c.packed_keys != 0) {
    ragged.cu_seqlens_k = Put(lengths_, Parts(random, c.sequences, c.keys));
    return;
  }
  int64_t most = c.keys;
  if (c.page_size != 0) {
    KvScales& scales = args.kv_scales;
    for (ConstTensorView* view :
         {&args.key, &args.value, &scales.key_scale, &scales.key_minimum,
          &scales.value_scale, &scales.value_minimum}) {
      Paginate(c.page_size, view);
    }
    const int64_t pages = args.key.batch();
    most = pages * c.page_size;
    std::vector<int32_t> table;
    for (int64_t i = 0; i < c.sequences * pages; ++i) {
      table.push_back(static_cast<int32_t>(random.Below(pages)));
    }
    const int64_t shared = (c.prefix + c.page_size - 1) / c.page_size;
    for (int64_t s = 1; s < c.sharers; ++s) {
      std::copy_n(table.begin(), shared, table.begin() + s * pages);
    }
    args.pages = {Put(table_, table), c.sequences, pages, pages};
  }
  std::vector<int32_t> lengths;
  for (size_t s = 0; s < count; ++s) {
    const int64_t least =
        static_cast<int64_t>(s) < c.sharers ? c.prefix : int64_t{0};
    lengths.push_back(
        static_cast<int32_t>(least + random.Below(most - least + 1)));
  }
  ragged.seqlens_k = Put(lengths_, lengths);
  if (c.prefix == 0) return;
  const std::vector<SharedPrefix> prefixes = {
      {0, static_cast<int32_t>(c.sharers), static_cast<int32_t>(c.prefix)}};
  ragged.shared_prefixes = Put(prefixes_, prefixes);
  ragged.num_shared_prefixes = 1;
}

}  // namespace heed::test
