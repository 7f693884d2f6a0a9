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
  const int64_t bytes = elements * SizeOf(dtype);
  auto memory = MakeMemory((bytes + 3) / 4 + 3 * kMargin);
  float* base = memory->data() + kMargin;
  while (reinterpret_cast<uintptr_t>(base) % 64 != 0) ++base;
  return {memory, reinterpret_cast<char*>(base) + misalign * SizeOf(dtype)};
}

int64_t Span(const TensorView& view) {
  int64_t last = 0;
  for (int i = 0; i < 4; ++i) {
    if (view.extent[i] == 0) return 0;
    last += (view.extent[i] - 1) * (view.stride[i] / SizeOf(view.dtype));
  }
  return last + 1;
}

// Makes a view of floats one of as many elements of another type.
void SetDType(DType dtype, TensorView* view) {
  for (int64_t& stride : view->stride) stride = stride / 4 * SizeOf(dtype);
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
  const bool with_query = shape.seqlen_q == shape.seqlen_k;
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
    view.data = placed.data + offset * SizeOf(dtype);
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
        for (int64_t i = 0; i < view.head_dim() * SizeOf(view.dtype); ++i) {
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
  FillTensor(tensors.key, 1, options.fill, options.seed);
  FillTensor(tensors.value, 2, options.fill, options.seed);
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
