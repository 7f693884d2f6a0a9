// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Tensors by DLPack's table of C functions, which a type of tensors may offer
// beside __dlpack__ (DLPack 1.2 and later, __dlpack_c_exchange_api__). It
// spares the calls of Python that __dlpack__ and __dlpack_device__ are in
// PyTorch: some microseconds a tensor.
#ifndef HEED_PYTHON_SRC_EXCHANGE_H_
#define HEED_PYTHON_SRC_EXCHANGE_H_

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>

namespace heed::python {

namespace nb = nanobind;

// What the table's function hands over, of DLPack's major version 1.
struct ManagedTensor {
  uint32_t major, minor;
  void* manager;
  void (*deleter)(ManagedTensor* self);  // may be null
  uint64_t flags;
  nb::dlpack::dltensor tensor;

  bool read_only() const { return (flags & 1) != 0; }
};

// Returns the object's tensor, whose deleter is to be called at the end, or
// null where its type offers no table itself, as types derived from
// torch.Tensor do not, which may stand for something else; or where the table's
// function raises, which is forgotten.
ManagedTensor* LendByTable(nb::handle object);

}  // namespace heed::python

#endif  // HEED_PYTHON_SRC_EXCHANGE_H_
