// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What the machine can do at best, measured beside every benchmark: the FMA
// peak of an instruction set, and the bandwidth of reading memory.
#ifndef HEED_BENCH_PEAK_H_
#define HEED_BENCH_PEAK_H_

#include <string>

namespace heed::bench {

// Returns the best rate of f32 FMAs (two operations each) that one thread
// reached on `target` (a name of heed/target.h) within about `seconds`, in
// operations a second; 0 where there is no such probe.
double MeasurePeakFlops(const std::string& target, double seconds);

// Returns the best rate at which one thread read a buffer far larger than the
// caches, in bytes a second, by the widest loads of `target`.
double MeasureReadBandwidth(const std::string& target);

}  // namespace heed::bench

#endif  // HEED_BENCH_PEAK_H_
