// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Runs any variant for a test, with memory that tells what it did.
#ifndef HEED_TESTS_VARIANTS_VARIANT_RUN_H_
#define HEED_TESTS_VARIANTS_VARIANT_RUN_H_

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

// The arguments of a run on these tensors, with neither scratch nor executor.
VariantArgs ArgsOf(const eval::Tensors& tensors, const Setting& setting);

// Runs with a guarded scratch and checks the guards.
Status RunGuarded(const Variant& variant, VariantArgs args);

// For a fixture's parameter.
using eval::AllVariants;

}  // namespace heed::test

namespace heed {
// How a test id shows a variant.
void PrintTo(const NamedVariant& variant, std::ostream* stream);
}  // namespace heed

// Instantiates a fixture of TestWithParam<NamedVariant> for every variant.
#define HEED_ON_EVERY_VARIANT(Fixture)                                   \
  INSTANTIATE_TEST_SUITE_P(                                              \
      Variants, Fixture, ::testing::ValuesIn(heed::test::AllVariants()), \
      [](const auto& param) { return std::string(param.param.name); })

#endif  // HEED_TESTS_VARIANTS_VARIANT_RUN_H_
