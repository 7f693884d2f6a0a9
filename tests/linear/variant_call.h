// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A call of a linear variant by its name, with inputs that a test may set.
#ifndef HEED_TESTS_LINEAR_VARIANT_CALL_H_
#define HEED_TESTS_LINEAR_VARIANT_CALL_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "heed/linear_variant.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/workload.h"
#include "tests/support/targets.h"

namespace heed::test {

// The variants with a reference of their own: the linear family.
std::vector<NamedVariant> LinearVariants();

// Returns the variant of that name.
NamedVariant VariantNamed(const std::string& name);

// Out is filled with -77 before each run.
class VariantCall {
 public:
  // `problem` as in "b1_h2_d16_q40_causal", with head_dim_v as head_dim where
  // the variant asks for that; inputs as they are drawn.
  VariantCall(const std::string& name, const std::string& problem,
              const std::string& target);
  VariantCall(const VariantCall&) = delete;
  VariantCall& operator=(const VariantCall&) = delete;

  void SetKnob(const std::string& name, double value);
  // Sets an input to f(token or row, channel), for all heads.
  void SetInput(const std::string& name,
                const std::function<double(int64_t, int64_t)>& f);
  // The view of an input, to be spoilt.
  ConstTensorView& InputView(const std::string& name);

  const Variant& variant() const { return named_.variant; }
  VariantArgs& args() { return args_; }
  const eval::Tensors& tensors() const { return tensors_; }

  Status Run();
  // Runs and returns out, dense.
  std::vector<float> Out();
  std::vector<double> Reference();
  // Whether nothing has been written to out.
  bool Untouched() const;

 private:
  int IndexOf(const std::string& input) const;

  NamedVariant named_;
  std::string target_;
  eval::Tensors tensors_;
  eval::ScratchPool pool_;
  std::vector<std::vector<float>> numbers_;  // of the inputs
  std::vector<ConstTensorView> inputs_;
  VariantArgs args_;
};

// A test on every usable table, which the tile primitives take too.
class LinearVariantOnTarget : public OnEveryTarget {
 protected:
  void SetUp() override;
  void TearDown() override;
};

// Root mean square of the difference over that of `want`; 0 where both vanish.
double ErrorOf(const std::vector<float>& got, const std::vector<double>& want);
std::vector<double> Doubles(const std::vector<float>& x);

}  // namespace heed::test

#endif  // HEED_TESTS_LINEAR_VARIANT_CALL_H_
