// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/differential/fuzz_tensors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <vector>

#include "lib/eval/workload.h"
#include "lib/oracle/element.h"
#include "lib/oracle/oracle.h"

namespace heed::test {
namespace {

constexpr unsigned char kFiller = 0xff;
constexpr size_t kMargin = 64;  // bytes on the side without a guard page

// Numbers that take kernels off their usual ways.
constexpr float kSpecials[] = {NAN,   INFINITY, -INFINITY, 1e-40f,
                               3e38f, -0.0f,    1e-30f,    -65504.0f};

// Batch, seqlen and heads from the innermost to the outermost.
constexpr int kOrders[6][3] = {{2, 1, 0}, {1, 2, 0}, {2, 0, 1},
                               {0, 2, 1}, {1, 0, 2}, {0, 1, 2}};

void CopyTo(const GuardedMemory& memory, const void* from, size_t bytes,
            char** at) {
  *at = memory.Place(bytes, Against::kBack);
  if (bytes > 0) std::memcpy(*at, from, bytes);
}

}  // namespace

void FuzzTensor::Place(const Placement& placement, DType dtype,
                       const int64_t extent[4]) {
  const int64_t size = SizeOf(dtype);
  view = TensorView();
  view.dtype = dtype;
  std::copy_n(extent, 4, view.extent);
  const bool one = (placement.repeat >> 3 & 1) != 0;
  view.stride[3] = one ? 0 : size;
  int64_t step =
      (one ? size : BytesOf(dtype, extent[3])) + placement.pad * size;
  for (const int axis : kOrders[placement.order]) {
    const bool repeat = (placement.repeat >> axis & 1) != 0;
    view.stride[axis] = repeat ? 0 : step;
    if (!repeat) {
      step = step * std::max<int64_t>(extent[axis], 1) + placement.pad * size;
    }
  }
  bool empty = false;
  int64_t bytes = size;
  for (int axis = 0; axis < 4; ++axis) {
    empty = empty || extent[axis] == 0;
    const int64_t steps =
        axis == 3 && dtype == DType::kU4 ? extent[axis] / 2 : extent[axis];
    bytes += (steps - 1) * view.stride[axis];
    if (placement.wild != 0 && extent[axis] <= 1) {
      view.stride[axis] = -77777 * (axis + 1);
    }
  }
  if (empty) bytes = 0;
  const size_t shift =
      static_cast<size_t>(placement.back != 0 ? 0 : placement.shift * size);
  block_bytes_ = static_cast<size_t>(bytes) + shift + kMargin;
  if (placement.back != 0) {
    block_ = memory_.Place(block_bytes_, Against::kBack);
    view.data = block_ + kMargin;
  } else {
    block_ = memory_.Place(block_bytes_, Against::kFront);
    view.data = block_ + shift;
  }
  if (empty && placement.wild != 0) view.data = nullptr;
  Clear();
}

void FuzzTensor::Clear() const { std::memset(block_, kFiller, block_bytes_); }

bool FuzzTensor::PaddingIntact() const {
  std::vector<bool> used(block_bytes_, false);
  ForEachElement(view, [&](int64_t b, int64_t s, int64_t h, int64_t c) {
    const auto at = oracle::AddressOf(view, b, s, h, c) - block_;
    for (int64_t i = 0; i < SizeOf(view.dtype); ++i) {
      used[static_cast<size_t>(at + i)] = true;
    }
  });
  for (size_t i = 0; i < block_bytes_; ++i) {
    if (!used[i] && static_cast<unsigned char>(block_[i]) != kFiller) {
      return false;
    }
  }
  return true;
}

std::vector<float> FuzzTensor::Numbers() const {
  std::vector<float> numbers;
  ForEachElement(view, [&](int64_t b, int64_t s, int64_t h, int64_t c) {
    numbers.push_back(static_cast<float>(oracle::ElementAt(view, b, s, h, c)));
  });
  return numbers;
}

void FuzzTensors::Set(const FuzzCase& c) {
  const AttentionShape shape = ShapeOf(c);
  const auto place = [&](FuzzTensor* tensor, const Placement& placement,
                         DType dtype, int64_t seqlen, int64_t heads,
                         int64_t dim) {
    const int64_t extent[4] = {shape.batch, seqlen, heads, dim};
    tensor->Place(placement, dtype, extent);
  };
  place(&query, c.query, shape.query_dtype, shape.seqlen_q, shape.num_heads,
        shape.head_dim);
  place(&key, c.key, shape.key_dtype, shape.seqlen_k, shape.num_kv_heads,
        shape.head_dim);
  place(&value, c.value, shape.value_dtype, shape.seqlen_k, shape.num_kv_heads,
        shape.head_dim_v);
  place(&out, c.out, shape.out_dtype, shape.seqlen_q, shape.num_heads,
        shape.head_dim_v);
  place(&lse, c.lse, DType::kF32, shape.seqlen_q, shape.num_heads, 1);
  if (c.alias != 0) {
    value.view = key.view;
    value.view.extent[3] = shape.head_dim_v;
  }
  const auto fill = static_cast<eval::Fill>(c.fill);
  const auto seed = static_cast<uint64_t>(c.seed);
  eval::FillTensor({nullptr, query.view}, 0, fill, seed);
  args = AttentionArgs();
  SetScales(c);
  if (c.alias == 0) eval::FillTensor({nullptr, value.view}, 2, fill, seed);
  eval::FillTensor({nullptr, key.view}, 1, fill, seed);
  args.query = query.view;
  args.key = key.view;
  args.value = value.view;
  args.out = out.view;
  FillQuantised(c);
  if (c.no_lse == 0) args.lse = lse.view;
  DrawLists(c);
  SetRagged(c);
  float_scores_.clear();
  SetScores(c);
  PutSpecials(c);
  PoisonUnseen(c);
  UsePointers(c);
}

void FuzzTensors::DrawLists(const FuzzCase& c) {
  if (c.list_rows == 0) return;
  eval::Random random(static_cast<uint64_t>(c.seed) + 1);
  const IntervalLists lists =
      RandomLists(ShapeOf(c), c.list_rows, c.list_most, c.list_longest, random);
  args.key_intervals = lists.View();
  char* at;
  CopyTo(offsets_, lists.offsets.data(), lists.offsets.size() * sizeof(int64_t),
         &at);
  args.key_intervals.offsets = reinterpret_cast<const int64_t*>(at);
  CopyTo(intervals_, lists.intervals.data(),
         lists.intervals.size() * sizeof(KeyInterval), &at);
  args.key_intervals.intervals = reinterpret_cast<const KeyInterval*>(at);
}

void FuzzTensors::PutSpecials(const FuzzCase& c) {
  if (c.kinds == 0) return;
  eval::Random random(static_cast<uint64_t>(c.seed) + 2);
  for (int64_t i = 0; i < c.specials; ++i) {
    std::vector<TensorView> views = {query.view, key.view, value.view};
    for (const FuzzTensor* scale :
         {&key_scale, &key_minimum, &value_scale, &value_minimum}) {
      if (!scale->view.absent()) views.push_back(scale->view);
    }
    views.insert(views.end(), float_scores_.begin(), float_scores_.end());
    const TensorView& view =
        views[static_cast<size_t>(random.Below(std::ssize(views)))];
    int64_t at[4];
    bool empty = false;
    for (int axis = 0; axis < 4; ++axis) {
      empty = empty || view.extent[axis] == 0;
      at[axis] = random.Below(std::max<int64_t>(view.extent[axis], 1));
    }
    int64_t kind = random.Below(8);
    while ((c.kinds >> kind & 1) == 0) kind = (kind + 1) % 8;
    if (empty) continue;
    oracle::StoreElement(view, at[0], at[1], at[2], at[3], kSpecials[kind]);
    if (view.dtype == DType::kF8E5M2 && std::isinf(kSpecials[kind])) {
      // StoreElement ends at the largest finite number, one before Inf.
      ++*oracle::AddressOf(view, at[0], at[1], at[2], at[3]);
    }
  }
}

void FuzzTensors::PoisonUnseen(const FuzzCase& c) {
  if (c.poison == 0) return;
  const AttentionParams params = ParamsOf(c);
  const auto seen = [&](int64_t b, int64_t key_at, int64_t kv_head) {
    for (int64_t h = kv_head * c.group; h < (kv_head + 1) * c.group; ++h) {
      for (int64_t row = 0; row < c.rows; ++row) {
        if (oracle::Visible(params, args, b, h, row, key_at)) return true;
      }
    }
    return false;
  };
  ForEachElement(key.view, [&](int64_t b, int64_t s, int64_t h, int64_t e) {
    if (e != 0 || seen(b, s, h)) return;
    const auto bad = [&](int64_t channel) {
      return kSpecials[(s + channel) % 3];
    };
    for (int64_t i = 0; i < c.dim; ++i) {
      oracle::StoreElement(key.view, b, s, h, i, bad(i));
    }
    for (int64_t i = 0; i < c.dim_v; ++i) {
      oracle::StoreElement(value.view, b, s, h, i, bad(i));
    }
    const auto scales = [&](const FuzzTensor& tensor, const Placement& p) {
      // One that serves several keys may serve one that is seen.
      if (tensor.view.absent() || p.repeat != 0) return;
      for (int64_t i = 0; i < tensor.view.head_dim(); ++i) {
        oracle::StoreElement(tensor.view, b, s, h, i, bad(i + 1));
      }
    };
    scales(key_scale, c.key_scale);
    scales(key_minimum, c.key_minimum);
    scales(value_scale, c.value_scale);
    scales(value_minimum, c.value_minimum);
  });
}

}  // namespace heed::test
