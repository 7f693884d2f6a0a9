// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a scan's result may not depend on, and what it must equal otherwise.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "lib/oracle/recurrence.h"
#include "tests/linear/scan_case.h"
#include "tests/support/quick.h"

namespace heed::test {
namespace {

class ScanProperty : public OnEveryTarget {
 protected:
  void RunOk(const ScanArgs& args, const ScanParams& params, int chunk = 16,
             int workers = 1) {
    const Status status = RunScanOn({GetParam(), chunk, workers}, params, args);
    ASSERT_TRUE(status.ok()) << ToString(status);
  }
};
HEED_ON_EVERY_TARGET(ScanProperty);

// Every primitive once.
std::vector<ScanCase> Primitives() {
  std::vector<ScanCase> cases;
  for (const Decay decay : {Decay::kNone, Decay::kScalar, Decay::kVector}) {
    for (const bool beta : {false, true}) {
      ScanCase c;
      c.seqlen = 90;
      c.dim = 24;
      c.dim_v = 70;  // two tiles
      c.decay = decay;
      c.beta = beta;
      c.normalise = !beta;
      c.state = true;
      c.batch = 2;
      c.query_heads = c.key_heads = c.value_heads = 3;
      cases.push_back(c);
      if (!beta || decay == Decay::kNone) continue;
      c.erase_key = c.remove_key = true;
      c.beta = decay == Decay::kScalar;
      cases.push_back(c);
    }
  }
  return cases;
}

// Tokens [first, first + count) of a call, from `state` and `sum` on.
ScanArgs Part(ScanTensors& t, int64_t first, int64_t count) {
  ScanArgs args = t.Args();
  args.query = TokensOf(args.query, first, count);
  args.key = TokensOf(args.key, first, count);
  args.value = TokensOf(args.value, first, count);
  args.log_decay = TokensOf(args.log_decay, first, count);
  args.beta = TokensOf(args.beta, first, count);
  args.erase_key = TokensOf(args.erase_key, first, count);
  args.remove_key = TokensOf(args.remove_key, first, count);
  args.out = TokensOf(args.out, first, count);
  if (first > 0) {
    args.initial_state = args.final_state;  // in place
    args.initial_sum = args.final_sum;
  }
  return args;
}

TEST_P(ScanProperty, WorkersLeaveNoTrace) {
  for (const ScanCase& c : Primitives()) {
    for (const int workers : {2, 4, 7}) {
      SCOPED_TRACE(c.Text() + " workers " + std::to_string(workers));
      ScanTensors want(c), got(c);
      RunOk(want.Args(), want.Params());
      RunOk(got.Args(), got.Params(), 16, workers);
      EXPECT_TRUE(SameResults(got, want));
    }
  }
}

TEST_P(ScanProperty, CutsAtChunksLeaveNoTrace) {
  for (const ScanCase& c : Primitives()) {
    SCOPED_TRACE(c.Text());
    ScanTensors want(c), got(c);
    RunOk(want.Args(), want.Params());
    RunOk(Part(got, 0, 32), got.Params());
    RunOk(Part(got, 32, 48), got.Params());
    RunOk(Part(got, 80, 10), got.Params());
    EXPECT_TRUE(SameResults(got, want));
  }
}

// One task after the other, as any executor may run them.
TEST(ScanInPlace, SplitHeadsStartFromTheSameSums) {
  for (const ScanCase& c : Primitives()) {
    for (const int workers : {4, 5}) {
      SCOPED_TRACE(c.Text() + " workers " + std::to_string(workers));
      Executor executor = SerialExecutor();
      executor.max_workers = workers;
      ScanTensors want(c), got(c);
      got.final_state = got.state;
      if (c.normalise) got.final_sum = got.sum;
      ScanArgs args = got.Args();
      args.initial_state = args.final_state;
      args.initial_sum = args.final_sum;
      ASSERT_TRUE(Scan(want.Params(), want.Args()).ok());
      ASSERT_TRUE(Scan(got.Params(), args, executor).ok());
      EXPECT_TRUE(SameResults(got, want));
    }
  }
}

TEST_P(ScanProperty, StepsEqualPrefillWithinRounding) {
  for (const ScanCase& c : Primitives()) {
    SCOPED_TRACE(c.Text());
    ScanTensors want(c), got(c);
    RunOk(want.Args(), want.Params());
    for (int64_t i = 0; i < c.seqlen; ++i) {
      RunOk(Part(got, i, 1), got.Params());
    }
    const std::vector<double> out(want.out.begin(), want.out.end());
    const std::vector<double> state(want.final_state.begin(),
                                    want.final_state.end());
    EXPECT_LT(RelativeError(got.out, out), c.erases() ? 1e-5 : 2e-6);
    EXPECT_LT(RelativeError(got.final_state, state), c.erases() ? 1e-5 : 2e-6);
  }
}

TEST_P(ScanProperty, RaggedEqualsSeparateCalls) {
  for (ScanCase c : Primitives()) {
    c.batch = 1;
    c.cu_seqlens = {0, 17, 17, 50, 90};
    SCOPED_TRACE(c.Text());
    ScanTensors want(c), got(c);
    RunOk(got.Args(), got.Params(), 16, 3);
    for (int64_t s = 0; s < 4; ++s) {
      const int64_t first = c.cu_seqlens[static_cast<size_t>(s)];
      const int64_t count = c.cu_seqlens[static_cast<size_t>(s + 1)] - first;
      ScanArgs args = Part(want, first, count);
      const ScanArgs all = want.Args();
      args.cu_seqlens = nullptr;
      args.num_sequences = 0;
      const auto row = [s](auto view) {
        if (view.absent()) return view;
        view.data = decltype(view.data)(internal::BytesAt(view, s, 0, 0));
        view.extent[0] = 1;
        return view;
      };
      args.initial_state = row(all.initial_state);
      args.final_state = row(all.final_state);
      args.initial_sum = row(all.initial_sum);
      args.final_sum = row(all.final_sum);
      RunOk(args, want.Params());
    }
    EXPECT_TRUE(SameResults(got, want));
  }
}

// Runs tasks one after the other and counts them.
struct Counting {
  int64_t tasks = 0;

  Executor executor() {
    return {this,
            [](void* self, int64_t num_tasks, void* ctx,
               void (*task)(void* ctx, int64_t i, int worker)) {
              static_cast<Counting*>(self)->tasks += num_tasks;
              for (int64_t i = 0; i < num_tasks; ++i) task(ctx, i, 0);
            },
            1};
  }
};

// A step of many sequences, packed or not: the same tasks and the same bits.
TEST(ScanSteps, PackedStepsEqualThoseOfABatch) {
  constexpr int64_t kSequences = 24;
  for (ScanCase c : Primitives()) {
    SCOPED_TRACE(c.Text());
    c.seqlen = 1;
    c.batch = kSequences;
    ScanTensors want(c);
    c.seqlen = kSequences;
    c.batch = 1;
    for (int32_t s = 0; s <= kSequences; ++s) c.cu_seqlens.push_back(s);
    ScanTensors got(c);
    for (const auto part :
         {&ScanTensors::query, &ScanTensors::key, &ScanTensors::value,
          &ScanTensors::decay, &ScanTensors::beta, &ScanTensors::state,
          &ScanTensors::sum, &ScanTensors::erase_key,
          &ScanTensors::remove_key}) {
      ASSERT_EQ((got.*part).size(), (want.*part).size());
      got.*part = want.*part;
    }
    Counting batch, packed;
    ASSERT_TRUE(Scan(want.Params(), want.Args(), batch.executor()).ok());
    ASSERT_TRUE(Scan(got.Params(), got.Args(), packed.executor()).ok());
    EXPECT_TRUE(SameResults(got, want));
    EXPECT_EQ(packed.tasks, batch.tasks);
    EXPECT_LT(batch.tasks, kSequences);
  }
}

// As many tokens as sequences are not a token each.
TEST(ScanSteps, PackedSequencesOfOtherLengthsAreServed) {
  for (ScanCase c : Primitives()) {
    SCOPED_TRACE(c.Text());
    c.seqlen = 8;
    c.batch = 1;
    c.cu_seqlens = {0, 1, 1, 4, 5, 6, 7, 7, 8};
    ScanTensors want(c), got(c);
    Counting counting;
    ASSERT_TRUE(Scan(want.Params(), want.Args()).ok());
    ASSERT_TRUE(Scan(got.Params(), got.Args(), counting.executor()).ok());
    EXPECT_TRUE(SameResults(got, want));
    EXPECT_EQ(counting.tasks, 8 * c.state_heads());
  }
}

TEST_P(ScanProperty, NanReachesItsOwnTokenAndLaterOnesOnly) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (ScanCase c : Primitives()) {
    c.batch = 1;
    c.query_heads = c.key_heads = c.value_heads = 1;
    std::vector<std::vector<float> ScanTensors::*> parts = {
        &ScanTensors::query, &ScanTensors::key, &ScanTensors::value};
    if (c.erase_key) parts.push_back(&ScanTensors::erase_key);
    if (c.remove_key) parts.push_back(&ScanTensors::remove_key);
    for (const auto part : parts) {
      for (const int64_t at : {0, 5, 37, 89}) {
        SCOPED_TRACE(c.Text() + " token " + std::to_string(at));
        ScanTensors want(c), got(c);
        const size_t dim = (got.*part).size() / static_cast<size_t>(c.seqlen);
        (got.*part)[static_cast<size_t>(at) * dim + 1] = nan;
        RunOk(want.Args(), want.Params());
        RunOk(got.Args(), got.Params());
        const size_t before = static_cast<size_t>(at * c.dim_v);
        const std::vector<float> a(got.out.begin(),
                                   got.out.begin() + static_cast<long>(before));
        const std::vector<float> b(
            want.out.begin(), want.out.begin() + static_cast<long>(before));
        EXPECT_TRUE(SameNumbers(a, b));
        EXPECT_TRUE(std::isnan(got.out[before + 1]));
        if (part == &ScanTensors::query) {
          EXPECT_TRUE(SameNumbers(got.final_state, want.final_state));
        }
      }
    }
  }
}

TEST_P(ScanProperty, ReadingAndWritingMayBeApart) {
  ScanCase c = Primitives()[0];
  c.query_heads = 6;
  ScanTensors t(c);
  ScanArgs write = t.Args();
  write.query = {};
  write.out = {};
  RunOk(write, t.Params());
  // Rows of a call that reads equal the last row of one that does both.
  ScanTensors both(c);
  for (int64_t b = 0; b < c.batch; ++b) {
    for (int64_t i = 0; i < c.seqlen; ++i) {
      std::memcpy(&both.query[static_cast<size_t>(((b * c.seqlen) + i) *
                                                  c.query_heads * c.dim)],
                  &t.query[static_cast<size_t>(((b + 1) * c.seqlen - 1) *
                                               c.query_heads * c.dim)],
                  static_cast<size_t>(c.query_heads * c.dim) * 4);
    }
  }
  RunOk(both.Args(), both.Params());
  EXPECT_TRUE(SameNumbers(t.final_state, both.final_state));
  ScanArgs read = t.Args();
  read.key = {};
  read.value = {};
  read.initial_state = read.final_state;
  read.initial_sum = read.final_sum;
  read.final_state = {};
  read.final_sum = {};
  RunOk(read, t.Params());
  for (int64_t b = 0; b < c.batch; ++b) {
    for (int64_t x = 0; x < c.heads() * c.dim_v; ++x) {
      const size_t at = static_cast<size_t>(
          ((b + 1) * c.seqlen - 1) * c.heads() * c.dim_v + x);
      EXPECT_NEAR(t.out[at], both.out[at], 1e-5f);
    }
  }
}

TEST_P(ScanProperty, MapsActOnRows) {
  for (ScanCase c : Primitives()) {
    if (c.erases()) continue;
    SCOPED_TRACE(c.Text());
    ScanTensors want(c), got(c);
    for (float& x : got.key) x -= 0.1f;  // both signs
    want.key = got.key;
    ScanArgs args = got.Args();
    args.map = Relu(c.dim);
    ScanParams params = got.Params();
    params.scale = 1.0f;
    RunOk(args, params);
    for (float& x : want.key) x = std::max(x, 0.0f);
    for (float& x : want.query) x = std::max(x, 0.0f);
    RunOk(want.Args(), params);
    EXPECT_TRUE(SameResults(got, want));
    args.map = EluPlusOne(c.dim);
    RunOk(args, params);
    ScanTensors elu(c);
    elu.key = got.key;
    for (float& x : elu.key) x = x > 0 ? x + 1 : std::exp(x);
    for (float& x : elu.query) x = x > 0 ? x + 1 : std::exp(x);
    std::vector<double> out(elu.out.size());
    oracle::RecurrenceDouble(params, elu.Args(), out.data(), nullptr, nullptr);
    EXPECT_LT(RelativeError(got.out, out), 5e-6);
  }
}

// A decay that is the same in all channels, beta 0, and constant values.
TEST_P(ScanProperty, MembersOfTheFamilyReduceToOneAnother) {
  ScanCase c;
  c.seqlen = 65;
  c.decay = Decay::kVector;
  c.beta = true;
  c.state = true;
  ScanTensors vector(c);
  for (size_t i = 0; i < vector.decay.size(); ++i) {
    vector.decay[i] = vector.decay[i / 16 * 16];
  }
  RunOk(vector.Args(), vector.Params());
  c.decay = Decay::kScalar;
  ScanTensors scalar(c);
  scalar.key = vector.key;
  scalar.query = vector.query;
  scalar.value = vector.value;
  scalar.beta = vector.beta;
  scalar.state = vector.state;
  for (size_t i = 0; i < scalar.decay.size(); ++i) {
    scalar.decay[i] = vector.decay[i * 16];
  }
  RunOk(scalar.Args(), scalar.Params());
  EXPECT_LT(RelativeError(vector.out, {scalar.out.begin(), scalar.out.end()}),
            1e-5);

  // Keys that erase and are erased along are the key where they are equal to
  // it.
  c = scalar.scan();
  c.erase_key = c.remove_key = true;
  ScanTensors untied(c);
  untied.key = untied.erase_key = untied.remove_key = scalar.key;
  untied.query = scalar.query;
  untied.value = scalar.value;
  untied.decay = scalar.decay;
  untied.beta = scalar.beta;
  untied.state = scalar.state;
  RunOk(untied.Args(), untied.Params());
  EXPECT_LT(RelativeError(untied.out, {scalar.out.begin(), scalar.out.end()}),
            1e-5);
  ScanArgs erase_only = untied.Args();
  erase_only.remove_key = {};
  RunOk(erase_only, untied.Params());
  EXPECT_TRUE(SameNumbers(untied.out, scalar.out));
  c = scalar.scan();

  // Nothing is written or erased where beta is 0: what is read is the state as
  // it fades.
  std::fill(scalar.beta.begin(), scalar.beta.end(), 0.0f);
  RunOk(scalar.Args(), scalar.Params());
  double fade = 1;
  for (size_t i = 0; i < 65; ++i) {
    fade *= std::exp(static_cast<double>(scalar.decay[i]));
    double want = 0;
    for (size_t m = 0; m < 16; ++m) {
      want += 0.25 * fade * static_cast<double>(scalar.query[i * 16 + m]) *
              static_cast<double>(scalar.state[m * 16 + 3]);
    }
    EXPECT_NEAR(scalar.out[i * 16 + 3], want, 1e-5);
  }

  c.beta = false;
  c.normalise = true;
  c.state = false;
  ScanTensors constant(c);
  for (size_t i = 0; i < constant.value.size(); ++i) {
    constant.value[i] = static_cast<float>(i % 16) - 7.5f;
  }
  RunOk(constant.Args(), constant.Params());
  for (size_t i = 0; i < constant.out.size(); ++i) {
    const float want = static_cast<float>(i % 16) - 7.5f;
    EXPECT_NEAR(constant.out[i], want, 2e-6f * std::fabs(want)) << i;
  }
}

}  // namespace
}  // namespace heed::test
