// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What the benchmarks share, and main.
#include "bench/bench.h"

#include <algorithm>
#include <map>

#include "lib/eval/processors.h"
#include "lib/eval/selection.h"

#ifdef HEED_BENCH_TBB
#include "heed/tbb.h"
#endif

namespace heed::bench {

#ifdef HEED_BENCH_TBB
struct Workers::Pool {
  explicit Pool(int threads) : tbb(threads) {}
  TbbExecutor tbb;
};
#else
struct Workers::Pool {
  explicit Pool(int /*threads*/) {}
};
#endif

Workers::Workers(int threads)
    : pool_(threads > 1 ? std::make_unique<Pool>(threads) : nullptr) {}

Workers::~Workers() = default;

Executor Workers::executor() const {
#ifdef HEED_BENCH_TBB
  if (pool_ != nullptr) return pool_->tbb;
#endif
  return SerialExecutor();
}

int MaxThreads() {
#ifdef HEED_BENCH_TBB
  return eval::UsableProcessors();
#else
  return 1;
#endif
}

double UsefulFlops(const io::Problem& problem) {
  return 2.0 *
         static_cast<double>(problem.shape.head_dim +
                             problem.shape.head_dim_v) *
         eval::TotalVisiblePairs(problem.shape, problem.params);
}

double CompulsoryBytes(const io::Problem& problem) {
  const AttentionShape& s = problem.shape;
  const auto bytes = [&](int64_t dim, DType dtype) {
    // Scales as workloads have them: one a row, or a group of 4-bit numbers.
    const int64_t scales = dtype == DType::kU4 ? 2 * (dim / 64)
                           : dtype == DType::kI8 || dtype == DType::kF8E4M3 ||
                                   dtype == DType::kF8E5M2
                               ? 1
                               : 0;
    return static_cast<double>(BytesOf(dtype, dim) + scales * 4);
  };
  const double lists = static_cast<double>(s.batch * s.num_heads);
  const double rows = static_cast<double>(s.seqlen_q) * lists;
  // The keys that the rows of a head see are no more than its pairs.
  const double keys =
      std::min(static_cast<double>(s.seqlen_k),
               eval::TotalVisiblePairs(s, problem.params) / lists) *
      static_cast<double>(s.batch * s.num_kv_heads);
  return rows * (bytes(s.head_dim, s.query_dtype) +
                 bytes(s.head_dim_v, s.out_dtype)) +
         keys * (bytes(s.head_dim, s.key_dtype) +
                 bytes(s.head_dim_v, s.value_dtype));
}

double ReadBandwidth(const std::string& target) {
  static std::map<std::string, double> measured;
  double& bandwidth = measured[target];
  if (bandwidth == 0) bandwidth = MeasureReadBandwidth(target);
  return bandwidth;
}

}  // namespace heed::bench

int main(int argc, char** argv) {
  heed::bench::RegisterAttention();
  heed::bench::RegisterCache();
  heed::bench::RegisterLayers();
  heed::bench::RegisterLinear();
  heed::bench::RegisterPlan();
  heed::bench::RegisterRagged();
  heed::bench::RegisterScores();
  heed::bench::RegisterVariants();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
