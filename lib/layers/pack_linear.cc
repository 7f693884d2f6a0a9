// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Weights on their way into panels, and a projection by itself.
#include <algorithm>
#include <cstdint>

#include "heed/layers.h"
#include "lib/core/check.h"
#include "lib/kernels/carver.h"
#include "lib/kernels/kernels.h"
#include "lib/layers/check_multi_head.h"
#include "lib/layers/linear.h"

namespace heed {
namespace internal {
namespace {

constexpr TensorName kWeightName = {"weight", "overlaps weight"};
constexpr TensorName kBiasName = {"bias", "overlaps bias"};
constexpr TensorName kMemoryName = {"memory", "overlaps memory"};
constexpr TensorName kXName = {"x", "overlaps x"};

struct Features {
  int64_t in, out;
};

Features FeaturesOf(const LinearWeights& weights) {
  const ConstTensorView& w = weights.weight;
  return weights.input_major ? Features{w.seqlen(), w.head_dim()}
                             : Features{w.head_dim(), w.seqlen()};
}

Status CheckOneMatrix(const ConstTensorView& view, const TensorName& name,
                      int64_t rows) {
  if (!IsFloat(view.dtype)) {
    return Status(StatusCode::kUnsupported, name.argument,
                  "must be f32, bf16 or f16");
  }
  const Status status = CheckView(view, name, TensorRole::kInput);
  if (!status.ok()) return status;
  for (const int axis : {0, 1, 2}) {
    const int64_t want = axis == 1 ? rows : 1;
    if (view.extent[axis] == want) continue;
    return Invalid(name.argument, "must be a matrix, [1, rows, 1, columns]")
        .WithIndex(axis)
        .WithValue(view.extent[axis])
        .WithBound(want, BoundKind::kNeeds);
  }
  return Status();
}

Status CheckWeights(const LinearWeights& weights) {
  const ConstTensorView& w = weights.weight;
  Status status = CheckOneMatrix(w, kWeightName, w.seqlen());
  if (!status.ok()) return status;
  const Features features = FeaturesOf(weights);
  for (const int64_t extent : {features.in, features.out}) {
    if (extent >= 1 && extent <= INT32_MAX) continue;
    return Invalid("weight", "must have 1 to 2^31 - 1 inputs and outputs")
        .WithValue(extent)
        .WithBound(1, BoundKind::kSaid);
  }
  if (features.in > INT64_MAX / 8 / (features.out + kPanelOutputs)) {
    return Status(StatusCode::kOverflow, "weight", "is too large");
  }
  if (weights.bias.absent()) return Status();
  status = CheckOneMatrix(weights.bias, kBiasName, 1);
  if (!status.ok()) return status;
  if (weights.bias.head_dim() == features.out) return Status();
  return Invalid("bias", "must have a number for each output")
      .WithValue(weights.bias.head_dim())
      .WithBound(features.out, BoundKind::kNeeds);
}

struct Packed {
  char* weight;
  float* bias;
};

Packed CarvePacked(Carver& carver, const LinearWeights& weights) {
  const Features features = FeaturesOf(weights);
  Packed packed;
  packed.weight = carver.Take<char>(NumPanels(features.out) * kPanelOutputs *
                                    features.in * SizeOf(weights.weight.dtype));
  packed.bias = carver.Take<float>(weights.bias.absent() ? 0 : features.out);
  return packed;
}

// Element (input, output) to [panel][input][output of the panel].
template <class Element>
void PackPanels(const LinearWeights& weights, void* panels) {
  const Features features = FeaturesOf(weights);
  const int64_t row =
      weights.weight.seqlen() > 1
          ? weights.weight.stride[1] / static_cast<int64_t>(sizeof(Element))
          : 0;
  const int64_t in_step = weights.input_major ? row : 1;
  const int64_t out_step = weights.input_major ? 1 : row;
  const Element* const from = static_cast<const Element*>(weights.weight.data);
  Element* to = static_cast<Element*>(panels);
  for (int64_t first = 0; first < features.out; first += kPanelOutputs) {
    const int64_t outputs = std::min(kPanelOutputs, features.out - first);
    for (int64_t k = 0; k < features.in; ++k) {
      const Element* at = from + k * in_step + first * out_step;
      for (int64_t j = 0; j < outputs; ++j, at += out_step) *to++ = *at;
      for (int64_t j = outputs; j < kPanelOutputs; ++j) *to++ = Element{};
    }
  }
}

Status CheckLinear(const PackedLinear& linear, const ConstTensorView& x,
                   const TensorView& out) {
  if (!IsPacked(linear)) return Invalid("linear", "was not packed");
  const struct {
    const ConstTensorView& view;
    TensorName name;
    int64_t features;
    TensorRole role;
  } views[] = {{x, kXName, linear.in_features, TensorRole::kInput},
               {out, kOutName, linear.out_features, TensorRole::kOutput}};
  for (const auto& v : views) {
    Status status = CheckF32(v.view, v.name);
    if (status.ok()) status = CheckView(v.view, v.name, v.role);
    if (!status.ok()) return status;
    const int64_t want[] = {x.extent[0], x.extent[1], 1, v.features};
    for (int i = 0; i < 4; ++i) {
      if (v.view.extent[i] == want[i]) continue;
      return Invalid(v.name.argument, "must be [batch, seqlen, 1, features]")
          .WithIndex(i)
          .WithValue(v.view.extent[i])
          .WithBound(want[i], BoundKind::kNeeds);
    }
  }
  const Status status = CheckOverlap(out, kOutName, x, kXName);
  return status.ok() ? CheckLinearApart(linear, kWeightName, out, kOutName)
                     : status;
}

}  // namespace

}  // namespace internal

size_t PackedLinearBytes(const LinearWeights& weights) {
  if (!internal::CheckWeights(weights).ok()) return 0;
  internal::Carver carver(nullptr);
  internal::CarvePacked(carver, weights);
  return static_cast<size_t>(carver.used());
}

Status PackLinear(const LinearWeights& weights, void* memory, size_t bytes,
                  PackedLinear* packed) {
  if (packed == nullptr) return internal::Invalid("packed", "is null");
  Status status = internal::CheckWeights(weights);
  if (!status.ok()) return status;
  if (memory == nullptr) return internal::Invalid("memory", "is null");
  const size_t need = PackedLinearBytes(weights);
  if (bytes < need) {
    return internal::Invalid("memory", "is too small")
        .WithValue(static_cast<int64_t>(bytes))
        .WithBound(static_cast<int64_t>(need), BoundKind::kNeeds)
        .WithUnit("bytes");
  }
  if (reinterpret_cast<uintptr_t>(memory) % kWorkspaceAlignment != 0) {
    return internal::Invalid("memory", "is not aligned to kWorkspaceAlignment")
        .WithBound(static_cast<int64_t>(kWorkspaceAlignment), BoundKind::kNeeds)
        .WithUnit("bytes");
  }
  const ConstTensorView all = Bshd(static_cast<const int8_t*>(memory), 1, 1, 1,
                                   static_cast<int64_t>(need));
  status = internal::CheckOverlap(all, internal::kMemoryName, weights.weight,
                                  internal::kWeightName);
  if (status.ok()) {
    status = internal::CheckOverlap(all, internal::kMemoryName, weights.bias,
                                    internal::kBiasName);
  }
  if (!status.ok()) return status;

  internal::Carver carver(memory);
  const internal::Packed parts = internal::CarvePacked(carver, weights);
  switch (weights.weight.dtype) {
    case DType::kF32:
      internal::PackPanels<float>(weights, parts.weight);
      break;
    case DType::kBF16:
      internal::PackPanels<bf16>(weights, parts.weight);
      break;
    default:
      internal::PackPanels<f16>(weights, parts.weight);
  }
  const internal::Features features = internal::FeaturesOf(weights);
  PackedLinear made;
  made.weight = parts.weight;
  made.dtype = weights.weight.dtype;
  made.in_features = features.in;
  made.out_features = features.out;
  if (!weights.bias.absent()) {
    const ConstTensorView bias = internal::UsedStrides(weights.bias);
    internal::KernelsOf(internal::BestTarget())
        ->ops.widen(bias.dtype, bias.data, features.out, parts.bias);
    made.bias = parts.bias;
  }
  *packed = made;
  return Status();
}

Status RunLinear(const PackedLinear& linear, const ConstTensorView& x,
                 const TensorView& out, const Executor& executor) {
  Status status = internal::CheckExecutor(executor);
  if (status.ok()) status = internal::CheckLinear(linear, x, out);
  if (!status.ok()) return status;
  const internal::LinearJob job = {&linear, internal::UsedStrides(x),
                                   internal::UsedStrides(out)};
  return internal::RunLinearJobs(
      internal::KernelsOf(internal::BestTarget())->ops, &job, 1, executor);
}

}  // namespace heed
