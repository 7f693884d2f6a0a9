// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What the benchmarks share. Each measures a fixed amount of work once an
// iteration and reports the best iteration beside the mean: machines are
// shared, and the best is what the code can do.
#ifndef HEED_BENCH_BENCH_H_
#define HEED_BENCH_BENCH_H_

#include <benchmark/benchmark.h>

#include <memory>
#include <string>

#include "heed/executor.h"
#include "lib/eval/workload.h"
#include "lib/io/problem.h"

namespace heed::bench {

// Workers of one benchmark: oneTBB where it is built, else only the caller.
class Workers {
 public:
  explicit Workers(int threads);
  ~Workers();
  Executor executor() const;

 private:
  struct Pool;
  std::unique_ptr<Pool> pool_;
};

// All processors that may be used; 1 without oneTBB.
int MaxThreads();

// Useful floating-point operations: 2 * (head_dim + head_dim_v) a visible pair.
double UsefulFlops(const io::Problem& problem);

// Bytes of query, out, and the keys and values that a row sees with their
// scales, once each.
double CompulsoryBytes(const io::Problem& problem);

// Times `run` (which returns false on failure) until the state has enough and
// sets the counters: GFLOPs, peak_fraction (of the FMA peak of `target`, or the
// peak of `unit` where that is not empty, times `threads`, measured between the
// iterations), GBps, and bandwidth_fraction (of what one thread reads as a
// stream). 0 flops or bytes: nothing to count.
template <class Function>
void Measure(benchmark::State& state, const std::string& target,
             const std::string& unit, int threads, double flops, double bytes,
             const Function& run);

// Registration of each file's benchmarks; called by main.
void RegisterAttention();
void RegisterCache();
void RegisterLayers();
void RegisterLinear();
void RegisterPlan();
void RegisterRagged();
void RegisterScores();
void RegisterVariants();

}  // namespace heed::bench

#include "bench/measure-inl.h"

#endif  // HEED_BENCH_BENCH_H_
