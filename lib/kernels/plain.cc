// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The plain table: standard C++, one row a lane. Serves machines that no other
// table serves, with the same bits: std::fma is exact whatever the CPU has.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "lib/kernels/targets.h"

namespace heed::internal {
namespace {

constexpr float kRoundShift = 12583039.0f;  // 1.5 * 2^23 + 127

float PowerOfTwo(float shifted) {
  uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  bits <<= 23;
  std::memcpy(&shifted, &bits, sizeof(bits));
  return shifted;
}

float Cut(float x) { return x < -100.0f ? -127.0f : x; }

float Horner(float x, const float* coefficient, int count) {
  float p = coefficient[0];
  for (int i = 1; i < count; ++i) p = std::fma(p, x, coefficient[i]);
  return p;
}

float Exp2(float x) {
  static constexpr float kCoefficients[] = {0x1.5bba18p-10f, 0x1.3cea88p-7f,
                                            0x1.c6b752p-5f,  0x1.ebf9bcp-3f,
                                            0x1.62e42ap-1f,  1.0f};
  x = Cut(x);
  const float shifted = x + kRoundShift;
  return Horner(x - (shifted - kRoundShift), kCoefficients, 6) *
         PowerOfTwo(shifted);
}

float Rescale(float x) { return PowerOfTwo(Cut(x) + kRoundShift); }

float Tanh(float x) {
  static constexpr float kCoefficients[] = {-0x1.76ac1cp-8f, 0x1.5256d8p-6f,
                                            -0x1.b84448p-5f, 0x1.110768p-3f,
                                            -0x1.555534p-2f};
  float a = std::fabs(x);
  if (a > 10.0f) a = 10.0f;
  const float z = a * a;
  const float near = std::fma(Horner(z, kCoefficients, 5) * z, a, a);
  const float far = 1.0f - 2.0f / (Exp2(a * 0x1.715476p+1f) + 1.0f);
  return std::copysign(a < 0.625f ? near : far, x);
}

float LogSum(float m, float l) {
  static constexpr float kCoefficients[] = {
      0x1.1b42c2p-4f,  -0x1.e2e9b4p-4f, 0x1.e650a2p-4f,
      -0x1.fb432ap-4f, 0x1.2332c0p-3f,  -0x1.5562e4p-3f,
      0x1.99a546p-3f,  -0x1.ffffeep-3f, 0x1.555546p-2f};
  if (l == 0.0f) return -INFINITY;
  if (l != l) return l;
  uint32_t bits;
  std::memcpy(&bits, &l, sizeof(bits));
  bits -= 0x3f3504f3u;
  const float e = static_cast<float>(static_cast<int32_t>(bits) >> 23);
  bits = (bits & 0x7fffffu) + 0x3f3504f3u;
  float y;
  std::memcpy(&y, &bits, sizeof(y));
  const float x = y - 1.0f;
  const float p = Horner(x, kCoefficients, 9);
  const float log_y = std::fma(std::fma(p, x, -0.5f), x * x, x);
  const float a = m + e;
  return std::fma(a, 0x1.62e43p-1f, std::fma(a, -0x1.05c61p-29f, log_y));
}

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

void MergeRows(const float* out_a, float lse_a, const float* out_b, float lse_b,
               int64_t dim, float* out, float* lse) {
  const bool no_a = lse_a == -INFINITY;
  const bool no_b = lse_b == -INFINITY;
  if (no_a || no_b) {
    const float* from = no_a ? out_b : out_a;
    for (int64_t c = 0; c < dim; ++c) out[c] = no_a && no_b ? 0.0f : from[c];
    if (lse != nullptr) *lse = no_a ? lse_b : lse_a;
    return;
  }
  const float max = lse_a > lse_b ? lse_a : lse_b;
  const float wa = Exp2((lse_a - max) * 0x1.715476p+0f);
  const float wb = Exp2((lse_b - max) * 0x1.715476p+0f);
  const float l = wa + wb;
  const float log = max + LogSum(0.0f, l);
  for (int64_t c = 0; c < dim; ++c) {
    out[c] = std::fma(wb, out_b[c], wa * out_a[c]) / l;
  }
  if (lse != nullptr) *lse = log;
}

}  // namespace

const AttentionTable kPlainTable = {
    /*kernel=*/"attend_f32_plain",
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
