// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Variants by name: what they are, and one run with everything recorded.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "heed/ops.h"
#include "heed/variant.h"
#include "lib/eval/knob_sweep.h"
#include "lib/eval/phase_timer.h"
#include "lib/eval/recorded_cost.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/selection.h"
#include "lib/io/input_error.h"
#include "python/src/call.h"
#include "python/src/fast_call.h"

namespace heed::python {
namespace {

const char* SemanticsName(Semantics semantics) {
  switch (semantics) {
    case Semantics::kExact:
      return "exact";
    case Semantics::kExactOnSelection:
      return "exact on selection";
    case Semantics::kOwnReference:
      return "own reference";
  }
  return "";
}

nb::list Variants() {
  nb::list variants;
  for (const NamedVariant& named : eval::AllVariants()) {
    const Variant& v = named.variant;
    nb::dict entry;
    entry["name"] = named.name;
    entry["summary"] = v.summary;
    entry["paper"] = v.paper;
    entry["semantics"] = SemanticsName(v.semantics);
    entry["selects_ahead"] = v.selects_ahead;
    entry["causal"] = !v.non_causal;
    entry["equal_head_dims"] = v.equal_head_dims;
    nb::list knobs;
    for (int i = 0; i < v.num_knobs; ++i) {
      const Knob& knob = v.knobs[i];
      nb::dict k;
      k["name"] = knob.name;
      k["summary"] = knob.summary;
      k["default"] = knob.default_value;
      k["min"] = knob.min;
      k["max"] = knob.max;
      k["integer"] = knob.integer;
      k["exact"] = knob.has_exact ? nb::object(nb::float_(knob.exact_value))
                                  : nb::object(nb::none());
      knobs.append(k);
    }
    entry["knobs"] = knobs;
    nb::list inputs;
    for (int i = 0; i < v.num_inputs; ++i) {
      nb::dict input;
      input["name"] = v.inputs[i].name;
      input["summary"] = v.inputs[i].summary;
      input["per_channel"] = v.inputs[i].per_channel;
      input["weights"] = v.inputs[i].weights;
      inputs.append(input);
    }
    entry["inputs"] = inputs;
    variants.append(entry);
  }
  return variants;
}

eval::Setting SettingOf(const std::string& spec) {
  try {
    const std::vector<eval::Setting> settings =
        eval::ParseSettings(spec, eval::AllVariants());
    if (settings.size() != 1) {
      RaiseValue("spec: '" + spec + "' is several settings, needs one");
    }
    return settings[0];
  } catch (const io::InputError& error) {
    RaiseValue(std::string("spec: ") + error.what());
  }
}

nb::dict CostDict(const Cost& cost) {
  nb::dict entry;
  entry["flops"] = cost.flops;
  entry["bytes"] = cost.bytes;
  entry["select_flops"] = cost.select_flops;
  entry["select_bytes"] = cost.select_bytes;
  entry["at_most"] = cost.at_most;
  return entry;
}

// The pairs kept, as lists of intervals a row in the order of batch, head and
// query: row r has intervals[offsets[r]] to intervals[offsets[r + 1] - 1].
nb::tuple Lists(const eval::Selection& selection, const AttentionShape& shape) {
  std::vector<int64_t> offsets = {0}, intervals;
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t h = 0; h < shape.num_heads; ++h) {
      for (int64_t i = 0; i < shape.seqlen_q; ++i) {
        for (const KeyInterval& kept : selection.Row(b, h, i)) {
          intervals.push_back(kept.begin);
          intervals.push_back(kept.end);
        }
        offsets.push_back(static_cast<int64_t>(intervals.size()) / 2);
      }
    }
  }
  const auto bytes = [](const std::vector<int64_t>& numbers) {
    return nb::bytes(reinterpret_cast<const char*>(numbers.data()),
                     numbers.size() * sizeof(int64_t));
  };
  return nb::make_tuple(bytes(offsets), bytes(intervals));
}

// Returns a dict of what the run gave.
nb::object Run(nb::handle spec_text, nb::handle q, nb::handle k, nb::handle v,
               nb::handle softmax_scale, nb::handle causal,
               nb::handle window_size, nb::handle softcap, nb::handle sink_size,
               nb::handle causal_offset, nb::handle inputs_given,
               nb::handle out_given, nb::handle record_asked,
               nb::handle layout_name) {
  const bool record = TruthOf(record_asked, "record");
  nb::object out = nb::borrow(out_given);
  if (!PyUnicode_Check(spec_text.ptr())) RaiseType("spec: needs a string");
  if (!PyDict_Check(inputs_given.ptr())) RaiseType("inputs: needs a dict");
  const nb::dict inputs = nb::borrow<nb::dict>(inputs_given);
  const eval::Setting setting =
      SettingOf(nb::cast<std::string>(nb::handle(spec_text)));
  const Variant& variant = setting.variant.variant;
  const Layout layout = LayoutOf(layout_name);
  const Tensor query(q, "q"), key(k, "k"), value(v, "v");
  VariantArgs a;
  a.params = ParamsOf(softmax_scale, causal, window_size, softcap, sink_size,
                      causal_offset);
  for (const Tensor* tensor : {&query, &key, &value}) {
    if (tensor->absent()) {
      RaiseType(std::string(tensor->name()) + ": needs a tensor, got None");
    }
  }
  a.args.query = query.View(layout);
  a.args.key = key.View(layout);
  a.args.value = value.View(layout);
  std::memcpy(a.knobs, setting.knobs.data(), sizeof(a.knobs));

  // Those of the variant's inputs that are given; all or none.
  std::vector<std::unique_ptr<Tensor>> given;
  std::vector<ConstTensorView> views(static_cast<size_t>(variant.num_inputs));
  for (const auto& [name, tensor] : inputs) {
    const nb::str text(nb::object(nb::borrow(name)));
    int place = 0;
    while (place < variant.num_inputs &&
           std::strcmp(variant.inputs[place].name, text.c_str()) != 0) {
      ++place;
    }
    if (place == variant.num_inputs) {
      RaiseValue("inputs: " + std::string(setting.variant.name) + " has no '" +
                 text.c_str() + "'");
    }
    given.push_back(
        std::make_unique<Tensor>(tensor, variant.inputs[place].name));
    if (given.back()->absent()) RaiseType("inputs: needs tensors, got None");
    views[static_cast<size_t>(place)] = given.back()->View(Layout::kBshd);
  }
  if (!given.empty()) {
    if (given.size() != views.size()) {
      RaiseValue("inputs: " + std::string(setting.variant.name) + " has " +
                 std::to_string(views.size()) + ", all or none are given");
    }
    a.inputs = views.data();
  }

  std::vector<int64_t> extents, rows;
  for (int i = 0; i + 1 < query.ndim(); ++i) extents.push_back(query.extent(i));
  extents.push_back(value.extent(value.ndim() - 1));
  if (layout != Layout::kThd) rows.push_back(a.args.query.batch());
  rows.push_back(a.args.query.heads());
  rows.push_back(a.args.query.seqlen());
  if (out.is_none()) out = NewTensor(query, extents, false);
  const nb::object lse = NewTensor(query, rows, true);
  const Tensor out_tensor(out, "out", true), lse_tensor(lse, "lse", true);
  a.args.out = out_tensor.View(layout);
  a.args.lse = lse_tensor.RowView(layout);
  RaiseUnlessOk(CheckArgs(a.params, a.args));
  for (const auto& input : given) RefuseOverlap(out_tensor, *input);

  const AttentionShape shape = ShapeOf(a.args);
  const Threads threads = CurrentThreads(TorchIsLoaded());
  a.executor = threads.executor;
  eval::ScratchPool scratch;
  a.scratch = scratch.Begin();
  eval::PhaseTimer timer;
  a.phases = timer.Recorder();
  eval::Selection selection(a.params, record ? shape : AttentionShape());
  if (record) a.selection = selection.Recorder();
  Status status;
  std::string outside;
  double seconds = 0;
  {
    const nb::gil_scoped_release released;
    const auto begin = std::chrono::steady_clock::now();
    timer.Begin();
    status = RunVariant(variant, a);
    timer.End();
    seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin)
            .count();
    if (status.ok() && record) outside = selection.Finish();
  }
  RaiseUnlessOk(status);
  if (!outside.empty()) throw std::runtime_error(outside);

  nb::dict result;
  result["out"] = out;
  result["lse"] = lse;
  result["seconds"] = seconds;
  nb::dict phases;
  for (size_t i = 0; i < eval::kPhaseNames.size(); ++i) {
    phases[eval::kPhaseNames[i]] = timer.seconds()[i];
  }
  result["phases"] = phases;
  result["workspace"] = scratch.HighWater();
  const Cost formula = variant.cost(shape, a.params, a.knobs);
  const bool selects = variant.semantics == Semantics::kExactOnSelection;
  result["cost"] =
      CostDict(record && selects ? eval::RecordedCost(formula, shape, selection)
                                 : formula);
  result["spec"] = eval::FormatSetting(setting);
  result["recorded"] = record && selects;
  if (record && selects) {
    result["density"] = selection.Density();
    result["kept"] = Lists(selection, shape);
  }
  result["extents"] = nb::make_tuple(shape.batch, shape.num_heads,
                                     shape.seqlen_q, shape.seqlen_k);
  return result;
}

}  // namespace

void BindVariants(nb::module_& m) {
  m.def("variants", &Variants);
  m.def(
      "format_spec",
      [](const std::string& spec) {
        return eval::FormatSetting(SettingOf(spec));
      },
      nb::arg("spec"));
  static PyMethodDef methods[] = {FastMethod<&Run>("run_variant"),
                                  {nullptr, nullptr, 0, nullptr}};
  PyModule_AddFunctions(m.ptr(), methods);
}

}  // namespace heed::python
