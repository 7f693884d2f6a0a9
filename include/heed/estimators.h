// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What variants score blocks of keys by. Each is made once a run, from the
// variant's scratch, on its executor, and is then asked by any worker. None
// knows what score inputs (heed/score_inputs.h) add or hide: choices are made
// without, and what is chosen is attended to with them. Only WeightsOf and what
// is made of it apply softcap.
#ifndef HEED_ESTIMATORS_H_
#define HEED_ESTIMATORS_H_

#include <cstdint>

#include "heed/row_variant.h"
#include "heed/sparse_variant.h"

namespace heed::sparse {

// Returns "scratch: what an estimator needs could not be allocated".
HEED_API Status OutOfMemory();

// Returns the means of key blocks: [batch * kv heads][key blocks][head_dim], a
// last short block being averaged over the keys that it has. Null where memory
// is short.
HEED_API const float* KeyMeans(const VariantArgs& a, int64_t key_block);

// The least and the largest of each channel over the keys of a block, as in
// KeyMeans. A NaN counts where it stands first. Null where memory is short.
struct KeyBounds {
  const float* least = nullptr;
  const float* most = nullptr;
  int64_t blocks = 0;
};
HEED_API KeyBounds KeyBoundsOf(const VariantArgs& a, int64_t key_block);

// Returns the largest Euclidean norm of the keys of a block: [batch * kv
// heads][key blocks], to rounding, +infinity where a number is not finite. Null
// where memory is short.
HEED_API const float* KeyNorms(const VariantArgs& a, int64_t key_block);

// Returns the Euclidean norm of x[0, n), within 1e-7 of it, however small or
// large its numbers are; +infinity where one is not finite or it is too large.
HEED_API float NormOf(const float* x, int64_t n);

// x[i] = cap * tanh(x[i] / cap), to within 4e-7 cap.
HEED_API void CapScores(float cap, float* x, int64_t n);

// The choice of SparQ (Ribar et al. 2023, arXiv:2312.04985), of single keys for
// the heads of a group. Of the queries of the group together, the r channels
// with the largest sum of |q| are read of each key. Of each head
//
//   weight = softmax(scale / sqrt(|q of these channels|_1 / |q|_1) *
//                    product over these channels),
//
// and the k keys whose weights sum highest over the heads are kept, the latest
// `local` of those that a row sees among them.
class HEED_API SparqChoice {
 public:
  // Of a variant's knobs, in this order.
  static constexpr int kNumKnobs = 3;
  static constexpr Knob kKnobs[kNumKnobs] = {
      {"k", "Keys that a row keeps.", 128, 1, kAll, /*integer=*/true,
       /*has_exact=*/true, /*exact_value=*/kAll},
      {"r", "Channels of the keys that choosing reads.", 32, 1, 1024,
       /*integer=*/true},
      {"local", "Latest keys of a row that are among the k.", 32, 0, kAll,
       /*integer=*/true},
  };

  Status Prepare(const VariantArgs& a);
  // Keeps keys. Returns the weights by which it chose, of each head of the row
  // and key of the call, [num_heads][keys]: 0 for what the row does not see,
  // nothing from row.end() on. They hold until the worker chooses again.
  const float* Choose(const QueryRow& row, RowChoice* choice) const;
  // Of choosing, and of attention over what is chosen.
  static Cost CostOf(const AttentionShape& shape, const AttentionParams& params,
                     const double* knobs);

 private:
  const VariantArgs* a_ = nullptr;
  int64_t group_ = 0, channels_ = 0;
  float* floats_ = nullptr;     // [workers][of a worker]
  int32_t* channel_ = nullptr;  // [workers][head_dim]
  int64_t of_worker_ = 0;
};

// Means of overlapping windows of `kernel` keys, one every `stride`, from key 0
// on, and the attention that a row pays to them: the compressed branch of
// native sparse attention (Yuan et al. 2025, arXiv:2502.11089) with a mean for
// the trained map. `stride` divides `kernel`.
class HEED_API CompressedKeys {
 public:
  // False where memory is short.
  bool Prepare(const VariantArgs& a, int64_t kernel, int64_t stride);
  // Sets weight[i] = the sum over the heads of the row of softmax(scale * query
  // . mean) over the windows that the row sees whole, 0 for others. Returns how
  // many windows were set, all later ones being 0.
  int64_t Weigh(const QueryRow& row, float* weight) const;
  int64_t windows() const { return windows_; }

 private:
  const VariantArgs* a_ = nullptr;
  int64_t kernel_ = 0;
  int64_t stride_ = 0;
  int64_t windows_ = 0;     // all of whose keys exist
  float* mean_ = nullptr;   // [batch * kv heads][windows][head_dim]
  float* score_ = nullptr;  // [workers][windows]
};

// The choice of native sparse attention, of what the heads of a group attend to
// in CompressedKeys. A block scores the weights of the windows on it: each
// window counts once for every stride of it that lies in the block, summed over
// the heads. The first block and the row's own and the one before it are always
// kept and count in select_count; the others are those that score highest, the
// first of equal ones. Blocks are cut from key 0 on.
class HEED_API NativeChoice {
 public:
  // Of a variant's knobs, in this order.
  static constexpr int kNumKnobs = 5;
  static constexpr Knob kKnobs[kNumKnobs] = {
      {"select_count", "Blocks that a row keeps, forced ones included.", 16, 1,
       kAll, /*integer=*/true, /*has_exact=*/true, /*exact_value=*/kAll},
      {"select_block", "Keys of a block; a multiple of compress_stride.", 64, 1,
       65536, /*integer=*/true},
      {"compress_block",
       "Keys that are averaged; a multiple of compress_stride.", 32, 1, 65536,
       /*integer=*/true},
      {"compress_stride", "Keys from one average to the next.", 16, 1, 65536,
       /*integer=*/true},
      {"window", "Latest keys that a row sees besides.", 512, 0, kAll,
       /*integer=*/true},
  };

  Status Prepare(const VariantArgs& a);
  // Keeps blocks; the window is the variant's.
  void Choose(const QueryRow& row, RowChoice* choice) const;
  // What averaging and choosing cost.
  static void AddCost(const AttentionShape& shape,
                      const AttentionParams& params, const double* knobs,
                      Cost* cost);

 private:
  CompressedKeys compressed_;
  int64_t count_ = 0, block_ = 0, blocks_ = 0;
  int64_t strides_ = 0, stride_ = 0;  // of a window
  float* floats_ = nullptr;           // [workers][windows + blocks]
};

// Returns a number of [0, 1) that depends on these alone, and looks as if it
// did not: for controls and random patterns.
HEED_API float DrawOf(int64_t seed, int64_t head, int64_t query_block,
                      int64_t key_block);

// Sets weight[row - first][key] = softmax(scores)[row][key] for query rows
// [first, end) of a head and keys below `keys`, a row's weights standing
// together; scale, softcap and masks are the call's, and keys beyond are taken
// as hidden. Costs a copy of the keys beside the product: take some 16 rows and
// more at a time.
HEED_API void WeightsOf(const VariantArgs& a, int64_t batch, int64_t head,
                        int64_t first, int64_t end, int64_t keys,
                        float* weight);

// The attention that each key block really holds: the sum over the rows of a
// query block and the block's keys of softmax(scores), scale, softcap and masks
// being the call's. Costs as much as the scores of dense attention.
class HEED_API TrueMasses {
 public:
  // False where memory is short.
  bool Prepare(const VariantArgs& a, int64_t key_block);
  void Of(const BlockRows& rows, float* mass) const;

 private:
  const VariantArgs* a_ = nullptr;
  int64_t key_block_ = 0;
  float* score_ = nullptr;  // [workers][rows at a time][keys]
};

// Which pairs of a tile are looked at, one for each row and each key: the last
// key for the first row and so on; the first for the first; or any, drawn once
// for all tiles.
enum class TilePairs : int32_t { kAntidiagonal = 0, kDiagonal = 1, kDrawn = 2 };

// XAttention's estimate (Xu et al. 2025, arXiv:2503.16428): queries and keys
// are cut into tiles of stride x stride, from row 0 and key 0 on. A tile scores
// the mean, over the pairs of its antidiagonal (or of others, to compare) that
// exist and that masks leave, of scale * query . key; a row of tiles becomes
// weights by softmax over the tiles with such pairs, and the mass of a block is
// the sum of its tiles'. The stride divides the blocks. Costs 1 / (2 stride) of
// dense attention, and a transposed copy of the keys.
class HEED_API Antidiagonals {
 public:
  // False where memory is short. Makes the masses of all blocks of `grid`, a
  // float each.
  bool Prepare(const VariantArgs& a, BlockGrid grid, int64_t stride,
               TilePairs pairs = TilePairs::kAntidiagonal);
  void Of(const BlockRows& rows, float* mass) const;

 private:
  struct TileRow;
  void Pair(TilePairs pairs);
  void Transpose();
  void Estimate(int64_t head, int64_t begin, int64_t end, float* score) const;
  void ScoreWhole(const TileRow& at, int64_t first_row, int64_t tiles,
                  int64_t columns, float* score) const;
  float ScorePairs(const TileRow& at, int64_t j) const;
  void Weigh(const TileRow& at, float* score, float* mass) const;

  const VariantArgs* a_ = nullptr;
  BlockGrid grid_ = {};
  int64_t stride_ = 0;
  int64_t whole_ = 0;  // key tiles that have all their keys
  int64_t tiles_ = 0;  // key tiles
  int64_t query_blocks_ = 0, key_blocks_ = 0;
  float scale_ = 0;
  float* keys_ = nullptr;   // [kv heads][stride][head_dim][whole tiles]
  float* score_ = nullptr;  // [workers][tiles of rows at a time][tiles]
  float* mass_ = nullptr;   // [heads][query blocks][key blocks]
  // The key that each row of a tile is paired with, and the row of each key.
  int32_t* key_of_ = nullptr;
  int32_t* row_of_ = nullptr;
};

}  // namespace heed::sparse

#endif  // HEED_ESTIMATORS_H_
