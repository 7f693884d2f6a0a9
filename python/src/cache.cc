// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attention to a cache that grows: new keys and values are appended first.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "heed/append.h"
#include "heed/attention.h"
#include "heed/rope.h"
#include "python/src/call.h"
#include "python/src/fast_call.h"
#include "python/src/key_value.h"
#include "python/src/tensors.h"

namespace heed::python {
namespace {

struct Free {
  void operator()(void* data) const { std::free(data); }
};

// What is done between the check of a call and the call.
struct Appending {
  AppendArgs append;
  bool appends = false;
  ConstTensorView query;  // as given
  TensorView turned;      // absent: queries stay as they are
  std::vector<int32_t> query_positions;

  // Turning writes to memory of ours, so that appending may still refuse.
  static Status Run(void* self, const Executor& executor) {
    const Appending& a = *static_cast<Appending*>(self);
    Status status;
    if (!a.turned.absent()) {
      status = ApplyRope(a.query, a.query_positions.data(), a.append.rope,
                         a.turned, executor);
    }
    if (status.ok() && a.appends) status = AppendKv(a.append, executor);
    return status;
  }
};

void SetRope(const Tensor& cos, const Tensor& sin, bool interleaved,
             Rope* rope) {
  for (const Tensor* table : {&cos, &sin}) {
    const std::string name = table->name();
    if (table->absent()) {
      RaiseValue(name + ": needs to be given where the other table is");
    }
    if (table->kind() != 'f' || table->bits() != 32) {
      RaiseType(name + ": needs float32, got " + table->DTypeName());
    }
    if (table->ndim() != 2) {
      RaiseValue(name + ": needs 2 axes [positions, rotary_dim / 2], got " +
                 std::to_string(table->ndim()));
    }
    if (table->stride(1) != 4 && table->extent(1) > 1) {
      RaiseValue(name + ": needs to be dense");
    }
    if (table->stride(0) != 4 * table->extent(1) && table->extent(0) > 1) {
      RaiseValue(name + ": needs to be dense");
    }
    if (table->extent(0) != cos.extent(0) ||
        table->extent(1) != cos.extent(1)) {
      RaiseValue(name + ": needs the extents of rotary_cos");
    }
  }
  rope->rotary_dim = 2 * cos.extent(1);
  rope->interleaved = interleaved;
  rope->num_positions = cos.extent(0);
  rope->cos = static_cast<const float*>(cos.data());
  rope->sin = static_cast<const float*>(sin.data());
}

nb::object WithKvCache(nb::handle q, nb::handle k_cache, nb::handle v_cache,
                       nb::handle k, nb::handle v, nb::handle cache_seqlens,
                       nb::handle cache_batch_idx, nb::handle page_table,
                       nb::handle rotary_cos, nb::handle rotary_sin,
                       nb::handle rotary_interleaved, nb::handle softmax_scale,
                       nb::handle causal, nb::handle window_size,
                       nb::handle softcap, nb::handle sink_size,
                       nb::handle alibi_slopes, nb::handle sink_logits,
                       nb::handle out_given, nb::handle lse_asked,
                       nb::handle layout_name, nb::handle numerics) {
  const bool return_lse = TruthOf(lse_asked, "return_lse");
  nb::object out = nb::borrow(out_given);
  const AttentionParams params = ParamsOf(softmax_scale, causal, window_size,
                                          softcap, sink_size, nb::none());
  const Layout layout = LayoutOf(layout_name);
  if (layout == Layout::kThd) {
    RaiseValue("layout: \"thd\" is not for caches: \"bshd\" or \"bhsd\"");
  }
  const Tensor query(q, "q"), key(k, "k"), value(v, "v");
  if (query.absent()) RaiseType("q: needs a tensor, got None");
  const KeyValue key_cache(k_cache, kKeyCacheNames, !k.is_none()),
      value_cache(v_cache, kValueCacheNames, !v.is_none());
  if (key.absent() != value.absent()) {
    RaiseValue("k and v: both are appended, or none");
  }
  AttentionArgs args;
  args.query = query.View(layout);
  SetKeyValue(key_cache, value_cache, layout, &args);
  const int64_t batch = args.query.batch();

  // A row of a cache for each sequence is a page for each.
  if (!cache_batch_idx.is_none() && !page_table.is_none()) {
    RaiseValue("cache_batch_idx: not with a page_table");
  }
  const Integers pages(page_table, "page_table", 2);
  const Integers rows(cache_batch_idx, "cache_batch_idx", 1);
  if (!pages.absent()) {
    args.pages.page_table = pages.data();
    args.pages.num_sequences = pages.rows();
    args.pages.pages_per_sequence = pages.size();
    args.pages.table_stride = pages.size();
  } else if (!rows.absent()) {
    args.pages.page_table = rows.data();
    args.pages.num_sequences = rows.size();
    args.pages.pages_per_sequence = 1;
    args.pages.table_stride = 1;
  }
  const int64_t capacity =
      args.key.seqlen() * (pages.absent() ? 1 : pages.size());

  // Lengths before and after.
  std::vector<int32_t> past(static_cast<size_t>(batch)), total(past.size());
  if (cache_seqlens.is_none()) {
    if (!key.absent()) {
      RaiseValue("cache_seqlens: says where k and v go, so it must be given");
    }
    past.assign(past.size(),
                static_cast<int32_t>(std::min<int64_t>(capacity, INT32_MAX)));
  } else if (PyIndex_Check(cache_seqlens.ptr()) &&
             !nb::hasattr(cache_seqlens, "__len__")) {
    // An int, or a number of numpy's.
    const int64_t length = IntegerOf(cache_seqlens, "cache_seqlens");
    if (length < 0 || length > INT32_MAX) {
      RaiseValue(
          "cache_seqlens: needs to be in 0 to the cache's capacity, got " +
          std::to_string(length));
    }
    past.assign(past.size(), static_cast<int32_t>(length));
  } else {
    const Integers lengths(cache_seqlens, "cache_seqlens", 1);
    if (lengths.size() != batch) {
      RaiseValue("cache_seqlens: needs " + std::to_string(batch) +
                 " numbers, got " + std::to_string(lengths.size()));
    }
    past.assign(lengths.data(), lengths.data() + batch);
  }
  Appending before;
  before.appends = !key.absent();
  AppendArgs& append = before.append;
  int64_t tokens = 0;
  if (before.appends) {
    append.key = key.View(layout);
    append.value = value.View(layout);
    tokens = append.key.seqlen();
  }
  for (size_t i = 0; i < past.size(); ++i) {
    const int64_t length = past[i] + tokens;
    if (past[i] < 0 || length > capacity) {
      RaiseValue("cache_seqlens[" + std::to_string(i) + "]: " +
                 std::to_string(past[i]) + " and " + std::to_string(tokens) +
                 " new tokens are not in 0 to the cache's " +
                 std::to_string(capacity) + " positions");
    }
    total[i] = static_cast<int32_t>(length);
  }
  args.ragged.num_sequences = batch;
  args.ragged.seqlens_k = total.data();

  append.key_cache = key_cache.View(layout);
  append.value_cache = value_cache.View(layout);
  append.key_scale = key_cache.Scale(layout);
  append.value_scale = value_cache.Scale(layout);
  append.key_minimum = key_cache.Minimum(layout);
  append.value_minimum = value_cache.Minimum(layout);
  append.key_rotated = key_cache.rotated();
  append.value_rotated = value_cache.rotated();
  append.past_lengths = past.data();
  append.num_sequences = batch;
  append.pages = args.pages;

  const Tensor cos(rotary_cos, "rotary_cos"), sin(rotary_sin, "rotary_sin");
  std::unique_ptr<void, Free> turned;
  if (!cos.absent() || !sin.absent()) {
    SetRope(cos, sin, TruthOf(rotary_interleaved, "rotary_interleaved"),
            &append.rope);
    // Rows stand one behind the other where a mask tells them apart, else all
    // at the position of the first, as flash-attn has it.
    const bool local = params.window_left >= 0 || params.window_right >= 0;
    const int64_t step = params.causal || local ? 1 : 0;
    const int64_t seqlen_q = args.query.seqlen();
    before.query_positions.reserve(static_cast<size_t>(batch * seqlen_q));
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t i = 0; i < seqlen_q; ++i) {
        before.query_positions.push_back(
            static_cast<int32_t>(past[static_cast<size_t>(b)] + step * i));
      }
    }
    before.query = args.query;
    int64_t bytes = SizeOf(args.query.dtype);
    TensorView& view = before.turned;
    view.dtype = args.query.dtype;
    for (int i = 3; i >= 0; --i) {
      view.extent[i] = args.query.extent[i];
      view.stride[i] = bytes;
      bytes *= view.extent[i];
    }
    turned.reset(
        std::aligned_alloc(64, (static_cast<size_t>(bytes) + 64) / 64 * 64));
    if (turned == nullptr) throw std::bad_alloc();
    view.data = turned.get();
    args.query = view;
  }

  const Tensor slopes(alibi_slopes, "alibi_slopes"),
      sinks(sink_logits, "sink_logits");
  const int64_t heads = args.query.heads();
  if (!slopes.absent()) {
    args.scores.alibi_slopes = slopes.Broadcast({batch, heads}, {0, 2});
  }
  if (!sinks.absent()) {
    args.scores.sink_logits = sinks.Broadcast({batch, heads}, {0, 2});
  }

  if (out.is_none()) {
    std::vector<int64_t> extents;
    for (int i = 0; i < 3; ++i) extents.push_back(query.extent(i));
    extents.push_back(args.value.head_dim());
    out = NewTensor(query, extents, false);
  }
  const Tensor out_tensor(out, "out", true);
  args.out = out_tensor.View(layout);
  nb::object lse = nb::none();
  if (return_lse) {
    lse = NewTensor(query, {batch, heads, args.query.seqlen()}, true);
  }
  const Tensor lse_tensor(lse, "lse", true);
  if (return_lse) args.lse = lse_tensor.RowView(layout);
  // Attention and the append look at what each of them is given, but not at
  // what the other is.
  for (const Tensor* read : {&query, &key, &value, &cos, &sin}) {
    RefuseOverlap(out_tensor, *read);
  }
  for (const Tensor* read : {&query, &slopes, &sinks}) {
    if (!before.appends) break;
    key_cache.RefuseOverlap(*read);
    value_cache.RefuseOverlap(*read);
  }
  RunCall(params, args, NumericsOf(numerics), &Appending::Run, &before);
  if (!return_lse) return out;
  return nb::make_tuple(out, lse);
}

}  // namespace

void BindCache(nb::module_& m) {
  static PyMethodDef methods[] = {FastMethod<&WithKvCache>("with_kvcache"),
                                  {nullptr, nullptr, 0, nullptr}};
  PyModule_AddFunctions(m.ptr(), methods);
}

}  // namespace heed::python
