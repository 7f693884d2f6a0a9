// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// heed._heed: what the Python of the package stands on. Its functions take all
// arguments; defaults and documentation are in Python.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>

#include "heed/export.h"
#include "heed/target.h"
#include "python/src/call.h"

namespace heed::python {
namespace {

nb::dict Info() {
  nb::dict info;
  info["version"] = std::to_string(HEED_VERSION_MAJOR) + "." +
                    std::to_string(HEED_VERSION_MINOR) + "." +
                    std::to_string(HEED_VERSION_PATCH);
  info["target"] = DefaultTarget();
  nb::list targets;
  for (int i = 0; i < NumTargets(); ++i) {
    const TargetInfo target = GetTarget(i);
    nb::dict entry;
    entry["name"] = target.name;
    entry["needs"] = target.needs;
    entry["usable"] = target.usable;
    entry["reason"] = target.reason == nullptr ? "" : target.reason;
    entry["vector_bytes"] = target.vector_bytes;
    entry["same_bits"] = target.same_bits;
    targets.append(entry);
  }
  info["targets"] = targets;
  nb::list units;
  for (int i = 0; i < NumUnits(); ++i) {
    const UnitInfo unit = GetUnit(i);
    nb::dict entry;
    entry["name"] = unit.name;
    entry["target"] = unit.target;
    entry["serves"] = unit.serves;
    entry["needs"] = unit.needs;
    entry["usable"] = unit.usable;
    entry["used"] = unit.used;
    entry["reason"] = unit.reason == nullptr ? "" : unit.reason;
    units.append(entry);
  }
  info["units"] = units;
  const bool torch = TorchIsLoaded();
  info["threads"] = CurrentThreads(torch).executor.max_workers;
  info["threads_runtime"] = ThreadsRuntime(torch);
  return info;
}

void SetThreads(nb::handle given) {
  const int64_t num_threads = IntegerOf(given, "num_threads");
  if (num_threads < 0 || num_threads > 4096) {
    RaiseValue("num_threads: needs to be in 0 to 4096, got " +
               std::to_string(num_threads));
  }
  SetNumThreads(static_cast<int>(num_threads));
}

}  // namespace
}  // namespace heed::python

NB_MODULE(_heed, m) {
  using namespace heed::python;  // NOLINT
  BindCall(m);
  BindCache(m);
  BindRope(m);
  BindKeyValue(m);
  BindVariants(m);
  BindXla(m);
  m.def("info", &Info);
  m.def("set_num_threads", &SetThreads, nb::arg("num_threads"));
}
