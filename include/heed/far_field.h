// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What rows read, through random features that estimate softmax's weights, of
// the keys that they do not attend to: the low-rank half of Scatterbrain (Chen
// et al. 2021, arXiv:2110.15343), whatever its sparse half is.
#ifndef HEED_FAR_FIELD_H_
#define HEED_FAR_FIELD_H_

#include <cstdint>

#include "heed/export.h"
#include "heed/ops.h"
#include "heed/residual_variant.h"
#include "heed/status.h"
#include "heed/variant.h"

namespace heed::sparse {

// Which keys rows attend to otherwise, as bits.
struct NearKeys {
  const void* self;
  // Sets, in `words` of zeros, the bits of keys that are near a row; those that
  // the row does not see count for nothing.
  void (*mark)(const void* self, int64_t batch, int64_t head, int64_t row,
               uint64_t* words);
};

// Sets the bits of keys [begin, end).
HEED_API void MarkKeys(int64_t begin, int64_t end, uint64_t* words);

// The sum, over the keys that a row sees and that are not near it, of
//
//   phi(q).phi(k) [v, 1],  phi(x)_r = exp(w_r . x - |scale| |x|^2 / 2) /
//   sqrt(m)
//
// where the rows w are FAVOR+'s, times the root of |scale|. It is added up from
// states of key blocks and single keys (heed/residual_variant.h). Rows whose
// far weights are below the products of f32, and count, are read key by key in
// logarithms, which takes an exponential a feature of each such pair.
class HEED_API FarField {
 public:
  // How blocks are read in which some keys are near. Key by key: what is small
  // beside near keys keeps its digits. Or as a whole, near ones then being
  // taken out of it, which costs as much as there are of them; rows of which
  // that leaves less than a share kLeastLeft are read key by key all the same.
  enum class Blocks : int32_t { kKeyByKey = 0, kTakenOut = 1 };
  static constexpr float kLeastLeft = 1.0f / 16;

  // `w` is [features][head_dim], and stays. Refuses what cannot be allocated.
  Status Prepare(const VariantArgs& a, const ops::ConstMatrix& w,
                 const NearKeys& near, Blocks blocks);

  // Writes out and lse of `part`, for all rows; near_lse is what near keys
  // have, beside which far ones that are beyond comparison are left at 0.
  void Attend(const TensorView& near_lse, const VariantArgs& part) const;

 private:
  struct Rows;
  struct Room;

  Room RoomOf(int worker) const;
  // Keys that a row sees.
  int64_t Seen(int64_t row) const;
  static void Map(const void* self, const FeatureRows& rows, float* log_scale);
  void AttendRows(const TensorView& near_lse, const VariantArgs& part,
                  int64_t list, int worker) const;
  void ReadRow(const Rows& rows, int64_t row, int worker) const;
  void AddFar(const Rows& rows, int64_t row, int64_t block, int worker) const;
  uint64_t FarOf(const Rows& rows, int64_t row, int64_t block) const;
  void ReadInLogs(const Rows& rows, int64_t row, int worker, float* out,
                  float* lse) const;

  const VariantArgs* a_ = nullptr;
  ops::ConstMatrix w_ = {};
  float scale_ = 0;
  NearKeys near_ = {};
  Blocks how_ = Blocks::kKeyByKey;
  LinearResidual residual_;
  int64_t offset_ = 0, keys_ = 0, blocks_ = 0;
  float* floats_ = nullptr;      // [workers]
  uint64_t* words_ = nullptr;    // [workers][rows of a block][key blocks]
  uint8_t* gathered_ = nullptr;  // [workers][key blocks]
};

}  // namespace heed::sparse

#endif  // HEED_FAR_FIELD_H_
