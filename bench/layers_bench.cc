// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Projections, linear/<dtype>_<in>x<out>_n<rows>/t<threads>, and whole layers,
// layer/<dtype>_m<model_dim>_h<heads>_n<tokens>/t<threads>, where a single
// token attends to a cache of 1,024. A result is held to double before it is
// timed. Rates of single rows are of bytes: weights are read once.
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "heed/layers.h"
#include "heed/target.h"

namespace heed::bench {
namespace {

std::vector<float> Draw(int64_t count, uint32_t seed, float scale) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-scale, scale);
  std::vector<float> x(static_cast<size_t>(count));
  for (float& element : x) element = uniform(random);
  return x;
}

// 64-byte aligned memory.
class Memory {
 public:
  explicit Memory(size_t bytes) : floats_(bytes / sizeof(float) + 32) {}
  void* data() {
    const uintptr_t at = reinterpret_cast<uintptr_t>(floats_.data());
    return reinterpret_cast<void*>((at + 63) / 64 * 64);
  }
  size_t size() const { return (floats_.size() - 16) * sizeof(float); }

 private:
  std::vector<float> floats_;
};

// Weights that were drawn, as they are packed.
class Weights {
 public:
  Weights(DType dtype, int64_t out, int64_t in, uint32_t seed)
      : numbers_(
            Draw(out * in, seed, std::sqrt(3.0f / static_cast<float>(in)))),
        memory_(static_cast<size_t>((out + 48) * in + out) * sizeof(float)) {
    std::vector<bf16> narrow;
    LinearWeights source;
    source.weight = Bshd<const float>(numbers_.data(), 1, out, 1, in);
    if (dtype == DType::kBF16) {
      for (float& x : numbers_) {
        narrow.push_back(ToBF16(x));
        x = ToFloat(narrow.back());
      }
      source.weight = Bshd<const bf16>(narrow.data(), 1, out, 1, in);
    }
    if (!PackLinear(source, memory_.data(), memory_.size(), &packed_).ok()) {
      packed_ = {};
    }
  }
  const PackedLinear& packed() const { return packed_; }
  double Bytes() const {
    return static_cast<double>(numbers_.size()) *
           static_cast<double>(SizeOf(packed_.dtype));
  }
  // Whether y is W x to rounding, at some outputs.
  bool Gives(const float* x, const float* y) const {
    const int64_t in = packed_.in_features;
    for (int64_t o = 0; o < packed_.out_features; o += 37) {
      double sum = 0, size = 0;
      for (int64_t i = 0; i < in; ++i) {
        const double product =
            static_cast<double>(numbers_[static_cast<size_t>(o * in + i)]) *
            static_cast<double>(x[i]);
        sum += product;
        size += std::fabs(product);
      }
      if (!(std::fabs(sum - static_cast<double>(y[o])) <= 1e-5 * size)) {
        return false;
      }
    }
    return true;
  }

 private:
  std::vector<float> numbers_;
  Memory memory_;
  PackedLinear packed_;
};

void RunLinearBench(benchmark::State& state, DType dtype, int64_t in,
                    int64_t out, int64_t rows, int threads) {
  const Weights weights(dtype, out, in, 1);
  const std::vector<float> x = Draw(rows * in, 2, 1);
  std::vector<float> y(static_cast<size_t>(rows * out));
  const Workers workers(threads);
  const Executor executor = workers.executor();
  const auto run = [&] {
    return RunLinear(weights.packed(), Bshd(x.data(), 1, rows, 1, in),
                     Bshd(y.data(), 1, rows, 1, out), executor)
        .ok();
  };
  if (!run() ||
      !weights.Gives(x.data() + (rows - 1) * in, y.data() + (rows - 1) * out)) {
    return state.SkipWithError("y is not W x");
  }
  const double flops = 2.0 * static_cast<double>(in * out * rows);
  Measure(state, DefaultTarget(), "", threads, flops,
          rows == 1 ? weights.Bytes() : 0, run);
}

void RunLayerBench(benchmark::State& state, DType dtype, int64_t model_dim,
                   int64_t heads, int64_t rows, int threads) {
  const int64_t past = rows == 1 ? 1024 : 0;
  const int64_t dim = model_dim / heads;
  const Weights query(dtype, model_dim, model_dim, 1),
      key(dtype, model_dim, model_dim, 2),
      value(dtype, model_dim, model_dim, 3),
      out_weights(dtype, model_dim, model_dim, 4);
  const std::vector<float> x = Draw(rows * model_dim, 5, 1);
  std::vector<float> key_cache = Draw((past + rows) * model_dim, 6, 1);
  std::vector<float> value_cache = Draw((past + rows) * model_dim, 7, 1);
  std::vector<float> out(x.size());
  const int32_t past_length = static_cast<int32_t>(past);
  MultiHeadParams params;
  params.model_dim = model_dim;
  params.num_heads = heads;
  MultiHeadShape shape;
  shape.batch = 1;
  shape.seqlen_q = rows;
  shape.seqlen_k = past + rows;
  shape.seqlen_new = rows;
  shape.cache = past > 0;
  MultiHeadPlan plan;
  Status status = MakeMultiHeadPlan(params, shape, {}, &plan);
  if (!status.ok()) return state.SkipWithError(ToString(status).c_str());
  const Workers workers(threads);
  const Executor executor = workers.executor();
  Memory memory(MultiHeadWorkspaceBytes(plan, executor.max_workers));
  const Workspace workspace{memory.data(), memory.size()};
  MultiHeadArgs args;
  args.query = Bshd(x.data(), 1, rows, 1, model_dim);
  args.out = Bshd(out.data(), 1, rows, 1, model_dim);
  args.weights = {query.packed(), key.packed(), value.packed(),
                  out_weights.packed()};
  if (past > 0) {
    args.key_cache = Bshd(key_cache.data(), 1, past + rows, heads, dim);
    args.value_cache = Bshd(value_cache.data(), 1, past + rows, heads, dim);
    args.past_lengths = &past_length;
  }
  status = RunMultiHead(plan, args, workspace, executor);
  if (!status.ok()) return state.SkipWithError(ToString(status).c_str());
  const double n = static_cast<double>(rows),
               m = static_cast<double>(model_dim);
  const double keys = static_cast<double>(past + rows);
  Measure(state, DefaultTarget(), "", threads, 8 * n * m * m + 4 * n * keys * m,
          rows == 1 ? 4 * query.Bytes() + 8 * keys * m : 0,
          [&] { return RunMultiHead(plan, args, workspace, executor).ok(); });
}

template <class Run>
void Register(const std::string& name, const Run& run) {
  benchmark::RegisterBenchmark(name.c_str(), run)
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond);
}

}  // namespace

void RegisterLayers() {
  std::vector<int> threads = {1};
  if (MaxThreads() > 1) threads.push_back(MaxThreads());
  for (const int t : threads) {
    const std::string on = "/t" + std::to_string(t);
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const int64_t dim : {512, 1024, 4096}) {
        for (const int64_t rows : {1, 8, 128, 1024}) {
          if (dim == 4096 && rows > 128) continue;
          Register("linear/" + std::string(NameOf(dtype)) + "_" +
                       std::to_string(dim) + "x" + std::to_string(dim) + "_n" +
                       std::to_string(rows) + on,
                   [=](benchmark::State& state) {
                     RunLinearBench(state, dtype, dim, dim, rows, t);
                   });
        }
      }
      for (const int64_t rows : {1, 1024}) {
        Register("layer/" + std::string(NameOf(dtype)) + "_m512_h8_n" +
                     std::to_string(rows) + on,
                 [=](benchmark::State& state) {
                   RunLayerBench(state, dtype, 512, 8, rows, t);
                 });
      }
    }
  }
}

}  // namespace heed::bench
