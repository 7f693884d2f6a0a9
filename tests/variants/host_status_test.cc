// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What RunVariant and ops::Attend refuse about what a run is given beside its
// tensors: the argument that is named, and that nothing was written.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>

#include "heed/ops.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/workload.h"
#include "tests/support/compare.h"
#include "tests/support/run.h"
#include "tests/variants/selection_run.h"
#include "tests/variants/variant_run.h"

namespace heed::test {
namespace {

Status AttendAll(const VariantArgs& a) {
  return ops::Attend(a.params, a.args, a);
}

class HostStatus : public ::testing::Test {
 protected:
  HostStatus()
      : tensors_(eval::MakeTensors(ProblemOf("b1_h4_kv2_d8_q6_k9"), {})) {
    variant_.run = &AttendAll;
  }

  VariantArgs Args() {
    VariantArgs args;
    args.args = tensors_.Args();
    args.scratch = pool_.Begin();
    return args;
  }

  void ExpectRefused(const Status& status, const char* argument) const {
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << ToString(status);
    EXPECT_STREQ(status.argument(), argument) << ToString(status);
    EXPECT_TRUE(Untouched(tensors_.out));
    EXPECT_TRUE(Untouched(tensors_.lse));
  }

  // Refused by the way in and by the exact kernel within alike.
  void ExpectBothRefuse(const std::function<void(VariantArgs&)>& spoil,
                        const char* argument) {
    VariantArgs args = Args();
    spoil(args);
    ExpectRefused(RunVariant(variant_, args), argument);
    ExpectRefused(AttendAll(args), argument);
  }

  eval::Tensors tensors_;
  eval::ScratchPool pool_;
  Variant variant_;
};

TEST_F(HostStatus, TheUnspoiledRunIsFine) {
  const Status status = RunVariant(variant_, Args());
  EXPECT_TRUE(status.ok()) << ToString(status);
  EXPECT_FALSE(Untouched(tensors_.out));
}

TEST_F(HostStatus, Executors) {
  ExpectBothRefuse([](VariantArgs& a) { a.executor.parallel_for = nullptr; },
                   "executor");
  ExpectBothRefuse([](VariantArgs& a) { a.executor = Executor(); }, "executor");
  for (const int workers : {0, -1}) {
    ExpectBothRefuse([&](VariantArgs& a) { a.executor.max_workers = workers; },
                     "executor");
  }
}

TEST_F(HostStatus, ScratchThatWasNeverSet) {
  ExpectBothRefuse([](VariantArgs& a) { a.scratch = Scratch(); }, "scratch");
}

TEST_F(HostStatus, VariantsThatCannotRun) {
  ExpectRefused(RunVariant(Variant(), Args()), "variant");
}

// A sequence whose keys are in pages that stand anywhere, which views do not
// say: every variant but exact refuses it, before it looks at a key.
TEST_F(HostStatus, PagesAreServedByExactAttentionOnly) {
  VariantArgs args = Args();
  const int32_t lengths[] = {9};
  void* const keys[] = {const_cast<void*>(args.args.key.data)};
  void* const values[] = {const_cast<void*>(args.args.value.data)};
  args.args.key.data = args.args.value.data = nullptr;
  args.args.ragged.num_sequences = 1;
  args.args.ragged.seqlens_k = lengths;
  args.args.pages.key_pages = keys;
  args.args.pages.value_pages = values;
  args.args.pages.num_sequences = args.args.pages.pages_per_sequence = 1;
  args.args.pages.table_stride = 1;
  int refused = 0;
  for (const NamedVariant& named : eval::AllVariants()) {
    if (std::string(named.name) == "exact") continue;
    SCOPED_TRACE(named.name);
    std::copy_n(SettingsOf(named.variant).front().knobs, kMaxKnobs, args.knobs);
    const Status status = RunVariant(named.variant, args);
    EXPECT_EQ(status.code(), StatusCode::kUnsupported) << ToString(status);
    EXPECT_TRUE(Untouched(tensors_.out));
    ++refused;
  }
  EXPECT_GT(refused, 8);
  EXPECT_TRUE(RunVariant(VariantNamed("exact"), args).ok());
}

// Pages by a table and pages by pointers alike.
TEST_F(HostStatus, PagesThatASparseVariantDoesNotServe) {
  VariantArgs args = Args();
  std::copy_n(SettingsOf(VariantNamed("moba")).front().knobs, kMaxKnobs,
              args.knobs);
  const int32_t table[] = {0};
  args.args.pages.page_table = table;
  EXPECT_STREQ(VariantNamed("moba").run(args).argument(), "page_table");
  args.args.pages.page_table = nullptr;
  void* const pages[] = {const_cast<void*>(args.args.key.data)};
  args.args.pages.key_pages = pages;
  args.args.pages.value_pages = pages;
  for (const char* name : {"moba", "quest", "window_sink"}) {
    const Status status = VariantNamed(name).run(args);
    EXPECT_EQ(status.code(), StatusCode::kUnsupported) << name;
    EXPECT_STREQ(status.argument(), "key_pages") << name;
  }
  EXPECT_TRUE(Untouched(tensors_.out));
}

}  // namespace
}  // namespace heed::test
