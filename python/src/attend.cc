// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// attend, explain and merge_state: from Python's arguments to a call.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "heed/attention.h"
#include "python/src/call.h"
#include "python/src/fast_call.h"
#include "python/src/key_value.h"
#include "python/src/scores.h"
#include "python/src/tensors.h"

namespace heed::python {
namespace {

// The lists of a ragged call.
struct Lists {
  Integers cu_seqlens_q, cu_seqlens_k, seqlens_k, page_table;

  Lists(nb::handle cu_q, nb::handle cu_k, nb::handle lengths, nb::handle pages)
      : cu_seqlens_q(cu_q, "cu_seqlens_q", 1),
        cu_seqlens_k(cu_k, "cu_seqlens_k", 1),
        seqlens_k(lengths, "seqlens_k", 1),
        page_table(pages, "page_table", 2) {}

  bool any() const {
    return !cu_seqlens_q.absent() || !cu_seqlens_k.absent() ||
           !seqlens_k.absent() || !page_table.absent();
  }

  void Set(AttentionArgs* args) const {
    Ragged& ragged = args->ragged;
    ragged.num_sequences =
        cu_seqlens_q.absent() ? args->query.batch() : cu_seqlens_q.size() - 1;
    if (ragged.num_sequences < 1) {
      RaiseValue(cu_seqlens_q.absent()
                     ? "q: needs at least one sequence where there are lists"
                     : "cu_seqlens_q: needs a number more than there are "
                       "sequences, of which there is at least one");
    }
    const auto take = [&](const Integers& list, const char* name, int64_t size,
                          const int32_t** place) {
      if (list.absent()) return;
      if (list.size() != size) {
        RaiseValue(std::string(name) + ": needs " + std::to_string(size) +
                   " numbers, got " + std::to_string(list.size()));
      }
      *place = list.data();
    };
    const int64_t n = ragged.num_sequences;
    take(cu_seqlens_q, "cu_seqlens_q", n + 1, &ragged.cu_seqlens_q);
    take(cu_seqlens_k, "cu_seqlens_k", n + 1, &ragged.cu_seqlens_k);
    take(seqlens_k, "seqlens_k", n, &ragged.seqlens_k);
    if (page_table.absent()) return;
    args->pages.page_table = page_table.data();
    args->pages.num_sequences = page_table.rows();
    args->pages.pages_per_sequence = page_table.size();
    args->pages.table_stride = page_table.size();
  }
};

std::vector<int64_t> ExtentsOfOut(const Tensor& query, int64_t head_dim_v) {
  std::vector<int64_t> extents;
  for (int i = 0; i + 1 < query.ndim(); ++i) extents.push_back(query.extent(i));
  extents.push_back(head_dim_v);
  return extents;
}

// Fills params and args from what Python gave, and calls f(args).
template <class F>
auto WithArgs(nb::handle q, nb::handle k, nb::handle v, nb::handle layout_name,
              nb::handle bias, nb::handle mask, nb::handle alibi_slopes,
              nb::handle sink_logits, nb::handle cu_seqlens_q,
              nb::handle cu_seqlens_k, nb::handle seqlens_k,
              nb::handle page_table, const F& f) {
  const Layout layout = LayoutOf(layout_name);
  const Tensor query(q, "q");
  if (query.absent()) RaiseType("q: needs a tensor, got None");
  const KeyValue key(k, kKeyNames), value(v, kValueNames);
  // Pools of pages are [num_pages, page_size, heads, head_dim].
  const Layout of_keys = page_table.is_none()     ? layout
                         : layout == Layout::kThd ? Layout::kBshd
                                                  : layout;
  AttentionArgs args;
  args.query = query.View(layout);
  SetKeyValue(key, value, of_keys, &args);
  const Lists lists(cu_seqlens_q, cu_seqlens_k, seqlens_k, page_table);
  if (lists.any()) lists.Set(&args);
  const Scores scores = {Tensor(bias, "bias"), Tensor(mask, "mask"),
                         Tensor(alibi_slopes, "alibi_slopes"),
                         Tensor(sink_logits, "sink_logits")};
  const int64_t sequences =
      lists.any() ? args.ragged.num_sequences : args.query.batch();
  const int64_t keys =
      args.pages.any() ? ShapeOf(args).seqlen_k : args.key.seqlen();
  scores.Set(args, sequences, keys, &args.scores);
  return f(layout, query, &args);
}

nb::object Attend(nb::handle q, nb::handle k, nb::handle v,
                  nb::handle softmax_scale, nb::handle causal,
                  nb::handle window_size, nb::handle softcap,
                  nb::handle sink_size, nb::handle causal_offset,
                  nb::handle bias, nb::handle mask, nb::handle alibi_slopes,
                  nb::handle sink_logits, nb::handle cu_seqlens_q,
                  nb::handle cu_seqlens_k, nb::handle seqlens_k,
                  nb::handle page_table, nb::handle out_given,
                  nb::handle lse_asked, nb::handle layout_name,
                  nb::handle numerics) {
  const bool return_lse = TruthOf(lse_asked, "return_lse");
  nb::object out = nb::borrow(out_given);
  const AttentionParams params = ParamsOf(softmax_scale, causal, window_size,
                                          softcap, sink_size, causal_offset);
  const auto run = [&](Layout layout, const Tensor& query,
                       AttentionArgs* args) -> nb::object {
    if (out.is_none()) {
      out =
          NewTensor(query, ExtentsOfOut(query, args->value.head_dim()), false);
    }
    const Tensor out_tensor(out, "out", true);
    args->out = out_tensor.View(layout);
    nb::object lse = nb::none();
    if (return_lse) {
      std::vector<int64_t> extents = {args->query.heads(),
                                      args->query.seqlen()};
      if (layout != Layout::kThd) {
        extents.insert(extents.begin(), args->query.batch());
      }
      lse = NewTensor(query, extents, true);
    }
    const Tensor lse_tensor(lse, "lse", true);
    if (return_lse) args->lse = lse_tensor.RowView(layout);
    RunCall(params, *args, NumericsOf(numerics), nullptr, nullptr);
    if (!return_lse) return std::move(out);
    return nb::make_tuple(out, lse);
  };
  return WithArgs(q, k, v, layout_name, bias, mask, alibi_slopes, sink_logits,
                  cu_seqlens_q, cu_seqlens_k, seqlens_k, page_table, run);
}

nb::object Explain(nb::handle q, nb::handle k, nb::handle v,
                   nb::handle softmax_scale, nb::handle causal,
                   nb::handle window_size, nb::handle softcap,
                   nb::handle sink_size, nb::handle causal_offset,
                   nb::handle bias, nb::handle mask, nb::handle alibi_slopes,
                   nb::handle sink_logits, nb::handle cu_seqlens_q,
                   nb::handle cu_seqlens_k, nb::handle seqlens_k,
                   nb::handle page_table, nb::handle layout_name,
                   nb::handle numerics) {
  const AttentionParams params = ParamsOf(softmax_scale, causal, window_size,
                                          softcap, sink_size, causal_offset);
  const auto explain = [&](Layout /*layout*/, const Tensor& /*query*/,
                           AttentionArgs* args) -> nb::object {
    AttentionShape shape = ShapeOf(*args);
    shape.out_dtype = shape.query_dtype;
    PlanOptions options;
    options.numerics = NumericsOf(numerics);
    Plan plan;
    RaiseUnlessOk(MakePlan(params, shape, options, &plan));
    std::string text(ExplainPlan(plan, nullptr, 0), '\0');
    ExplainPlan(plan, text.data(), text.size() + 1);
    return nb::str(text.data(), text.size());
  };
  return WithArgs(q, k, v, layout_name, bias, mask, alibi_slopes, sink_logits,
                  cu_seqlens_q, cu_seqlens_k, seqlens_k, page_table, explain);
}

nb::object Merge(nb::handle out_a, nb::handle lse_a, nb::handle out_b,
                 nb::handle lse_b, nb::handle layout_name) {
  const Layout layout = LayoutOf(layout_name);
  const Tensor a(out_a, "out_a"), la(lse_a, "lse_a"), b(out_b, "out_b"),
      lb(lse_b, "lse_b");
  for (const Tensor* tensor : {&a, &la, &b, &lb}) {
    if (tensor->absent()) {
      RaiseType(std::string(tensor->name()) + ": needs a tensor, got None");
    }
  }
  const ConstTensorView view_a = a.View(layout), view_la = la.RowView(layout),
                        view_b = b.View(layout), view_lb = lb.RowView(layout);
  std::vector<int64_t> extents, rows;
  for (int i = 0; i < a.ndim(); ++i) extents.push_back(a.extent(i));
  for (int i = 0; i < la.ndim(); ++i) rows.push_back(la.extent(i));
  const nb::object out = NewTensor(a, extents, false);
  const nb::object lse = NewTensor(la, rows, true);
  const Tensor out_tensor(out, "out", true), lse_tensor(lse, "lse", true);
  const TensorView view_out = out_tensor.View(layout),
                   view_lse = lse_tensor.RowView(layout);
  Status status;
  {
    const nb::gil_scoped_release released;
    status = MergeStates(view_a, view_la, view_b, view_lb, view_out, view_lse);
  }
  RaiseUnlessOk(status);
  return nb::make_tuple(out, lse);
}

}  // namespace

// Names and defaults of arguments are in Python.
void BindCall(nb::module_& m) {
  static PyMethodDef methods[] = {FastMethod<&Attend>("attend"),
                                  FastMethod<&Explain>("explain"),
                                  FastMethod<&Merge>("merge_state"),
                                  {nullptr, nullptr, 0, nullptr}};
  PyModule_AddFunctions(m.ptr(), methods);
}

}  // namespace heed::python
