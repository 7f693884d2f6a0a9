// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "heed/onnx_linear.h"

#include <cstdint>

#include "heed/linear.h"
#include "lib/core/check.h"
#include "lib/linear/scan_tensors.h"

namespace heed {
namespace {

// A packed row as `heads` heads.
template <class View>
Status Unpack(const View& packed, int64_t heads,
              const internal::TensorName& name, View* view) {
  if (packed.absent()) return Status();
  Status status = internal::CheckType(packed, name);
  // Now, as heads of one channel have a stride of their own.
  if (status.ok()) {
    status = internal::CheckView(packed, name, internal::TensorRole::kInput);
  }
  if (!status.ok()) return status;
  if (packed.heads() != 1) {
    return internal::Invalid(name.argument,
                             "must have its heads side by side in a row")
        .WithIndex(2)
        .WithValue(packed.heads())
        .WithBound(1, BoundKind::kNeeds);
  }
  if (packed.head_dim() % heads != 0) {
    return internal::Invalid(name.argument, "must divide into its heads")
        .WithIndex(3)
        .WithValue(packed.head_dim())
        .WithBound(heads, BoundKind::kOver);
  }
  *view = packed;
  view->extent[2] = heads;
  view->extent[3] = packed.head_dim() / heads;
  view->stride[2] = view->extent[3] * SizeOf(packed.dtype);
  return status;
}

Status CheckGiven(const ConstTensorView& tensor, bool has, const char* name) {
  if (tensor.absent() != has) return Status();
  return internal::Invalid(name, has ? "is what the update rule asks for"
                                     : "is what the update rule has not");
}

}  // namespace

Status OnnxLinearAttention(const OnnxLinearAttributes& attributes,
                           const OnnxLinearTensors& tensors,
                           const Executor& executor) {
  const int64_t heads = attributes.q_num_heads;
  const int64_t kv_heads = attributes.kv_num_heads;
  const OnnxUpdateRule rule = attributes.update_rule;
  if (rule > OnnxUpdateRule::kGatedDelta) {
    return internal::Invalid("update_rule", "is none of the operator's");
  }
  if (kv_heads < 1 || heads < 1 || heads % kv_heads != 0) {
    return internal::Invalid("q_num_heads",
                             "must be a multiple of kv_num_heads, both above 0")
        .WithValue(heads)
        .WithBound(kv_heads, BoundKind::kOver);
  }
  const bool delta =
      rule == OnnxUpdateRule::kDelta || rule == OnnxUpdateRule::kGatedDelta;
  const bool gated =
      rule == OnnxUpdateRule::kGated || rule == OnnxUpdateRule::kGatedDelta;
  Status status = CheckGiven(tensors.decay, gated, "decay");
  if (status.ok()) status = CheckGiven(tensors.beta, delta, "beta");
  ScanArgs args;
  const auto unpack = [&](const auto& packed, int64_t number,
                          const internal::TensorName& name, auto* view) {
    if (status.ok()) status = Unpack(packed, number, name, view);
  };
  static constexpr internal::TensorName kDecay = {"decay", "overlaps decay"};
  unpack(tensors.query, heads, internal::kScanQueryName, &args.query);
  unpack(tensors.key, kv_heads, internal::kScanKeyName, &args.key);
  unpack(tensors.value, kv_heads, internal::kScanValueName, &args.value);
  unpack(tensors.output, heads, internal::kScanOutName, &args.out);
  unpack(tensors.decay, kv_heads, kDecay, &args.log_decay);
  const bool shared = tensors.beta.head_dim() == 1;
  unpack(tensors.beta, shared ? 1 : kv_heads, internal::kBetaName, &args.beta);
  if (!status.ok()) return status;
  if (shared && !args.beta.absent()) {
    args.beta.extent[2] = kv_heads;
    args.beta.stride[2] = 0;
  }
  args.initial_state = tensors.past_state;
  args.final_state = tensors.present_state;
  ScanParams params;
  params.scale = attributes.scale;
  return Scan(params, args, executor);
}

}  // namespace heed
