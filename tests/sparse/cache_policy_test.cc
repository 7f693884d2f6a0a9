// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Caches that forget: what each row still sees is what a plain cache in double
// says, which keeps sets of rows and looks up the whole history of attention.
#include "heed/cache_policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "lib/eval/knob_sweep.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/selection.h"
#include "lib/eval/workload.h"
#include "tests/support/compare.h"
#include "tests/support/run.h"
#include "tests/support/thread_executor.h"

namespace heed::test {
namespace {

using Keys = std::set<int64_t>;

const Variant& VariantCalled(const char* name) {
  for (const NamedVariant& named : eval::AllVariants()) {
    if (std::strcmp(named.name, name) == 0) {
      static std::map<std::string, Variant> found;
      return found[name] = named.variant;
    }
  }
  ADD_FAILURE() << "no variant " << name;
  static const Variant none;
  return none;
}

VariantArgs ArgsOf(const eval::Tensors& tensors,
                   const std::vector<double>& knobs) {
  VariantArgs args;
  args.params = tensors.problem.params;
  args.args = tensors.Args();
  std::copy(knobs.begin(), knobs.end(), args.knobs);
  return args;
}

// The keys that each (batch, head, row) recorded.
std::vector<Keys> SeenBy(const char* name, const std::vector<double>& knobs,
                         const eval::Tensors& tensors,
                         const Executor& executor = SerialExecutor()) {
  const AttentionShape& shape = tensors.problem.shape;
  eval::ScratchPool pool;
  VariantArgs args = ArgsOf(tensors, knobs);
  args.executor = executor;
  args.scratch = pool.Begin();
  eval::Selection selection(args.params, shape);
  args.selection = selection.Recorder();
  const Status status = RunVariant(VariantCalled(name), args);
  EXPECT_TRUE(status.ok()) << ToString(status);
  EXPECT_EQ(selection.Finish(), "");
  std::vector<Keys> seen;
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t h = 0; h < shape.num_heads; ++h) {
      for (int64_t row = 0; row < shape.seqlen_q; ++row) {
        Keys keys;
        for (const KeyInterval& at : selection.Row(b, h, row)) {
          for (int64_t key = at.begin; key < at.end; ++key) keys.insert(key);
        }
        seen.push_back(keys);
      }
    }
  }
  return seen;
}

// One cache, and all that ever happened to it.
struct PlainCache {
  Keys rows;
  std::map<int64_t, std::map<int64_t, double>> weight;  // [step][key]
  std::map<int64_t, double> norm;                       // [key]
  int64_t prompt_end = 0;
};

// The row that leaves next, after the attention of step `at`.
using Victim = std::function<int64_t(const PlainCache&, int64_t at)>;

int64_t LeastOf(const Keys& of, const std::function<double(int64_t)>& value) {
  return *std::min_element(of.begin(), of.end(), [&](int64_t a, int64_t b) {
    return value(a) < value(b);
  });
}

Keys Without(Keys of, int64_t latest) {
  for (; latest > 0 && !of.empty(); --latest) of.erase(*of.rbegin());
  return of;
}

struct Policy {
  const char* name;
  std::vector<double> knobs;
  int64_t prompt, budget;
  bool by_attention, once;
  Victim victim;
};

// Sums of the weights that a key ever got.
Victim LeastSum(int64_t recent) {
  return [recent](const PlainCache& cache, int64_t) {
    return LeastOf(Without(cache.rows, recent), [&](int64_t key) {
      double sum = 0;
      for (const auto& [step, weights] : cache.weight) {
        const auto found = weights.find(key);
        if (found != weights.end()) sum += found->second;
      }
      return sum;
    });
  };
}

int64_t LeastNow(const PlainCache& cache, int64_t at) {
  return LeastOf(cache.rows,
                 [&](int64_t key) { return cache.weight.at(at).at(key); });
}

int64_t LargestNorm(const PlainCache& cache, int64_t) {
  return LeastOf(cache.rows, [&](int64_t key) { return -cache.norm.at(key); });
}

// Keys below the end of the prompt are those of the cache as long as none left:
// one leaves at a time here, but votes are of all of them.
Victim LeastVotes(int64_t window, int64_t kernel) {
  return [=](const PlainCache& cache, int64_t at) {
    const int64_t voted = std::max<int64_t>(at + 1 - window, 0);
    const auto votes = [&](int64_t key) {
      double sum = 0;
      for (int64_t step = at + 1 - window; step <= at; ++step) {
        const auto weights = cache.weight.find(step);
        if (weights == cache.weight.end()) continue;
        for (int64_t j = 0; j < kernel; ++j) {
          const int64_t near = key - kernel / 2 + j;
          if (near >= 0 && near < voted) sum += weights->second.at(near);
        }
      }
      return sum;
    };
    Keys may_leave = cache.rows;
    std::erase_if(may_leave, [&](int64_t key) { return key >= voted; });
    return LeastOf(may_leave, votes);
  };
}

Victim AfterTheFirst(int64_t start) {
  return [start](const PlainCache& cache, int64_t) {
    return *std::next(cache.rows.begin(), start);
  };
}

std::vector<Policy> Policies() {
  return {
      {"h2o", {6, 4, 0}, 0, 10, true, false, LeastSum(4)},
      {"h2o", {5, 0, 20}, 20, 5, true, false, LeastSum(0)},
      {"tova", {8, 0}, 0, 8, true, false, LeastNow},
      {"tova", {1, 17}, 17, 1, true, false, LeastNow},
      {"key_norm", {9, 0}, 0, 9, false, false, LargestNorm},
      {"key_norm", {7, 25}, 25, 7, false, false, LargestNorm},
      {"snapkv", {12, 5, 3, 30}, 30, 12, true, true, LeastVotes(5, 3)},
      {"snapkv", {3, 6, 4, 26}, 26, 6, true, true, LeastVotes(6, 4)},
      {"streaming_llm", {7, 3, 0}, 0, 9, false, false, AfterTheFirst(3)},
      {"streaming_llm", {1, 2, 20}, 20, 2, false, false, AfterTheFirst(2)},
  };
}

// The softmax weights of a row over the cache, summed over the group.
std::map<int64_t, double> WeightsOf(const eval::Tensors& t, int64_t batch,
                                    int64_t kv_head, int64_t row,
                                    const Keys& cache) {
  const AttentionShape& shape = t.problem.shape;
  const AttentionParams& params = t.problem.params;
  const int64_t group = shape.num_heads / shape.num_kv_heads;
  const ops::VisibleKeys see =
      ops::VisibleTo(params, shape.seqlen_q, shape.seqlen_k, row);
  std::map<int64_t, double> sum;
  for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
    std::map<int64_t, double> weight;
    double total = 0;
    for (const int64_t key : cache) {
      double score = 0;
      for (int64_t c = 0; c < shape.head_dim; ++c) {
        score += static_cast<double>(*t.query.At(batch, row, h, c)) *
                 static_cast<double>(*t.key.At(batch, key, kv_head, c));
      }
      score /= std::sqrt(static_cast<double>(shape.head_dim));
      const double cap = static_cast<double>(params.softcap);
      if (cap != 0) score = cap * std::tanh(score / cap);
      const bool seen =
          key < see.sink_end || (key >= see.begin && key < see.end);
      weight[key] = seen ? std::exp(score) : 0;
      total += weight[key];
    }
    for (const auto& [key, of] : weight) sum[key] += of / total;
  }
  return sum;
}

// What SeenBy should say.
std::vector<Keys> WantSeen(const Policy& policy, const eval::Tensors& t) {
  const AttentionShape& shape = t.problem.shape;
  const int64_t group = shape.num_heads / shape.num_kv_heads;
  const int64_t offset =
      ops::CausalOffset(t.problem.params, shape.seqlen_q, shape.seqlen_k);
  std::vector<Keys> seen(
      static_cast<size_t>(shape.batch * shape.num_heads * shape.seqlen_q));
  for (int64_t i = 0; i < shape.batch * shape.num_kv_heads; ++i) {
    const int64_t b = i / shape.num_kv_heads;
    const int64_t kv_head = i % shape.num_kv_heads;
    PlainCache cache;
    cache.prompt_end = policy.by_attention ? std::max(policy.prompt, offset + 1)
                                           : policy.prompt;
    for (int64_t at = 0; at < shape.seqlen_k; ++at) {
      cache.rows.insert(at);
      for (int64_t c = 0; c < shape.head_dim; ++c) {
        const double x = static_cast<double>(*t.key.At(b, at, kv_head, c));
        cache.norm[at] += x * x;
      }
      const int64_t row = at - offset;
      if (row >= 0 && row < shape.seqlen_q) {
        const ops::VisibleKeys see = ops::VisibleTo(
            t.problem.params, shape.seqlen_q, shape.seqlen_k, row);
        Keys sees = cache.rows;
        std::erase_if(sees, [&](int64_t key) {
          return key >= see.sink_end && (key < see.begin || key >= see.end);
        });
        for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
          seen[static_cast<size_t>((b * shape.num_heads + h) * shape.seqlen_q +
                                   row)] = sees;
        }
        cache.weight[at] = WeightsOf(t, b, kv_head, row, cache.rows);
      }
      const bool leave =
          policy.once ? at + 1 == cache.prompt_end : at + 1 >= cache.prompt_end;
      while (leave && static_cast<int64_t>(cache.rows.size()) > policy.budget) {
        cache.rows.erase(policy.victim(cache, at));
      }
    }
  }
  return seen;
}

const char* const kProblems[] = {
    "b2_h6_kv2_d8_q40_causal",
    "b1_h3_kv1_d16_q30_k50_causal",
    "b1_h2_d8_q45_causal_wl30_sink2_cap5",
};

TEST(CachePolicy, KeepsWhatThePlainCacheKeeps) {
  for (const char* problem : kProblems) {
    const eval::Tensors tensors = eval::MakeTensors(ProblemOf(problem), {});
    for (const Policy& policy : Policies()) {
      const std::vector<Keys> want = WantSeen(policy, tensors);
      const std::vector<Keys> got = SeenBy(policy.name, policy.knobs, tensors);
      ASSERT_EQ(got.size(), want.size());
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_EQ(got[i], want[i])
            << policy.name << " on " << problem << ": row " << i;
      }
    }
  }
}

TEST(CachePolicy, KeepsTheSameForAnyWorkers) {
  const eval::Tensors tensors = eval::MakeTensors(ProblemOf(kProblems[0]), {});
  ThreadExecutor threads(3);
  for (const Policy& policy : Policies()) {
    EXPECT_EQ(SeenBy(policy.name, policy.knobs, tensors, threads),
              SeenBy(policy.name, policy.knobs, tensors))
        << policy.name;
  }
}

// Whatever comes from a step on, earlier rows have seen what they saw.
TEST(CachePolicy, ForgetsNothingForWhatComesLater) {
  const int64_t from = 33;
  const eval::Tensors tensors = eval::MakeTensors(ProblemOf(kProblems[0]), {});
  const eval::Tensors other = eval::MakeTensors(ProblemOf(kProblems[0]), {});
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t at = from; at < 40; ++at) {
      for (int64_t c = 0; c < 8; ++c) {
        *other.key.At(b, at, 0, c) = 9;
        *other.key.At(b, at, 1, c) = NAN;
        for (int64_t h = 0; h < 6; ++h) *other.query.At(b, at, h, c) *= -3;
      }
    }
  }
  for (const Policy& policy : Policies()) {
    const std::vector<Keys> want = SeenBy(policy.name, policy.knobs, tensors);
    const std::vector<Keys> got = SeenBy(policy.name, policy.knobs, other);
    for (size_t i = 0; i < got.size(); ++i) {
      if (static_cast<int64_t>(i) % 40 < from) {
        ASSERT_EQ(got[i], want[i]) << policy.name << ": row " << i;
      }
    }
  }
}

// Runs a variant, which must take the call.
void RunOn(const char* name, const std::vector<double>& knobs,
           const eval::Tensors& tensors) {
  eval::ScratchPool pool;
  VariantArgs args = ArgsOf(tensors, knobs);
  args.scratch = pool.Begin();
  const Status status = RunVariant(VariantCalled(name), args);
  ASSERT_TRUE(status.ok()) << ToString(status);
}

// The last row sees n - 1 rows of the cache and its own.
TEST(CachePolicy, ABudgetForAllIsExactToTheBit) {
  const eval::Tensors exact = eval::MakeTensors(ProblemOf(kProblems[0]), {});
  ASSERT_TRUE(Attention(exact.problem.params, exact.Args()).ok());
  for (const double budget : {39.0, 40.0, 1000.0}) {
    for (const auto& [name, knobs] :
         std::vector<std::pair<const char*, std::vector<double>>>{
             {"h2o", {budget - 5, 5, 0}},
             {"tova", {budget, 0}},
             {"key_norm", {budget, 0}},
             {"snapkv", {budget, 5, 7, 39}},
             {"streaming_llm", {budget - 3, 4, 0}}}) {
      const eval::Tensors kept = eval::MakeTensors(ProblemOf(kProblems[0]), {});
      RunOn(name, knobs, kept);
      EXPECT_TRUE(SameBits(kept.out, exact.out)) << name << " " << budget;
      EXPECT_TRUE(SameBits(kept.lse, exact.lse)) << name << " " << budget;
    }
  }
}

// Without a prompt, the cache of StreamingLLM is a mask.
TEST(CachePolicy, StreamingIsAWindowWithSinks) {
  const eval::Tensors cache =
      eval::MakeTensors(ProblemOf("b2_h3_d16_q150_k200_causal"), {});
  const eval::Tensors mask =
      eval::MakeTensors(ProblemOf("b2_h3_d16_q150_k200_causal"), {});
  EXPECT_EQ(SeenBy("streaming_llm", {20, 4, 0}, cache),
            SeenBy("window_sink", {20, 4}, mask));
}

// Policies that ask for no attention know what a chunk sees without the rows
// before it.
TEST(CachePolicy, AChunkSeesWhatThePromptDoes) {
  const eval::Tensors whole = eval::MakeTensors(ProblemOf(kProblems[0]), {});
  const eval::Tensors chunk = eval::MakeTensors(ProblemOf(kProblems[0]), {});
  for (const auto& [name, knobs] :
       std::vector<std::pair<const char*, std::vector<double>>>{
           {"key_norm", {9, 12}}, {"streaming_llm", {7, 3, 12}}}) {
    RunOn(name, knobs, whole);
    for (const int64_t first : {int64_t{0}, int64_t{11}, int64_t{29}}) {
      const int64_t end = first == 29 ? 40 : first == 11 ? 29 : 11;
      eval::ScratchPool pool;
      VariantArgs args = ArgsOf(chunk, knobs);
      args.args.query = TokensOf(args.args.query, first, end - first);
      args.args.out = TokensOf(args.args.out, first, end - first);
      args.args.lse = TokensOf(args.args.lse, first, end - first);
      args.args.key = TokensOf(args.args.key, 0, end);
      args.args.value = TokensOf(args.args.value, 0, end);
      args.scratch = pool.Begin();
      ASSERT_TRUE(RunVariant(VariantCalled(name), args).ok());
    }
    EXPECT_TRUE(SameBits(chunk.out, whole.out)) << name;
    EXPECT_TRUE(SameBits(chunk.lse, whole.lse)) << name;
  }
}

// Steps come in order, with what the rules ask for.
TEST(CachePolicy, IsShownTheStepsThatItAsksFor) {
  const eval::Tensors tensors =
      eval::MakeTensors(ProblemOf("b1_h6_kv2_d8_q20_k30_causal"), {});
  eval::ScratchPool pool;
  VariantArgs args = ArgsOf(tensors, {});
  args.scratch = pool.Begin();
  sparse::CacheRules rules;
  rules.prompt = 15;
  rules.observed = 3;
  rules.budget = 4;
  std::vector<int64_t> steps[2];
  const auto policy = [&](const sparse::CacheStep& step) {
    std::vector<int64_t>& own = steps[step.kv_head];
    EXPECT_EQ(step.position, static_cast<int64_t>(own.size()));
    EXPECT_EQ(step.rows[step.count - 1], step.position);
    EXPECT_EQ(step.key, RowAt(args.args.key, 0, step.position, step.kv_head));
    EXPECT_EQ(step.state[step.count - 1], 0.0f);
    own.push_back(step.evict);
    // The prompt ends with 14; rows begin at 10.
    EXPECT_EQ(step.weight != nullptr,
              step.position >= 12 && step.position < 15);
    if (step.weight != nullptr) {
      double sum = 0;
      for (int64_t i = 0; i < step.count; ++i) {
        sum += static_cast<double>(step.weight[i]);
      }
      EXPECT_NEAR(sum, 3, 1e-5);  // heads of a group
    }
    for (int64_t i = 0; i < step.count; ++i) {
      if (i + 1 < step.count) {
        EXPECT_EQ(step.state[i], static_cast<float>(step.rows[i] + 1));
      }
      step.state[i] = static_cast<float>(step.rows[i] + 1);
      if (step.evict > 0) step.rank[i] = i % 2 == 0 ? NAN : 1.0f;
    }
  };
  ASSERT_TRUE(sparse::AttendCache(args, rules, policy).ok());
  for (const std::vector<int64_t>& own : steps) {
    ASSERT_EQ(own.size(), 30u);
    for (size_t i = 0; i < 30; ++i) {
      EXPECT_EQ(own[i], i < 14 ? 0 : i == 14 ? 11 : 1) << i;
    }
  }
}

TEST(CachePolicy, RefusesScoreInputs) {
  const eval::Tensors tensors = eval::MakeTensors(ProblemOf(kProblems[0]), {});
  eval::ScratchPool pool;
  VariantArgs args = ArgsOf(tensors, {8, 0});
  args.args.scores.hook = [](void*, const ScoreTile&) {};
  args.scratch = pool.Begin();
  const Status status = RunVariant(VariantCalled("tova"), args);
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_STREQ(status.argument(), "scores");
  EXPECT_TRUE(Untouched(tensors.out));
}

}  // namespace
}  // namespace heed::test
