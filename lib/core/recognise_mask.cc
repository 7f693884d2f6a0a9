// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Dense masks read as ranges, and ranges as a rule.
#include "heed/recognise_mask.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "lib/core/check.h"
#include "lib/core/mask_rule.h"

namespace heed {
namespace {

using internal::Invalid;
using internal::KeyRange;
using internal::MaskRule;

constexpr internal::TensorName kMaskName = {"mask", "overlaps mask"};

// The bits of a type's numbers. `sign` does not count in what sees.
template <typename Word>
struct Bits {
  Word sees, sign, hides, lowest;
};

template <typename Word>
Word At(const char* row, int64_t i) {
  Word word;
  std::memcpy(&word, row + i * static_cast<int64_t>(sizeof(Word)),
              sizeof(Word));
  return word;
}

// Returns the first number from `at` on that is not `value`, but for `ignored`
// bits; `count` if there is none. Blocks of one length become vectors.
template <typename Word>
int64_t RunEnd(const char* row, int64_t at, int64_t count, Word value,
               Word ignored) {
  constexpr int64_t kBlock = 256 / sizeof(Word);
  const Word counted = static_cast<Word>(~ignored);
  for (; at + kBlock <= count; at += kBlock) {
    Word differs = 0;
    for (int64_t i = 0; i < kBlock; ++i) {
      differs = static_cast<Word>(differs |
                                  ((At<Word>(row, at + i) ^ value) & counted));
    }
    if (differs != 0) break;
  }
  while (at < count && ((At<Word>(row, at) ^ value) & counted) == 0) ++at;
  return at;
}

// Passes over hidden numbers; notes whether one was the lowest finite one.
template <typename Word>
int64_t HiddenEnd(const Bits<Word>& bits, const char* row, int64_t at,
                  int64_t count, bool* lowest) {
  while (at < count) {
    const Word word = At<Word>(row, at);
    if (word != bits.hides && word != bits.lowest) break;
    *lowest |= word != bits.hides;
    at = RunEnd<Word>(row, at, count, word, 0);
  }
  return at;
}

// Reads a row. Returns false where it is no range.
template <typename Word>
bool ReadRange(const Bits<Word>& bits, const char* row, int64_t count,
               bool lowest_hides_rows, KeyRange* range) {
  bool lowest = false;
  range->begin = HiddenEnd(bits, row, 0, count, &lowest);
  range->end = RunEnd(row, range->begin, count, bits.sees, bits.sign);
  if (range->begin == range->end) {
    if (range->begin < count || (lowest && !lowest_hides_rows)) return false;
    *range = {0, 0};
    return true;
  }
  return HiddenEnd(bits, row, range->end, count, &lowest) == count;
}

bool ReadRow(DType dtype, const char* row, int64_t count,
             bool lowest_hides_rows, KeyRange* range) {
  switch (dtype) {
    case DType::kBool:
      return ReadRange<uint8_t>({1, 0, 0, 0}, row, count, lowest_hides_rows,
                                range);
    case DType::kF16:
      return ReadRange<uint16_t>({0, 0x8000, 0xfc00, 0xfbff}, row, count,
                                 lowest_hides_rows, range);
    case DType::kBF16:
      return ReadRange<uint16_t>({0, 0x8000, 0xff80, 0xff7f}, row, count,
                                 lowest_hides_rows, range);
    default:
      return ReadRange<uint32_t>({0, 0x80000000u, 0xff800000u, 0xff7fffffu},
                                 row, count, lowest_hides_rows, range);
  }
}

class Reader {
 public:
  Reader(const ConstTensorView& mask, const MaskOptions& options)
      : mask_(internal::UsedStrides(mask)), options_(options) {}

  // Reads every plane. Returns false where a row is no range.
  bool Read() {
    // Planes that repeat have nothing new but places in the arrays.
    const bool keeps = options_.begin != nullptr || options_.end != nullptr;
    const int64_t batches = keeps || mask_.stride[0] != 0 ? mask_.batch() : 1;
    const int64_t heads = keeps || mask_.stride[2] != 0 ? mask_.heads() : 1;
    for (int64_t b = 0; b < batches; ++b) {
      for (int64_t h = 0; h < heads; ++h) {
        const bool repeats =
            (b > 0 && mask_.stride[0] == 0) || (h > 0 && mask_.stride[2] == 0);
        if (repeats) {
          Repeat(b, h);
        } else if (!ReadPlane(b, h)) {
          return false;
        }
      }
    }
    return true;
  }

  // Of a mask without keys: no row sees any.
  void KeepNone() {
    for (int32_t* array : {options_.begin, options_.end}) {
      if (array == nullptr) continue;
      std::fill_n(array, PlaneAt(mask_.batch(), 0), 0);
    }
  }

  MaskForm Recognise(RecognisedMask* mask) {
    if (rule_.Get(mask)) {
      return mask->causal || mask->window_left >= 0 ? MaskForm::kRule
                                                    : MaskForm::kAll;
    }
    if (KeepsRows() && RuleOfLengths(mask)) return MaskForm::kLengths;
    return MaskForm::kRanges;
  }

 private:
  bool KeepsRows() const {
    return options_.begin != nullptr && options_.end != nullptr;
  }
  int64_t PlaneAt(int64_t b, int64_t h) const {
    return (b * mask_.heads() + h) * mask_.seqlen();
  }

  void Keep(int64_t at, const KeyRange& range) {
    if (options_.begin != nullptr) {
      options_.begin[at] = static_cast<int32_t>(range.begin);
    }
    if (options_.end != nullptr) {
      options_.end[at] = static_cast<int32_t>(range.end);
    }
  }

  bool ReadPlane(int64_t b, int64_t h) {
    KeyRange range = {0, 0};
    for (int64_t i = 0; i < mask_.seqlen(); ++i) {
      const bool repeats = i > 0 && mask_.stride[1] == 0;
      if (!repeats &&
          !ReadRow(mask_.dtype, internal::BytesAt(mask_, b, i, h),
                   mask_.head_dim(), options_.lowest_hides_rows, &range)) {
        return false;
      }
      Keep(PlaneAt(b, h) + i, range);
      rule_.Add(i, range, mask_.head_dim());
    }
    rule_.EndPlane();
    return true;
  }

  // The plane equals an earlier one.
  void Repeat(int64_t b, int64_t h) {
    const int64_t from =
        PlaneAt(mask_.stride[0] == 0 ? 0 : b, mask_.stride[2] == 0 ? 0 : h);
    const int64_t to = PlaneAt(b, h);
    for (int32_t* array : {options_.begin, options_.end}) {
      if (array == nullptr) continue;
      std::copy_n(array + from, mask_.seqlen(), array + to);
    }
  }

  // A rule for keys that end with the last one that any row of a batch sees.
  bool RuleOfLengths(RecognisedMask* mask) const {
    MaskRule rule;
    const int64_t rows = mask_.heads() * mask_.seqlen();
    for (int64_t b = 0; b < mask_.batch(); ++b) {
      const int32_t* const begin = options_.begin + b * rows;
      const int32_t* const end = options_.end + b * rows;
      const int64_t keys = *std::max_element(end, end + rows);
      for (int64_t at = 0; at < rows; ++at) {
        const int64_t i = at % mask_.seqlen();
        // Without keys any rule holds.
        if (keys > 0) rule.Add(i, {begin[at], end[at]}, keys);
        if (i + 1 == mask_.seqlen()) rule.EndPlane();
      }
      if (options_.seqlens_k != nullptr) {
        options_.seqlens_k[b] = static_cast<int32_t>(keys);
      }
    }
    return rule.Get(mask);
  }

  const ConstTensorView mask_;
  const MaskOptions& options_;
  MaskRule rule_;
};

}  // namespace

Status RecogniseMask(const ConstTensorView& mask, const MaskOptions& options,
                     RecognisedMask* recognised) {
  if (recognised == nullptr) return Invalid("recognised", "is null");
  if (!internal::IsFloat(mask.dtype) && mask.dtype != DType::kBool) {
    return Status(StatusCode::kUnsupported, "mask",
                  "must be bool, f32, bf16 or f16");
  }
  const Status status =
      internal::CheckView(mask, kMaskName, internal::TensorRole::kInput);
  if (!status.ok()) return status;
  for (int i = 0; i < 4; ++i) {
    if (mask.extent[i] <= INT32_MAX) continue;
    return Status(StatusCode::kOverflow, "mask", "is too long for positions")
        .WithIndex(i)
        .WithValue(mask.extent[i])
        .WithBound(INT32_MAX);
  }
  RecognisedMask made;
  bool empty = false;
  for (const int64_t extent : mask.extent) empty |= extent == 0;
  Reader reader(mask, options);
  if (empty) {
    made.form = MaskForm::kAll;
    reader.KeepNone();
  } else if (reader.Read()) {
    RecognisedMask rule;
    rule.form = reader.Recognise(&rule);
    made = rule;
    if (made.form != MaskForm::kRule && made.form != MaskForm::kLengths) {
      made = RecognisedMask();
      made.form = rule.form;
    }
  }
  *recognised = made;
  return Status();
}

}  // namespace heed
