// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Inputs that f32 cannot compute are named as such.
#include "lib/eval/overflow.h"

#include <gtest/gtest.h>

#include <string>

#include "lib/io/input_error.h"
#include "tests/eval/compare_run.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

std::string Overflow(const eval::Tensors& tensors) {
  return eval::FindOverflow(tensors.problem.params, tensors.Args(),
                            eval::PickRows(tensors.problem.shape.seqlen_q, 64));
}

std::string Complaint(const eval::TensorSource& source) {
  try {
    CompareOn(source, {});
  } catch (const io::InputError& error) {
    return error.what();
  }
  return "";
}

TEST(Overflow, IsFoundInScoresAndValues) {
  eval::TensorSource source = eval::MakeSynthetic("h2_d2_q3_causal", {});
  const eval::Tensors& tensors = source.layers[0].tensors;
  EXPECT_EQ(Overflow(tensors), "");
  *tensors.query.At(0, 2, 1) = 1e30f;
  EXPECT_EQ(Overflow(tensors), "");
  *tensors.key.At(0, 1, 1) = 1e30f;
  EXPECT_NE(Overflow(tensors).find("query and key reach 1.0e+60"),
            std::string::npos)
      << Overflow(tensors);
  EXPECT_NE(Complaint(source).find("'b1_h2_d2_q3_k3_f32_causal': "),
            std::string::npos)
      << Complaint(source);
  *tensors.query.At(0, 2, 1) = 1;
  *tensors.value.At(0, 0, 0) = 3e38f;
  EXPECT_EQ(Overflow(tensors), "");
  *tensors.value.At(0, 1, 0) = 3e38f;
  EXPECT_NE(Overflow(tensors).find("sums of values reach 6.0e+38"),
            std::string::npos)
      << Overflow(tensors);
}

// What a mask hides may be of any size.
TEST(Overflow, IgnoresHiddenKeys) {
  const eval::Tensors tensors =
      eval::MakeSynthetic("h1_d2_q3_causal_off-1", {}).layers[0].tensors;
  *tensors.query.At(0, 2, 0) = 1e30f;
  *tensors.key.At(0, 2, 0) = 1e30f;
  EXPECT_EQ(Overflow(tensors), "");
  *tensors.key.At(0, 1, 0) = 1e30f;
  EXPECT_NE(Overflow(tensors), "");
}

}  // namespace
}  // namespace heed::test
