// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Inputs of variants where the host has none.
#include <algorithm>
#include <cstdint>

#include "heed/linear_variant.h"
#include "lib/core/check.h"
#include "lib/core/tensors.h"
#include "lib/kernels/kernel_table.h"
#include "lib/linear/check_scan.h"

namespace heed {
namespace {

// The finaliser of SplitMix64.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

// The key's batch and seqlen, or those of weights.
Status CheckInput(const VariantArgs& host, const Input& input, int64_t batch,
                  int64_t seqlen, const ConstTensorView& view) {
  if (view.absent()) return internal::Invalid(input.name, "is absent");
  const internal::TensorName name = {input.name, "overlaps an input"};
  Status status = internal::CheckType(view, name);
  if (status.ok()) {
    status = internal::CheckView(view, name, internal::TensorRole::kInput);
  }
  if (!status.ok()) return status;
  const ConstTensorView& key = host.args.key;
  const int64_t want[] = {batch, seqlen, key.heads(),
                          ChannelsOf(input, host.args)};
  for (int i = 0; i < 4; ++i) {
    if (view.extent[i] == want[i]) continue;
    return internal::Invalid(input.name,
                             "has not the extents that the call asks for")
        .WithIndex(i)
        .WithValue(view.extent[i])
        .WithBound(want[i], BoundKind::kNeeds);
  }
  return Status();
}

// Keys that the last row sees, and with it any.
int64_t SeenKeys(const VariantArgs& host) {
  const int64_t rows = host.args.query.seqlen(), keys = host.args.key.seqlen();
  if (rows == 0 || !host.params.causal) return rows == 0 ? 0 : keys;
  const int64_t end = rows + FirstPosition(host.params, rows, keys);
  return std::clamp<int64_t>(end, 0, keys);
}

}  // namespace

double DrawnAt(const Input& input, int index, int64_t batch, int64_t token,
               int64_t head, int64_t channel) {
  uint64_t x = static_cast<uint64_t>(index);
  for (const int64_t at : {batch, token, head, channel}) {
    x = Mix(x ^ static_cast<uint64_t>(at));
  }
  const double unit = static_cast<double>(x >> 11) * 0x1p-53;
  return input.low + (input.high - input.low) * unit;
}

Status InputOrDrawn(const VariantArgs& host, const Input* inputs, int index,
                    ConstTensorView* view) {
  if (host.inputs != nullptr) {
    const Status status =
        CheckInput(host, inputs[index], host.args.key.batch(),
                   host.args.key.seqlen(), host.inputs[index]);
    if (status.ok()) *view = host.inputs[index];
    return status;
  }
  const Input& input = inputs[index];
  return MakeInput(
      host, ChannelsOf(input, host.args),
      [&](int64_t b, int64_t token, int64_t head, int64_t channel) {
        return DrawnAt(input, index, b, token, head, channel);
      },
      view);
}

Status InputOrDrawn(const VariantArgs& host, const Input* inputs, int index,
                    const InputRange& range, ConstTensorView* view) {
  ConstTensorView input;
  const Status status = InputOrDrawn(host, inputs, index, &input);
  if (!status.ok()) return status;
  if (host.inputs != nullptr) {
    const internal::TensorName name = {inputs[index].name, nullptr};
    const Status checked =
        internal::CheckRange(TokensOf(input, 0, SeenKeys(host)), name,
                             range.low, range.high, range.message);
    if (!checked.ok()) return checked;
  }
  *view = input;
  return status;
}

Status CheckMapWidth(const VariantArgs& host, int64_t times) {
  const int64_t dim = host.args.key.head_dim();
  const int64_t most = internal::kMaxHeadDim / times;
  if (dim <= most) return Status();
  return Status(StatusCode::kUnsupported, "head_dim",
                "is larger than this variant's map offers")
      .WithValue(dim)
      .WithBound(most);
}

Status CheckWeights(const VariantArgs& host, const Input* inputs, int index,
                    int64_t rows) {
  if (host.inputs == nullptr) return Status();
  return CheckInput(host, inputs[index], 1, rows, host.inputs[index]);
}

}  // namespace heed
