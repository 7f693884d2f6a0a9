// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Gated slot attention (GSA, Zhang et al. 2024, arXiv:2409.07146): a memory of
// slots, each of which fades by a gate of its own and takes in the token by
// what the gate leaves free. A row attends to the slots by softmax.
//
//   K <- diag(a_t) K + (1 - a_t) k_t^T;  V <- diag(a_t) V + (1 - a_t) v_t^T
//   out_t = V^T softmax(scale * K q_t),  a_t = exp(gate_t)
//
// There are head_dim slots, as in flash-linear-attention where no other number
// is asked for. Gates are an input, by slot: in the model log sigmoid of a
// projection, divided by 8. scale is softmax_scale, by default
// 1/sqrt(head_dim).
#include <heed/linear_slots.h>
#include <heed/portable_math.h>

#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {kChunkKnob};
constexpr Input kInputs[] = {
    {"gate", "Logarithm of what is left of a slot.", true, -0.2, 0.0}};

Status RunVariant(const VariantArgs& a) {
  const int64_t slots = a.args.key.head_dim();
  SlotCall call;
  call.scale = ops::SoftmaxScale(a.params, slots);
  call.chunk = static_cast<int>(a.knobs[0]);
  Status status = InputOrDrawn(a, kInputs, 0, kLogDecays, &call.log_decay);
  if (!status.ok()) return status;
  status = MakeInput(
      a, slots,
      [&](int64_t b, int64_t token, int64_t head, int64_t slot) {
        return portable::OneMinusExp(
            static_cast<double>(RowAt(call.log_decay, b, token, head)[slot]));
      },
      &call.write);
  return status.ok() ? AttendSlots(a, call) : status;
}

void Reference(const VariantArgs& a, double* out) {
  const int64_t slots = a.args.key.head_dim();
  const auto gate = [&](int64_t b, int64_t token, int64_t head, int64_t slot) {
    return InputAt(a, kInputs, 0, b, token, head, slot);
  };
  SlotReference(
      a, slots, static_cast<double>(ops::SoftmaxScale(a.params, slots)), gate,
      [&](int64_t b, int64_t token, int64_t head, int64_t slot) {
        return 1 - std::exp(gate(b, token, head, slot));
      },
      out);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return SlotCost(shape, params, shape.head_dim, static_cast<int>(knobs[0]));
}

}  // namespace

Variant gsa() {
  return {.summary = "Gated slot attention: softmax over slots that fade.",
          .paper = "Zhang et al. 2024, arXiv:2409.07146",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 1,
          .inputs = kInputs,
          .num_inputs = 1,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
