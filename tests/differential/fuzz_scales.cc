// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The scales of a fuzzed problem, and the elements that they are for.
#include <cmath>
#include <cstdint>

#include "lib/eval/workload.h"
#include "lib/oracle/element.h"
#include "tests/differential/fuzz_tensors.h"

namespace heed::test {
namespace {

bool Quantised(const Placement& placement) { return placement.dtype >= 3; }

// What makes elements of about 3.5 from the largest of the type.
float SizeOfScale(DType dtype) {
  return dtype == DType::kU4       ? 0.4375f
         : dtype == DType::kI8     ? 0.03125f
         : dtype == DType::kF8E4M3 ? 0.0078125f
                                   : 0x1p-14f;
}

// Scales about `size`, some of them negative; minima such that the middle of
// the 16 numbers is next to 0.
void DrawScales(const FuzzTensor& scale, const FuzzTensor& minimum, float size,
                eval::Random& random) {
  ForEachElement(scale.view, [&](int64_t b, int64_t s, int64_t h, int64_t g) {
    const float drawn = size *
                        (1.0f + static_cast<float>(random.Below(16)) / 16) *
                        (random.Below(8) == 0 ? -1.0f : 1.0f);
    oracle::StoreElement(scale.view, b, s, h, g, drawn);
    if (minimum.view.absent()) return;
    oracle::StoreElement(minimum.view, b, s, h, g, -8.0f * drawn + 0.1f);
  });
}

// Whether all of its bits give a finite number.
bool Finite(const TensorView& view, uint8_t bits) {
  if (view.dtype == DType::kF8E4M3) return (bits & 0x7f) != 0x7f;
  return view.dtype != DType::kF8E5M2 || (bits & 0x7c) != 0x7c;
}

void DrawBits(const TensorView& view, eval::Random& random) {
  ForEachElement(view, [&](int64_t b, int64_t s, int64_t h, int64_t c) {
    uint8_t bits;
    do {
      bits = static_cast<uint8_t>(random.Next());
    } while (!Finite(view, bits));
    *oracle::AddressOf(view, b, s, h, c) = static_cast<char>(bits);
  });
}

// Numbers as floats are drawn, to the nearest that the scales allow.
void Quantise(const oracle::ScaledTensor& scales, const TensorView& to,
              int which, eval::Fill fill, uint64_t seed) {
  const eval::Tensor f32 = eval::MakeTensor(to.batch(), to.seqlen(), to.heads(),
                                            to.head_dim(), eval::Layout::kBshd);
  eval::FillTensor(f32, which, fill, seed);
  ForEachElement(to, [&](int64_t b, int64_t s, int64_t h, int64_t c) {
    const auto of = [&](const ConstTensorView& view, float absent) {
      if (view.absent()) return absent;
      const int64_t size = to.head_dim() / view.head_dim();
      return static_cast<float>(oracle::ElementAt(view, b, s, h, c / size));
    };
    const float number = *f32.At(b, s, h, c) - of(scales.minimum, 0.0f);
    oracle::StoreElement(to, b, s, h, c, number / of(scales.scale, 1.0f));
  });
}

}  // namespace

void FuzzTensors::SetScales(const FuzzCase& c) {
  eval::Random random(static_cast<uint64_t>(c.seed) + 3);
  const auto set = [&](const Placement& rows, const FuzzTensor& tensor,
                       const Placement& scale_at, const Placement& minimum_at,
                       bool absent, bool large, FuzzTensor* scale,
                       FuzzTensor* minimum) {
    scale->view = minimum->view = TensorView();
    const DType dtype = DTypeOf(rows);
    const bool packed = dtype == DType::kU4;
    if (!Quantised(rows) || (absent && !packed)) return;
    const TensorView& view = tensor.view;
    const int64_t groups = packed ? view.head_dim() / (large ? 64 : 32) : 1;
    const int64_t extent[4] = {view.batch(), view.seqlen(), view.heads(),
                               groups};
    scale->Place(scale_at, DType::kF32, extent);
    if (packed) minimum->Place(minimum_at, DType::kF32, extent);
    DrawScales(*scale, *minimum, SizeOfScale(dtype), random);
  };
  set(c.key, key, c.key_scale, c.key_minimum, c.no_key_scale != 0,
      c.key_groups != 0, &key_scale, &key_minimum);
  set(c.value, value, c.value_scale, c.value_minimum, c.no_value_scale != 0,
      c.value_groups != 0, &value_scale, &value_minimum);
  args.kv_scales.key_scale = key_scale.view;
  args.kv_scales.key_minimum = key_minimum.view;
  args.kv_scales.value_scale = value_scale.view;
  args.kv_scales.value_minimum = value_minimum.view;
  args.kv_scales.key_rotated = c.key_rotated != 0;
  args.kv_scales.value_rotated = c.value_rotated != 0;
}

void FuzzTensors::FillQuantised(const FuzzCase& c) {
  eval::Random random(static_cast<uint64_t>(c.seed) + 4);
  const auto fill = [&](const Placement& rows, const FuzzTensor& tensor,
                        const oracle::ScaledTensor& scales, int which) {
    if (!Quantised(rows)) return;
    if (c.raw != 0) return DrawBits(tensor.view, random);
    Quantise(scales, tensor.view, which, static_cast<eval::Fill>(c.fill),
             static_cast<uint64_t>(c.seed));
  };
  if (c.alias == 0) fill(c.value, value, oracle::ValueOf(args), 2);
  fill(c.key, key, oracle::KeyOf(args), 1);
}

}  // namespace heed::test
