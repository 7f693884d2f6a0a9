// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The memory of a fuzzed problem: every tensor, the key intervals and the
// workspace lie against pages that fault.
#ifndef HEED_TESTS_DIFFERENTIAL_FUZZ_TENSORS_H_
#define HEED_TESTS_DIFFERENTIAL_FUZZ_TENSORS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "heed/attention.h"
#include "tests/differential/fuzz_case.h"
#include "tests/support/guard.h"
#include "tests/support/intervals.h"

namespace heed::test {

// Calls visit(b, s, h, c) for every element of a view.
template <class View, class Visit>
void ForEachElement(const View& view, Visit visit) {
  for (int64_t b = 0; b < view.batch(); ++b) {
    for (int64_t s = 0; s < view.seqlen(); ++s) {
      for (int64_t h = 0; h < view.heads(); ++h) {
        for (int64_t c = 0; c < view.head_dim(); ++c) visit(b, s, h, c);
      }
    }
  }
}

// One tensor. What is no element is 0xff, in floats of every type a NaN: one
// that is read shows in the result.
class FuzzTensor {
 public:
  // Makes a view of these extents.
  void Place(const Placement& placement, DType dtype, const int64_t extent[4]);
  // Sets everything, elements too, to 0xff.
  void Clear() const;
  // Whether all that is no element is still 0xff.
  bool PaddingIntact() const;
  // The elements as numbers.
  std::vector<float> Numbers() const;

  TensorView view;

 private:
  GuardedMemory memory_{size_t{64} << 20};
  char* block_ = nullptr;
  size_t block_bytes_ = 0;
};

// Everything that a case's calls are made with. Made once, as its memory is
// large, and set anew for each case.
class FuzzTensors {
 public:
  // Places the tensors of a case and draws their numbers.
  void Set(const FuzzCase& c);

  AttentionArgs args;
  AttentionArgs pooled;  // the same with a page table in place of pointers
  FuzzTensor query, key, value, out, lse;
  FuzzTensor key_scale, key_minimum, value_scale, value_minimum;
  GuardedMemory workspace{size_t{16} << 20};

 private:
  // Of fuzz_scales.cc: places and draws the scales, and quantised elements.
  void SetScales(const FuzzCase& c);
  void FillQuantised(const FuzzCase& c);
  // Of fuzz_ragged.cc: makes the call a ragged one.
  void SetRagged(const FuzzCase& c);
  void UsePointers(const FuzzCase& c);
  // Of fuzz_scores.cc.
  void SetScores(const FuzzCase& c);
  void DrawLists(const FuzzCase& c);
  void PutSpecials(const FuzzCase& c);
  void PoisonUnseen(const FuzzCase& c);

  FuzzTensor scores_[12];
  std::vector<TensorView> float_scores_;  // of those that are in use
  GuardedMemory offsets_{size_t{4} << 20};
  GuardedMemory intervals_{size_t{16} << 20};
  GuardedMemory cu_q_{4096}, lengths_{4096}, places_{4096}, prefixes_{4096};
  GuardedMemory table_{size_t{16} << 20};
  GuardedMemory pointers_[6] = {
      GuardedMemory(size_t{16} << 20), GuardedMemory(size_t{16} << 20),
      GuardedMemory(size_t{16} << 20), GuardedMemory(size_t{16} << 20),
      GuardedMemory(size_t{16} << 20), GuardedMemory(size_t{16} << 20)};
};

}  // namespace heed::test

#endif  // HEED_TESTS_DIFFERENTIAL_FUZZ_TENSORS_H_
