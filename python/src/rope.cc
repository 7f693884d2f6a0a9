// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Tables of rotary positions, plain and stretched.
#include "heed/rope.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <string>
#include <vector>

#include "heed/positions.h"
#include "python/src/call.h"
#include "python/src/tensors.h"

namespace heed::python {
namespace {

// New tables, once `fill` has written them.
template <class Fill>
nb::tuple Tables(int64_t pairs, nb::handle positions_given,
                 nb::handle first_given, const Fill& fill) {
  const int64_t positions = IntegerOf(positions_given, "positions");
  const int64_t first = IntegerOf(first_given, "first");
  if (positions < 0) RaiseValue("positions: needs to be at least 0");
  if (first < 0) RaiseValue("first: needs to be at least 0");
  const Tensor none;
  const nb::object cos = NewTensor(none, {positions, pairs}, true);
  const nb::object sin = NewTensor(none, {positions, pairs}, true);
  const Tensor cos_tensor(cos, "cos", true), sin_tensor(sin, "sin", true);
  RaiseUnlessOk(fill(first, positions, static_cast<float*>(cos_tensor.data()),
                     static_cast<float*>(sin_tensor.data())));
  return nb::make_tuple(cos, sin);
}

nb::tuple RopeTables(const std::vector<double>& frequencies,
                     nb::handle positions, nb::handle first) {
  const int64_t pairs = static_cast<int64_t>(frequencies.size());
  return Tables(pairs, positions, first,
                [&](int64_t begin, int64_t count, float* cos, float* sin) {
                  return FillRopeTables(frequencies.data(), 2 * pairs, begin,
                                        count, cos, sin);
                });
}

RopeScalingKind KindOf(nb::handle given) {
  const std::string name =
      PyUnicode_Check(given.ptr()) ? nb::cast<std::string>(given) : "";
  if (name == "linear") return RopeScalingKind::kLinear;
  if (name == "ntk") return RopeScalingKind::kNtk;
  if (name == "yarn") return RopeScalingKind::kYarn;
  if (name == "llama3") return RopeScalingKind::kLlama3;
  RaiseValue("scaling: kind needs to be linear, ntk, yarn or llama3");
}

RopeScaling ScalingOf(nb::handle given) {
  if (!PyDict_Check(given.ptr())) RaiseType("scaling: needs a dict");
  RopeScaling s;
  for (const auto& [key, value] : nb::borrow<nb::dict>(given)) {
    const nb::str text(nb::object(nb::borrow(key)));
    const std::string name = text.c_str();
    const auto number = [&] { return NumberOf(value, name.c_str()); };
    if (name == "kind") {
      s.kind = KindOf(value);
    } else if (name == "factor") {
      s.factor = number();
    } else if (name == "original_positions") {
      s.original_positions = IntegerOf(value, name.c_str());
    } else if (name == "seqlen") {
      s.seqlen = IntegerOf(value, name.c_str());
    } else if (name == "beta_fast") {
      s.beta_fast = number();
    } else if (name == "beta_slow") {
      s.beta_slow = number();
    } else if (name == "truncate") {
      s.truncate = TruthOf(value, name.c_str());
    } else if (name == "attention_factor") {
      s.attention_factor = number();
    } else if (name == "low_freq_factor") {
      s.low_freq_factor = number();
    } else if (name == "high_freq_factor") {
      s.high_freq_factor = number();
    } else {
      RaiseValue("scaling: has no number '" + name + "'");
    }
  }
  if (s.kind == RopeScalingKind::kNone) RaiseValue("scaling: needs a kind");
  return s;
}

nb::tuple ScaledRopeTables(nb::handle theta_given, nb::handle dim_given,
                           nb::handle scaling_given, nb::handle positions,
                           nb::handle first) {
  const double theta = NumberOf(theta_given, "theta");
  const int64_t rotary_dim = IntegerOf(dim_given, "rotary_dim");
  const RopeScaling scaling = ScalingOf(scaling_given);
  // Refused before memory is made for it.
  double frequency[512];
  RaiseUnlessOk(
      ScaledRopeFrequencies(theta, rotary_dim, scaling, frequency, nullptr));
  return Tables(rotary_dim / 2, positions, first,
                [&](int64_t begin, int64_t count, float* cos, float* sin) {
                  return FillScaledRopeTables(theta, rotary_dim, scaling, begin,
                                              count, cos, sin);
                });
}

std::vector<double> Frequencies(nb::handle theta, nb::handle dim_given) {
  const int64_t rotary_dim = IntegerOf(dim_given, "rotary_dim");
  std::vector<double> frequency(512);
  RaiseUnlessOk(
      RopeFrequencies(NumberOf(theta, "theta"), rotary_dim, frequency.data()));
  frequency.resize(static_cast<size_t>(rotary_dim / 2));
  return frequency;
}

}  // namespace

void BindRope(nb::module_& m) {
  m.def("rope_tables", &RopeTables);
  m.def("scaled_rope_tables", &ScaledRopeTables);
  m.def("rope_frequencies", &Frequencies);
}

}  // namespace heed::python
