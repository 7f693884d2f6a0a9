// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The timing loop of bench.h.
#ifndef HEED_BENCH_MEASURE_INL_H_
#define HEED_BENCH_MEASURE_INL_H_

#include <algorithm>
#include <chrono>
#include <limits>
#include <string>

#include "bench/peak.h"

namespace heed::bench {

// The stream-read bandwidth, measured once a process: it takes a second.
double ReadBandwidth(const std::string& target);

template <class Function>
void Measure(benchmark::State& state, const std::string& target,
             const std::string& unit, int threads, double flops, double bytes,
             const Function& run) {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::duration time) {
    return std::chrono::duration<double>(time).count();
  };
  constexpr double kProbeSeconds = 0.01;
  const std::string& rate = unit.empty() ? target : unit;
  double peak = MeasurePeakFlops(rate, 3 * kProbeSeconds);
  double best = std::numeric_limits<double>::infinity();
  double since_probe = 0;
  for (auto _ : state) {
    const Clock::time_point start = Clock::now();
    if (!run()) {
      state.SkipWithError("the run was refused");
      return;
    }
    const double time = seconds(Clock::now() - start);
    best = std::min(best, time);
    since_probe += time;
    if (since_probe > 0.1) {
      since_probe = 0;
      state.PauseTiming();
      peak = std::max(peak, MeasurePeakFlops(rate, kProbeSeconds));
      state.ResumeTiming();
    }
  }
  peak = std::max(peak, MeasurePeakFlops(rate, kProbeSeconds));
  state.counters["best_us"] = best * 1e6;
  // All of them, always: CSV has one header.
  state.counters["GFLOPs"] = flops / best / 1e9;
  state.counters["peak_fraction"] = flops / best / (peak * threads);
  state.counters["GBps"] = bytes / best / 1e9;
  state.counters["bandwidth_fraction"] = bytes / best / ReadBandwidth(target);
}

}  // namespace heed::bench

#endif  // HEED_BENCH_MEASURE_INL_H_
