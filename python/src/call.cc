// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "python/src/call.h"

#include <pthread.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "python/src/fast_call.h"

namespace heed::python {
namespace {

// Below so many multiplications a call costs less than waking a thread.
constexpr double kSerialProducts = 2.5e5;

constexpr size_t kPlans = 4;      // of a slot
constexpr size_t kMostSlots = 8;  // kept

using PlanKey = std::array<int64_t, 23>;

PlanKey KeyOf(const AttentionParams& p, const AttentionShape& s,
              Numerics numerics) {
  return {std::bit_cast<int32_t>(p.softmax_scale),
          std::bit_cast<int32_t>(p.softcap),
          p.causal,
          p.causal_offset,
          p.window_left,
          p.window_right,
          p.sink_size,
          static_cast<int64_t>(s.query_dtype),
          static_cast<int64_t>(s.key_dtype),
          static_cast<int64_t>(s.value_dtype),
          static_cast<int64_t>(s.out_dtype),
          s.batch,
          s.seqlen_q,
          s.seqlen_k,
          s.num_heads,
          s.num_kv_heads,
          s.head_dim,
          s.head_dim_v,
          s.num_sequences,
          s.scores,
          s.shared_prefixes,
          s.key_rotated | s.value_rotated << 1,
          static_cast<int64_t>(numerics)};
}

double Products(const AttentionShape& s) {
  return static_cast<double>(s.batch) * static_cast<double>(s.num_heads) *
         static_cast<double>(s.seqlen_q) * static_cast<double>(s.seqlen_k) *
         static_cast<double>(s.head_dim + s.head_dim_v);
}

struct TaskOfRun {
  const AttentionRun* run;
  int phase;
};

void RunOneTask(void* ctx, int64_t i, int worker) {
  const TaskOfRun& task = *static_cast<TaskOfRun*>(ctx);
  RunTask(*task.run, task.phase, i, worker);
}

}  // namespace

struct Slot::Kept {
  void* data = nullptr;
  size_t bytes = 0;
  size_t next = 0;
  std::array<PlanKey, kPlans> keys = {};
  std::array<Plan, kPlans> plans = {};

  ~Kept() { std::free(data); }
};

namespace {

// Those that no call has. Under the GIL, so that no lock is needed and a child
// of fork() finds them whole.
std::vector<Slot::Kept*>& FreeSlots() {
  static auto* slots = new std::vector<Slot::Kept*>;
  return *slots;
}

}  // namespace

Slot::Slot() {
  std::vector<Kept*>& slots = FreeSlots();
  if (slots.empty()) {
    kept_ = new Kept;
  } else {
    kept_ = slots.back();
    slots.pop_back();
  }
}

Slot::~Slot() {
  std::vector<Kept*>& slots = FreeSlots();
  if (slots.size() < kMostSlots) {
    slots.push_back(kept_);
  } else {
    delete kept_;
  }
}

const Plan& Slot::PlanFor(const AttentionParams& params,
                          const AttentionShape& shape, Numerics numerics) {
  const PlanKey key = KeyOf(params, shape, numerics);
  for (size_t i = 0; i < kPlans; ++i) {
    if (kept_->plans[i].table != nullptr && kept_->keys[i] == key) {
      return kept_->plans[i];
    }
  }
  const size_t place = kept_->next;
  PlanOptions options;
  options.numerics = numerics;
  RaiseUnlessOk(MakePlan(params, shape, options, &kept_->plans[place]));
  kept_->keys[place] = key;
  kept_->next = (place + 1) % kPlans;
  return kept_->plans[place];
}

Workspace Slot::WorkspaceFor(const Plan& plan, int workers) {
  const size_t bytes = WorkspaceBytes(plan, workers);
  if (bytes > kept_->bytes) {
    std::free(kept_->data);
    const size_t padded =
        (bytes + kWorkspaceAlignment - 1) & ~(kWorkspaceAlignment - 1);
    kept_->data = std::aligned_alloc(kWorkspaceAlignment, padded);
    kept_->bytes = kept_->data == nullptr ? 0 : padded;
    if (kept_->data == nullptr) {
      RaiseUnlessOk(Status(StatusCode::kOutOfMemory, "workspace",
                           "the system gave no memory for it"));
    }
  }
  return {kept_->data, kept_->bytes};
}

bool TorchIsLoaded() {
  static PyObject* name = PyUnicode_InternFromString("torch");
  PyObject* modules = PyImport_GetModuleDict();
  return PyDict_GetItemWithError(modules, name) != nullptr;
}

bool TruthOf(nb::handle argument, const char* name) {
  const int truth = PyObject_IsTrue(argument.ptr());
  if (truth >= 0) return truth == 1;
  PyErr_Clear();
  RaiseType(std::string(name) + ": needs a bool");
}

double NumberOf(nb::handle argument, const char* name) {
  const double number = PyFloat_AsDouble(argument.ptr());
  if (number != -1.0 || !PyErr_Occurred()) return number;
  PyErr_Clear();
  RaiseType(std::string(name) + ": needs a number, got " +
            Py_TYPE(argument.ptr())->tp_name);
}

int64_t IntegerOf(nb::handle argument, const char* name) {
  if (!PyIndex_Check(argument.ptr())) {
    RaiseType(std::string(name) + ": needs a whole number, got " +
              Py_TYPE(argument.ptr())->tp_name);
  }
  const nb::object index = nb::steal(PyNumber_Index(argument.ptr()));
  if (!index.is_valid()) throw nb::python_error();
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  if (overflow != 0) RaiseValue(std::string(name) + ": leaves 64 bits");
  return number;
}

AttentionParams ParamsOf(nb::handle softmax_scale, nb::handle causal,
                         nb::handle window_size, nb::handle softcap,
                         nb::handle sink_size, nb::handle causal_offset) {
  AttentionParams params;
  if (!softmax_scale.is_none()) {
    params.softmax_scale =
        static_cast<float>(NumberOf(softmax_scale, "softmax_scale"));
  }
  params.causal = TruthOf(causal, "causal");
  PyObject* window = window_size.ptr();
  if (!PyTuple_Check(window) || PyTuple_Size(window) != 2) {
    RaiseType("window_size: needs a tuple (left, right)");
  }
  params.window_left = IntegerOf(PyTuple_GetItem(window, 0), "window_size");
  params.window_right = IntegerOf(PyTuple_GetItem(window, 1), "window_size");
  params.softcap = static_cast<float>(NumberOf(softcap, "softcap"));
  params.sink_size = IntegerOf(sink_size, "sink_size");
  if (!causal_offset.is_none()) {
    params.causal_offset = IntegerOf(causal_offset, "causal_offset");
  }
  return params;
}

Numerics NumericsOf(nb::handle name) {
  if (PyUnicode_Check(name.ptr())) {
    if (PyUnicode_CompareWithASCIIString(name.ptr(), "fast") == 0) {
      return Numerics::kFast;
    }
    if (PyUnicode_CompareWithASCIIString(name.ptr(), "same") == 0) {
      return Numerics::kSame;
    }
  }
  RaiseValue("numerics: needs \"fast\" or \"same\"");
}

void RunCall(const AttentionParams& params, const AttentionArgs& args,
             Numerics numerics, Status (*before)(void* self, const Executor&),
             void* self) {
  Slot slot;
  const AttentionShape shape = ShapeOf(args);
  const Plan& plan = slot.PlanFor(params, shape, numerics);
  Threads threads;
  threads.executor = SerialExecutor();
  if (Products(shape) > kSerialProducts) {
    threads = CurrentThreads(TorchIsLoaded());
  }
  const Executor& executor = threads.executor;
  const Workspace workspace = slot.WorkspaceFor(plan, executor.max_workers);
  AttentionRun run;
  Status status;
  {
    const nb::gil_scoped_release released;
    status = BeginRun(plan, args, workspace, executor.max_workers, {}, &run);
    if (status.ok() && before != nullptr) status = before(self, executor);
    if (status.ok()) {
      for (int phase = 0; phase < NumPhases(run); ++phase) {
        TaskOfRun task{&run, phase};
        executor.parallel_for(executor.self, NumTasks(run, phase), &task,
                              &RunOneTask);
      }
    }
  }
  RaiseUnlessOk(status);
}

namespace {

// What all calls take beside q, k and v.
struct Scores {
  Tensor bias, mask, alibi_slopes, sink_logits;

  Scores(nb::handle bias_in, nb::handle mask_in, nb::handle alibi_in,
         nb::handle sinks_in)
      : bias(bias_in, "bias"),
        mask(mask_in, "mask"),
        alibi_slopes(alibi_in, "alibi_slopes"),
        sink_logits(sinks_in, "sink_logits") {}

  // `sequences` is their number, `keys` the positions of a row of a bias.
  void Set(const AttentionArgs& args, int64_t sequences, int64_t keys,
           ScoreInputs* scores) const {
    const int64_t batch = args.query.batch(), rows = args.query.seqlen(),
                  heads = args.query.heads();
    if (!bias.absent()) {
      if (bias.kind() == '?') {
        RaiseType("bias: is bool; what hides keys is a mask");
      }
      scores->bias = bias.Broadcast({batch, heads, rows, keys}, {0, 2, 1, 3});
    }
    if (!mask.absent()) {
      if (mask.kind() != '?') {
        RaiseType("mask: needs bool (what is added to scores is a bias), got " +
                  mask.DTypeName());
      }
      scores->mask = mask.Broadcast({batch, heads, rows, keys}, {0, 2, 1, 3});
    }
    if (!alibi_slopes.absent()) {
      scores->alibi_slopes = alibi_slopes.Broadcast({sequences, heads}, {0, 2});
    }
    if (!sink_logits.absent()) {
      scores->sink_logits = sink_logits.Broadcast({sequences, heads}, {0, 2});
    }
  }
};

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
      RaiseValue("cu_seqlens_q: needs a number more than there are sequences");
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

std::vector<int64_t> ExtentsOfOut(const Tensor& query, const Tensor& value) {
  std::vector<int64_t> extents;
  for (int i = 0; i + 1 < query.ndim(); ++i) extents.push_back(query.extent(i));
  extents.push_back(value.extent(value.ndim() - 1));
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
  const Tensor query(q, "q"), key(k, "k"), value(v, "v");
  for (const Tensor* tensor : {&query, &key, &value}) {
    if (tensor->absent()) {
      RaiseType(std::string(tensor->name()) + ": needs a tensor, got None");
    }
  }
  // Pools of pages are [num_pages, page_size, heads, head_dim].
  const Layout of_keys = page_table.is_none()     ? layout
                         : layout == Layout::kThd ? Layout::kBshd
                                                  : layout;
  AttentionArgs args;
  args.query = query.View(layout);
  args.key = key.View(of_keys);
  args.value = value.View(of_keys);
  const Lists lists(cu_seqlens_q, cu_seqlens_k, seqlens_k, page_table);
  if (lists.any()) lists.Set(&args);
  const Scores scores(bias, mask, alibi_slopes, sink_logits);
  const int64_t sequences =
      lists.any() ? args.ragged.num_sequences : args.query.batch();
  const int64_t keys =
      args.pages.any() ? ShapeOf(args).seqlen_k : args.key.seqlen();
  scores.Set(args, sequences, keys, &args.scores);
  return f(layout, query, value, &args);
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
  const auto run = [&](Layout layout, const Tensor& query, const Tensor& value,
                       AttentionArgs* args) -> nb::object {
    if (out.is_none()) {
      out = NewTensor(query, ExtentsOfOut(query, value), false);
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
                           const Tensor& /*value*/,
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
