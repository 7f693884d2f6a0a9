// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Exact attention:
// attention/<problem>[/<layout>][/<fill>][/latent]/<target or unit>/t<threads>.
// Under a target's name the numerics are kSame; a unit's is kFast on that unit,
// and the peak is the unit's.
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
  bool latent = false;   // values are the first channels of keys
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
    {"b1_h1_d128_q4096_bf16_causal"},
    {"b1_h8_d64_q2048_bf16_causal"},
    {"b1_h8_d128_q2048_bf16_causal"},
    {"b1_h12_d64_q16_bf16"},
    {"b1_h12_d64_q64_bf16"},
    {"b1_h12_d64_q128_bf16"},
    {"b1_h12_d64_q197_bf16"},
    // One query a head against a cache.
    {"b1_h32_kv8_d128_q1_k16384_f32_causal", eval::Layout::kBhsd,
     eval::Fill::kNormal, true},
    {"b1_h32_kv8_d128_q1_k16384_bf16_causal", eval::Layout::kBhsd,
     eval::Fill::kNormal, true},
    {"b1_h8_d128_q1_k32768_f32_causal", eval::Layout::kBhsd,
     eval::Fill::kNormal, true},
    {"b1_h8_d128_q1_k32768_bf16_causal", eval::Layout::kBhsd,
     eval::Fill::kNormal, true},
    // The same where the heads of a token stand side by side.
    {"b1_h32_kv8_d128_q1_k16384_f32_causal", eval::Layout::kBshd,
     eval::Fill::kNormal, true},
    {"b1_h8_d128_q1_k32768_f32_causal", eval::Layout::kBshd,
     eval::Fill::kNormal, true},
    {"b1_h8_d128_q1_k32768_bf16_causal", eval::Layout::kBshd,
     eval::Fill::kNormal, true},
    // Multi-head latent attention.
    {"b1_h16_kv1_d576_dv512_q1_k8192_f32_causal", eval::Layout::kBhsd,
     eval::Fill::kNormal, true, true},
    {"b1_h16_kv1_d576_dv512_q1_k8192_bf16_causal", eval::Layout::kBhsd,
     eval::Fill::kNormal, true, true},
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

// What runs a case: a target, or one of its units.
struct Kernels {
  TargetInfo target;
  const char* unit;  // or null
  const char* name() const { return unit == nullptr ? target.name : unit; }
};

std::string Name(const Case& c, const char* target, int threads) {
  std::string name = std::string("attention/") + c.problem;
  if (c.layout == eval::Layout::kBshd) name += "/bshd";
  if (c.fill == eval::Fill::kSpread) name += "/spread";
  if (c.latent) name += "/latent";
  return name + "/" + target + "/t" + std::to_string(threads);
}

// Whether a few rows of a result are what they must be: equal to the page that
// defines the bits, or near it for a table without FMA, whose f32 may round to
// the neighbour of a 16-bit output, and for a unit (docs/numerics.md: 0x1.08p-7
// of the largest value, which is 3.5 here).
bool RowsHold(const io::Problem& problem, const AttentionArgs& args,
              const Kernels& kernels) {
  const bool same_bits = kernels.target.same_bits && kernels.unit == nullptr;
  const double floor = kernels.unit == nullptr ? 1e-4 : 3.5 * 0x1.08p-7;
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
        const double bound = floor + unit * std::fabs(want);
        if (same_bits ? got != want : !(error < bound)) return false;
      }
    }
  }
  return true;
}

struct FreeMemory {
  void operator()(void* data) const { std::free(data); }
};

void Run(benchmark::State& state, const Case& c, const Kernels& kernels,
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
  double bytes = CompulsoryBytes(problem);
  if (c.latent) {
    args.value = args.key;
    args.value.extent[3] = problem.shape.head_dim_v;
    bytes -= static_cast<double>(
        problem.shape.batch * problem.shape.num_kv_heads *
        problem.shape.seqlen_k *
        BytesOf(problem.shape.value_dtype, problem.shape.head_dim_v));
  }

  PlanOptions options;
  options.target = kernels.target.name;
  options.unit = kernels.unit;
  options.numerics =
      kernels.unit == nullptr ? Numerics::kSame : Numerics::kFast;
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
      !RowsHold(problem, args, kernels)) {
    return state.SkipWithError("the result is wrong");
  }
  Measure(state, kernels.target.name,
          kernels.unit == nullptr ? "" : kernels.unit, threads,
          UsefulFlops(problem), bytes,
          [&] { return heed::Run(plan, args, workspace, executor).ok(); });
  state.counters["workspace_KiB"] =
      static_cast<double>(plan.tile_bytes + plan.slots_bytes) / 1024;
}

// Whether a plan for the case can be made so, and takes the unit for its tiles
// if one is named.
bool Serves(const Kernels& kernels, const Case& c) {
  io::Problem problem;
  if (!io::ParseProblem(c.problem, &problem).empty()) return true;  // Run says
  if (kernels.unit == nullptr) return true;
  PlanOptions options;
  options.target = kernels.target.name;
  options.unit = kernels.unit;
  Plan plan;
  return MakePlan(problem.params, problem.shape, options, &plan).ok() &&
         plan.decode_rows < problem.shape.seqlen_q * problem.shape.num_heads /
                                problem.shape.num_kv_heads;
}

void Register(const Case& c, const Kernels& kernels) {
  for (const int threads : {1, MaxThreads()}) {
    if (threads > 1 && !c.threads) continue;
    benchmark::RegisterBenchmark(
        Name(c, kernels.name(), threads).c_str(),
        [&c, kernels, threads](benchmark::State& state) {
          Run(state, c, kernels, threads);
        })
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
    if (threads == MaxThreads()) break;
  }
}

}  // namespace

void RegisterAttention() {
  for (int i = 0; i < NumTargets(); ++i) {
    const TargetInfo target = GetTarget(i);
    // The plain table serves old machines; these sizes would take it minutes.
    if (!target.usable || target.vector_bytes == 4) continue;
    for (const Case& c : kCases) {
      Register(c, {target, nullptr});
      for (int u = 0; u < NumUnits(); ++u) {
        const UnitInfo unit = GetUnit(u);
        if (!unit.usable || std::string(unit.target) != target.name) continue;
        if (Serves({target, unit.name}, c)) Register(c, {target, unit.name});
      }
    }
  }
}

}  // namespace heed::bench
