// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Keys that move by fixed steps from row to row, as those of windows, bands and
// sinks do: what a block of rows keeps is then known from its first and its
// last.
#ifndef HEED_LIB_SPARSE_MOVING_KEYS_H_
#define HEED_LIB_SPARSE_MOVING_KEYS_H_

#include <cstdint>

#include "heed/kv.h"
#include "lib/sparse/key_set.h"

namespace heed::internal {

class MovingKeys {
 public:
  // Sets of more pieces are not followed.
  static constexpr int64_t kPieces = 4;

  // Takes the keys of the first row.
  bool Start(const KeySet& keys) {
    if (keys.count > kPieces) return false;
    count_ = keys.count;
    for (int64_t i = 0; i < count_; ++i) piece_[i].first = keys.data[i];
    return true;
  }
  // Takes those of row `row`, from 0 on, between which and the first every end
  // stays or moves by as many keys each time.
  bool MoveTo(int64_t row, const KeySet& keys) {
    if (keys.count != count_) return false;
    for (int64_t i = 0; i < count_; ++i) {
      piece_[i].begin_step = (keys.data[i].begin - piece_[i].first.begin) /
                             static_cast<int32_t>(row);
      piece_[i].end_step =
          (keys.data[i].end - piece_[i].first.end) / static_cast<int32_t>(row);
    }
    return true;
  }

  // Sets *keys to those of a row.
  void Of(int64_t row, KeySet* keys) const {
    keys->count = count_;
    for (int64_t i = 0; i < count_; ++i) keys->data[i] = piece_[i].At(row);
  }

  // Adds those of rows [0, rows) to *keys.
  void UniteInto(int64_t rows, KeySet* keys, KeySet* spare) const {
    for (int64_t i = 0; rows > 0 && i < count_; ++i) {
      const Piece& piece = piece_[i];
      KeyInterval one;
      if (rows == 1 || (piece.Touches(0) && piece.Touches(rows - 2))) {
        one = {piece.first.begin, piece.At(rows - 1).end};
        Unite({&one, 1}, keys, spare);
        continue;
      }
      for (int64_t row = 0; row < rows; ++row) {
        one = piece.At(row);
        Unite({&one, 1}, keys, spare);
      }
    }
  }

 private:
  struct Piece {
    KeyInterval first;
    int32_t begin_step, end_step;  // not negative

    KeyInterval At(int64_t row) const {
      return {static_cast<int32_t>(first.begin + row * begin_step),
              static_cast<int32_t>(first.end + row * end_step)};
    }
    // No key lies between a row's and the next's. What does grows or shrinks
    // evenly, so this holds of all rows between two of which it holds.
    bool Touches(int64_t row) const { return At(row + 1).begin <= At(row).end; }
  };

  int64_t count_ = 0;
  Piece piece_[kPieces];
};

}  // namespace heed::internal

#endif  // HEED_LIB_SPARSE_MOVING_KEYS_H_
