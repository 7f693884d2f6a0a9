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
#include "lib/kernels/decode_nest-inl.h"
#include "lib/kernels/decode_scores-inl.h"
#include "lib/kernels/decode_tile-inl.h"
#include "lib/kernels/decode_turn-inl.h"
#include "lib/kernels/decode_turn_scaled-inl.h"
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

// What a step's rows are multiplied by, the last row's again where lanes go on.
struct ListedScales {
  const float* scale[kMostKeyLanes];
  const float* minimum[kMostKeyLanes];
  internal::RowScales list;

  void Repeat(const internal::RowScales& from, size_t first, size_t rows,
              size_t lanes) {
    list = {scale, from.minimum != nullptr ? minimum : nullptr, from.group};
    for (size_t k = 0; k < lanes; ++k) {
      const size_t real = first + HWY_MIN(k, rows - 1);
      scale[k] = from.scale[real];
      if (list.minimum != nullptr) minimum[k] = from.minimum[real];
    }
  }
};

// Raw scores: score[row][key]. Lanes beyond the keys repeat the last key.
template <class T>
HWY_NOINLINE void DecodeScores(const DecodeStep& s) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const size_t stride = KeyStride();
  const size_t dim = static_cast<size_t>(s.tile->shape.head_dim);
  const size_t vectors = (s.keys + N - 1) / N;
  const T* key[kMostKeyLanes];
  for (size_t k = 0; k < vectors * N; ++k) {
    const size_t real = HWY_MIN(k, s.keys - 1);
    key[k] = static_cast<const T*>(s.block->key[s.first + real]);
  }
  ListedScales scales;
  if constexpr (kScaled<T>) {
    scales.Repeat(s.block->key_scales, s.first, s.keys, vectors * N);
  }
  float* HWY_RESTRICT score = s.tile->score;
  for (size_t i = 0; i < s.rows * stride; i += N) {
    hn::StoreU(hn::Zero(d), d, score + i);
  }
  FetchAhead<T> fetch(s.block->fetch_key, s.first, s.keys, dim,
                      s.block->next_key);
  FetchNothing nothing;
  for (size_t c = 0; c < dim; c += kTurnColumns<T>) {
    const size_t columns = HWY_MIN(kTurnColumns<T>, dim - c);
    if constexpr (kScaled<T>) {
      TurnQuantised(key, scales.list, vectors * N, c, columns, &fetch,
                    s.tile->row_f32, s.tile->key_f32);
    } else {
      TurnKeyRows(key, vectors * N, c, columns, &fetch, s.tile->key_f32);
    }
    NestAll(NestRows{s.tile->query + c, dim, score, stride, columns}, s.rows,
            PackedVectors{s.tile->key_f32, stride}, vectors, &nothing);
  }
}

// Scores of `row` become weights: moves m, rescales l and acc, and adds the
// weights to l, key by key.
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
  float l = s.state.l[row];
  if (!hn::AllTrue(d, hn::Eq(before, m))) {
    const auto alpha = Rescale(d, hn::Sub(before, m));
    s.state.m[row] = hn::GetLane(m);
    l *= hn::GetLane(alpha);
    float* HWY_RESTRICT acc = s.state.acc + row * s.state.acc_row;
    for (size_t c = 0; c < s.state.acc_row; c += N) {
      hn::StoreU(hn::Mul(alpha, hn::LoadU(d, acc + c)), d, acc + c);
    }
  }
  for (size_t k = 0; k < s.keys; ++k) l += score[k];
  s.state.l[row] = l;
}

// A step's rows of values.
template <class T>
HWY_INLINE StoredVectors<T> ValuesOf(const DecodeStep& s) {
  internal::RowScales scales = s.block->value_scales;
  if (scales.scale != nullptr) scales.scale += s.first;
  if (scales.minimum != nullptr) scales.minimum += s.first;
  // Any pointer may be read as one to void.
  return {reinterpret_cast<const T* const*>(s.block->value + s.first), scales};
}

// Whether any of the step's values is not finite.
template <class T>
HWY_NOINLINE bool HasNonFiniteValue(const DecodeStep& s) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const size_t dim = static_cast<size_t>(s.tile->shape.head_dim_v);
  const StoredVectors<T> values = ValuesOf<T>(s);
  const auto zero = hn::Zero(d);
  auto sum = zero;  // 0 * x is NaN for those x and nothing makes it a number
  float tail = 0.0f;
  for (size_t k = 0; k < s.keys; ++k) {
    const auto value = values.At(k);
    size_t c = 0;
    for (; c + N <= dim; c += N) {
      sum = hn::MulAdd(value.Load(d, c), zero, sum);
    }
    for (; c < dim; ++c) tail += 0.0f * value.One(c);
  }
  return tail != tail || !hn::AllTrue(d, hn::Eq(sum, sum));
}

// acc[row][c] += value[key][c] * weight[row][key], key by key.
template <class T>
HWY_NOINLINE void WeighDecodeValues(const DecodeStep& s) {
  const size_t N = hn::Lanes(hn::ScalableTag<float>());
  const size_t dim = static_cast<size_t>(s.tile->shape.head_dim_v);
  const StoredVectors<T> values = ValuesOf<T>(s);
  NestRows rows = {s.tile->score, KeyStride(), s.state.acc, s.state.acc_row,
                   s.keys};
  FetchAhead<T> fetch(s.block->fetch_value, s.first, s.keys, dim,
                      s.block->next_value);
  NestAll(rows, s.rows, values, dim / N, &fetch);
  const size_t whole = dim / N * N;
  if (whole == dim) return;
  float* HWY_RESTRICT last = s.tile->value_f32;
  for (size_t k = 0; k < s.keys; ++k) {
    const auto value = values.At(k);
    for (size_t c = whole; c < dim; ++c) {
      last[k * N + c - whole] = value.One(c);
    }
    for (size_t c = dim - whole; c < N; ++c) last[k * N + c] = 0.0f;
  }
  rows.out += whole;
  FetchNothing nothing;
  NestAll(rows, s.rows, PackedVectors{last, N}, 1, &nothing);
}

// The same where a value is not finite and some row does not see every key:
// weights of keys that a row does not see are passed over, as 0 * Inf would be
// NaN. Rare, so key by key and row by row.
template <class T>
HWY_NOINLINE void WeighSeenValues(const DecodeStep& s) {
  for (size_t row = 0; row < s.rows; ++row) {
    DecodeStep one = s;
    QueryTile tile = *s.tile;
    KeyBlock block = *s.block;
    block.fetch_value = nullptr;
    one.tile = &tile;
    one.block = &block;
    one.rows = 1;
    one.keys = 1;
    one.state.acc += row * s.state.acc_row;
    for (size_t k = 0; k < s.keys; ++k) {
      if (!SeesKey(*s.tile, row, k, s.block->position[s.first + k])) continue;
      one.first = s.first + k;
      tile.score = s.tile->score + row * KeyStride() + k;
      WeighDecodeValues<T>(one);
    }
  }
}

template <class T>
HWY_INLINE void DecodeValues(const DecodeStep& s) {
  const internal::ScoreRows* scores = s.tile->scores;
  const bool all_seen = s.full && (scores == nullptr || !scores->adds);
  if (!all_seen && HasNonFiniteValue<T>(s)) {
    WeighSeenValues<T>(s);
  } else {
    WeighDecodeValues<T>(s);
  }
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
  WithElement(tile.shape.key,
              [&](auto key) { DecodeScores<decltype(key)>(s); });
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
