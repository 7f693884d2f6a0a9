// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The rule that ranges of rows follow, if they do.
#ifndef HEED_LIB_CORE_MASK_RULE_H_
#define HEED_LIB_CORE_MASK_RULE_H_

#include <algorithm>
#include <cstdint>

#include "heed/recognise_mask.h"

namespace heed::internal {

// Keys [begin, end); [0, 0) for none.
struct KeyRange {
  int64_t begin, end;
};

// Looks for s and e such that row i of every plane sees
//
//   [clamp(i + s), clamp(i + e)),  clamp to [0, number of keys],
//
// where s may be without bound below, and e above. Each row narrows what they
// can be. Rows that see nothing lie before key 0 or beyond the last one: they
// come first or last, and are judged when their plane ends.
class MaskRule {
 public:
  // The next row of a plane with `keys` keys.
  void Add(int64_t i, const KeyRange& row, int64_t keys) {
    if (row.begin == row.end) {
      if (any_ && empty_from_ < 0) empty_from_ = i;
      rows_ = i + 1;
      keys_ = keys;
      return;
    }
    holds_ &= empty_from_ < 0;  // none between rows that see something
    if (!any_ && i > 0) MostEnd(-(i - 1));
    any_ = true;
    if (row.begin == 0) {
      most_begin_ = std::min(most_begin_, -i);
    } else {
      LeastBegin(row.begin - i);
      most_begin_ = std::min(most_begin_, row.begin - i);
    }
    least_end_ = std::max(least_end_, row.end == keys ? keys - i : row.end - i);
    if (row.end != keys) MostEnd(row.end - i);
  }

  void EndPlane() {
    if (!any_ && rows_ > 0) MostEnd(-(rows_ - 1));
    if (any_ && empty_from_ >= 0) LeastBegin(keys_ - empty_from_);
    any_ = false;
    empty_from_ = -1;
    rows_ = 0;
  }

  // Sets the fields of the rule. Returns whether there is one.
  bool Get(RecognisedMask* mask) const {
    if (!holds_ || least_begin_ > most_begin_ || least_end_ > most_end_) {
      return false;
    }
    const bool left = least_begin_ != kNone;
    const bool right = most_end_ != -kNone;
    const int64_t end = least_end_ != kNone ? least_end_ : most_end_;
    mask->causal = right;
    mask->causal_offset = right ? end - 1 : left ? least_begin_ : 0;
    mask->window_left = !left ? -1 : right ? end - 1 - least_begin_ : 0;
    return !left || !right || mask->window_left >= 0;
  }

 private:
  static constexpr int64_t kNone = INT64_MIN / 2;  // no bound below; -kNone:
                                                   // none above

  void MostEnd(int64_t most) { most_end_ = std::min(most_end_, most); }
  void LeastBegin(int64_t least) {
    least_begin_ = std::max(least_begin_, least);
  }

  bool holds_ = true;
  int64_t least_begin_ = kNone, most_begin_ = -kNone;
  int64_t least_end_ = kNone, most_end_ = -kNone;
  // Of the plane at hand.
  bool any_ = false;             // a row saw something
  int64_t empty_from_ = -1;      // since then none has
  int64_t rows_ = 0, keys_ = 0;  // up to the last that saw nothing
};

}  // namespace heed::internal

#endif  // HEED_LIB_CORE_MASK_RULE_H_
