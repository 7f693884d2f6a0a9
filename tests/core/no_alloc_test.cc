// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A run allocates nothing: this binary's malloc counts.
#include <errno.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "lib/eval/workload.h"
#include "tests/support/compare.h"
#include "tests/support/intervals.h"
#include "tests/support/ragged_case.h"
#include "tests/support/run.h"
#include "tests/support/targets.h"
#include "tests/support/thread_executor.h"

namespace {
std::atomic<bool> g_counting{false};
std::atomic<int> g_allocations{0};
std::atomic<bool> g_failing{false};  // aligned_alloc gives nothing

void Count() {
  if (g_counting.load(std::memory_order_relaxed)) g_allocations.fetch_add(1);
}
}  // namespace

// glibc's own entries, which its malloc is a name for. Visible, or the shared
// libraries (operator new among them) would not find ours.
#pragma GCC visibility push(default)
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* __libc_memalign(size_t alignment, size_t size);

void* malloc(size_t size) {
  Count();
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
  Count();
  return __libc_calloc(count, size);
}
void* realloc(void* memory, size_t size) {
  Count();
  return __libc_realloc(memory, size);
}
void* memalign(size_t alignment, size_t size) {
  Count();
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  Count();
  if (g_failing.load(std::memory_order_relaxed)) return nullptr;
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** memory, size_t alignment, size_t size) {
  Count();
  *memory = __libc_memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}
}
#pragma GCC visibility pop

namespace heed::test {
namespace {

// Counts allocations while it lives.
class Counted {
 public:
  Counted() {
    g_allocations = 0;
    g_counting = true;
  }
  ~Counted() { g_counting = false; }
  int count() const { return g_allocations.load(); }
};

class NoAlloc : public OnEveryTarget {};

TEST(NoAllocCounter, SeesAllocations) {
  const Counted counted;
  // Not a new-expression, which compilers may leave out.
  ::operator delete(::operator new(100));
  std::atomic<void*> more{std::malloc(10)};
  std::free(more.load());
  more = std::aligned_alloc(64, 640);
  std::free(more.load());
  EXPECT_EQ(counted.count(), 3);
}

TEST_P(NoAlloc, RaggedCallsInPages) {
  RaggedLayout layout;
  layout.page_size = 16;
  const RaggedCase ragged("h2_kv1_d8_q1_k1_causal",
                          {{1, 9000}, {70, 70}, {0, 4}, {1, 33}}, layout);
  PlanOptions options;
  options.target = GetParam().c_str();
  const AttentionArgs args = ragged.Args();
  Plan plan;
  ASSERT_TRUE(MakePlan(ragged.params(), ShapeOf(args), options, &plan).ok());
  const WorkspaceBuffer workspace(WorkspaceBytes(plan, 3));
  BackwardExecutor executor(3);
  const Counted counted;
  const bool ran = heed::Run(plan, args, workspace.get(), executor).ok();
  EXPECT_EQ(counted.count(), 0);
  EXPECT_TRUE(ran);
}

TEST_P(NoAlloc, SharedPrefixes) {
  RaggedLayout layout;
  layout.page_size = 16;
  RaggedCase ragged("h2_kv1_d8_q1_k1_causal", {{1, 9000}, {2, 8200}}, layout);
  std::copy_n(ragged.page_table.begin(), 512,
              ragged.page_table.begin() + ragged.table_stride);
  const SharedPrefix prefix = {0, 2, 8192};
  AttentionArgs args = ragged.Args();
  args.ragged.shared_prefixes = &prefix;
  args.ragged.num_shared_prefixes = 1;
  PlanOptions options;
  options.target = GetParam().c_str();
  Plan plan;
  ASSERT_TRUE(MakePlan(ragged.params(), ShapeOf(args), options, &plan).ok());
  const WorkspaceBuffer workspace(WorkspaceBytes(plan, 3));
  BackwardExecutor executor(3);
  const Counted counted;
  const bool ran = heed::Run(plan, args, workspace.get(), executor).ok();
  EXPECT_EQ(counted.count(), 0);
  EXPECT_TRUE(ran);
}

TEST_P(NoAlloc, PlanAndRun) {
  for (const char* text :
       {"h1_d4_q1_k1", "b2_h4_kv2_d64_q150_k200_causal", "h2_d8_q3_k9000",
        "h1_d1024_q20_k100", "h2_d16_q30_k100_cap5_wl20_sink4", "h2_d8_q0_k10",
        "h2_d8_q10_k0"}) {
    const io::Problem problem = ProblemOf(text);
    const eval::Tensors tensors = eval::MakeTensors(problem, {});
    const AttentionArgs args = tensors.Args();
    PlanOptions options;
    options.target = GetParam().c_str();
    Plan plan;
    ASSERT_TRUE(MakePlan(problem.params, problem.shape, options, &plan).ok());
    const WorkspaceBuffer workspace(WorkspaceBytes(plan, 3));
    char explained[2048];
    const Counted counted;
    const bool planned =
        MakePlan(problem.params, problem.shape, options, &plan).ok();
    ExplainPlan(plan, explained, sizeof(explained));
    const bool ran =
        heed::Run(plan, args, workspace.get(), SerialExecutor()).ok();
    for (const bool barriers : {true, false}) {
      RunOptions run_options;
      run_options.barriers = barriers;
      AttentionRun run;
      BeginRun(plan, args, workspace.get(), 3, run_options, &run).ok();
      for (int phase = 0; phase < NumPhases(run); ++phase) {
        for (int64_t i = 0; i < NumTasks(run, phase); ++i) {
          RunTask(run, phase, i, static_cast<int>(i % 3));
        }
      }
    }
    const int count = counted.count();
    g_counting = false;
    EXPECT_EQ(count, 0) << text;
    EXPECT_TRUE(planned && ran) << text;
  }
}

TEST_P(NoAlloc, Scans) {
  std::vector<float> data(2 * 50 * 3 * 24, 0.1f), gates(2 * 50 * 3, -0.1f);
  std::vector<float> out(data.size());
  ScanArgs args;
  args.query = args.key = args.value =
      Bshd(static_cast<const float*>(data.data()), 2, 50, 3, 24);
  args.out = Bshd(out.data(), 2, 50, 3, 24);
  args.log_decay = Bshd(static_cast<const float*>(gates.data()), 2, 50, 3, 1);
  ScanOptions options;
  options.target = GetParam().c_str();
  ScanPlan plan;
  ASSERT_TRUE(MakeScanPlan({}, ShapeOf(args), options, &plan).ok());
  const WorkspaceBuffer workspace(ScanWorkspaceBytes(plan, 3));
  BackwardExecutor executor(3);
  const Counted counted;
  const bool planned = MakeScanPlan({}, ShapeOf(args), options, &plan).ok();
  const bool ran = RunScan(plan, args, workspace.get(), executor).ok();
  EXPECT_EQ(counted.count(), 0);
  EXPECT_TRUE(planned && ran);
}

TEST_P(NoAlloc, Layers) {
  const std::string name = GetParam();
  const int64_t rows = 7, model = 64;
  MultiHeadParams params;
  params.model_dim = model;
  params.num_heads = 4;
  MultiHeadShape shape;
  shape.batch = 1;
  shape.seqlen_q = shape.seqlen_k = shape.seqlen_new = rows;
  shape.cache = true;
  shape.out_dtype = DType::kBF16;
  MultiHeadOptions options;
  options.target = name.c_str();
  MultiHeadPlan plan;
  ASSERT_TRUE(MakeMultiHeadPlan(params, shape, options, &plan).ok());
  const WorkspaceBuffer workspace(MultiHeadWorkspaceBytes(plan, 1));
  std::vector<float> x(rows * model, 0.5f), weight(model * model, 0.1f);
  std::vector<float> cos(rows * 8, 1.0f), sin(rows * 8, 0.0f);
  std::vector<float> cache(2 * rows * model);
  std::vector<bf16> out(rows * model);
  const int32_t past = 0;
  LinearWeights source;
  source.weight = Bshd<const float>(weight.data(), 1, model, 1, model);
  const WorkspaceBuffer packed(PackedLinearBytes(source));
  MultiHeadArgs args;
  args.query = Bshd<const float>(x.data(), 1, rows, 1, model);
  args.out = Bshd(out.data(), 1, rows, 1, model);
  args.key_cache = Bshd(cache.data(), 1, rows, 4, 16);
  args.value_cache = Bshd(cache.data() + rows * model, 1, rows, 4, 16);
  args.past_lengths = &past;
  args.rope.rotary_dim = 16;
  args.rope.num_positions = rows;
  args.rope.cos = cos.data();
  args.rope.sin = sin.data();
  Status pack, run;
  const Counted counted;
  PackedLinear linear;
  pack = PackLinear(source, packed.get().data, packed.get().bytes, &linear);
  args.weights = {linear, linear, linear, linear};
  run = RunMultiHead(plan, args, workspace.get(), SerialExecutor());
  EXPECT_EQ(counted.count(), 0);
  EXPECT_TRUE(pack.ok()) << ToString(pack);
  EXPECT_TRUE(run.ok()) << ToString(run);
}

TEST_P(NoAlloc, KeyIntervals) {
  const io::Problem problem = ProblemOf("h2_d8_q30_k5000_causal");
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  eval::Random random(5);
  const IntervalLists lists = RandomLists(problem.shape, 8, 30, 200, random);
  AttentionArgs args = tensors.Args();
  args.key_intervals = lists.View();
  PlanOptions options;
  options.target = GetParam().c_str();
  Plan plan;
  ASSERT_TRUE(MakePlan(problem.params, problem.shape, options, &plan).ok());
  const WorkspaceBuffer workspace(WorkspaceBytes(plan, 1));
  const Counted counted;
  const bool ran =
      heed::Run(plan, args, workspace.get(), SerialExecutor()).ok();
  const int count = counted.count();
  g_counting = false;
  EXPECT_EQ(count, 0);
  EXPECT_TRUE(ran);
}

TEST(NoAllocStatus, RefusalsAndMerges) {
  const eval::Tensors a = eval::MakeTensors(ProblemOf("h2_d8_q4"), {});
  const eval::Tensors b = eval::MakeTensors(ProblemOf("h2_d8_q4"), {});
  ASSERT_TRUE(Attention({}, a.Args()).ok());
  ASSERT_TRUE(Attention({}, b.Args()).ok());
  AttentionShape bad = a.problem.shape;
  bad.head_dim = -1;
  char text[256];
  Plan plan;
  const Counted counted;
  const Status refused = MakePlan({}, bad, {}, &plan);
  FormatStatus(refused, text, sizeof(text));
  const bool merged = MergeStates(a.out.view, a.lse.view, b.out.view,
                                  b.lse.view, a.out.view, a.lse.view)
                          .ok();
  const int count = counted.count();
  g_counting = false;
  EXPECT_EQ(count, 0);
  EXPECT_FALSE(refused.ok());
  EXPECT_TRUE(merged);
}

// The one-shot call takes one workspace and gives it back.
TEST(NoAllocStatus, OneShotAllocatesOnce) {
  const eval::Tensors tensors = eval::MakeTensors(ProblemOf("h2_d8_q4"), {});
  const AttentionArgs args = tensors.Args();
  const Counted counted;
  const bool ran = Attention({}, args).ok();
  const int count = counted.count();
  g_counting = false;
  EXPECT_LE(count, 1);
  EXPECT_TRUE(ran);
}

TEST(NoAllocStatus, OneShotSaysWhenThereIsNoMemory) {
  const eval::Tensors tensors = eval::MakeTensors(ProblemOf("h2_d8_q4"), {});
  g_failing = true;
  const Status status = Attention({}, tensors.Args());
  g_failing = false;
  EXPECT_EQ(status.code(), StatusCode::kOutOfMemory) << ToString(status);
  EXPECT_EQ(std::string(status.argument()), "workspace");
  EXPECT_GT(status.bound(), 0);
  EXPECT_TRUE(Untouched(tensors.out));
  EXPECT_TRUE(Untouched(tensors.lse));
}

HEED_ON_EVERY_TARGET(NoAlloc);

}  // namespace
}  // namespace heed::test
