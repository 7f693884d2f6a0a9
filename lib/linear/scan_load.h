// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A chunk's tokens as rows of f32 for the kernel.
#ifndef HEED_LIB_LINEAR_SCAN_LOAD_H_
#define HEED_LIB_LINEAR_SCAN_LOAD_H_

#include <cstdint>

#include "heed/linear.h"
#include "lib/linear/scan_layout.h"

namespace heed::internal {

// A head of the state of a sequence, and whose of other tensors belong to it.
struct ScanHead {
  const ScanPlan& plan;
  const ScanArgs& args;
  int64_t sequence, head;
  int64_t batch;       // where its tokens are
  int64_t first, end;  // of them

  int64_t GroupHead(int64_t g) const {  // of out
    return plan.params.head_map == HeadMap::kTiled
               ? g * plan.num_state_heads + head
               : head * GroupOf(plan) + g;
  }
  int64_t QueryHead(int64_t g) const {
    return HeadOf(plan.params.head_map, GroupHead(g), plan.num_heads,
                  plan.shape.num_query_heads);
  }
  int64_t KeyHead() const {
    return HeadOf(plan.params.head_map, head, plan.num_state_heads,
                  plan.shape.num_key_heads);
  }
  int64_t ValueHead() const {
    return HeadOf(plan.params.head_map, head, plan.num_state_heads,
                  plan.shape.num_value_heads);
  }
};

// Head `index` of all sequences.
ScanHead HeadAt(const ScanPlan& plan, const ScanArgs& args, int64_t index);

// Loads tokens [t, t + n) of a head: in place where rows may be read so, else
// into memory.
class ScanLoader {
 public:
  ScanLoader(const ScanHead& of, const ScanMemory& memory)
      : of_(of), plan_(of.plan), args_(of.args), memory_(memory) {}

  // Of `group` heads.
  void LoadQueries(int64_t t, int64_t n, int64_t group, ScanRows* rows) const;
  // Keys as they are written, and those that erase.
  void LoadKeys(int64_t t, int64_t n, ScanInputs* in) const;
  // The decays of the rows that are written: a token's, and none with a second.
  void LoadDecays(int64_t t, int64_t n, ScanInputs* in) const;
  // Ones where the call has no beta.
  void LoadBeta(int64_t t, int64_t n, float* beta) const;

 private:
  // Which rows of a head.
  struct Rows {
    const ConstTensorView& view;
    int64_t token, count, head;
  };

  int64_t dim() const { return KeyDim(plan_.shape); }
  ScanRows LoadRows(const Rows& rows, bool key, float* copy) const;
  ScanRows InPlace(const Rows& rows) const;
  void PadRow(float* row) const;
  void CopyRows(const Rows& rows, float* to, int64_t step) const;
  void MapRows(const Rows& rows, bool key, float* to, int64_t step) const;

  const ScanHead& of_;
  const ScanPlan& plan_;
  const ScanArgs& args_;
  const ScanMemory& memory_;
};

}  // namespace heed::internal

#endif  // HEED_LIB_LINEAR_SCAN_LOAD_H_
