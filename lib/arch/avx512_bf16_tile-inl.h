// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What the unit does with a query tile before and after its steps: lay it out,
// pack queries as pairs, finish.
#if defined(HEED_LIB_ARCH_AVX512_BF16_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_ARCH_AVX512_BF16_TILE_INL_H_
#undef HEED_LIB_ARCH_AVX512_BF16_TILE_INL_H_
#else
#define HEED_LIB_ARCH_AVX512_BF16_TILE_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "lib/arch/avx512_bf16_nest-inl.h"
#include "lib/kernels/attend_finish-inl.h"
#include "lib/kernels/attend_tile-inl.h"
#include "lib/kernels/carver.h"
#include "lib/kernels/hwy_math-inl.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"

#if HEED_COMPILE_UNIT && __has_include(<avx512bf16intrin.h>)
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16")
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target

// The f32 kernel's, but that keys and values need no floats.
internal::TileShape WithoutFloats(internal::TileShape shape) {
  shape.key = shape.value = DType::kF32;
  return shape;
}

int64_t CarvePairs(const internal::TileShape& shape, void* memory,
                   internal::QueryTile* tile) {
  const int64_t rows = HWY_MIN(PadRows(shape.rows), kMaxVectors * PadRows(1));
  internal::Carver carver(memory);
  tile->weight_pair = carver.Take<uint32_t>(kPairs * rows);
  tile->value_pair = carver.Take<uint32_t>(kPairs * shape.head_dim_v);
  return carver.used();
}

int64_t PairTileBytes(const internal::TileShape& shape) {
  internal::QueryTile tile;
  return TileBytes(WithoutFloats(shape)) + CarvePairs(shape, nullptr, &tile);
}

void PairOpen(const internal::TileShape& shape, void* memory,
              internal::QueryTile* tile) {
  const internal::TileShape floats = WithoutFloats(shape);
  Open(floats, memory, tile);
  tile->shape = shape;
  CarvePairs(shape, static_cast<char*>(memory) + TileBytes(floats), tile);
}

// What multiplies scores of unscaled queries: positive, so that it keeps the
// order of scores. PackPairs changes the sign of queries instead.
HWY_INLINE float ScoreScale(const internal::ScoreRule& rule) {
  const float scale = rule.query_scale;
  return scale < 0.0f ? -scale : scale > 0.0f ? scale : 1.0f;
}

// Transposes 16 pairs of 16 rows: to[p][row] = from[row][p]. Loads put a fourth
// of four rows each into one register, which spares half the shuffles.
HWY_INLINE void TransposePairs(const char* const from[kLanes], __m512i sign,
                               size_t to_row, uint32_t* HWY_RESTRICT to) {
  for (size_t quarter = 0; quarter < 4; ++quarter) {
    __m512i r[4];
    for (size_t i = 0; i < 4; ++i) {
      const auto load = [&](size_t row) HEED_UNIT_ATTR {
        return _mm_loadu_si128(
            reinterpret_cast<const __m128i*>(from[row] + quarter * 16));
      };
      r[i] = _mm512_castsi128_si512(load(i));
      r[i] = _mm512_inserti32x4(r[i], load(4 + i), 1);
      r[i] = _mm512_inserti32x4(r[i], load(8 + i), 2);
      r[i] = _mm512_inserti32x4(r[i], load(12 + i), 3);
      r[i] = _mm512_xor_si512(r[i], sign);
    }
    const __m512i a = _mm512_unpacklo_epi32(r[0], r[1]);
    const __m512i b = _mm512_unpacklo_epi32(r[2], r[3]);
    const __m512i e = _mm512_unpackhi_epi32(r[0], r[1]);
    const __m512i f = _mm512_unpackhi_epi32(r[2], r[3]);
    _mm512_store_si512(to, _mm512_unpacklo_epi64(a, b));
    _mm512_store_si512(to + to_row, _mm512_unpackhi_epi64(a, b));
    _mm512_store_si512(to + 2 * to_row, _mm512_unpacklo_epi64(e, f));
    _mm512_store_si512(to + 3 * to_row, _mm512_unpackhi_epi64(e, f));
    to += 4 * to_row;
  }
}

// Queries as pairs of channels, not scaled: that would round them. An odd last
// channel has a zero beside it.
void PackPairs(const internal::QueryTile& tile, const void* const* query) {
  alignas(16) static constexpr char kZeros[64] = {};
  const size_t dim = static_cast<size_t>(tile.shape.head_dim);
  const size_t pairs = (dim + 1) / 2;
  const size_t rows = static_cast<size_t>(tile.shape.rows);
  const float scale = tile.shape.rule.query_scale;
  const uint32_t flip = scale < 0.0f ? 0x80008000u : 0;
  const uint32_t keep = scale == 0.0f ? 0 : ~0u;
  const __m512i sign = _mm512_set1_epi32(static_cast<int32_t>(flip));
  ForEachGroup(tile, [&](const GroupRows& group) HEED_UNIT_ATTR {
    uint32_t* packed =
        reinterpret_cast<uint32_t*>(tile.query) + group.row * pairs;
    for (size_t r = 0; r < group.lanes; r += kLanes) {
      const char* from[kLanes];
      for (size_t i = 0; i < kLanes; ++i) {
        const size_t row = group.row + r + i;
        from[i] = row < rows ? static_cast<const char*>(query[row]) : nullptr;
      }
      size_t p = 0;
      for (; keep != 0 && 2 * p + 32 <= dim; p += kLanes) {
        const char* at[kLanes];
        for (size_t i = 0; i < kLanes; ++i) {
          at[i] = from[i] == nullptr ? kZeros : from[i] + p * sizeof(uint32_t);
        }
        TransposePairs(at, sign, group.lanes, packed + p * group.lanes + r);
      }
      for (; p < pairs; ++p) {
        for (size_t i = 0; i < kLanes; ++i) {
          uint32_t pair = 0;
          if (from[i] != nullptr) {
            std::memcpy(&pair, from[i] + p * sizeof(pair),
                        2 * p + 2 <= dim ? 4 : 2);
          }
          packed[p * group.lanes + r + i] = (pair ^ flip) & keep;
        }
      }
    }
  });
}

// Transposes: lane j of x[i] becomes lane i of x[j].
HWY_INLINE void Transpose16(__m512i (&x)[kLanes]) {
  __m512i y[kLanes];
#pragma GCC unroll 8
  for (size_t i = 0; i < kLanes; i += 2) {
    y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < kLanes; i += 4) {
    x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
    x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
    x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
    x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
  }
  // Quarter q of x[4 a + b] is now rows 4 a .. of column 4 q + b.
#pragma GCC unroll 4
  for (size_t b = 0; b < 4; ++b) {
    const __m512i low = _mm512_shuffle_i32x4(x[b], x[4 + b], 0x88);
    const __m512i odd = _mm512_shuffle_i32x4(x[b], x[4 + b], 0xdd);
    const __m512i low2 = _mm512_shuffle_i32x4(x[8 + b], x[12 + b], 0x88);
    const __m512i odd2 = _mm512_shuffle_i32x4(x[8 + b], x[12 + b], 0xdd);
    y[b] = _mm512_shuffle_i32x4(low, low2, 0x88);
    y[8 + b] = _mm512_shuffle_i32x4(low, low2, 0xdd);
    y[4 + b] = _mm512_shuffle_i32x4(odd, odd2, 0x88);
    y[12 + b] = _mm512_shuffle_i32x4(odd, odd2, 0xdd);
  }
#pragma GCC unroll 16
  for (size_t i = 0; i < kLanes; ++i) x[i] = y[i];
}

// Finish (lib/kernels/attend_finish-inl.h) for an output of bf16: times 1 / l
// rather than divided, and transposed as pairs of columns. Of a sequence of 64
// tokens the other took 18 % of the time.
void PairFinish(const internal::QueryTile& tile, void* const* out,
                float* const* lse) {
  if (tile.shape.out != DType::kBF16) return Finish(tile, out, lse);
  if (tile.scores != nullptr && tile.scores->sink != nullptr) AddSinks(tile);
  const hn::ScalableTag<float> d;
  const size_t dim = static_cast<size_t>(tile.shape.head_dim_v);
  const size_t rows = static_cast<size_t>(tile.shape.rows);
  const State state = StateOf(tile);
  const __m512 zero = _mm512_setzero_ps();
  const __m512i interleave = _mm512_load_si512(kInterleaveHalves);
  ForEachGroup(tile, [&](const GroupRows& group) HEED_UNIT_ATTR {
    if (IsFresh(state, group.row)) Begin(state, group, dim);
    for (size_t i = 0; i < group.lanes; i += kLanes) {
      const size_t row = group.row + i;
      const float* acc = state.acc + group.row * dim + i;
      const __m512 l = _mm512_load_ps(state.l + row);
      const __mmask16 some = _mm512_cmp_ps_mask(l, zero, _CMP_NEQ_UQ);
      const __m512 inverse = _mm512_maskz_div_ps(some, _mm512_set1_ps(1.0f), l);
      const auto column = [&](size_t c) HEED_UNIT_ATTR {
        // + 0 turns -0 into 0.
        return c < dim ? _mm512_maskz_fmadd_ps(
                             some, _mm512_load_ps(acc + c * group.lanes),
                             inverse, zero)
                       : zero;
      };
      for (size_t c = 0; c < dim; c += 2 * kLanes) {
        const size_t rest = dim - c;
        const __mmask32 in = rest < 32 ? (1u << rest) - 1 : ~0u;
        __m512i pair[kLanes];
#pragma GCC unroll 16
        for (size_t p = 0; p < kLanes; ++p) {
          const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh(
              column(c + 2 * p + 1), column(c + 2 * p));
          pair[p] = _mm512_permutexvar_epi16(interleave, halves);
        }
        Transpose16(pair);
        for (size_t r = 0; r < kLanes && row + r < rows; ++r) {
          _mm512_mask_storeu_epi16(static_cast<bf16*>(out[row + r]) + c, in,
                                   pair[r]);
        }
      }
      // l is not needed any more: it becomes the row's lse.
      const hn::Vec<decltype(d)> m = hn::Load(d, state.m + row);
      hn::Store(LogSum(d, m, hn::Load(d, state.l + row)), d, state.l + row);
    }
  });
  if (lse == nullptr) return;
  for (size_t r = 0; r < rows; ++r) *lse[r] = state.l[r];
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_POP_ATTRIBUTES
#endif  // HEED_COMPILE_UNIT

#endif  // HEED_LIB_ARCH_AVX512_BF16_TILE_INL_H_
