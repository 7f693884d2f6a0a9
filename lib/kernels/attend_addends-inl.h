// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What score inputs add to the scores of a lane group's step, laid out as these
// are, and the keys that they leave.
#if defined(HEED_LIB_KERNELS_ATTEND_ADDENDS_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef HEED_LIB_KERNELS_ATTEND_ADDENDS_INL_H_
#undef HEED_LIB_KERNELS_ATTEND_ADDENDS_INL_H_
#else
#define HEED_LIB_KERNELS_ATTEND_ADDENDS_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "lib/kernels/attend_pack-inl.h"
#include "lib/kernels/attend_tile-inl.h"
#include "lib/kernels/group_step-inl.h"
#include "lib/kernels/hwy_math-inl.h"
#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"
#include "lib/kernels/score_rows.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {  // no symbol that a linker could take for another target
namespace hn = hwy::HWY_NAMESPACE;
using internal::kBlockKeys;
using internal::ScoreRow;
using internal::ScoreRows;

// Fetches what a row has for the step's places in the next block: rows of a
// bias or a mask are far apart, and what is read of each is too little for the
// hardware to see where it goes on. Zen 4, head_dim 64, 2,048 tokens, speed
// against a call without inputs, without and with: a bias 0.80 and 0.86
// (AVX-512), 0.78 and 0.89 (AVX2), a mask 0.92 and 0.97, 0.93 and 0.98.
HWY_INLINE void FetchRow(const ScoreRows& scores, size_t row,
                         const int32_t* position, size_t keys) {
  constexpr size_t kLine = 64;
  const size_t next = static_cast<size_t>(position[0]) + kBlockKeys;
  const auto fetch = [&](const void* of_key_0, size_t element) {
    // As an integer: it may lead past the end, and is never read. The line at
    // hand is there already, so these are the ends of pieces.
    const uintptr_t at =
        reinterpret_cast<uintptr_t>(of_key_0) + next * element + kLine - 1;
    for (size_t i = 0; i < keys * element; i += kLine) {
      __builtin_prefetch(reinterpret_cast<const void*>(at + i), /*rw=*/0,
                         /*locality=*/2);
    }
  };
  const ScoreRow& r = scores.row[row];
  if (r.bias != nullptr) {
    fetch(r.bias, static_cast<size_t>(SizeOf(scores.bias_type)));
  }
  if (r.mask != nullptr) fetch(r.mask, 1);
}

// Whether positions are consecutive.
HWY_INLINE bool Neighbours(const int32_t* position, size_t keys) {
  return static_cast<size_t>(position[keys - 1] - position[0]) == keys - 1;
}

// Bit i: mask[i] is not 0, for a block of them.
HWY_INLINE uint64_t BitsOf(const uint8_t* mask) {
  const hn::CappedTag<uint8_t, kBlockKeys> d;
  const size_t N = hn::Lanes(d);
#if HWY_HAVE_SCALABLE
  using Word = uint64_t;
#else
  using Word = hwy::UnsignedFromSize<hn::MaxLanes(decltype(d)()) / 8>;
#endif
  uint64_t bits = 0;
  for (size_t i = 0; i < kBlockKeys; i += N) {
    uint8_t bytes[8] = {};
    hn::StoreMaskBits(d, hn::Ne(hn::LoadU(d, mask + i), hn::Zero(d)), bytes);
    Word word;
    std::memcpy(&word, bytes, sizeof(word));
    bits |= uint64_t{word} << i;
  }
  return bits;
}

// The same for the keys at `position`, and nothing beyond them.
HWY_INLINE uint64_t SeenBits(const ScoreRow& row, const int32_t* position,
                             size_t keys) {
  if (row.mask_repeats) {
    return *row.mask == 0 ? 0 : ~uint64_t{0} >> (kBlockKeys - keys);
  }
  const bool in_place = Neighbours(position, keys);
  if (keys == kBlockKeys && in_place) return BitsOf(row.mask + position[0]);
  uint8_t mask[kBlockKeys] = {};
  if (in_place) {
    std::memcpy(mask, row.mask + position[0], keys);
  } else {
    for (size_t i = 0; i < keys; ++i) mask[i] = row.mask[position[i]];
  }
  return BitsOf(mask);
}

// Whether no lane sees the key, by what is added to its scores.
template <int NV>
HWY_INLINE bool NoLaneSees(const GroupStep& s, size_t key) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  for (size_t v = 0; v < NV; ++v) {
    const auto addend = hn::Load(d, s.addend + (key * NV + v) * N);
    if (!hn::AllTrue(d, hn::Eq(addend, MinusInfinity(d)))) return false;
  }
  return true;
}

// For a mask that stands alone: what it hides becomes -inf, the rest 0. Each
// row's mask becomes bits, which need no turning.
template <int NV>
HWY_NOINLINE bool LayOutMask(GroupStep* s) {
  const hn::ScalableTag<float> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  const size_t N = hn::Lanes(d);
  const ScoreRows& scores = *s->tile->scores;
  const size_t keys = s->last - s->first;
  const int32_t* position = s->block->position + s->first;
  HWY_ALIGN uint32_t bits[2][kMaxGroupRows];  // of the keys from s->first on
  const uint64_t every = ~uint64_t{0} >> (kBlockKeys - keys);
  uint64_t some_see = 0, all_see = every;
  for (size_t r = 0; r < NV * N; ++r) {
    FetchRow(scores, s->row + r, position, keys);
    const uint64_t seen = SeenBits(scores.row[s->row + r], position, keys);
    some_see |= seen;
    all_see &= seen;
    bits[0][r] = static_cast<uint32_t>(seen);
    bits[1][r] = static_cast<uint32_t>(seen >> 32);
  }
  if (some_see == 0) return false;
  s->modified = all_see != every || scores.alibi_slope != nullptr;
  if (all_see == every) return true;
  const size_t base = s->first;
  s->first = base + hwy::Num0BitsBelowLS1Bit_Nonzero64(some_see);
  s->last = base + kBlockKeys - hwy::Num0BitsAboveMS1Bit_Nonzero64(some_see);
  const auto masked = MinusInfinity(d);
  float* const addend = s->tile->addend;
  for (size_t v = 0; v < NV; ++v) {
    for (size_t key = s->first; key < s->last; ++key) {
      const size_t k = key - base;
      const auto words = hn::Load(du, bits[k / 32] + v * N);
      const auto bit = hn::Set(du, uint32_t{1} << k % 32);
      const auto seen = hn::RebindMask(d, hn::TestBit(words, bit));
      hn::Store(hn::IfThenZeroElse(seen, masked), d,
                addend + (key * NV + v) * N);
    }
  }
  s->addend = addend;
  return true;
}

// Rows of one vector to lanes: `keys` elements each, to rows of `lanes` floats.
HWY_INLINE void TurnAddends(DType type, const void* const* rows, size_t keys,
                            size_t lanes, float* to) {
  if (type == DType::kBF16) {
    PackRows<bf16, /*kScales=*/false>(rows, keys, 1.0f, lanes, to);
  } else if (type == DType::kF16) {
    PackRows<f16, /*kScales=*/false>(rows, keys, 1.0f, lanes, to);
  } else {
    PackRows<float, /*kScales=*/false>(rows, keys, 1.0f, lanes, to);
  }
}

// Lays out what is added to the step's scores, and narrows the step to the keys
// that some row sees. Returns whether there are any.
template <int NV>
HWY_NOINLINE bool LayOutAddends(GroupStep* s) {
  const size_t N = hn::Lanes(hn::ScalableTag<float>());
  const ScoreRows& scores = *s->tile->scores;
  s->modified = scores.adds || scores.alibi_slope != nullptr;
  if (!scores.adds) return true;
  if (scores.only_mask) return LayOutMask<NV>(s);
  float* const addend = s->tile->addend;
  const size_t keys = s->last - s->first;
  const int32_t* position = s->block->position + s->first;
  // A bias alone is turned from where it lies.
  const bool stored = scores.only_bias && Neighbours(position, keys);
  const size_t before = static_cast<size_t>(position[0]) *
                        static_cast<size_t>(SizeOf(scores.bias_type));
  for (size_t v = 0; v < NV; ++v) {
    const void* from[kMostLanes];
    for (size_t i = 0; i < N; ++i) {
      const size_t row = s->row + v * N + i;
      FetchRow(scores, row, position, keys);
      if (stored) {
        from[i] = static_cast<const char*>(scores.row[row].bias) + before;
        continue;
      }
      float* to = s->tile->addend_row + i * kBlockKeys;
      internal::AddendsOf(scores, static_cast<int>(row), position,
                          static_cast<int>(keys), to);
      from[i] = to;
    }
    TurnAddends(stored ? scores.bias_type : DType::kF32, from, keys, NV * N,
                addend + s->first * NV * N + v * N);
  }
  s->addend = addend;
  while (s->first < s->last && NoLaneSees<NV>(*s, s->first)) ++s->first;
  while (s->first < s->last && NoLaneSees<NV>(*s, s->last - 1)) --s->last;
  return s->first < s->last;
}

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#endif  // HEED_LIB_KERNELS_ATTEND_ADDENDS_INL_H_
