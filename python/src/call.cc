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

namespace {

// As f32. What that rounds to 0 would say something else: the default, or off.
float FloatOf(nb::handle argument, const char* name) {
  const double number = NumberOf(argument, name);
  const float rounded = static_cast<float>(number);
  if (rounded == 0 && number != 0) {
    RaiseValue(std::string(name) + ": is too small for float32");
  }
  return rounded;
}

}  // namespace

AttentionParams ParamsOf(nb::handle softmax_scale, nb::handle causal,
                         nb::handle window_size, nb::handle softcap,
                         nb::handle sink_size, nb::handle causal_offset) {
  AttentionParams params;
  if (!softmax_scale.is_none()) {
    params.softmax_scale = FloatOf(softmax_scale, "softmax_scale");
  }
  params.causal = TruthOf(causal, "causal");
  PyObject* window = window_size.ptr();
  if (!PyTuple_Check(window) || PyTuple_Size(window) != 2) {
    RaiseType("window_size: needs a tuple (left, right)");
  }
  params.window_left = IntegerOf(PyTuple_GetItem(window, 0), "window_size");
  params.window_right = IntegerOf(PyTuple_GetItem(window, 1), "window_size");
  params.softcap = FloatOf(softcap, "softcap");
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

}  // namespace heed::python
