// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Draws deterministic tensors. Only exact or singly rounded operations, so that
// no platform's math library leaves a trace.
#include "lib/eval/workload.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "lib/oracle/element.h"

namespace heed::eval {
namespace {

constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;

uint64_t Mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

uint64_t Combine(uint64_t seed, int64_t value) {
  return Mix(seed + kGolden * (static_cast<uint64_t>(value) + 1));
}

// Sum of four uniforms on 16 bits, centred and scaled to variance 1.
float Normal(uint64_t bits) {
  const int32_t sum =
      static_cast<int32_t>((bits & 0xffff) + ((bits >> 16) & 0xffff) +
                           ((bits >> 32) & 0xffff) + (bits >> 48));
  return static_cast<float>(sum - 131070) * (1.7320508f / 65536.0f);
}

float WholeNumber(uint64_t bits) {
  return static_cast<float>(static_cast<int32_t>((bits >> 32) % 9) - 4);
}

// What the first channel of kGrowing's query holds: twice the root of head_dim,
// so that a step of 1 in the key's first channel raises the score by 2.
float GrowingQuery(int64_t head_dim) {
  int64_t root = 1;
  while ((root + 1) * (root + 1) <= head_dim) ++root;
  return static_cast<float>(2 * root);
}

float Draw(Fill fill, int which, int64_t s, int64_t c, int64_t head_dim,
           uint64_t bits) {
  const bool scored = which != 2;  // query or key
  switch (fill) {
    case Fill::kNormal:
      return Normal(bits);
    case Fill::kInteger:
      return WholeNumber(bits);
    case Fill::kSpread:
      return Normal(bits) * (scored ? 8.0f : 1.0f);
    case Fill::kOneHot:
      return Normal(bits) * (scored ? 32.0f : 1.0f);
    case Fill::kGrowing:
      if (which == 0 && c == 0) return GrowingQuery(head_dim);
      if (which == 1 && c == 0) return static_cast<float>(s / 64);
      return Normal(bits) * (which == 0 ? 0.25f : 1.0f);
    case Fill::kEqual:
      return Normal(bits);
  }
  return 0.0f;
}

std::shared_ptr<std::vector<float>> MakeMemory(int64_t elements) {
  auto memory =
      std::make_shared<std::vector<float>>(static_cast<size_t>(elements));
  for (float& element : *memory) {
    std::memcpy(&element, &kSentinelBits, sizeof(element));
  }
  return memory;
}

constexpr int64_t kMargin = 32;  // floats of sentinel in front and behind

struct Placed {
  std::shared_ptr<std::vector<float>> memory;
  char* data;
};

// Memory for `elements` and where the first of them stands: `misalign` elements
// past a 64-byte boundary, with a margin on both sides.
Placed Place(int64_t elements, DType dtype, int misalign) {
  const int64_t bytes = BytesOf(dtype, elements);
  auto memory = MakeMemory((bytes + 3) / 4 + 3 * kMargin);
  float* base = memory->data() + kMargin;
  while (reinterpret_cast<uintptr_t>(base) % 64 != 0) ++base;
  return {memory, reinterpret_cast<char*>(base) + misalign * SizeOf(dtype)};
}

// Elements from the first to the last of a view, or more.
int64_t Span(const TensorView& view) {
  int64_t bytes = 0;
  for (int i = 0; i < 3; ++i) {
    if (view.extent[i] == 0) return 0;
    bytes += (view.extent[i] - 1) * view.stride[i];
  }
  const int64_t per_unit = view.dtype == DType::kU4 ? 2 : 1;
  return bytes / SizeOf(view.dtype) * per_unit + view.extent[3];
}

bool IsQuantised(DType dtype) {
  return dtype != DType::kF32 && dtype != DType::kBF16 && dtype != DType::kF16;
}

// Makes a view of floats one of as many elements of another type.
void SetDType(DType dtype, TensorView* view) {
  for (int64_t& stride : view->stride) {
    // Odd ones of packed elements lose one, and rows still have their room.
    stride = dtype == DType::kU4 ? stride / 8 : stride / 4 * SizeOf(dtype);
  }
  view->stride[3] = SizeOf(dtype);
  view->dtype = dtype;
}

Tensor PlaceView(TensorView view, int misalign, DType dtype) {
  SetDType(dtype, &view);
  const Placed placed = Place(Span(view), dtype, misalign);
  view.data = placed.data;
  return Tensor{placed.memory, view};
}

// Key and value, and the query too where it has as many positions, as slices of
// one row a position.
void MakePacked(const AttentionShape& shape, int misalign, Tensors* tensors) {
  const bool with_query =
      shape.seqlen_q == shape.seqlen_k && shape.query_dtype == shape.key_dtype;
  const int64_t query = with_query ? shape.num_heads * shape.head_dim : 0;
  const int64_t key = shape.num_kv_heads * shape.head_dim;
  const int64_t row = query + key + shape.num_kv_heads * shape.head_dim_v;
  const int64_t batch_stride = shape.seqlen_k * row;
  const DType dtype = shape.key_dtype;
  const Placed placed = Place(shape.batch * batch_stride, dtype, misalign);
  const auto slice = [&](int64_t offset, int64_t heads, int64_t dim) {
    float* const none = nullptr;
    TensorView view = Strided(none, shape.batch, shape.seqlen_k, heads, dim,
                              batch_stride, row, dim);
    SetDType(dtype, &view);
    view.data = placed.data + BytesOf(dtype, offset);
    return Tensor{placed.memory, view};
  };
  if (with_query) {
    tensors->query = slice(0, shape.num_heads, shape.head_dim);
  } else {
    tensors->query =
        MakeTensor(shape.batch, shape.seqlen_q, shape.num_heads, shape.head_dim,
                   Layout::kBshd, misalign, shape.query_dtype);
  }
  tensors->key = slice(query, shape.num_kv_heads, shape.head_dim);
  tensors->value = slice(query + key, shape.num_kv_heads, shape.head_dim_v);
}

}  // namespace

uint64_t Random::Next() { return Mix(state_ += kGolden); }

int64_t Random::Below(int64_t bound) {
  return static_cast<int64_t>(Next() % static_cast<uint64_t>(bound));
}

float* Tensor::At(int64_t b, int64_t s, int64_t h, int64_t c) const {
  return static_cast<float*>(view.data) +
         (b * view.stride[0] + s * view.stride[1] + h * view.stride[2] +
          c * view.stride[3]) /
             4;
}

std::vector<float> Tensor::Dense() const {
  std::vector<float> dense;
  for (int64_t b = 0; b < view.batch(); ++b) {
    for (int64_t s = 0; s < view.seqlen(); ++s) {
      for (int64_t h = 0; h < view.heads(); ++h) {
        if (view.head_dim() == 0) continue;
        if (view.dtype == DType::kF32) {
          const float* row = At(b, s, h);
          dense.insert(dense.end(), row, row + view.head_dim());
          continue;
        }
        for (int64_t c = 0; c < view.head_dim(); ++c) {
          dense.push_back(
              static_cast<float>(oracle::ElementAt(view, b, s, h, c)));
        }
      }
    }
  }
  return dense;
}

void Tensor::FillAll(uint32_t bits) const {
  for (float& element : *memory) {
    std::memcpy(&element, &bits, sizeof(element));
  }
}

bool Tensor::PaddingIntact() const {
  const char* bytes = reinterpret_cast<const char*>(memory->data());
  std::vector<bool> used(memory->size() * sizeof(float), false);
  for (int64_t b = 0; b < view.batch(); ++b) {
    for (int64_t s = 0; s < view.seqlen(); ++s) {
      for (int64_t h = 0; h < view.heads(); ++h) {
        const int64_t row = oracle::AddressOf(view, b, s, h, 0) - bytes;
        for (int64_t i = 0; i < BytesOf(view.dtype, view.head_dim()); ++i) {
          used[static_cast<size_t>(row + i)] = true;
        }
      }
    }
  }
  char sentinel[sizeof(kSentinelBits)];
  std::memcpy(sentinel, &kSentinelBits, sizeof(sentinel));
  for (size_t i = 0; i < used.size(); ++i) {
    if (!used[i] && bytes[i] != sentinel[i % sizeof(sentinel)]) return false;
  }
  return true;
}

AttentionArgs Tensors::Args() const {
  AttentionArgs args;
  args.query = query.view;
  args.key = key.view;
  args.value = value.view;
  args.out = out.view;
  args.lse = lse.view;
  args.kv_scales.key_scale = key_scale.view;
  args.kv_scales.key_minimum = key_minimum.view;
  args.kv_scales.value_scale = value_scale.view;
  args.kv_scales.value_minimum = value_minimum.view;
  args.kv_scales.key_rotated = problem.shape.key_rotated;
  args.kv_scales.value_rotated = problem.shape.value_rotated;
  return args;
}

void Tensors::ClearOutput() const {
  out.FillAll(kSentinelBits);
  lse.FillAll(kSentinelBits);
}

Tensor MakeTensor(int64_t batch, int64_t seqlen, int64_t heads,
                  int64_t head_dim, Layout layout, int misalign, DType dtype) {
  float* const none = nullptr;
  switch (layout) {
    case Layout::kBhsd:
      return PlaceView(Bhsd(none, batch, heads, seqlen, head_dim), misalign,
                       dtype);
    case Layout::kPadded: {
      const int64_t head = head_dim + 3;
      const int64_t row = heads * head + 5;
      return PlaceView(Strided(none, batch, seqlen, heads, head_dim,
                               seqlen * row + 7, row, head),
                       misalign, dtype);
    }
    case Layout::kBshd:
    case Layout::kPacked:
      break;
  }
  return PlaceView(Bshd(none, batch, seqlen, heads, head_dim), misalign, dtype);
}

namespace {

// A scale about `size`, of 16 different ones.
float DrawScale(float size, uint64_t bits) {
  return size * (1.0f + static_cast<float>(bits >> 60) * 0.0625f);
}

// The scales of a quantised tensor, such that numbers up to 3.5 fit.
void DrawScales(const WorkloadOptions& options, int which, const Tensor& of,
                Tensor* scale, Tensor* minimum) {
  const TensorView& view = of.view;
  const bool packed = view.dtype == DType::kU4;
  int64_t groups = 1;
  if (packed) {
    const bool large = options.scale_group == 64 && view.head_dim() % 64 == 0;
    groups = view.head_dim() / (large ? 64 : 32);
  }
  const auto make = [&] {
    return MakeTensor(
        view.batch(), view.seqlen(), view.heads(), groups,
        options.layout == Layout::kPacked ? Layout::kBshd : options.layout);
  };
  *scale = make();
  if (packed) *minimum = make();
  const float size = packed                     ? 0.4375f
                     : view.dtype == DType::kI8 ? 0.03125f
                                                : 0.015625f;
  for (int64_t b = 0; b < view.batch(); ++b) {
    for (int64_t s = 0; s < view.seqlen(); ++s) {
      const int64_t drawn = options.fill == Fill::kEqual && which == 1 ? 0 : s;
      for (int64_t h = 0; h < view.heads(); ++h) {
        uint64_t row = Combine(options.seed, 16 + which);
        row = Combine(Combine(Combine(row, b), drawn), h);
        for (int64_t g = 0; g < groups; ++g) {
          const float drawn_scale = DrawScale(size, Combine(row, g));
          *scale->At(b, s, h, g) = drawn_scale;
          if (packed) *minimum->At(b, s, h, g) = -8.0f * drawn_scale + 0.1f;
        }
      }
    }
  }
}

// Draws keys or values; quantised ones from f32, with scales of their own.
void FillInput(const WorkloadOptions& options, int which, const Tensor& tensor,
               Tensor* scale, Tensor* minimum) {
  const TensorView& view = tensor.view;
  if (!IsQuantised(view.dtype)) {
    return FillTensor(tensor, which, options.fill, options.seed);
  }
  DrawScales(options, which, tensor, scale, minimum);
  const Tensor f32 = MakeTensor(view.batch(), view.seqlen(), view.heads(),
                                view.head_dim(), Layout::kBshd);
  FillTensor(f32, which, options.fill, options.seed);
  for (int64_t b = 0; b < view.batch(); ++b) {
    for (int64_t s = 0; s < view.seqlen(); ++s) {
      for (int64_t h = 0; h < view.heads(); ++h) {
        const float* numbers = f32.At(b, s, h);
        const float* scales = scale->At(b, s, h);
        const float* minima =
            view.dtype == DType::kU4 ? minimum->At(b, s, h) : nullptr;
        for (int64_t c = 0; c < view.head_dim(); ++c) {
          const int64_t g = c / (view.head_dim() / scale->view.head_dim());
          const float from = minima == nullptr ? 0.0f : minima[g];
          oracle::StoreElement(view, b, s, h, c,
                               (numbers[c] - from) / scales[g]);
        }
      }
    }
  }
}

}  // namespace

Tensors MakeTensors(const io::Problem& problem,
                    const WorkloadOptions& options) {
  const AttentionShape& shape = problem.shape;
  const auto make = [&](int64_t seqlen, int64_t heads, int64_t dim,
                        DType dtype) {
    return MakeTensor(shape.batch, seqlen, heads, dim, options.layout,
                      options.misalign, dtype);
  };
  Tensors tensors;
  tensors.problem = problem;
  if (options.layout == Layout::kPacked) {
    MakePacked(shape, options.misalign, &tensors);
  } else {
    tensors.query = make(shape.seqlen_q, shape.num_heads, shape.head_dim,
                         shape.query_dtype);
    tensors.key = make(shape.seqlen_k, shape.num_kv_heads, shape.head_dim,
                       shape.key_dtype);
    tensors.value = make(shape.seqlen_k, shape.num_kv_heads, shape.head_dim_v,
                         shape.value_dtype);
  }
  tensors.out =
      make(shape.seqlen_q, shape.num_heads, shape.head_dim_v, shape.out_dtype);
  // lse as the library's users keep it, [batch][heads][seqlen], unless padded.
  tensors.lse = MakeTensor(
      shape.batch, shape.seqlen_q, shape.num_heads, 1,
      options.layout == Layout::kPadded ? Layout::kPadded : Layout::kBhsd,
      options.misalign);
  FillTensor(tensors.query, 0, options.fill, options.seed);
  FillInput(options, 1, tensors.key, &tensors.key_scale, &tensors.key_minimum);
  FillInput(options, 2, tensors.value, &tensors.value_scale,
            &tensors.value_minimum);
  return tensors;
}

void FillTensor(const Tensor& tensor, int which, Fill fill, uint64_t seed) {
  const TensorView& view = tensor.view;
  for (int64_t b = 0; b < view.batch(); ++b) {
    for (int64_t s = 0; s < view.seqlen(); ++s) {
      // All keys of a head are drawn as its first where they are to be equal.
      const int64_t drawn = fill == Fill::kEqual && which == 1 ? 0 : s;
      for (int64_t h = 0; h < view.heads(); ++h) {
        uint64_t row = Combine(seed, which);
        row = Combine(row, b);
        row = Combine(row, drawn);
        row = Combine(row, h);
        for (int64_t c = 0; c < view.head_dim(); ++c) {
          oracle::StoreElement(
              view, b, s, h, c,
              Draw(fill, which, s, c, view.head_dim(), Combine(row, c)));
        }
      }
    }
  }
}

}  // namespace heed::eval
