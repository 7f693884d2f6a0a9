// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "python/src/exchange.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace heed::python {
namespace {

constexpr uint32_t kMajor = 1;  // of DLPack, whose structs these are

// The table up to the function that is called.
struct Table {
  uint32_t major, minor;
  const Table* older;
  int (*allocate)();
  int (*lend)(void* object, ManagedTensor** out);
};

const Table* TableOf(PyObject* type) {
  // Of the type itself: what it inherits is for others.
  const nb::object own = nb::steal(PyObject_GetAttrString(type, "__dict__"));
  if (!own.is_valid()) {
    PyErr_Clear();
    return nullptr;
  }
  const nb::object capsule = nb::steal(
      PyMapping_GetItemString(own.ptr(), "__dlpack_c_exchange_api__"));
  const void* table = nullptr;
  if (capsule.is_valid() && PyCapsule_CheckExact(capsule.ptr())) {
    table = PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api");
  }
  PyErr_Clear();
  const Table* found = static_cast<const Table*>(table);
  while (found != nullptr && found->major > kMajor) found = found->older;
  return found != nullptr && found->major == kMajor ? found : nullptr;
}

// Types that were seen, and their tables. They are kept, so that no other type
// comes to stand where one stood.
struct Seen {
  PyObject* type = nullptr;
  const Table* table = nullptr;
};

const Table* FindTable(PyObject* type) {
  static std::array<Seen, 4> seen;  // under the GIL
  static size_t next = 0;
  for (const Seen& entry : seen) {
    if (entry.type == type) return entry.table;
  }
  const Table* const table = TableOf(type);
  if (next == seen.size()) return table;
  Py_INCREF(type);
  seen[next++] = {type, table};
  return table;
}

}  // namespace

ManagedTensor* LendByTable(nb::handle object) {
  const Table* const table =
      FindTable(reinterpret_cast<PyObject*>(Py_TYPE(object.ptr())));
  if (table == nullptr) return nullptr;
  ManagedTensor* lent = nullptr;
  if (table->lend(object.ptr(), &lent) == 0) return lent;
  PyErr_Clear();
  return nullptr;
}

}  // namespace heed::python
