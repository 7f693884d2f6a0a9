// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The step of few query rows: lanes are keys for the scores, then columns for
// the values, so that each key and value is read once for all rows.
#if defined(HEED_LIB_KERNELS_DECODE_STEP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_DECODE_STEP_INL_H_
#undef HEED_LIB_KERNELS_DECODE_STEP_INL_H_
#else
#define HEED_LIB_KERNELS_DECODE_STEP_INL_H_
#endif

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "lib/kernels/convert-inl.h"
#include "lib/kernels/fma_tile-inl.h"
#include "lib/kernels/hwy_math-inl.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;
using internal::kBlockKeys;
using internal::KeyBlock;
using internal::QueryTile;

// Keys that are transposed together, and columns of them at a time: what is
// transposed (16 KiB) stays in the first-level cache for all rows.
inline constexpr size_t kKeysAtOnce = 32;
inline constexpr size_t kColumnsAtOnce = 128;

// At most 16 lanes: kKeysAtOnce are at least two vectors.
using DecodeTag = hn::CappedTag<float, 16>;

// Rows of a product: more would leave too few registers for the vectors.
inline constexpr size_t kDecodeRows = 4;

// The state of a tile: m and l by row, then acc [rows][head_dim_v].
struct DecodeState {
  float* m;
  float* l;
  float* acc;
};

HWY_INLINE DecodeState DecodeStateAt(const QueryTile& tile, const void* state) {
  float* m = static_cast<float*>(const_cast<void*>(state));
  return {m, m + tile.shape.rows, m + 2 * tile.shape.rows};
}

// What the block's keys [first, last) are to the tile's rows.
struct DecodeStep {
  const QueryTile* tile;
  const KeyBlock* block;
  size_t first, last;
  bool full;
};

// Fetches `bytes` from `from` on, as an address: it may lie past the end, and
// is never read. Some lines here and there: in bursts they would take all fill
// buffers, and what the block at hand misses would wait behind them.
HWY_INLINE void FetchLines(uintptr_t from, size_t bytes) {
  for (size_t at = 0; at < bytes; at += 64) {
    __builtin_prefetch(reinterpret_cast<const void*>(from + at), /*rw=*/0,
                       /*locality=*/2);
  }
}

// Keys whose columns are transposed in one go: two to a vector of 256 bits, in
// halves, which takes half the shuffles and stores of vectors of 128.
#if HWY_HAVE_SCALABLE || HWY_MAX_BYTES < 32
using KeysTag = hn::CappedTag<float, 4>;
template <class T>
HWY_INLINE hn::Vec<KeysTag> LoadColumns(const T* low, const T* /*high*/) {
  return LoadWiden(KeysTag(), low);
}
inline constexpr size_t kKeysTransposed = 4;
#else
using KeysTag = hn::CappedTag<float, 8>;
template <class T>
HWY_INLINE hn::Vec<KeysTag> LoadColumns(const T* low, const T* high) {
  const hn::Half<KeysTag> dh;
  return hn::Combine(KeysTag(), LoadWiden(dh, high), LoadWiden(dh, low));
}
inline constexpr size_t kKeysTransposed = 8;
#endif

// Columns [c, c + count) of kKeysAtOnce rows, to[column][key]. Fetches what
// lies `ahead` bytes of them; 0 for nothing.
template <class T>
HWY_INLINE void TransposeKeys(const T* const* key, size_t c, size_t count,
                              int64_t ahead, float* HWY_RESTRICT to) {
  const KeysTag d;
  const hn::Repartition<uint64_t, KeysTag> dw;
  constexpr size_t kHigh = kKeysTransposed - 4;
  // A line, or half of one.
  constexpr size_t kColumns = 16;
  for (size_t k = 0; k < kKeysAtOnce; k += kKeysTransposed) {
    const T* k0 = key[k] + c;
    const T* k1 = key[k + 1] + c;
    const T* k2 = key[k + 2] + c;
    const T* k3 = key[k + 3] + c;
    const T* h0 = key[k + kHigh] + c;
    const T* h1 = key[k + kHigh + 1] + c;
    const T* h2 = key[k + kHigh + 2] + c;
    const T* h3 = key[k + kHigh + 3] + c;
    float* HWY_RESTRICT at = to + k;
    size_t i = 0;
    while (i + 4 <= count) {
      if (ahead != 0) {
        for (size_t j = 0; j < kKeysTransposed; ++j) {
          FetchLines(reinterpret_cast<uintptr_t>(key[k + j] + c + i) +
                         static_cast<uintptr_t>(ahead),
                     1);
        }
      }
      const size_t end = HWY_MIN(i + kColumns, count / 4 * 4);
      for (; i < end; i += 4) {
        const auto r0 = LoadColumns(k0 + i, h0 + i);
        const auto r1 = LoadColumns(k1 + i, h1 + i);
        const auto r2 = LoadColumns(k2 + i, h2 + i);
        const auto r3 = LoadColumns(k3 + i, h3 + i);
        const auto a = hn::BitCast(dw, hn::InterleaveLower(d, r0, r1));
        const auto b = hn::BitCast(dw, hn::InterleaveLower(d, r2, r3));
        const auto e = hn::BitCast(dw, hn::InterleaveUpper(d, r0, r1));
        const auto f = hn::BitCast(dw, hn::InterleaveUpper(d, r2, r3));
        hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dw, a, b)), d, at);
        hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dw, a, b)), d,
                   at + kKeysAtOnce);
        hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dw, e, f)), d,
                   at + 2 * kKeysAtOnce);
        hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dw, e, f)), d,
                   at + 3 * kKeysAtOnce);
        at += 4 * kKeysAtOnce;
      }
    }
    for (; i < count; ++i) {
      for (size_t j = 0; j < kKeysTransposed; ++j) {
        at[j] = internal::scalar::Widen(key[k + j][c + i]);
      }
      at += kKeysAtOnce;
    }
  }
}

// score[r][key] = the chain over `depth` columns of kKeysAtOnce keys for MR
// rows, from 0 or going on from the score.
template <int MR>
HWY_NOINLINE void DecodeScores(const float* query, size_t dim, size_t depth,
                               const float* keys, bool go_on, float* score) {
  const DecodeTag d;
  const size_t N = hn::Lanes(d);
  for (size_t k = 0; k < kKeysAtOnce; k += 2 * N) {
    FmaTile<MR, 2>(d, StridedRows{query, dim, 1}, depth, keys + k, kKeysAtOnce,
                   {/*out=*/score + k, /*out_row=*/size_t{kBlockKeys},
                    /*load=*/go_on, /*scale=*/nullptr, /*max=*/nullptr});
  }
}

template <class T>
HWY_NOINLINE void AllDecodeScores(const DecodeStep& s) {
  const QueryTile& tile = *s.tile;
  const size_t dim = static_cast<size_t>(tile.shape.head_dim);
  const size_t rows = static_cast<size_t>(tile.shape.rows);
  for (size_t begin = s.first; begin < s.last; begin += kKeysAtOnce) {
    const size_t count = HWY_MIN(s.last - begin, kKeysAtOnce);
    const T* key[kKeysAtOnce];
    for (size_t k = 0; k < kKeysAtOnce; ++k) {
      // Beyond the last key the first stands in, and is left out below.
      key[k] = static_cast<const T*>(s.block->key[begin + (k < count ? k : 0)]);
    }
    for (size_t c = 0; c < dim; c += kColumnsAtOnce) {
      const size_t depth = HWY_MIN(dim - c, kColumnsAtOnce);
      TransposeKeys(key, c, depth, s.block->next_key, tile.key_f32);
      const float* query = tile.query + c;
      // Places beyond a row's end are as many as there are before its first
      // key: those of the next row, which are not used. The last row has room.
      float* score = tile.score + begin;
      for (size_t r = 0; r < rows; r += kDecodeRows) {
        const float* q = query + r * dim;
        float* to = score + r * kBlockKeys;
        const size_t left = rows - r;
        if (left >= 4) {
          DecodeScores<4>(q, dim, depth, tile.key_f32, c > 0, to);
        } else if (left == 3) {
          DecodeScores<3>(q, dim, depth, tile.key_f32, c > 0, to);
        } else if (left == 2) {
          DecodeScores<2>(q, dim, depth, tile.key_f32, c > 0, to);
        } else {
          DecodeScores<1>(q, dim, depth, tile.key_f32, c > 0, to);
        }
      }
    }
  }
}

// Keys that row r may see, as a mask.
template <class D, class M = hn::Mask<D>>
HWY_INLINE M VisibleKeysOf(D d, const QueryTile& tile, size_t r,
                           const int32_t* position) {
  const hn::Rebind<int32_t, D> di;
  const auto p = hn::LoadU(di, position);
  const auto window = hn::AndNot(hn::Lt(p, hn::Set(di, tile.begin[r])),
                                 hn::Lt(p, hn::Set(di, tile.end[r])));
  const auto sink = hn::Lt(p, hn::Set(di, tile.sink_end[r]));
  return hn::RebindMask(d, hn::Or(window, sink));
}

// Scores of a row become weights, its maximum moves. Returns what to multiply
// by what was summed before. Places outside [first, last) become 0.
HWY_NOINLINE float DecodeWeights(const DecodeStep& s, size_t r,
                                 const int32_t* position, float* m) {
  const DecodeTag d;
  const size_t N = hn::Lanes(d);
  const internal::ScoreRule& rule = s.tile->shape.rule;
  float* HWY_RESTRICT score = s.tile->score + r * kBlockKeys;
  if (rule.softcap) {
    for (size_t k = s.first / N * N; k < s.last; k += N) {
      const auto x = hn::LoadU(d, score + k);
      hn::StoreU(hn::Mul(Tanh(d, hn::Mul(x, hn::Set(d, rule.in_scale))),
                         hn::Set(d, rule.out_scale)),
                 d, score + k);
    }
  }
  const float infinity = -HUGE_VALF;
  for (size_t k = 0; k < s.first; ++k) score[k] = infinity;
  for (size_t k = s.last; k < kBlockKeys; ++k) score[k] = infinity;
  auto max = hn::Set(d, *m);
  for (size_t k = 0; k < kBlockKeys; k += N) {
    auto x = hn::LoadU(d, score + k);
    if (!s.full) {
      x = hn::IfThenElse(VisibleKeysOf(d, *s.tile, r, position + k), x,
                         hn::Set(d, infinity));
      hn::StoreU(x, d, score + k);
    }
    max = hn::Max(max, x);
  }
  HWY_ALIGN float lane[16];
  hn::StoreU(hn::Round(max), d, lane);
  float most = *m;
  for (size_t i = 0; i < N; ++i) most = most < lane[i] ? lane[i] : most;
  const auto after = hn::Set(d, most);
  for (size_t k = 0; k < kBlockKeys; k += N) {
    hn::StoreU(Exp2(d, hn::Sub(hn::LoadU(d, score + k), after)), d, score + k);
  }
  const float alpha =
      hn::GetLane(Rescale(d, hn::Sub(hn::Set(d, *m), hn::Set(d, most))));
  *m = most;
  return alpha;
}

// l of MR rows grows by their weights, key by key.
template <int MR>
HWY_INLINE void AddWeights(const float* HWY_RESTRICT weight, size_t first,
                           size_t last, float* l) {
  float l0 = l[0], l1 = l[MR > 1 ? 1 : 0], l2 = l[MR > 2 ? 2 : 0],
        l3 = l[MR > 3 ? 3 : 0];
  for (size_t k = first; k < last; ++k) {
    l0 += weight[k];
    if (MR > 1) l1 += weight[kBlockKeys + k];
    if (MR > 2) l2 += weight[2 * kBlockKeys + k];
    if (MR > 3) l3 += weight[3 * kBlockKeys + k];
  }
  l[0] = l0;
  if (MR > 1) l[1] = l1;
  if (MR > 2) l[2] = l2;
  if (MR > 3) l[3] = l3;
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_DECODE_STEP_INL_H_
