// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Scans: scan/<primitive>/d<head_dim>_h<heads>_n<tokens>/<target>/t<threads>,
// a single token for many sequences, scan_step/..., and what chunks are
// measured against, token_loop/<kind>/... Operations are those of
// docs/linear.md. Scans and what they are measured against run in turns in
// scan_over/<loop or one_thread>/..., whose label says how the best compare. A
// result is held to the recurrence in double before it is timed.
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "bench/compare.h"
#include "bench/token_loops.h"
#include "heed/linear.h"
#include "heed/target.h"
#include "lib/oracle/recurrence.h"

namespace heed::bench {
namespace {

struct Primitive {
  const char* name;
  int decay_dim;  // 0, 1, or -1: a vector
  bool delta;
  bool untied = false;
};
constexpr Primitive kPrimitives[] = {
    {"linear", 0, false},
    {"decay", 1, false},
    {"vector_decay", -1, false},
    {"delta", 0, true},
    {"gated_delta", 1, true},
    {"vector_gated_delta", -1, true},
    {"vector_untied", -1, true, true},
};

struct Size {
  int64_t batch, tokens, heads, dim;
};

// The tensors of a call: keys of unit length, gates of a model at rest.
class Problem {
 public:
  Problem(const Primitive& primitive, const Size& size)
      : primitive_(primitive),
        size_(size),
        gate_dim_(primitive.decay_dim < 0 ? size.dim : primitive.decay_dim) {
    std::mt19937 random(1);
    const auto draw = [&](int64_t dim, float low, float high) {
      std::uniform_real_distribution<float> uniform(low, high);
      std::vector<float> x(
          static_cast<size_t>(size.batch * size.tokens * size.heads * dim));
      for (float& element : x) element = uniform(random);
      return x;
    };
    query_ = draw(size.dim, -1, 1);
    key_ = draw(size.dim, -1, 1);
    const float unit = std::sqrt(3.0f / static_cast<float>(size.dim));
    for (float& k : key_) k *= unit;
    value_ = draw(size.dim, -1, 1);
    out_ = draw(size.dim, 0, 0);
    gate_ = draw(gate_dim_, -0.2f, 0);
    beta_ = draw(1, 0, 1);
    erase_ = key_;
    remove_ = key_;
    for (float& k : remove_) k *= 0.5f;
    state_.resize(
        static_cast<size_t>(size.batch * size.heads * size.dim * size.dim));
  }

  ScanArgs Args() {
    const auto view = [&](auto* data, int64_t dim) {
      return Bshd(data, size_.batch, size_.tokens, size_.heads, dim);
    };
    ScanArgs args;
    args.query = view(query_.data(), size_.dim);
    args.key = view(key_.data(), size_.dim);
    args.value = view(value_.data(), size_.dim);
    args.out = view(out_.data(), size_.dim);
    if (gate_dim_ > 0) args.log_decay = view(gate_.data(), gate_dim_);
    if (primitive_.delta) args.beta = view(beta_.data(), 1);
    if (primitive_.untied) {
      args.erase_key = view(erase_.data(), size_.dim);
      args.remove_key = view(remove_.data(), size_.dim);
    }
    args.initial_state = args.final_state =
        Bshd(state_.data(), size_.batch, size_.heads, size_.dim, size_.dim);
    return args;
  }

  // Runs the loop over all heads.
  bool RunLoop(const std::string& target, LoopKind kind) {
    bool good = true;
    const int64_t dim = size_.dim, row = size_.heads * dim;
    for (int64_t h = 0; h < size_.heads; ++h) {
      const int64_t at = h * dim;
      good = RunTokenLoop(
                 target, kind,
                 {size_.tokens, dim, row, size_.heads,
                  1 / std::sqrt(static_cast<float>(dim)), query_.data() + at,
                  key_.data() + at, value_.data() + at,
                  gate_dim_ > 0 ? gate_.data() + h : nullptr,
                  primitive_.delta ? beta_.data() + h : nullptr,
                  out_.data() + at, state_.data() + at * dim}) &&
             good;
    }
    return good;
  }

  // Whether out, after `run` returned no sentence, is the recurrence's. Then
  // the state is cleared.
  template <class F>
  std::string Judge(const ScanParams& params, const F& run) {
    const std::vector<double>& want = Recurrence(params);
    const std::string wrong = run();
    if (!wrong.empty()) return wrong;
    double error = 0, norm = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      const double d = static_cast<double>(out_[i]) - want[i];
      error += d * d;
      norm += want[i] * want[i];
    }
    state_.assign(state_.size(), 0.0f);
    const bool good = std::sqrt(error) <= 1e-5 * std::sqrt(norm);
    return good ? "" : "out is not that of the recurrence";
  }

  double Flops(int chunk) const {
    const double d = static_cast<double>(size_.dim);
    const double tokens =
        static_cast<double>(size_.batch * size_.tokens * size_.heads);
    const double pairs = 2.0 * chunk * d;
    if (primitive_.untied) return tokens * (8 * d * d + 4 * pairs);
    return tokens *
           (primitive_.delta ? 6 * d * d + 2 * pairs : 4 * d * d + pairs);
  }
  // Of a loop over tokens, with a product for the decay.
  double LoopFlops() const {
    const double d = static_cast<double>(size_.dim);
    return static_cast<double>(size_.tokens * size_.heads) * d * d *
           (4 + (primitive_.delta ? 2 : 0) + (gate_dim_ > 0 ? 1 : 0));
  }
  double Bytes() const {
    const double rows =
        static_cast<double>(size_.batch * size_.tokens * size_.heads);
    const double row =
        static_cast<double>((primitive_.untied ? 6 : 4) * size_.dim +
                            gate_dim_ + (primitive_.delta ? 1 : 0));
    return 4 * rows * row + 8 * static_cast<double>(state_.size());
  }

 private:
  // The recurrence's out, which takes far longer than what is timed: that of
  // the last few problems stays, since one is judged again for each repetition
  // and each way to run it. All have the same parameters.
  const std::vector<double>& Recurrence(const ScanParams& params) {
    static std::map<std::string, std::vector<double>> kept;
    const std::string name =
        std::string(primitive_.name) + "/" + std::to_string(size_.batch) + "/" +
        std::to_string(size_.tokens) + "/" + std::to_string(size_.heads) + "/" +
        std::to_string(size_.dim);
    const auto found = kept.find(name);
    if (found != kept.end()) return found->second;
    if (kept.size() >= 8) kept.clear();
    std::vector<double>& want = kept[name];
    want.resize(out_.size());
    oracle::RecurrenceDouble(params, Args(), want.data(), nullptr, nullptr);
    return want;
  }

  const Primitive primitive_;
  const Size size_;
  const int64_t gate_dim_;
  std::vector<float> query_, key_, value_, out_, gate_, beta_, state_;
  std::vector<float> erase_, remove_;
};

// A plan for a problem's tensors, with its workspace.
class ScanCall {
 public:
  // A tile of 0 columns is the plan's own.
  ScanCall(Problem& problem, const std::string& target, int threads, int chunk,
           int tile = 0)
      : args_(problem.Args()), workers_(threads) {
    ScanOptions options;
    options.target = target.c_str();
    options.chunk = chunk;
    status_ = MakeScanPlan({}, ShapeOf(args_), options, &plan_);
    if (!status_.ok()) return;
    if (tile != 0) {
      plan_.tile_width = tile;
      plan_.worker_bytes += 64 * 1024;  // for rows as wide as any here
    }
    const int workers = workers_.executor().max_workers;
    memory_.resize(ScanWorkspaceBytes(plan_, workers) / 4 + 16);
    const uintptr_t at = reinterpret_cast<uintptr_t>(memory_.data());
    workspace_.data = reinterpret_cast<void*>((at + 63) / 64 * 64);
    workspace_.bytes = memory_.size() * 4 - 64;
  }

  const ScanPlan& plan() const { return plan_; }
  bool Run() { return RunOn(workers_.executor()).ok(); }
  // Returns what is wrong with the result, or nothing.
  std::string Judge(Problem& problem) {
    if (!status_.ok()) return ToString(status_);
    return problem.Judge(plan_.params, [&]() -> std::string {
      const Status ran = RunOn(SerialExecutor());
      return ran.ok() ? "" : ToString(ran);
    });
  }

 private:
  Status RunOn(const Executor& executor) {
    return RunScan(plan_, args_, workspace_, executor);
  }

  const ScanArgs args_;
  const Workers workers_;
  Status status_;
  ScanPlan plan_;
  std::vector<float> memory_;
  Workspace workspace_;
};

void Run(benchmark::State& state, const Primitive& primitive, const Size& size,
         const std::string& target, int threads, int chunk, int tile) {
  Problem problem(primitive, size);
  ScanCall call(problem, target, threads, chunk, tile);
  const std::string wrong = call.Judge(problem);
  if (!wrong.empty()) return state.SkipWithError(wrong.c_str());
  // Of a step, the products with the state alone.
  const double flops =
      problem.Flops(size.tokens == 1 ? 0 : static_cast<int>(call.plan().chunk));
  Measure(state, target, "", threads, flops, problem.Bytes(),
          [&] { return call.Run(); });
}

void Register(const Primitive& primitive, const Size& size,
              const std::string& target, int threads, int chunk, int tile = 0) {
  const bool step = size.tokens == 1;
  std::string name = std::string(step ? "scan_step/" : "scan/") +
                     primitive.name + "/d" + std::to_string(size.dim) + "_h" +
                     std::to_string(size.heads) +
                     (step ? "_b" + std::to_string(size.batch)
                           : "_n" + std::to_string(size.tokens)) +
                     "/" + target + "/t" + std::to_string(threads);
  if (chunk != 0) name += "/chunk" + std::to_string(chunk);
  if (tile != 0) name += "/tile" + std::to_string(tile);
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) {
                                 Run(state, primitive, size, target, threads,
                                     chunk, tile);
                               })
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
}

constexpr int64_t kTokens = 4096, kHeads = 2;

constexpr LoopKind kLoops[] = {LoopKind::kFourSweeps, LoopKind::kTwoPasses,
                               LoopKind::kFused};

const char* NameOf(LoopKind kind) {
  return kind == LoopKind::kFused       ? "fused"
         : kind == LoopKind::kTwoPasses ? "two_passes"
                                        : "four_sweeps";
}

std::string CaseOf(const Primitive& primitive, int64_t dim,
                   const std::string& target, int threads) {
  return std::string(primitive.name) + "/d" + std::to_string(dim) + "_h" +
         std::to_string(kHeads) + "_n" + std::to_string(kTokens) + "/" +
         target + "/t" + std::to_string(threads);
}

template <class F>
void RegisterCase(const std::string& name, const F& run, bool own_time) {
  auto* made = benchmark::RegisterBenchmark(name.c_str(), run);
  if (own_time) {
    made->UseManualTime();
  } else {
    made->UseRealTime();
  }
  made->Unit(benchmark::kMicrosecond);
}

// The loop by itself, and the scan beside it.
void RegisterLoop(const Primitive& primitive, int64_t dim, LoopKind kind,
                  const std::string& target) {
  const auto judge = [=](Problem& problem) {
    return problem.Judge({}, [&]() -> std::string {
      return problem.RunLoop(target, kind) ? "" : "the loop has not this width";
    });
  };
  const std::string name = CaseOf(primitive, dim, target, 1);
  RegisterCase(
      std::string("token_loop/") + NameOf(kind) + "/" + name,
      [=](benchmark::State& state) {
        Problem problem(primitive, {1, kTokens, kHeads, dim});
        const std::string wrong = judge(problem);
        if (!wrong.empty()) return state.SkipWithError(wrong.c_str());
        Measure(state, target, "", 1, problem.LoopFlops(), problem.Bytes(),
                [&] { return problem.RunLoop(target, kind); });
      },
      false);
  RegisterCase(
      std::string("scan_over/") + NameOf(kind) + "/" + name,
      [=](benchmark::State& state) {
        Problem looped(primitive, {1, kTokens, kHeads, dim});
        Problem scanned(primitive, {1, kTokens, kHeads, dim});
        ScanCall call(scanned, target, 1, 0);
        std::string wrong = judge(looped);
        if (wrong.empty()) wrong = call.Judge(scanned);
        if (!wrong.empty()) return state.SkipWithError(wrong.c_str());
        Compare(
            state, [&] { return looped.RunLoop(target, kind); },
            [&] { return call.Run(); }, "the loop");
      },
      true);
}

void RegisterThreads(const Primitive& primitive, int threads) {
  const std::string target = DefaultTarget();
  RegisterCase(
      "scan_over/one_thread/" + CaseOf(primitive, 128, target, threads),
      [=](benchmark::State& state) {
        Problem one(primitive, {1, kTokens, kHeads, 128});
        Problem many(primitive, {1, kTokens, kHeads, 128});
        ScanCall alone(one, target, 1, 0), together(many, target, threads, 0);
        std::string wrong = alone.Judge(one);
        if (wrong.empty()) wrong = together.Judge(many);
        if (!wrong.empty()) return state.SkipWithError(wrong.c_str());
        Compare(
            state, [&] { return alone.Run(); }, [&] { return together.Run(); },
            "one thread");
      },
      true);
}

}  // namespace

void RegisterLinear() {
  for (int i = 0; i < NumTargets(); ++i) {
    const TargetInfo target = GetTarget(i);
    if (!target.usable) continue;
    for (const Primitive& primitive : kPrimitives) {
      for (const int64_t dim : {64, 128}) {
        // Loops for what they are used for; beside the scan, to be compared.
        const bool loops = primitive.decay_dim >= 0 && !primitive.untied;
        for (const LoopKind kind : kLoops) {
          if (loops) RegisterLoop(primitive, dim, kind, target.name);
        }
        Register(primitive, {1, kTokens, kHeads, dim}, target.name, 1, 0);
        if (std::string(target.name) != DefaultTarget()) continue;
        for (const int chunk : {4, 8, 16, 32}) {
          const Size size = {1, kTokens, kHeads, dim};
          Register(primitive, size, target.name, 1, chunk);
          for (const int tile : {16, 32, 64, 128}) {
            if (tile > dim) continue;
            Register(primitive, size, target.name, 1, chunk, tile);
          }
        }
      }
    }
  }
  for (const Primitive& primitive : kPrimitives) {
    // 64 MiB of states.
    Register(primitive, {32, 1, 32, 128}, DefaultTarget(), 1, 0);
    if (MaxThreads() > 1) {
      Register(primitive, {1, kTokens, kHeads, 128}, DefaultTarget(),
               MaxThreads(), 0);
      RegisterThreads(primitive, MaxThreads());
    }
  }
}

}  // namespace heed::bench
