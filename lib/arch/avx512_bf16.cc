// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attention to keys and values of bf16 by vdpbf16ps: a lane adds the products
// of two pairs of bf16 in one instruction. Steps of the f32 kernel's loop, with
// other micro-kernels; states are the f32 kernel's. docs/numerics.md says what
// comes out ("kFast").
#define HEED_UNIT_FILE_Avx512Bf16 1

#include <cstddef>
#include <cstdint>

#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernels.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/arch/avx512_bf16.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"
#include "lib/arch/avx512_bf16_nest-inl.h"
#include "lib/arch/avx512_bf16_tile-inl.h"
#include "lib/arch/avx512_bf16_values-inl.h"
#include "lib/arch/avx512_bf16_weights-inl.h"
#include "lib/kernels/attend_addends-inl.h"
#include "lib/kernels/attend_scores-inl.h"
#include "lib/kernels/attend_step-inl.h"
#include "lib/kernels/attend_tile-inl.h"
#include "lib/kernels/group_step-inl.h"

// Whether the compiler knows the instructions.
#if HEED_COMPILE_UNIT && __has_include(<avx512bf16intrin.h>)
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16")
namespace heed {
namespace HWY_NAMESPACE {
namespace {

// ---- Scores -----------------------------------------------------------------

// score[r][lane] = key[r] . query[lane], not scaled. `max` as in FmaTileEnds.
template <int MR, int NV, bool kOdd>
HWY_NOINLINE void DotScores(const void* const* HWY_RESTRICT key,
                            const uint32_t* HWY_RESTRICT query, size_t head_dim,
                            float* HWY_RESTRICT score,
                            float* HWY_RESTRICT max) {
  DotTile<MR, NV>(KeyPairs<kOdd>{key}, head_dim / 2, query,
                  {/*out=*/score, /*out_row=*/NV * kLanes, /*load=*/false,
                   /*scale=*/nullptr, /*max=*/max});
}

template <int NV, bool kOdd>
HWY_INLINE void AllDotScores(const GroupStep& s, float* HWY_RESTRICT max) {
  constexpr size_t L = NV * kLanes;
  const size_t dim = static_cast<size_t>(s.tile->shape.head_dim);
  const uint32_t* query = reinterpret_cast<const uint32_t*>(s.tile->query) +
                          s.row * ((dim + 1) / 2);
  const void* const* key = s.block->key;
  float* HWY_RESTRICT score = s.tile->score;
  FetchAhead fetch(s, s.fetch_key, s.block->next_key, s.key_bytes,
                   (s.last - s.first) / kMaxRows);
  size_t k = s.first;
  for (; k + kMaxRows <= s.last; k += kMaxRows) {
    DotScores<kMaxRows, NV, kOdd>(key + k, query, dim, score + k * L, max);
    fetch.Next();
  }
  for (; k + 4 <= s.last; k += 4) {
    DotScores<4, NV, kOdd>(key + k, query, dim, score + k * L, max);
  }
  for (; k + 2 <= s.last; k += 2) {
    DotScores<2, NV, kOdd>(key + k, query, dim, score + k * L, max);
  }
  if (k < s.last) {
    DotScores<1, NV, kOdd>(key + k, query, dim, score + k * L, max);
  }
}

// ---- The step ---------------------------------------------------------------

// Whether scores are multiplied by the scale when something is added to them,
// and not as they become weights. The same for all blocks of a call, so that a
// row's bits do not depend on what a mask leaves to the rows beside it.
bool ScalesFirst(const internal::ScoreRows* scores) {
  return scores != nullptr && ((scores->adds && !scores->only_mask) ||
                               scores->alibi_slope != nullptr);
}

// With score inputs `s` is narrowed to the keys that some row sees.
template <int NV>
HWY_NOINLINE void StepDotGroup(GroupStep& s, uint64_t nonfinite) {
  constexpr size_t L = NV * kLanes;
  HWY_ALIGN float max[kMaxGroupRows];
  HWY_ALIGN float alpha[kMaxGroupRows];
  const internal::TileShape& shape = s.tile->shape;
  const internal::ScoreRows* scores = s.tile->scores;
  if (scores != nullptr && !LayOutAddends<NV>(&s)) return;
  const __m512 least = _mm512_castsi512_ps(
      _mm512_set1_epi32(static_cast<int32_t>(0xff800000u)));  // -inf
  for (size_t v = 0; v < NV; ++v) _mm512_store_ps(max + v * kLanes, least);
  const bool plain = s.full && !s.modified && !shape.rule.softcap;
  float* raise = plain ? max : nullptr;
  if (shape.head_dim % 2 == 0) {
    AllDotScores<NV, false>(s, raise);
  } else {
    AllDotScores<NV, true>(s, raise);
  }
  float scale = ScoreScale(shape.rule);
  if (ScalesFirst(scores)) {
    s.scale = scale;
    scale = 1.0f;
  }
  if (!plain) ModifyScores<NV, /*kScales=*/true>(s, max);
  for (size_t v = 0; v < NV; ++v) {
    float* at = max + v * kLanes;
    _mm512_store_ps(at,
                    _mm512_mul_ps(_mm512_load_ps(at), _mm512_set1_ps(scale)));
  }
  const bool moved = MoveMaximum<NV>(s, max, alpha);
  // Pairs are those of the block, whatever the group sees of it; so the bits of
  // a row do not depend on the rows beside it.
  const size_t first = s.first & ~size_t{1};
  const size_t last = (s.last + 1) & ~size_t{1};
  for (size_t v = 0; v < NV; ++v) {
    if (first != s.first) {
      _mm512_store_ps(s.tile->score + first * L + v * kLanes, least);
    }
    if (last != s.last) {
      _mm512_store_ps(s.tile->score + s.last * L + v * kLanes, least);
    }
  }
  if (HWY_UNLIKELY((!PairWeights<NV, false>(s, first, last, scale)))) {
    PairWeights<NV, true>(s, first, last, scale);
  }
  const float* rescale = moved ? alpha : nullptr;
  const uint64_t in_group = (~uint64_t{0} >> (64 - (last - first) / 2))
                            << first / 2;
  if (HWY_UNLIKELY((nonfinite & in_group) != 0)) {
    SelectedDotValues<NV>(s, first, last, rescale);
  } else if (s.fresh) {
    AllDotValues<NV, true>(s, first, last, nullptr);
  } else {
    AllDotValues<NV, false>(s, first, last, rescale);
  }
}

void DotStep(const QueryTile& tile, const KeyBlock& block) {
  const internal::TileShape& shape = tile.shape;
  const size_t groups = static_cast<size_t>(tile.num_groups);
  const size_t dim = static_cast<size_t>(shape.head_dim_v);
  auto [first, last] = SeenKeys(tile, block);
  first &= ~size_t{1};
  PairValues(block.value, first, last, dim, tile.value_pair);
  // Whether some row meets a value that it does not see: with weight 0.
  bool unseen = tile.scores != nullptr && tile.scores->adds;
  for (size_t g = 0; g < groups; ++g) {
    if (block.first[g] >= block.last[g]) continue;
    unseen |= !block.full[g] || block.first[g] % 2 != 0 ||
              (block.last[g] % 2 != 0 && block.last[g] != last);
  }
  const uint64_t nonfinite =
      unseen ? NonFinitePairs(tile.value_pair, first / 2, (last + 1) / 2, dim)
             : 0;
  ForEachGroup(tile, [&](const GroupRows& group) HEED_UNIT_ATTR {
    GroupStep s =
        StepOf(tile, block, group, /*key=*/nullptr, /*value=*/nullptr);
    if (s.first >= s.last) return;
    const size_t vectors = group.lanes / kLanes;
    if (vectors == 1) {
      StepDotGroup<1>(s, nonfinite);
    } else if (vectors == 2) {
      StepDotGroup<2>(s, nonfinite);
    } else {
      StepDotGroup<3>(s, nonfinite);
    }
  });
}

int DotLanes() { return static_cast<int>(kLanes); }

constexpr internal::AttendKernel kTable = {
    /*name=*/"attend_bf16_8x3x16_avx512_bf16",
    /*same_bits=*/false,
    /*lanes=*/&DotLanes,
    /*max_group_vectors=*/kMaxVectors,
    /*tile_bytes=*/&PairTileBytes,
    /*state_bytes=*/&StateBytes,
    /*open=*/&PairOpen,
    /*pack=*/&PackPairs,
    /*clear=*/&Clear,
    /*step=*/&DotStep,
    /*merge=*/&Merge,
    /*save=*/&Save,
    /*finish=*/&PairFinish,
    /*score=*/nullptr,
    /*weigh=*/nullptr,
};

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_POP_ATTRIBUTES
#elif HEED_COMPILE_TARGET
namespace heed {
namespace HWY_NAMESPACE {
namespace {

constexpr internal::AttendKernel kTable = {};

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
#endif  // HEED_COMPILE_UNIT

#if HWY_ONCE
namespace heed::internal {

const AttendKernel* Avx512Bf16Attend() {
  static constexpr const AttendKernel* kTables[] = {HEED_TABLES};
  const Target target = FactsOf(Unit::kAvx512Bf16).target;
  const AttendKernel* kernel = kTables[static_cast<int>(target)];
  return kernel == nullptr || kernel->name == nullptr ? nullptr : kernel;
}

}  // namespace heed::internal
#endif  // HWY_ONCE
