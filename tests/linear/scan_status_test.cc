// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a scan refuses: each with a sentence that names the argument, nothing
// written and the state untouched.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "tests/linear/scan_case.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

ScanCase Everything() {
  ScanCase c;
  c.batch = 2;
  c.seqlen = 20;
  c.query_heads = 4;
  c.key_heads = c.value_heads = 2;
  c.decay = Decay::kScalar;
  c.beta = true;
  c.erase_key = c.remove_key = true;
  c.state = true;
  return c;
}

// Every tensor that stands by token.
std::vector<ConstTensorView*> Tokens(ScanArgs* a) {
  return {&a->query, &a->key,       &a->value,     &a->log_decay,
          &a->beta,  &a->erase_key, &a->remove_key};
}

void ExpectRefused(ScanTensors& t, const ScanPlan& plan, const ScanArgs& args,
                   const char* argument, StatusCode code) {
  const WorkspaceBuffer workspace(ScanWorkspaceBytes(plan, 1));
  const Status status = RunScan(plan, args, workspace.get(), SerialExecutor());
  EXPECT_EQ(status.code(), code) << ToString(status);
  EXPECT_STREQ(status.argument(), argument) << ToString(status);
  EXPECT_STRNE(status.message(), "");
  for (const auto part : {&ScanTensors::out, &ScanTensors::final_state,
                          &ScanTensors::final_sum}) {
    for (const float x : t.*part) ASSERT_EQ(x, -77.0f);
  }
}

TEST(ScanStatus, Calls) {
  const struct {
    const char* what;
    const char* argument;
    std::function<void(ScanTensors*, ScanArgs*)> spoil;
    StatusCode code = StatusCode::kInvalidArgument;
  } cases[] = {
      {"no query", "query", [](auto*, auto* a) { a->query.data = nullptr; }},
      {"out without query", "query", [](auto*, auto* a) { a->query = {}; }},
      {"value without key", "key", [](auto*, auto* a) { a->key = {}; }},
      {"quantised keys", "key",
       [](auto*, auto* a) { a->key.dtype = DType::kI8; },
       StatusCode::kUnsupported},
      {"narrow gates", "log_decay",
       [](auto*, auto* a) { a->log_decay.dtype = DType::kBF16; },
       StatusCode::kUnsupported},
      {"head_dim of keys", "key", [](auto*, auto* a) { a->key.extent[3] = 7; }},
      {"seqlen of values", "value",
       [](auto*, auto* a) { a->value.extent[1] = 19; }},
      {"seqlen beyond the plan", "seqlen",
       [](auto*, auto* a) {
         for (ConstTensorView* v : Tokens(a)) {
           v->extent[0] = 1;
           v->extent[1] = 21;
           v->stride[1] = 0;
         }
         a->out.extent[1] = 21;
         a->out.extent[0] = 1;
         a->initial_state.extent[0] = a->final_state.extent[0] = 1;
       }},
      {"heads of out", "out", [](auto*, auto* a) { a->out.extent[2] = 2; }},
      {"wide gates", "log_decay",
       [](auto*, auto* a) { a->log_decay.extent[3] = 0; }},
      {"no gates", "log_decay", [](auto*, auto* a) { a->log_decay = {}; }},
      {"no beta", "beta", [](auto*, auto* a) { a->beta = {}; }},
      {"no keys that erase", "erase_key",
       [](auto*, auto* a) { a->erase_key = {}; }},
      {"no keys to erase along", "remove_key",
       [](auto*, auto* a) { a->remove_key = {}; }},
      {"heads of keys that erase", "erase_key",
       [](auto*, auto* a) { a->erase_key.extent[2] = 1; }},
      {"head_dim of keys to erase along", "remove_key",
       [](auto*, auto* a) { a->remove_key.extent[3] = 15; }},
      {"out on keys that erase", "out",
       [](auto* t, auto* a) {
         a->erase_key.data = t->out.data();
         a->erase_key.extent[0] = 2;
       }},
      {"state of another layout", "initial_state",
       [](auto*, auto* a) { a->initial_state.extent[2] = 15; }},
      {"state for too few sequences", "final_state",
       [](auto*, auto* a) { a->final_state.extent[0] = 1; }},
      {"a sum that nobody asked for", "initial_sum",
       [](auto* t, auto* a) {
         a->initial_sum =
             Bshd(const_cast<const float*>(t->sum.data()), 2, 1, 2, 16);
       }},
      {"gate above 0", "log_decay",
       [](auto* t, auto*) { t->decay[7] = 1e-6f; }},
      {"gate NaN", "log_decay", [](auto* t, auto*) { t->decay[0] = NAN; }},
      {"beta above 2", "beta", [](auto* t, auto*) { t->beta[3] = 2.01f; }},
      {"beta below 0", "beta", [](auto* t, auto*) { t->beta[3] = -0.01f; }},
      {"beta NaN", "beta", [](auto* t, auto*) { t->beta[79] = NAN; }},
      {"out on value", "out",
       [](auto*, auto* a) { a->out.data = const_cast<void*>(a->value.data); }},
      {"state on out", "final_state",
       [](auto*, auto* a) { a->final_state.data = a->out.data; }},
      {"state half in place", "final_state",
       [](auto* t, auto* a) {
         a->initial_state.data = t->final_state.data() + 16;
         a->initial_state.extent[0] = 1;
         a->final_state.extent[0] = 1;
         for (ConstTensorView* v : Tokens(a)) v->extent[0] = 1;
         a->out.extent[0] = 1;
       }},
      {"sequences without sums", "num_sequences",
       [](auto*, auto* a) { a->num_sequences = 3; }},
      {"another map", "map", [](auto*, auto* a) { a->map = Relu(16); }},
  };
  for (const auto& bad : cases) {
    SCOPED_TRACE(bad.what);
    ScanTensors t(Everything());
    ScanPlan plan;
    ASSERT_TRUE(
        MakeScanPlan(t.Params(), ShapeOf(t.Args()), ScanOptions(), &plan).ok());
    ScanArgs args = t.Args();
    bad.spoil(&t, &args);
    ExpectRefused(t, plan, args, bad.argument, bad.code);
  }
}

TEST(ScanStatus, Sequences) {
  ScanCase c = Everything();
  c.batch = 1;
  const std::vector<int32_t> bad[] = {
      {1, 5, 20}, {0, 7, 6, 20}, {0, 5, 19}, {0, 5, 21}, {0, -1, 20}};
  for (const std::vector<int32_t>& sums : bad) {
    c.cu_seqlens = sums;
    ScanTensors t(c);
    ScanPlan plan;
    ASSERT_TRUE(
        MakeScanPlan(t.Params(), ShapeOf(t.Args()), ScanOptions(), &plan).ok());
    ExpectRefused(t, plan, t.Args(), "cu_seqlens",
                  StatusCode::kInvalidArgument);
  }
}

TEST(ScanStatus, Workspaces) {
  ScanTensors t(Everything());
  ScanPlan plan;
  ASSERT_TRUE(
      MakeScanPlan(t.Params(), ShapeOf(t.Args()), ScanOptions(), &plan).ok());
  const WorkspaceBuffer buffer(ScanWorkspaceBytes(plan, 1));
  Workspace small = buffer.get();
  --small.bytes;
  Workspace crooked = buffer.get();
  crooked.data = static_cast<char*>(crooked.data) + 4;
  for (const Workspace& workspace : {Workspace(), small, crooked}) {
    const Status status = RunScan(plan, t.Args(), workspace, SerialExecutor());
    EXPECT_EQ(status.code(), StatusCode::kWorkspace);
    EXPECT_STREQ(status.argument(), "workspace");
    EXPECT_EQ(t.out[0], -77.0f);
  }
}

TEST(ScanStatus, Plans) {
  const struct {
    const char* argument;
    std::function<void(ScanParams*, ScanShape*, ScanOptions*)> spoil;
    StatusCode code = StatusCode::kInvalidArgument;
  } cases[] = {
      {"batch", [](auto*, auto* s, auto*) { s->batch = -1; }},
      {"seqlen", [](auto*, auto* s, auto*) { s->seqlen = -1; }},
      {"head_dim", [](auto*, auto* s, auto*) { s->head_dim = 0; }},
      {"head_dim", [](auto*, auto* s, auto*) { s->head_dim = 1025; },
       StatusCode::kUnsupported},
      {"head_dim_v", [](auto*, auto* s, auto*) { s->head_dim_v = 1025; },
       StatusCode::kUnsupported},
      {"features", [](auto*, auto* s, auto*) { s->features = 1025; },
       StatusCode::kUnsupported},
      {"decay_dim", [](auto*, auto* s, auto*) { s->decay_dim = 5; }},
      {"num_key_heads", [](auto*, auto* s, auto*) { s->num_key_heads = 0; }},
      {"num_key_heads",
       [](auto*, auto* s, auto*) {
         s->num_key_heads = 2;
         s->num_value_heads = 3;
       }},
      {"num_query_heads",
       [](auto*, auto* s, auto*) {
         s->num_query_heads = 3;
         s->num_value_heads = 4;
       }},
      {"num_state_heads",
       [](auto*, auto* s, auto*) {
         s->num_query_heads = 3;
         s->num_value_heads = s->num_key_heads = 2;
       }},
      {"scale", [](auto* p, auto*, auto*) { p->scale = INFINITY; }},
      {"scale", [](auto* p, auto*, auto*) { p->scale = NAN; }},
      {"normalise", [](auto* p, auto*, auto*) { p->normalise = true; }},
      {"normalise",
       [](auto* p, auto* s, auto*) {
         p->normalise = true;
         s->beta = s->remove_key = false;
       }},
      {"head_map",
       [](auto* p, auto*, auto*) { p->head_map = static_cast<HeadMap>(9); }},
      {"chunk", [](auto*, auto*, auto* o) { o->chunk = 33; }},
      {"chunk", [](auto*, auto*, auto* o) { o->chunk = -1; }},
      {"target", [](auto*, auto*, auto* o) { o->target = "z80"; },
       StatusCode::kUnsupported},
  };
  ScanTensors t(Everything());
  for (const auto& bad : cases) {
    ScanParams params = t.Params();
    ScanShape shape = ShapeOf(t.Args());
    ScanOptions options;
    bad.spoil(&params, &shape, &options);
    ScanPlan plan;
    const Status status = MakeScanPlan(params, shape, options, &plan);
    EXPECT_EQ(status.code(), bad.code) << ToString(status);
    EXPECT_STREQ(status.argument(), bad.argument) << ToString(status);
    EXPECT_EQ(plan.table, nullptr);
  }
  EXPECT_STREQ(MakeScanPlan({}, {}, {}, nullptr).argument(), "plan");
  ScanPlan none;
  EXPECT_STREQ(RunScan(none, t.Args(), {}, SerialExecutor()).argument(),
               "plan");
}

// Maps of the library fill rows as wide as those they read.
TEST(ScanStatus, MapsOfAnotherWidth) {
  ScanCase c = Everything();
  c.decay = Decay::kNone;
  c.beta = c.state = c.erase_key = c.remove_key = false;
  for (const FeatureMap& map : {EluPlusOne(c.dim - 1), Relu(c.dim + 16),
                                UnitKeys(c.dim - 1), UnitRows(c.dim + 1)}) {
    ScanTensors t(c);
    ScanArgs args = t.Args();
    args.initial_state = {};
    args.final_state = {};
    args.map = map;
    ScanPlan plan;
    ASSERT_TRUE(
        MakeScanPlan(t.Params(), ShapeOf(args), ScanOptions(), &plan).ok());
    ExpectRefused(t, plan, args, "map", StatusCode::kInvalidArgument);
  }
}

TEST(ScanStatus, AnySeqlenIsCounted) {
  ScanShape shape = ShapeOf(ScanTensors(Everything()).Args());
  ScanPlan longer, longest;
  shape.seqlen = int64_t{1} << 40;
  ASSERT_TRUE(MakeScanPlan({}, shape, {}, &longer).ok());
  shape.seqlen = INT64_MAX;
  ASSERT_TRUE(MakeScanPlan({}, shape, {}, &longest).ok());
  EXPECT_EQ(longest.segment, longer.segment);
}

TEST(ScanStatus, NothingToDoIsFine) {
  for (const bool ragged : {false, true}) {
    ScanCase c = Everything();
    c.batch = ragged ? 1 : 0;
    c.seqlen = ragged ? 0 : 20;
    if (ragged) c.cu_seqlens = {0, 0, 0};
    ScanTensors t(c);
    EXPECT_TRUE(RunScanOn({}, t.Params(), t.Args()).ok());
    // A sequence without tokens hands its state on.
    if (ragged) {
      EXPECT_TRUE(SameNumbers(t.final_state, t.state));
    }
  }
}

// Inputs repeated by strides of 0 may be longer than any memory.
TEST(ScanStatus, NothingToWriteTakesNoTime) {
  const float zero[16] = {};
  ScanArgs args;
  const int64_t batch = int64_t{1} << 62, heads = 8;
  args.key = args.value = Strided(zero, batch, 1, heads, 16, 0, 0, 0);
  EXPECT_TRUE(RunScanOn({}, {}, args).ok());
}

}  // namespace
}  // namespace heed::test
