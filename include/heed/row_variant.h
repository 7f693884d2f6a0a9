// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Sparse variants whose query rows choose their keys row by row: single tokens
// or whole blocks, for one head, for the heads of a group or for all of them.
// Where rows choose together, in blocks, see AttendBlocks of
// heed/sparse_variant.h.
#ifndef HEED_ROW_VARIANT_H_
#define HEED_ROW_VARIANT_H_

#include <algorithm>
#include <cstdint>

#include "heed/sparse_variant.h"

namespace heed::sparse {

// Query heads that share a row's list.
enum class ListOf : int32_t { kHead = 0, kGroup = 1, kEveryHead = 2 };

// A query row that chooses.
struct QueryRow {
  int64_t batch;
  int64_t head;       // the first of those that share the list
  int64_t num_heads;  // that share it
  int64_t kv_head;    // of `head`
  int64_t index;
  int64_t position;  // among the keys, may lie before or beyond them
  ops::VisibleKeys see;
  int worker;  // its own scratch may be used

  // Keys from here on are hidden.
  int64_t end() const { return std::max(see.sink_end, see.end); }
  // The row sees a key of [begin, end).
  bool Touches(int64_t begin, int64_t end) const {
    return begin < see.sink_end || (begin < see.end && end > see.begin);
  }
  // The row sees all keys of [begin, end).
  bool Whole(int64_t begin, int64_t end) const {
    return end <= see.sink_end ||
           (end <= see.end &&
            (begin >= see.begin || see.begin == see.sink_end));
  }
};

// What a row keeps.
class RowChoice {
 public:
  // Keeps the keys of [begin, end) that there are. Those that masks hide count
  // for nothing.
  HEED_API void Keep(int64_t begin, int64_t end);

  // Of the blocks, cut from key 0 on, of which the row sees some key, keeps
  // those that score highest, `total` in all: of equal ones the first, NaN
  // last. A score of +infinity keeps a block anyway, within the budget or
  // beyond it. score[j] is of block j; blocks that the row does not touch need
  // no score. A block of 1 chooses tokens.
  HEED_API void KeepTop(const QueryRow& row, int64_t block, const float* score,
                        int64_t total);

  // Whether a key that there is is kept, by what has been called so far.
  bool Keeps(int64_t key) const {
    return (words_[key / 64] >> (key % 64) & 1) != 0;
  }

 private:
  friend class RowRun;

  uint64_t* words_ = nullptr;
  int64_t keys_ = 0;
  // A worker's own, of as many elements as there are keys.
  float* value_ = nullptr;
  int32_t* order_ = nullptr;
  int32_t* place_ = nullptr;
};

// The single keys that a row keeps, each with a number that is added to its
// score: of a draw, minus the log of its probability.
class RowDraw {
 public:
  // In any order; a key once. Those that masks hide count for nothing.
  void Keep(int64_t key, float log_weight) {
    index_[count_] = static_cast<int32_t>(key);
    log_weight_[count_++] = log_weight;
  }

 private:
  friend class DrawRun;

  int32_t* index_ = nullptr;  // room for every key
  float* log_weight_ = nullptr;
  int64_t count_ = 0;
};

namespace internal {

struct DrawFunction {
  const void* self;
  void (*call)(const void* self, const QueryRow& row, RowDraw* draw);
};
HEED_API Status AttendDraws(const VariantArgs& a, ListOf lists,
                            const DrawFunction& choose);

struct RowFunction {
  const void* self;
  void (*call)(const void* self, const QueryRow& row, RowChoice* choice);
};
HEED_API Status AttendRows(const VariantArgs& a, ListOf lists,
                           const RowFunction& choose);

}  // namespace internal

// Lets `choose(row, choice)` choose for every row, from any worker, and attends
// to what is kept, exactly and as far as the caller's masks allow. A row that
// keeps all that it sees has the bits of exact attention. Takes a bit for each
// pair of a row and a key of every list; lists cost what MakeSparsePlan says of
// patterns.
template <typename Choose>
Status AttendRows(const VariantArgs& a, ListOf lists, const Choose& choose) {
  internal::RowFunction function;
  function.self = &choose;
  function.call = [](const void* self, const QueryRow& row, RowChoice* choice) {
    (*static_cast<const Choose*>(self))(row, choice);
  };
  return internal::AttendRows(a, lists, function);
}

// Lets `choose(row, draw)` draw weighted keys for every row, from any worker,
// and attends to them in one softmax (heed/gather.h), as far as the caller's
// masks allow. Records nothing: what is computed is no softmax over a set of
// pairs. Takes 8 bytes for each pair of a row and a key, of as many rows at a
// time as fit 16 MiB.
template <typename Choose>
Status AttendDraws(const VariantArgs& a, ListOf lists, const Choose& choose) {
  internal::DrawFunction function;
  function.self = &choose;
  function.call = [](const void* self, const QueryRow& row, RowDraw* draw) {
    (*static_cast<const Choose*>(self))(row, draw);
  };
  return internal::AttendDraws(a, lists, function);
}

// Returns the (query, key) pairs of one head where each row keeps `keys` keys,
// or all that the masks leave it; its own block of `block` keys among them, of
// which a causal mask or the last key may cut off some.
HEED_API double CountRowPairs(const AttentionShape& shape,
                              const AttentionParams& params, double keys,
                              int64_t block = 1);

}  // namespace heed::sparse

#endif  // HEED_ROW_VARIANT_H_
