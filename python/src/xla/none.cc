// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Where XLA's headers are not: heed.jax then calls back into Python.
#include "python/src/call.h"

namespace heed::python {

void BindXla(nb::module_& /*m*/) {}

}  // namespace heed::python
