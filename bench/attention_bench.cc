// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Exact attention: attention/<problem>[/<layout>][/<fill>]/<target>/t<threads>.
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>

#include "bench/bench.h"
#include "heed/attention.h"
#include "heed/target.h"
#include "lib/eval/truth.h"
#include "lib/oracle/element.h"
#include "lib/oracle/oracle.h"

namespace heed::bench {
namespace {

struct Case {
  const char* problem;
  eval::Layout layout = eval::Layout::kBhsd;
  eval::Fill fill = eval::Fill::kNormal;
  bool threads = false;  // also on all processors
};

constexpr Case kCases[] = {
    {"b1_h1_d64_q4096_f32"},
    {"b1_h1_d128_q4096_f32"},
    {"b1_h1_d80_q4096_f32"},
    {"b1_h1_d96_q4096_f32"},
    {"b1_h1_d256_q4096_f32"},
    {"b1_h1_d64_q1536_f32"},
    {"b1_h1_d128_q1536_f32"},
    {"b1_h1_d64_q4096_f32_causal", eval::Layout::kBhsd, eval::Fill::kNormal,
     true},
    {"b1_h1_d128_q4096_f32_causal"},
    {"b1_h1_d64_q4096_f32", eval::Layout::kBhsd, eval::Fill::kSpread},
    {"b1_h1_d64_q4096_f32_causal", eval::Layout::kBhsd, eval::Fill::kSpread},
    // Keys and values of 64 MiB: beyond the third-level cache.
    {"b1_h1_d64_q768_k131072_f32"},
    {"b1_h8_d64_q128_f32"},
    {"b1_h8_d64_q2048_f32", eval::Layout::kBhsd, eval::Fill::kNormal, true},
    {"b1_h4_kv1_d64_q1024_f32"},
    {"b1_h4_d64_q1024_f32"},
    {"b1_h32_d64_q512_f32"},
    {"b1_h32_d64_q512_f32", eval::Layout::kBshd},
    {"b1_h1_d64_q4096_bf16"},
    {"b1_h1_d128_q4096_bf16"},
    {"b1_h1_d64_q4096_f16"},
    {"b1_h1_d128_q4096_f16"},
    {"b1_h1_d64_q4096_bf16_causal"},
    // One query a head against a cache.
    {"b1_h32_kv8_d128_q1_k16384_f32_causal", eval::Layout::kBhsd,
     eval::Fill::kNormal, true},
    {"b1_h32_kv8_d128_q1_k16384_bf16_causal", eval::Layout::kBhsd,
     eval::Fill::kNormal, true},
    {"b1_h8_d128_q1_k32768_f32_causal", eval::Layout::kBhsd,
     eval::Fill::kNormal, true},
    {"b1_h8_d128_q1_k32768_bf16_causal", eval::Layout::kBhsd,
     eval::Fill::kNormal, true},
    {"b1_h8_d128_q1_k32768_f32_kvi8_causal", eval::Layout::kBhsd,
     eval::Fill::kNormal, true},
    {"b1_h32_kv8_d128_q1_k32768_f32_kvi8_causal", eval::Layout::kBhsd,
     eval::Fill::kNormal, true},
    {"b1_h8_d128_q1_k32768_f32_kve4m3_causal", eval::Layout::kBhsd,
     eval::Fill::kNormal, true},
    {"b1_h32_kv8_d128_q1_k32768_f32_kve4m3_causal", eval::Layout::kBhsd,
     eval::Fill::kNormal, true},
    {"b1_h8_d128_q1_k32768_f32_kve5m2_causal", eval::Layout::kBhsd,
     eval::Fill::kNormal, true},
    {"b1_h32_kv8_d128_q1_k32768_f32_kve5m2_causal", eval::Layout::kBhsd,
     eval::Fill::kNormal, true},
    {"b1_h8_d128_q1_k32768_f32_kvu4_causal", eval::Layout::kBhsd,
     eval::Fill::kNormal, true},
    {"b1_h32_kv8_d128_q1_k32768_f32_kvu4_causal", eval::Layout::kBhsd,
     eval::Fill::kNormal, true},
    {"b1_h1_d128_q4096_f32_kvi8"},
    {"b1_h1_d128_q4096_f32_kvu4"},
    // A window at the end: as long a cache as one likes costs the same.
    {"b1_h4_kv1_d64_q1_k4096_f32_causal_wl1023"},
    {"b1_h4_kv1_d64_q1_k1048576_f32_causal_wl1023"},
    // Many short sequences.
    {"b8_h12_d64_q16_f32", eval::Layout::kBshd},
    {"b8_h12_d64_q32_f32", eval::Layout::kBshd},
    {"b8_h12_d64_q64_f32", eval::Layout::kBshd},
    // Lengths that fill the lanes and blocks, and those that just miss it.
    {"b1_h12_d64_q32_f32"},
    {"b1_h12_d64_q33_f32"},
    {"b1_h12_d64_q64_f32"},
    {"b1_h12_d64_q65_f32"},
    {"b1_h12_d64_q128_f32"},
    {"b1_h12_d64_q129_f32"},
    {"b1_h12_d64_q192_f32"},
    {"b1_h12_d64_q197_f32"},
};

std::string Name(const Case& c, const char* target, int threads) {
  std::string name = std::string("attention/") + c.problem;
  if (c.layout == eval::Layout::kBshd) name += "/bshd";
  if (c.fill == eval::Fill::kSpread) name += "/spread";
  return name + "/" + target + "/t" + std::to_string(threads);
}

// Whether a few rows of a result are what they must be: equal to the page that
// defines the bits, or near it for a table without FMA, whose f32 may round to
// the neighbour of a 16-bit output.
bool RowsHold(const io::Problem& problem, const AttentionArgs& args,
              bool same_bits) {
  const AttentionShape& s = problem.shape;
  const eval::Tensor row = eval::MakeTensor(
      1, 1, s.num_heads, s.head_dim_v, eval::Layout::kBshd, 0, s.out_dtype);
  const double unit = s.out_dtype == DType::kBF16  ? 0x1p-7
                      : s.out_dtype == DType::kF16 ? 0x1p-10
                                                   : 0;
  for (const int64_t at : {int64_t{0}, s.seqlen_q / 2, s.seqlen_q - 1}) {
    AttentionParams params = problem.params;
    AttentionArgs one = args;
    eval::CutRows({at, 1}, &params, &one);
    one.query.extent[0] = one.key.extent[0] = one.value.extent[0] = 1;
    one.out = row.view;
    oracle::AttentionBits(params, one);
    for (int64_t h = 0; h < s.num_heads; ++h) {
      for (int64_t c = 0; c < s.head_dim_v; ++c) {
        const double got = oracle::ElementAt(args.out, 0, at, h, c);
        const double want = oracle::ElementAt(one.out, 0, 0, h, c);
        const double error = std::fabs(got - want);
        const double bound = 1e-4 + unit * std::fabs(want);
        if (same_bits ? got != want : !(error < bound)) return false;
      }
    }
  }
  return true;
}

struct FreeMemory {
  void operator()(void* data) const { std::free(data); }
};

void Run(benchmark::State& state, const Case& c, const TargetInfo& target,
         int threads) {
  io::Problem problem;
  const std::string error = io::ParseProblem(c.problem, &problem);
  if (!error.empty()) return state.SkipWithError(error.c_str());
  eval::WorkloadOptions workload;
  workload.fill = c.fill;
  workload.layout = c.layout;
  const eval::Tensors tensors = eval::MakeTensors(problem, workload);
  AttentionArgs args = tensors.Args();
  args.lse = TensorView();

  PlanOptions options;
  options.target = target.name;
  Plan plan;
  const Status made = MakePlan(problem.params, problem.shape, options, &plan);
  if (!made.ok()) return state.SkipWithError(made.message());
  const Workers workers(threads);
  const Executor executor = workers.executor();
  Workspace workspace;
  workspace.bytes = WorkspaceBytes(plan, executor.max_workers);
  const std::unique_ptr<void, FreeMemory> memory(std::aligned_alloc(
      kWorkspaceAlignment, (workspace.bytes + kWorkspaceAlignment - 1) /
                               kWorkspaceAlignment * kWorkspaceAlignment));
  workspace.data = memory.get();

  if (!heed::Run(plan, args, workspace, executor).ok() ||
      !RowsHold(problem, args, target.same_bits)) {
    return state.SkipWithError("the result is wrong");
  }
  Measure(state, target.name, threads, UsefulFlops(problem),
          CompulsoryBytes(problem),
          [&] { return heed::Run(plan, args, workspace, executor).ok(); });
  state.counters["workspace_KiB"] =
      static_cast<double>(plan.tile_bytes + plan.slots_bytes) / 1024;
}

}  // namespace

void RegisterAttention() {
  for (int i = 0; i < NumTargets(); ++i) {
    const TargetInfo target = GetTarget(i);
    // The plain table serves old machines; these sizes would take it minutes.
    if (!target.usable || target.vector_bytes == 4) continue;
    for (const Case& c : kCases) {
      for (const int threads : {1, MaxThreads()}) {
        if (threads > 1 && !c.threads) continue;
        benchmark::RegisterBenchmark(
            Name(c, target.name, threads).c_str(),
            [&c, target, threads](benchmark::State& state) {
              Run(state, c, target, threads);
            })
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
        if (threads == MaxThreads()) break;
      }
    }
  }
}

}  // namespace heed::bench
