// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The step of the decode kernel: a few query rows against one key block.
#if defined(HEED_LIB_KERNELS_DECODE_STEP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_DECODE_STEP_INL_H_
#undef HEED_LIB_KERNELS_DECODE_STEP_INL_H_
#else
#define HEED_LIB_KERNELS_DECODE_STEP_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/convert-inl.h"
#include "lib/kernels/decode_f8-inl.h"
#include "lib/kernels/decode_fetch-inl.h"
#include "lib/kernels/decode_nest-inl.h"
#include "lib/kernels/decode_score_nest-inl.h"
#include "lib/kernels/decode_scores-inl.h"
#include "lib/kernels/decode_tile-inl.h"
#include "lib/kernels/decode_turn-inl.h"
#include "lib/kernels/decode_values-inl.h"
#include "lib/kernels/hwy_math-inl.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"
#include "lib/kernels/scaled_rows-inl.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;
using internal::KeyBlock;
using internal::QueryTile;

// What the step's keys are multiplied by, with keys in lanes, in the tile's
// memory; the last key's again where lanes go on.
template <class T>
HWY_INLINE TurnedScales TurnScales(const DecodeStep& s, size_t lanes) {
  if constexpr (!kScaled<T>) return {};
  const internal::RowScales& from = s.block->key_scales;
  const size_t dim = static_cast<size_t>(s.tile->shape.head_dim);
  const size_t group = kPerUnit<T> == 2 ? static_cast<size_t>(from.group) : dim;
  const size_t groups = dim / group;
  const auto turn = [&](const float* const* row, float* to) HWY_ATTR {
    const hn::CappedTag<float, 4> d;
    const size_t stride = KeyStride();
    const size_t squares = hn::Lanes(d) == 4 ? groups / 4 * 4 : 0;
    const float* at[kMostKeyLanes];
    for (size_t k = 0; k < lanes; ++k) {
      at[k] = row[s.first + HWY_MIN(k, s.keys - 1)];
    }
    for (size_t g = 0; g < squares; g += 4) {
      for (size_t k = 0; k < lanes; k += 4) {
        auto r0 = hn::LoadU(d, at[k] + g);
        auto r1 = hn::LoadU(d, at[k + 1] + g);
        auto r2 = hn::LoadU(d, at[k + 2] + g);
        auto r3 = hn::LoadU(d, at[k + 3] + g);
        TransposeInBlocks(d, r0, r1, r2, r3);
        float* HWY_RESTRICT column = to + g * stride + k;
        hn::StoreU(r0, d, column);
        hn::StoreU(r1, d, column + stride);
        hn::StoreU(r2, d, column + 2 * stride);
        hn::StoreU(r3, d, column + 3 * stride);
      }
    }
    for (size_t g = squares; g < groups; ++g) {
      for (size_t k = 0; k < lanes; ++k) to[g * stride + k] = at[k][g];
    }
  };
  float* scale = s.tile->key_f32;
  float* minimum = scale + groups * KeyStride();
  turn(from.scale, scale);
  if constexpr (kIsFinite<T>) {
    for (size_t k = 0; k < lanes; ++k) scale[k] *= kFiniteFactor<T>;
  }
  if constexpr (kPerUnit<T> == 2) turn(from.minimum, minimum);
  return {scale, minimum, group};
}

// Rows a multiple of this apart share few sets of a first-level cache, which
// then holds fewer of them than are turned together: each line would be fetched
// again for every piece of it. Such rows are copied. Zen 5, [batch, tokens,
// heads, 128], f32: 4 query rows a key head from memory 10 GB/s turned in place
// and 17 copied (8 key heads), one row 11 and 13 (8), 18 and 21 (4 key heads);
// from the second level 24 and 34. bf16 2 KiB apart loses a fifth there.
template <class T>
inline constexpr uintptr_t kSameSets = sizeof(T) == 4 ? 2048 : 4096;

// The `lanes` keys from key[0] on as vectors; false where those of a pair are
// not equally far apart, the steps of two pairs differ, or rows share sets.
template <class T>
HWY_INLINE bool AsVectors(const T* const* key, size_t lanes,
                          KeyVectors<T>* keys) {
  constexpr size_t kPair = 2 * TurnKeys();
  const auto at = [&](size_t k) { return reinterpret_cast<uintptr_t>(key[k]); };
  const uintptr_t step = at(1) - at(0);
  keys->step = static_cast<ptrdiff_t>(step);
  keys->first[1] = key[0];
  uintptr_t other = 0;
  for (size_t k = 0; k < lanes; k += kPair) {
    keys->first[k / kPair] = key[k];
    for (size_t i = k + 1; i < k + kPair; ++i) {
      other |= (at(i) - at(i - 1)) ^ step;
    }
  }
  return other == 0 && (step % kSameSets<T> != 0 || step == 0);
}

// Scores of `lanes` keys that are made floats first, kWidenColumns at a time.
template <class T>
HWY_INLINE void ScoreWidenedRows(const T* const* key, size_t lanes,
                                 const NestRows& rows, size_t num_rows,
                                 const TurnedScales& scales, float* wide,
                                 FetchKeys fetch) {
  KeyVectors<float> keys;
  keys.step = kWidenColumns * sizeof(float);
  keys.first[0] = wide;
  keys.first[1] = wide + kScoreKeys / 2 * kWidenColumns;
  for (size_t c = 0; c < rows.depth; c += kWidenColumns) {
    NestRows part = rows;
    part.scalar += c;
    part.depth = HWY_MIN(kWidenColumns, rows.depth - c);
    for (size_t k = 0; k < lanes; ++k) {
      float* to = wide + k * kWidenColumns;
      if constexpr (kPerUnit<T> == 2) {
        const size_t group = c / scales.group * KeyStride() + k;
        const ScaledRow<T> row(key[k] + c / 2, scales.scale + group,
                               scales.minimum + group);
        WidenScaledRow(row, part.depth, to);
      } else if constexpr (kIsFinite<T>) {
        ConvertRow(ScaledStep{scales.scale[k] / kFiniteFactor<T>},
                   reinterpret_cast<const FormatOf<T>*>(key[k] + c), part.depth,
                   to);
      } else if constexpr (kScaled<T>) {
        ConvertRow(ScaledStep{scales.scale[k]}, key[k] + c, part.depth, to);
      } else {
        WidenRow(key[k] + c, part.depth, to);
      }
      fetch.Next();
    }
    ScoreRows(keys, lanes / TurnKeys(), part, num_rows, {}, nullptr, 0);
  }
}

// Raw scores: score[row][key]. Lanes beyond the keys repeat the last key.
template <class T>
HWY_NOINLINE void DecodeScores(const DecodeStep& s) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const size_t stride = KeyStride();
  const size_t dim = static_cast<size_t>(s.tile->shape.head_dim);
  const size_t lanes = (s.keys + KeyUnit() - 1) / KeyUnit() * KeyUnit();
  // Any pointer may be read as one to void.
  const T* const* key =
      reinterpret_cast<const T* const*>(s.block->key + s.first);
  const T* repeated[kMostKeyLanes];
  if (lanes != s.keys) {
    for (size_t k = 0; k < lanes; ++k) {
      repeated[k] = key[HWY_MIN(k, s.keys - 1)];
    }
    key = repeated;
  }
  float* HWY_RESTRICT score = s.tile->score;
  for (size_t i = 0; i < s.rows * stride; i += N) {
    hn::StoreU(hn::Zero(d), d, score + i);
  }
  const TurnedScales scales = TurnScales<T>(s, lanes);
  const BlockRows ahead(s.block->key + s.first, s.block->fetch_key,
                        s.block->next_key, s.keys, RowBytes<T>(dim));
  for (size_t k = 0; k < lanes; k += kScoreKeys) {
    const size_t take = HWY_MIN(kScoreKeys, lanes - k);
    const NestRows rows = {s.tile->query, dim, score + k, stride, dim};
    KeyVectors<T> keys;
    if (kTurnsWords<T> && AsVectors(key + k, take, &keys)) {
      if constexpr (kTurnsWords<T>) {
        ScoreRows(keys, take / TurnKeys(), rows, s.rows, scales.Skip(k), &ahead,
                  k);
      }
    } else {
      const size_t steps = take * ((dim + kWidenColumns - 1) / kWidenColumns);
      ScoreWidenedRows(key + k, take, rows, s.rows, scales.Skip(k),
                       s.tile->row_f32, FetchKeys(ahead, k, take, steps));
    }
  }
}

// Scores of `row` become weights: moves m, rescales l and acc.
HWY_NOINLINE void DecodeWeights(const DecodeStep& s, size_t row) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  float* HWY_RESTRICT score = s.tile->score + row * KeyStride();
  auto most = hn::LoadU(d, score);
  for (size_t k = N; k < s.keys; k += N) {
    most = hn::Max(most, hn::LoadU(d, score + k));
  }
  const auto before = hn::Set(d, s.state.m[row]);
  // An integer, so that rescaling is exact and leaves no trace of the blocks.
  const auto m = hn::Max(before, hn::Round(hn::MaxOfLanes(d, most)));
  for (size_t k = 0; k < s.keys; k += N) {
    hn::StoreU(Exp2(d, hn::Sub(hn::LoadU(d, score + k), m)), d, score + k);
  }
  if (!hn::AllTrue(d, hn::Eq(before, m))) {
    const auto alpha = Rescale(d, hn::Sub(before, m));
    s.state.m[row] = hn::GetLane(m);
    s.state.l[row] *= hn::GetLane(alpha);
    float* HWY_RESTRICT acc = s.state.acc + row * s.state.acc_row;
    for (size_t c = 0; c < s.state.acc_row; c += N) {
      hn::StoreU(hn::Mul(alpha, hn::LoadU(d, acc + c)), d, acc + c);
    }
  }
}

// Adds the weights of R rows to their l, key by key: chains that run side by
// side.
template <int R>
HWY_INLINE void SumWeights(const DecodeStep& s, size_t row) {
  const float* HWY_RESTRICT weight = s.tile->score + row * KeyStride();
  float* HWY_RESTRICT l = s.state.l + row;
  float l0 = l[0];
  float l1 = R > 1 ? l[R > 1] : 0.0f;
  float l2 = R > 2 ? l[R > 2 ? 2 : 0] : 0.0f;
  float l3 = R > 3 ? l[R > 3 ? 3 : 0] : 0.0f;
  for (size_t k = 0; k < s.keys; ++k) {
    l0 += weight[k];
    if constexpr (R > 1) l1 += weight[KeyStride() + k];
    if constexpr (R > 2) l2 += weight[2 * KeyStride() + k];
    if constexpr (R > 3) l3 += weight[3 * KeyStride() + k];
  }
  l[0] = l0;
  if constexpr (R > 1) l[1] = l1;
  if constexpr (R > 2) l[2] = l2;
  if constexpr (R > 3) l[3] = l3;
}

HWY_NOINLINE void SumAllWeights(const DecodeStep& s) {
  size_t row = 0;
  for (; row + 4 <= s.rows; row += 4) SumWeights<4>(s, row);
  if (s.rows - row == 3) return SumWeights<3>(s, row);
  if (s.rows - row == 2) return SumWeights<2>(s, row);
  if (s.rows - row == 1) return SumWeights<1>(s, row);
}

HWY_INLINE bool SeesNothing(const QueryTile& tile, const KeyBlock& block) {
  return tile.num_groups == 0 || block.first[0] >= block.last[0];
}

HWY_INLINE DecodeStep StepOf(const QueryTile& tile, const KeyBlock& block) {
  return {&tile,
          &block,
          static_cast<size_t>(tile.shape.rows),
          block.first[0],
          static_cast<size_t>(block.last[0] - block.first[0]),
          block.full[0],
          DecodeStateAt(tile, tile.state)};
}

// The first half of a step: scores as they are weighed.
inline void ScoreKeys(const DecodeStep& s) {
  const QueryTile& tile = *s.tile;
  const size_t N = hn::Lanes(hn::ScalableTag<float>());
  WithElement(tile.shape.key, [&](auto key) {
    using T = decltype(key);
    if constexpr (kMayBeFinite<T>) {
      if (AreFinite<T>(s.block->key, s.block->key_scales, s.first, s.keys,
                       static_cast<size_t>(tile.shape.head_dim))) {
        return DecodeScores<Finite<T>>(s);
      }
    }
    DecodeScores<T>(s);
  });
  int32_t position[kMostKeyLanes];
  const bool modify = !s.full || s.keys % N != 0 || tile.shape.rule.softcap ||
                      tile.scores != nullptr;
  if (modify) {
    for (size_t k = 0; k < s.keys; ++k) {
      position[k] = s.block->position[s.first + k];
    }
    for (size_t k = s.keys; k % N != 0; ++k) position[k] = INT32_MAX;
  }
  if (tile.scores != nullptr && tile.scores->adds) LayOutDecodeAddends(s);
  for (size_t row = 0; modify && row < s.rows; ++row) {
    DecodeModify(s, row, position);
  }
  if (tile.scores != nullptr && tile.scores->hook != nullptr) {
    HookDecodeScores(s);
  }
}

// The second half, from the scores in the tile.
inline void WeighKeys(const DecodeStep& s) {
  for (size_t row = 0; row < s.rows; ++row) DecodeWeights(s, row);
  SumAllWeights(s);
  WithElement(s.tile->shape.value,
              [&](auto value) { DecodeValues<decltype(value)>(s); });
}

inline void DecodeBlock(const QueryTile& tile, const KeyBlock& block) {
  if (SeesNothing(tile, block)) return;
  const DecodeStep s = StepOf(tile, block);
  ScoreKeys(s);
  WeighKeys(s);
}

// Plans take this kernel only where KeyStride() is kBlockKeys.
inline void DecodeScoreBlock(const QueryTile& tile, const KeyBlock& block,
                             float* scores) {
  if (SeesNothing(tile, block)) return;
  QueryTile to = tile;
  to.score = scores;
  ScoreKeys(StepOf(to, block));
}

inline void DecodeWeighBlock(const QueryTile& tile, const KeyBlock& block,
                             const float* scores) {
  if (SeesNothing(tile, block)) return;
  const DecodeStep s = StepOf(tile, block);
  // Weights take the place of scores, which other tiles read too.
  for (size_t i = 0; i < s.rows * KeyStride(); ++i) tile.score[i] = scores[i];
  WeighKeys(s);
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_DECODE_STEP_INL_H_
