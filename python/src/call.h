// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// One call of attention from Python: what it is asked, checked and run.
#ifndef HEED_PYTHON_SRC_CALL_H_
#define HEED_PYTHON_SRC_CALL_H_

#include <nanobind/nanobind.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "heed/attention.h"
#include "python/src/tensors.h"
#include "python/src/threads.h"

namespace heed::python {

// Python's truth of an argument, and its numbers, else a TypeError that names
// it.
bool TruthOf(nb::handle argument, const char* name);
double NumberOf(nb::handle argument, const char* name);
int64_t IntegerOf(nb::handle argument, const char* name);

// What is computed, from the arguments that all doors share.
AttentionParams ParamsOf(nb::handle softmax_scale, nb::handle causal,
                         nb::handle window_size, nb::handle softcap,
                         nb::handle sink_size, nb::handle causal_offset);

// Whether torch is imported.
bool TorchIsLoaded();

// The plan and the workspace of one call, kept for those that come after it.
// Any number of threads may have one each.
class Slot {
 public:
  Slot();
  ~Slot();
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;

  // Raises what MakePlan refuses. The plan stays where it is until the next.
  const Plan& PlanFor(const AttentionParams& params,
                      const AttentionShape& shape, Numerics numerics);
  Workspace WorkspaceFor(const Plan& plan, int workers);

  struct Kept;

 private:
  Kept* kept_;
};

// Checks a call wholly, runs `before`, which may fail only before it writes
// anything, and then the call, all of it but the check without the GIL.
void RunCall(const AttentionParams& params, const AttentionArgs& args,
             Numerics numerics, Status (*before)(void* self, const Executor&),
             void* self);

Numerics NumericsOf(nb::handle name);

void BindCall(nb::module_& m);
void BindCache(nb::module_& m);
void BindRope(nb::module_& m);
void BindKeyValue(nb::module_& m);
void BindVariants(nb::module_& m);
void BindXla(nb::module_& m);  // nothing where XLA's headers were not

}  // namespace heed::python

#endif  // HEED_PYTHON_SRC_CALL_H_
