// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Compiled once per target, as the kernels are, but by itself: nothing of this
// is shipped.
#include "bench/peak.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "lib/kernels/target_list.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/peak.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// Enough chains to hide the latency of an FMA (4 cycles, two a cycle), few
// enough for 16 registers. All start differently: equal chains would be merged
// by the compiler, and the "peak" come out too high.
#define HEED_CHAINS(X) \
  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
constexpr int kChains = 12;

// Runs `turns` FMAs in each chain. Returns a number that depends on all.
float FmaChains(int64_t turns, float start) {
  const hn::ScalableTag<float> d;
  const auto factor = hn::Set(d, 0.999f);
  const auto term = hn::Set(d, 0.001f);
#define HEED_CHAIN(i) auto a##i = hn::Set(d, start + 0.01f * i);
  HEED_CHAINS(HEED_CHAIN)
#undef HEED_CHAIN
  for (int64_t turn = 0; turn < turns; ++turn) {
#define HEED_CHAIN(i) a##i = hn::MulAdd(a##i, factor, term);
    HEED_CHAINS(HEED_CHAIN)
#undef HEED_CHAIN
  }
  auto sum = hn::Zero(d);
#define HEED_CHAIN(i) sum = hn::Add(sum, a##i);
  HEED_CHAINS(HEED_CHAIN)
#undef HEED_CHAIN
  return hn::GetLane(sum);
}

// Reads `count` floats, a multiple of 4 vectors. Returns their sum, so that
// nothing is left out.
float ReadAll(const float* data, size_t count) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  auto a = hn::Zero(d);
  auto b = a;
  auto c = a;
  auto e = a;
  for (size_t i = 0; i < count; i += 4 * N) {
    a = hn::Add(a, hn::LoadU(d, data + i));
    b = hn::Add(b, hn::LoadU(d, data + i + N));
    c = hn::Add(c, hn::LoadU(d, data + i + 2 * N));
    e = hn::Add(e, hn::LoadU(d, data + i + 3 * N));
  }
  return hn::GetLane(hn::Add(hn::Add(a, b), hn::Add(c, e)));
}

double FlopsOfTurn() {
  return 2.0 * kChains *
         static_cast<double>(hn::Lanes(hn::ScalableTag<float>()));
}

}  // namespace

struct Probe {
  float (*fma_chains)(int64_t turns, float start);
  float (*read_all)(const float* data, size_t count);
  double (*flops_of_turn)();
};

const Probe* GetProbe() {
  static constexpr Probe kProbe = {&FmaChains, &ReadAll, &FlopsOfTurn};
  return &kProbe;
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace heed::bench {
namespace {

// The same struct in every namespace: plain function pointers.
struct Probe {
  float (*fma_chains)(int64_t turns, float start);
  float (*read_all)(const float* data, size_t count);
  double (*flops_of_turn)();
};

template <typename T>
bool Copy(const T* (*get)(), Probe* probe) {
  if (get == nullptr) return false;
  const T* from = get();
  *probe = {from->fma_chains, from->read_all, from->flops_of_turn};
  return true;
}
bool Copy(std::nullptr_t, Probe*) { return false; }

bool FindProbe(const std::string& target, Probe* probe) {
#define HEED_FIND(name, text, suffix, ...) \
  if (target == text) return Copy(HWY_CHOOSE_##suffix(GetProbe), probe);
#define HEED_SKIP(...)
  HEED_TARGETS(HEED_FIND, HEED_SKIP)
#undef HEED_FIND
#undef HEED_SKIP
  return Copy(&HWY_STATIC_DISPATCH(GetProbe), probe);  // plain
}

double Now() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

volatile float sink;

}  // namespace

double MeasurePeakFlops(const std::string& target, double seconds) {
  PeakProbe peak;
  if (!FindUnitProbe(target, &peak)) {
    Probe probe;
    if (!FindProbe(target, &probe)) return 0;
    peak = {probe.fma_chains, probe.flops_of_turn()};
  }
  constexpr int64_t kTurns = 20000;  // a fraction of a millisecond
  double best = 0;
  const double end = Now() + seconds;
  double before = Now();
  do {
    sink = peak.chains(kTurns, static_cast<float>(before - end));
    const double after = Now();
    best = std::max(best, peak.flops_of_turn * kTurns / (after - before));
    before = after;
  } while (before < end);
  return best;
}

double MeasureReadBandwidth(const std::string& target) {
  Probe probe;
  if (!FindProbe(target, &probe)) return 0;
  constexpr size_t kFloats = size_t{64} << 20;  // 256 MiB
  std::vector<float> data(kFloats, 1.0f);
  double best = 0;
  for (int turn = 0; turn < 5; ++turn) {
    const double before = Now();
    sink = probe.read_all(data.data(), kFloats);
    best = std::max(best, kFloats * sizeof(float) / (Now() - before));
  }
  return best;
}

}  // namespace heed::bench
#endif  // HWY_ONCE
