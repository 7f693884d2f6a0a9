// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/oracle/scores.h"

#include <cstring>

namespace heed::oracle {
namespace {

template <typename T>
T Stored(const ConstTensorView& view, int64_t b, int64_t s, int64_t h,
         int64_t c) {
  T value;
  std::memcpy(&value, internal::BytesAt(view, b, s, h) + c * view.stride[3],
              sizeof(T));
  return value;
}

}  // namespace

int64_t PositionOf(const AttentionParams& params, const AttentionArgs& args,
                   int64_t row) {
  const int64_t offset = params.causal_offset == kBottomRight
                             ? args.key.seqlen() - args.query.seqlen()
                             : params.causal_offset;
  constexpr int64_t kMost = int64_t{1} << 62;
  if (offset > kMost) return kMost;
  if (offset < -kMost) return -kMost;
  return offset + row;
}

bool HiddenByScores(const AttentionParams& params, const AttentionArgs& args,
                    int64_t b, int64_t h, int64_t row, int64_t key) {
  const ScoreInputs& s = args.scores;
  if (!s.mask.absent() && Stored<uint8_t>(s.mask, b, row, h, key) == 0) {
    return true;
  }
  if (!s.row_lengths.absent() &&
      key >= Stored<int32_t>(s.row_lengths, b, row, 0, 0)) {
    return true;
  }
  if (!s.query_documents.absent() &&
      Stored<int32_t>(s.query_documents, b, row, 0, 0) !=
          Stored<int32_t>(s.key_documents, b, key, 0, 0)) {
    return true;
  }
  if (!s.tree_mask.absent()) {
    const int64_t draft = key - (args.key.seqlen() - args.query.seqlen());
    if (draft >= 0 &&
        (Stored<uint64_t>(s.tree_mask, b, row, 0, draft / 64) >> (draft % 64) &
         1) == 0) {
      return true;
    }
  }
  return Addend<float>(params, args, b, h, row, key) == -INFINITY;
}

float Hooked(const AttentionArgs& args, int64_t b, int64_t h, int64_t row,
             int64_t key, float score) {
  if (args.scores.hook == nullptr) return score;
  const int32_t position = static_cast<int32_t>(key);
  const int32_t index = static_cast<int32_t>(row);
  const int32_t head = static_cast<int32_t>(h);
  ScoreTile tile;
  tile.batch = b;
  tile.num_keys = tile.num_rows = 1;
  tile.key_position = &position;
  tile.row_index = &index;
  tile.row_head = &head;
  tile.key_stride = tile.row_stride = 1;
  tile.score = &score;
  args.scores.hook(args.scores.hook_self, tile);
  return score;
}

}  // namespace heed::oracle
