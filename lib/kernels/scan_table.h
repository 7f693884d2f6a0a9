// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The table behind heed/linear.h: a chunk of one head of the state, in two
// steps. `prepare` makes the matrices that all columns of the values share;
// `apply` meets a tile of columns with them. lib/oracle/scan_bits.cc defines
// the bits.
#ifndef HEED_LIB_KERNELS_SCAN_TABLE_H_
#define HEED_LIB_KERNELS_SCAN_TABLE_H_

#include <cstdint>

namespace heed::internal {

// The longest chunk.
inline constexpr int kMaxChunk = 32;

// Running products of decays below this are 0: no denormal, ever.
inline constexpr float kSmallestProduct = 0x1p-100f;

// What all columns of a chunk share, dense. Rows of queries stand by token,
// then by head in the group. A token writes one row, its value along its key;
// or two, before that what it erases along a key of its own, and with the first
// of them the state fades.
struct ScanChunk {
  int64_t tokens;      // with keys; 0: the state is only read
  int64_t writes;      // rows that a token writes, 1 or 2
  int64_t rows;        // queries: tokens times group
  int64_t group;       // queries a token
  int64_t head_dim;    // of keys
  int64_t row_floats;  // from a row of read, write and erase to the next
  int64_t stride;      // from a row of weight and solve to the next
  float* read;         // [rows][head_dim]: scale q, faded from the start on
  float* weight;       // [rows][written]: scale q_i . k_j, faded from j to i;
                       // 0 where j is of a later token
  float* write;        // [written][head_dim]: k, faded up to the chunk's end
  float* keep;         // [head_dim]: what the state fades by
  // The delta rule's, else null. e is the key, or one of its own.
  const float* beta;   // [tokens]
  float* erase;        // [tokens][head_dim]: -beta e, faded from the start on
  float* solve;        // [tokens][written]: -beta e_i . k_j, faded from j to i;
                       // 0 where j is not of an earlier token
  bool erase_unfaded;  // both without the decay of their own token

  int64_t written() const { return tokens * writes; }
};

// Rows of f32 where they lie: floats from a token, and from a head of the
// group, to the next. Rows of keys and queries may be read up to whole
// kRowFloats.
struct ScanRows {
  const float* at;
  int64_t token, head;
};
inline constexpr int64_t kRowFloats = 16;

struct ScanInputs {
  ScanRows query;
  ScanRows key;        // rows as they are written
  ScanRows erase;      // by token; those of key, or keys that only erase
  const float* decay;  // [written], or rows of row_floats; null: none
  bool vector_decay;
  float scale;
  float* scratch;  // of ScanTable::scratch_floats
};

// Rows to be fetched into the second-level cache on the way.
struct FetchRows {
  const char* at;
  int64_t stride, rows, bytes;  // from a row to the next; how many; of each
};

// A tile of columns: rows of `width` floats, a multiple of kRowFloats.
struct ScanTile {
  int64_t width;
  float* state;  // [head_dim][width], before and after the chunk
  float* value;  // [written][width], v in the last row of each token;
                 // becomes what is written
  float* out;    // [rows][width], rows out_row floats apart
  int64_t out_row;
  // Where value is still to be copied from, rows from_row apart; null: nowhere.
  const float* from;
  int64_t from_row;
  const FetchRows* fetch;
  int64_t num_fetch;
};

// A single token: the state where it lies, read and written once.
struct ScanStep {
  int64_t columns;    // any number
  const float* from;  // [head_dim][columns], the state before, and the floats
  int64_t from_row;   // from a row to the next
  float* to;          // after; may be `from`; null: it stays as it is
  int64_t to_row;
  const float* value;  // [columns]: v
  float* written;      // [writes][columns]: what is written, under the delta
                       // rule
  float* out;          // [rows][columns], rows out_row floats apart
  int64_t out_row;
  const float* next;  // the state that the next step reads, rows from_row
                      // apart, to be fetched on the way; null: none
};

struct ScanTable {
  // Floats of scratch that `prepare` needs.
  int64_t (*scratch_floats)(const ScanChunk& longest);
  // Fills the matrices of `chunk`, whose extents, pointers and beta are set.
  void (*prepare)(const ScanInputs& inputs, const ScanChunk& chunk);
  void (*apply)(const ScanChunk& chunk, const ScanTile& tile);
  // The same for chunks of one token, with the bits of `apply`.
  void (*step)(const ScanChunk& chunk, const ScanStep& step);
  // to[i] = from[i] / by, or 0 where by is 0.
  void (*divide)(const float* from, float by, int64_t n, float* to);
};

}  // namespace heed::internal

#endif  // HEED_LIB_KERNELS_SCAN_TABLE_H_
