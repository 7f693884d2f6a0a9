// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/variants/variant_run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "heed/target.h"
#include "lib/core/ops_target.h"
#include "tests/support/quick.h"
#include "tests/support/run.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

constexpr size_t kGuard = 64;
constexpr std::align_val_t kAlignment{64};
constexpr unsigned char kGuardByte = 0xa5;
constexpr unsigned char kNanByte = 0xff;  // four of them are a NaN

// Of the test that runs; null for the best.
const char* target_at_hand = nullptr;

}  // namespace

GuardedScratch::~GuardedScratch() {
  for (const Piece& piece : pieces_) operator delete(piece.memory, kAlignment);
}

Scratch GuardedScratch::get() {
  Scratch scratch;
  scratch.self = this;
  scratch.allocate = &GuardedScratch::Allocate;
  return scratch;
}

void* GuardedScratch::Allocate(void* self, size_t bytes) {
  GuardedScratch& scratch = *static_cast<GuardedScratch*>(self);
  const int number = scratch.count_++;
  if (scratch.fail_from_ >= 0 && number >= scratch.fail_from_) return nullptr;
  Piece piece;
  piece.bytes = bytes;
  piece.memory =
      static_cast<unsigned char*>(operator new(bytes + 2 * kGuard, kAlignment));
  std::memset(piece.memory, kGuardByte, bytes + 2 * kGuard);
  std::memset(piece.memory + kGuard, kNanByte, bytes);
  scratch.pieces_.push_back(piece);
  return piece.memory + kGuard;
}

bool GuardedScratch::GuardsIntact() const {
  for (const Piece& piece : pieces_) {
    for (size_t i = 0; i < kGuard; ++i) {
      if (piece.memory[i] != kGuardByte) return false;
      if (piece.memory[kGuard + piece.bytes + i] != kGuardByte) return false;
    }
  }
  return true;
}

std::vector<Setting> SettingsOf(const Variant& variant) {
  Setting defaults{"defaults"};
  Setting smallest{"smallest"};
  Setting sevens{"sevens"};
  for (int i = 0; i < variant.num_knobs; ++i) {
    const Knob& knob = variant.knobs[i];
    defaults.knobs[i] = knob.default_value;
    smallest.knobs[i] = knob.min;
    sevens.knobs[i] = std::clamp(7.0, knob.min, knob.max);
  }
  if (variant.num_knobs == 0) return {defaults};
  return {defaults, smallest, sevens};
}

bool ExactSetting(const Variant& variant, Setting* setting) {
  *setting = SettingsOf(variant).front();
  setting->name = "exact";
  bool found = false;
  for (int i = 0; i < variant.num_knobs; ++i) {
    if (!variant.knobs[i].has_exact) continue;
    setting->knobs[i] = variant.knobs[i].exact_value;
    found = true;
  }
  return found;
}

VariantArgs ArgsOf(const eval::Tensors& tensors, const Setting& setting) {
  VariantArgs args;
  args.params = tensors.problem.params;
  args.args = tensors.Args();
  std::copy(setting.knobs, setting.knobs + kMaxKnobs, args.knobs);
  args.target = target_at_hand;
  return args;
}

Status RunGuarded(const Variant& variant, VariantArgs args) {
  GuardedScratch scratch;
  args.scratch = scratch.get();
  const Status status = RunVariant(variant, args);
  EXPECT_TRUE(scratch.GuardsIntact()) << "wrote outside its scratch";
  return status;
}

std::string NameOf(const VariantCase& param) {
  return std::string(param.variant.name) + "_" + param.target;
}

void PrintTo(const VariantCase& param, std::ostream* stream) {
  *stream << NameOf(param);
}

std::vector<VariantCase> AllVariantCases() {
  std::vector<VariantCase> cases;
  for (const NamedVariant& variant : eval::AllVariants()) {
    for (const std::string& target : UsableTargets()) {
      cases.push_back({variant, target});
    }
  }
  return cases;
}

void VariantTest::SetUp() {
  target_at_hand = GetParam().target.c_str();
  ASSERT_TRUE(internal::SetOpsTarget(target_at_hand));
}

io::Problem VariantTest::ProblemOf(const std::string& text) const {
  io::Problem problem = test::ProblemOf(text);
  if (variant().non_causal) problem.params.causal = false;
  if (variant().equal_head_dims) {
    problem.shape.head_dim_v = problem.shape.head_dim;
  }
  return problem;
}

bool VariantTest::IsForTable(size_t i) const {
  if (!Quick()) return true;
  const std::vector<std::string> targets = UsableTargets();
  if (targets.size() >= 3) {
    return targets[i % targets.size()] == GetParam().target;
  }
  int number = 0;
  while (GetTarget(number).name != GetParam().target) ++number;
  return i % 3 == static_cast<size_t>(number % 3);
}

void VariantTest::TearDown() {
  target_at_hand = nullptr;
  internal::SetOpsTarget(nullptr);
}

}  // namespace heed::test
