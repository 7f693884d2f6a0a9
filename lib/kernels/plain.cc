// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The plain table: standard C++, one row a lane. Serves machines that no other
// table serves, with the same bits: std::fma is exact whatever the CPU has.
#include <cmath>
#include <cstdint>

#include "lib/kernels/kernels.h"
#include "lib/kernels/scalar_math.h"

namespace heed::internal {
namespace {

using scalar::Exp2;
using scalar::LogSum;
using scalar::Rescale;
using scalar::Tanh;

int Lanes() { return 1; }

// A row is a lane group of its own; groups of 8 rows keep the count low.
constexpr int kRows = 8;

int SplitRows(int num_rows, int* rows_of) {
  int groups = 0;
  for (; num_rows > 0; num_rows -= kRows) {
    rows_of[groups++] = num_rows < kRows ? num_rows : kRows;
  }
  return groups;
}

void Pack(const QueryTile& tile, const float* const* query) {
  for (int r = 0; r < tile.num_rows; ++r) {
    for (int c = 0; c < tile.head_dim; ++c) {
      tile.query[r * tile.head_dim + c] = query[r][c] * tile.rule.query_scale;
    }
  }
}

void Clear(const QueryTile& tile) {
  for (int r = 0; r < tile.num_rows; ++r) {
    tile.m[r] = kEmptyMax;
    tile.l[r] = 0.0f;
  }
  for (int i = 0; i < tile.num_rows * tile.head_dim_v; ++i) tile.acc[i] = 0.0f;
}

float Score(const QueryTile& tile, int row, const float* key) {
  const float* query = tile.query + row * tile.head_dim;
  float score = 0.0f;
  for (int c = 0; c < tile.head_dim; ++c) {
    score = std::fma(key[c], query[c], score);
  }
  if (!tile.rule.softcap) return score;
  return Tanh(score * tile.rule.in_scale) * tile.rule.out_scale;
}

void StepRow(const QueryTile& tile, const KeyBlock& block, int row, int first,
             int last) {
  bool visible[kBlockKeys];
  float max = tile.m[row];
  for (int key = first; key < last; ++key) {
    const int32_t position = block.position[key];
    visible[key] = (position >= tile.begin[row] && position < tile.end[row]) ||
                   position < tile.sink_end[row];
    if (!visible[key]) continue;
    tile.score[key] = Score(tile, row, block.key[key]);
    max = std::fmax(max, std::nearbyint(tile.score[key]));
  }
  const float alpha = Rescale(tile.m[row] - max);
  float* acc = tile.acc + row * tile.head_dim_v;
  tile.m[row] = max;
  tile.l[row] *= alpha;
  for (int c = 0; c < tile.head_dim_v; ++c) acc[c] *= alpha;
  for (int key = first; key < last; ++key) {
    if (!visible[key]) continue;
    const float weight = Exp2(tile.score[key] - max);
    tile.l[row] += weight;
    for (int c = 0; c < tile.head_dim_v; ++c) {
      acc[c] = std::fma(block.value[key][c], weight, acc[c]);
    }
  }
}

void Step(const QueryTile& tile, const KeyBlock& block) {
  for (int row = 0; row < tile.num_rows; ++row) {
    const int group = row / kRows;
    StepRow(tile, block, row, block.first[group], block.last[group]);
  }
}

void Merge(const QueryTile& tile, const float* acc, const float* m,
           const float* l) {
  for (int r = 0; r < tile.num_rows; ++r) {
    const float max = std::fmax(tile.m[r], m[r]);
    const float a = Rescale(tile.m[r] - max);
    const float b = Rescale(m[r] - max);
    tile.m[r] = max;
    tile.l[r] = std::fma(b, l[r], a * tile.l[r]);
    for (int i = r * tile.head_dim_v; i < (r + 1) * tile.head_dim_v; ++i) {
      tile.acc[i] = std::fma(b, acc[i], a * tile.acc[i]);
    }
  }
}

void Finish(const QueryTile& tile, float* const* out, float* const* lse) {
  for (int r = 0; r < tile.num_rows; ++r) {
    const float l = tile.l[r];
    for (int c = 0; c < tile.head_dim_v; ++c) {
      out[r][c] =
          l == 0.0f ? 0.0f : tile.acc[r * tile.head_dim_v + c] / l + 0.0f;
    }
    if (lse != nullptr) *lse[r] = LogSum(tile.m[r], l);
  }
}

void MergeRows(const FinishedRow& a, const FinishedRow& b, int64_t dim,
               float* out, float* lse) {
  const bool no_a = a.lse == -INFINITY;
  const bool no_b = b.lse == -INFINITY;
  if (no_a || no_b) {
    const float* from = no_a ? b.out : a.out;
    for (int64_t c = 0; c < dim; ++c) out[c] = no_a && no_b ? 0.0f : from[c];
    *lse = no_a ? b.lse : a.lse;
    return;
  }
  const float max = a.lse > b.lse ? a.lse : b.lse;
  const float wa = Exp2((a.lse - max) * kLog2E);
  const float wb = Exp2((b.lse - max) * kLog2E);
  const float l = wa + wb;
  const float log = max + LogSum(0.0f, l);
  for (int64_t c = 0; c < dim; ++c) {
    out[c] = std::fma(wb, b.out[c], wa * a.out[c]) / l;
  }
  *lse = log;
}

}  // namespace

const AttentionTable kPlainTable = {
    /*kernel=*/FactsOf(Target::kPlain).kernel,
    /*same_bits=*/true,
    /*lanes=*/&Lanes,
    /*max_group_vectors=*/kRows,
    /*split_rows=*/&SplitRows,
    /*pack=*/&Pack,
    /*clear=*/&Clear,
    /*step=*/&Step,
    /*merge=*/&Merge,
    /*finish=*/&Finish,
    /*merge_rows=*/&MergeRows,
};

}  // namespace heed::internal
