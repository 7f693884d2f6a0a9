// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Runs any variant for a test, with memory that tells what it did.
#ifndef HEED_TESTS_VARIANTS_VARIANT_RUN_H_
#define HEED_TESTS_VARIANTS_VARIANT_RUN_H_

#include <gtest/gtest.h>

#include <cstddef>
#include <ostream>
#include <string>
#include <vector>

#include "heed/ops.h"
#include "heed/variant.h"
#include "lib/eval/knob_sweep.h"
#include "lib/eval/workload.h"

namespace heed::test {

// Hands out memory full of NaNs, each piece between two guard zones.
class GuardedScratch {
 public:
  // Gives null from allocation number `fail_from` on.
  explicit GuardedScratch(int fail_from = -1) : fail_from_(fail_from) {}
  ~GuardedScratch();
  GuardedScratch(const GuardedScratch&) = delete;
  GuardedScratch& operator=(const GuardedScratch&) = delete;

  Scratch get();
  int allocations() const { return count_; }
  // True where no guard zone was written.
  bool GuardsIntact() const;

 private:
  struct Piece {
    unsigned char* memory;
    size_t bytes;
  };
  static void* Allocate(void* self, size_t bytes);

  int fail_from_;
  int count_ = 0;
  std::vector<Piece> pieces_;
};

// Values of all knobs of a variant, and what to call them.
struct Setting {
  std::string name;
  double knobs[kMaxKnobs] = {};
};

// The defaults, the smallest values, and sevens as far as the ranges allow.
std::vector<Setting> SettingsOf(const Variant& variant);

// The defaults with every knob that has one at its exact value. False where the
// variant has no such knob.
bool ExactSetting(const Variant& variant, Setting* setting);

// The arguments of a run on these tensors, with neither scratch nor executor;
// on the table of the test at hand.
VariantArgs ArgsOf(const eval::Tensors& tensors, const Setting& setting);

// Runs with a guarded scratch and checks the guards.
Status RunGuarded(const Variant& variant, VariantArgs args);

// A variant on a kernel table.
struct VariantCase {
  NamedVariant variant;
  std::string target;
};

// How a test id shows it: "window_sink_avx2".
std::string NameOf(const VariantCase& param);
void PrintTo(const VariantCase& param, std::ostream* stream);

// Every variant on every usable table.
std::vector<VariantCase> AllVariantCases();

// Runs a test on the table of its parameter: what ArgsOf makes, and the tile
// primitives.
class VariantTest : public ::testing::TestWithParam<VariantCase> {
 protected:
  void SetUp() override;
  void TearDown() override;
  const Variant& variant() const { return GetParam().variant.variant; }
  // As test::ProblemOf, without what the variant declares not to serve: the
  // causal mask, a head_dim_v of its own.
  io::Problem ProblemOf(const std::string& text) const;
  // Where tests are to be quick, case number i is for one of the tables. Of
  // fewer than three each has a third, by its place among all: another than the
  // next.
  bool IsForTable(size_t i) const;
};

}  // namespace heed::test

// Instantiates a fixture derived from VariantTest for these cases.
#define HEED_ON_VARIANT_CASES(Fixture, cases)        \
  INSTANTIATE_TEST_SUITE_P(                          \
      Variants, Fixture, ::testing::ValuesIn(cases), \
      [](const auto& param) { return heed::test::NameOf(param.param); })

#define HEED_ON_EVERY_VARIANT(Fixture) \
  HEED_ON_VARIANT_CASES(Fixture, heed::test::AllVariantCases())

#endif  // HEED_TESTS_VARIANTS_VARIANT_RUN_H_
