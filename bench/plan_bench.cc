// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a call costs before it computes anything: one query, one key, one head;
// and a plan of a static pattern, in turns with one head's attention by it,
// whose label then says what share of that the plan takes.
#include <cmath>
#include <cstring>
#include <string>

#include "bench/bench.h"
#include "bench/compare.h"
#include "heed/attention.h"
#include "heed/sparse.h"
#include "heed/target.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/workload.h"

namespace heed::bench {
namespace {

void PlanAndRun(benchmark::State& state) {
  float query[64], key[64], value[64], out[64];
  for (int c = 0; c < 64; ++c) {
    query[c] = key[c] = 0.125f * static_cast<float>(c % 3);
    value[c] = static_cast<float>(c);
  }
  AttentionArgs args;
  args.query = Bshd(query, 1, 1, 1, 64);
  args.key = Bshd(key, 1, 1, 1, 64);
  args.value = Bshd(value, 1, 1, 1, 64);
  args.out = Bshd(out, 1, 1, 1, 64);
  AttentionShape shape;
  shape.batch = shape.seqlen_q = shape.seqlen_k = 1;
  shape.num_heads = shape.num_kv_heads = 1;
  shape.head_dim = shape.head_dim_v = 64;
  alignas(kWorkspaceAlignment) static char memory[1 << 18];
  const auto run = [&] {
    Plan plan;
    return MakePlan(AttentionParams(), shape, PlanOptions(), &plan).ok() &&
           heed::Run(plan, args, Workspace{memory, sizeof(memory)},
                     SerialExecutor())
               .ok();
  };
  // One key takes the whole weight: the result is its value, to rounding.
  bool holds = run();
  for (int c = 0; c < 64; ++c) {
    const float error = out[c] - value[c];
    holds = holds && error * error <= 1e-10f * (1 + value[c] * value[c]);
  }
  if (!holds) return state.SkipWithError("the result is wrong");
  for (auto _ : state) {
    if (!run()) return state.SkipWithError("the run was refused");
    benchmark::DoNotOptimize(out);
    benchmark::ClobberMemory();
  }
}

void OneShot(benchmark::State& state) {
  float query[64] = {1}, key[64] = {1}, value[64] = {1}, out[64];
  AttentionArgs args;
  args.query = Bshd(query, 1, 1, 1, 64);
  args.key = Bshd(key, 1, 1, 1, 64);
  args.value = Bshd(value, 1, 1, 1, 64);
  args.out = Bshd(out, 1, 1, 1, 64);
  if (!Attention(AttentionParams(), args).ok() || out[0] != 1.0f) {
    return state.SkipWithError("the result is wrong");
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(Attention(AttentionParams(), args).ok());
    benchmark::ClobberMemory();
  }
}

void SparsePlanAndRun(benchmark::State& state) {
  io::Problem problem;
  const std::string error =
      io::ParseProblem("b1_h1_d64_q32768_f32_causal", &problem);
  if (!error.empty()) return state.SkipWithError(error.c_str());
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  const auto pattern = patterns::Window(512) | patterns::Sinks(4);
  eval::ScratchPool memory, scratch;
  SparsePlan plan;
  const auto make = [&] {
    return MakeSparsePlan(problem.params, problem.shape, pattern, {},
                          memory.Begin(), SerialExecutor(), &plan)
        .ok();
  };
  const auto attend = [&] {
    return AttendSparse(plan, problem.params, tensors.Args(), scratch.Begin(),
                        SerialExecutor())
        .ok();
  };
  // 4 sinks and a window of 512, of which the first rows see less.
  const bool holds =
      make() && StatsOf(plan).kept_pairs == 516.0 * 32768 - 516.0 * 515 / 2;
  if (!holds) return state.SkipWithError("the plan is wrong");
  if (!attend() || !std::isfinite(*tensors.out.At(0, 32767, 0, 63))) {
    return state.SkipWithError("the result is wrong");
  }
  Compare(state, make, attend, "making its plan");
}

}  // namespace

void RegisterPlan() {
  const std::string suffix =
      std::string("/b1_h1_d64_q1_f32/") + DefaultTarget() + "/t1";
  benchmark::RegisterBenchmark(("plan_and_run" + suffix).c_str(), &PlanAndRun);
  benchmark::RegisterBenchmark(("one_shot" + suffix).c_str(), &OneShot);
  benchmark::RegisterBenchmark(
      (std::string(
           "sparse_plan/window512_sinks4/b1_h1_d64_q32768_f32_causal/") +
       DefaultTarget() + "/t1")
          .c_str(),
      &SparsePlanAndRun)
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}

}  // namespace heed::bench
