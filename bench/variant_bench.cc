// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Every variant of the build at its defaults:
// variant/<name>/<problem>/<target>/t<threads>. And linear ones in turns with
// exact causal attention of about the length at which they pass it,
// passes_exact/<name>/<problem>/<target>/t1: the label says how the best
// compare. Whether a result holds what the variant promises is judged before it
// is timed, here as there.
#include <string>

#include "bench/bench.h"
#include "bench/compare.h"
#include "heed/target.h"
#include "heed/variant.h"
#include "lib/eval/gate.h"
#include "lib/eval/scratch_pool.h"
#include "lib/eval/selection.h"
#include "lib/eval/truth.h"

namespace heed::bench {
namespace {

constexpr const char* kProblems[] = {
    "b1_h4_d64_q1024_f32_causal",
    "b1_h4_d64_q4096_f32_causal",
};
// Of variants without a causal form.
constexpr const char* kWholeProblems[] = {
    "b1_h4_d64_q1024_f32",
    "b1_h4_d64_q4096_f32",
};

// Runs a variant once and judges the result. Returns what is wrong with it, or
// nothing.
std::string RunAndJudge(const NamedVariant& named, const eval::Judge& judge,
                        const io::Problem& problem, VariantArgs args) {
  eval::Selection selection(problem.params, problem.shape);
  if (named.variant.semantics == Semantics::kExactOnSelection) {
    args.selection = selection.Recorder();
  }
  const Status status = named.variant.run(args);
  if (!status.ok()) return ToString(status);
  const eval::GateResult gate = judge.Check(named.variant, args, &selection);
  return gate.passed ? "" : gate.reason;
}

eval::Judge JudgeOf(const io::Problem& problem, const AttentionArgs& args) {
  constexpr int64_t kMeasuredRows = 128, kYardstickRows = 32;
  const int64_t rows = problem.shape.seqlen_q;
  return eval::Judge(problem.params, args, eval::PickRows(rows, kMeasuredRows),
                     eval::PickRows(rows, kYardstickRows), SerialExecutor());
}

void Run(benchmark::State& state, const NamedVariant& named,
         const char* problem_text) {
  io::Problem problem;
  const std::string error = io::ParseProblem(problem_text, &problem);
  if (!error.empty()) return state.SkipWithError(error.c_str());
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  VariantArgs args;
  args.params = problem.params;
  args.args = tensors.Args();
  for (int k = 0; k < named.variant.num_knobs; ++k) {
    args.knobs[k] = named.variant.knobs[k].default_value;
  }
  eval::ScratchPool scratch;
  args.scratch = scratch.Begin();
  const std::string reason =
      RunAndJudge(named, JudgeOf(problem, args.args), problem, args);
  if (!reason.empty()) return state.SkipWithError(reason.c_str());
  const Cost cost =
      named.variant.cost(problem.shape, problem.params, args.knobs);
  Measure(state, DefaultTarget(), "", 1, cost.flops, cost.bytes, [&] {
    args.scratch = scratch.Begin();
    return named.variant.run(args).ok();
  });
  state.counters["workspace_KiB"] =
      static_cast<double>(scratch.HighWater()) / 1024;
}

NamedVariant VariantNamed(const std::string& name) {
  for (int i = 0; i < NumVariants(); ++i) {
    if (name == GetVariant(i).name) return GetVariant(i);
  }
  return {};
}

// A variant at its defaults, with memory that a first run gets.
class VariantCall {
 public:
  VariantCall(const NamedVariant& named, const eval::Tensors& tensors)
      : named_(named), problem_(tensors.problem) {
    args_.params = tensors.problem.params;
    args_.args = tensors.Args();
    for (int k = 0; k < named.variant.num_knobs; ++k) {
      args_.knobs[k] = named.variant.knobs[k].default_value;
    }
  }
  bool Run() {
    args_.scratch = scratch_.Begin();
    return named_.variant.run(args_).ok();
  }
  // What is wrong with the result of a run, or nothing.
  std::string Judged() {
    args_.scratch = scratch_.Begin();
    return RunAndJudge(named_, JudgeOf(problem_, args_.args), problem_, args_);
  }

 private:
  const NamedVariant named_;
  const io::Problem& problem_;
  VariantArgs args_;
  eval::ScratchPool scratch_;
};

void RegisterPassing(const char* name, int64_t tokens) {
  const std::string text =
      "b1_h2_d64_q" + std::to_string(tokens) + "_f32_causal";
  benchmark::RegisterBenchmark(
      (std::string("passes_exact/") + name + "/" + text + "/" +
       DefaultTarget() + "/t1")
          .c_str(),
      [=](benchmark::State& state) {
        const NamedVariant named = VariantNamed(name);
        io::Problem problem;
        const std::string error = io::ParseProblem(text, &problem);
        if (!error.empty()) return state.SkipWithError(error.c_str());
        if (named.name == nullptr) return state.SkipWithError("is no variant");
        const eval::Tensors tensors = eval::MakeTensors(problem, {});
        VariantCall exact(VariantNamed("exact"), tensors);
        VariantCall linear(named, tensors);
        // One after the other: both write the same out.
        for (VariantCall* call : {&exact, &linear}) {
          const std::string reason = call->Judged();
          if (!reason.empty()) return state.SkipWithError(reason.c_str());
        }
        Compare(
            state, [&] { return exact.Run(); }, [&] { return linear.Run(); },
            "exact");
      })
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}

}  // namespace

void RegisterVariants() {
  // A scan with one decay, the delta rule, Taylor's features, random ones.
  for (const char* name : {"simple_gla", "gated_delta", "based", "performer"}) {
    for (const int64_t tokens : {256, 512, 600, 1024, 2000, 4096}) {
      RegisterPassing(name, tokens);
    }
  }
  for (int i = 0; i < NumVariants(); ++i) {
    const NamedVariant named = GetVariant(i);
    for (const char* problem :
         named.variant.non_causal ? kWholeProblems : kProblems) {
      benchmark::RegisterBenchmark((std::string("variant/") + named.name + "/" +
                                    problem + "/" + DefaultTarget() + "/t1")
                                       .c_str(),
                                   [named, problem](benchmark::State& state) {
                                     Run(state, named, problem);
                                   })
          ->UseRealTime()
          ->Unit(benchmark::kMicrosecond);
    }
  }
}

}  // namespace heed::bench
