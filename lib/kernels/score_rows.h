// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What score inputs (heed/score_inputs.h) give the rows of a tile, for kernels.
#ifndef HEED_LIB_KERNELS_SCORE_ROWS_H_
#define HEED_LIB_KERNELS_SCORE_ROWS_H_

#include <cstdint>

#include "heed/score_inputs.h"
#include "heed/types.h"

namespace heed::internal {

// Of one row. Pointers are null where nothing is given.
struct ScoreRow {
  const void* bias = nullptr;  // of key 0, or of every key
  const uint8_t* mask = nullptr;
  bool bias_repeats = false;
  bool mask_repeats = false;
  const float* relative = nullptr;  // of distance 0
  int64_t relative_reach = 0;       // distances go from -reach to reach
  int64_t position = 0;             // the row's, at most 2^62 away
  const char* key_decay = nullptr;  // of key 0
  int64_t key_decay_step = 0;       // bytes
  float query_decay = 0.0f;
  const uint64_t* tree = nullptr;  // bits of the keys from tree_begin on
  int64_t tree_begin = 0;
};

// Of all rows of a tile, padded ones too, which repeat the last.
struct ScoreRows {
  const ScoreRow* row = nullptr;
  DType bias_type = DType::kF32;
  // Whether AddendsOf gives anything but zeros: it need not be called where
  // not.
  bool adds = false;
  // Then: whether it is a mask alone, or a bias alone that does not repeat.
  bool only_mask = false;
  bool only_bias = false;

  // Lanes of rows, 64-byte aligned; null where nothing is given.
  const float* alibi_slope = nullptr;
  const float* position = nullptr;  // with slopes
  const float* sink = nullptr;
  const int32_t* first = nullptr;  // no key before it is seen

  ScoreHook hook = nullptr;
  void* hook_self = nullptr;
  int64_t batch = 0;
  const int32_t* row_index = nullptr;
  const int32_t* row_head = nullptr;
};

// Sets addend[i] to what is added to the score of `row` and the key at
// position[i], for `count` keys, in natural units: -inf where the pair is
// hidden.
void AddendsOf(const ScoreRows& rows, int row, const int32_t* position,
               int count, float* addend);

}  // namespace heed::internal

#endif  // HEED_LIB_KERNELS_SCORE_ROWS_H_
