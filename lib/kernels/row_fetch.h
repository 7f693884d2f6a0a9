// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// How the decode kernel asks for rows ahead of their use: a question of the
// CPU. It never changes a result.
#ifndef HEED_LIB_KERNELS_ROW_FETCH_H_
#define HEED_LIB_KERNELS_ROW_FETCH_H_

#include "lib/kernels/cpu_bits.h"

namespace heed::internal {

enum class RowFetch {
  // Keys three times into the second-level cache, values once or twice.
  kOften,
  // Keys once into the first level; values not at all where work on them goes
  // through memory in its order, which the CPU then follows by itself. For rows
  // that are adjacent in memory only.
  kOnce,
};

// One query row a key head, 8 key heads, 32,768 keys of head_dim 128, f32, in
// pages of 4 KiB / 2 MiB, one thread, shares of the stream-read bandwidth of
// the same rounds:
//
//                       AMD Zen 5, AVX-512         AMD Zen 4, AVX-512
//   kOften              0.59 / 0.66 to 0.68        0.75 to 0.81
//   kOnce               0.81 / 0.84                (a fetch into the first
//                                                  level: 0.36 to 0.40)
//
// Zen 5's others, kOften and kOnce: bf16 0.53 and 0.58; 4 query rows a key
// head 0.50 and 0.55 (bf16 0.39 and 0.40); AVX2, one row 0.64 and 0.65 to 0.70,
// 4 rows 0.58 and 0.64. Zen 3 and Intel's were measured with kOften only.
constexpr RowFetch RowFetchOf(const CpuModel& model) {
  return model.IsOf(kAmd) && model.family >= 0x1a ? RowFetch::kOnce
                                                  : RowFetch::kOften;
}

// Of this CPU. Asked once per process.
RowFetch RowFetchHere();

}  // namespace heed::internal

#endif  // HEED_LIB_KERNELS_ROW_FETCH_H_
