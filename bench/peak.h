// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What the machine can do at best, measured beside every benchmark: the FMA
// peak of an instruction set, and the bandwidth of reading memory.
#ifndef HEED_BENCH_PEAK_H_
#define HEED_BENCH_PEAK_H_

#include <cstdint>
#include <string>

namespace heed::bench {

// Chains of the operation in question, and what a turn of all of them counts.
struct PeakProbe {
  float (*chains)(int64_t turns, float start);
  double flops_of_turn;
};

// The probe of a unit (a name of heed/target.h); false where there is none.
bool FindUnitProbe(const std::string& unit, PeakProbe* probe);

// Returns the best rate of f32 FMAs (two operations each) that one thread
// reached on `target`, or of the operations of a unit (names of heed/target.h),
// within about `seconds`, in operations a second; 0 where there is no such
// probe. Only on a CPU that has it.
double MeasurePeakFlops(const std::string& target, double seconds);

// Returns the best rate at which one thread read a buffer far larger than the
// caches, in bytes a second, by the widest loads of `target`.
double MeasureReadBandwidth(const std::string& target);

}  // namespace heed::bench

#endif  // HEED_BENCH_PEAK_H_
