// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Lightning attention (Qin et al. 2023 and 2024, arXiv:2307.14995 and
// arXiv:2401.04658; MiniMax-01, arXiv:2501.08313): each head fades by a fixed
// factor, the slower the deeper the layer stands.
//
//   S <- exp(-slope_h) S + k_t v_t^T;  out_t = scale * q_t^T S
//
// Two conventions are in use, for head h of H and layer l of L:
//   0  ALiBi's slope, 2^(-8 (h + 1) / H), times 1 - l / (L - 1) + 1e-5, and
//      no scale, as the authors have it
//   1  8 h / H times 1 - l / L and 1/sqrt(head_dim), as flash-linear-attention
//      has it: its head 0 never fades
// softmax_scale sets another scale. SiLU, norms and the output's gate are the
// model's.
#include <heed/linear_variant.h>
#include <heed/portable_math.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {"layer", "The layer, from 0.", 0, 0, 1023, true},
    {"num_layers", "Layers of the model.", 24, 1, 1024, true},
    {"convention", "0: the authors' slopes; 1: those of fla.", 0, 0, 1, true},
    kChunkKnob,
};

// ALiBi's slopes: those of the next smaller power of two, then every other one
// of the next larger.
double Alibi(int64_t head, int64_t heads) {
  int64_t power = 1;
  while (2 * power <= heads) power *= 2;
  const double h = static_cast<double>(head);
  const double n = static_cast<double>(power);
  return head < power ? portable::Exp2(-8 * (h + 1) / n)
                      : portable::Exp2(-8 * (2 * (h - n) + 1) / (2 * n));
}

double Gate(const VariantArgs& a, int64_t head) {
  const double layers = a.knobs[1];
  const double layer = std::min(a.knobs[0], layers - 1);
  const int64_t heads = a.args.key.heads();
  if (a.knobs[2] != 0) {
    return -8 * static_cast<double>(head) / static_cast<double>(heads) *
           (1 - layer / layers);
  }
  return -Alibi(head, heads) * (1 - layer / std::max(layers - 1, 1.0) + 1e-5);
}

float ScaleOf(const VariantArgs& a) {
  return a.knobs[2] != 0 ? ops::SoftmaxScale(a.params, a.args.query.head_dim())
                         : ScaleOrOne(a.params);
}

Status RunVariant(const VariantArgs& a) {
  LinearCall call;
  call.params.scale = ScaleOf(a);
  call.chunk = static_cast<int>(a.knobs[3]);
  const Status status = MakeHeadInput(
      a, [&](int64_t head) { return Gate(a, head); }, &call.log_decay);
  return status.ok() ? AttendLinear(a, call) : status;
}

struct Law : LinearLaw {
  const VariantArgs& a;

  explicit Law(const VariantArgs& args) : a(args) {
    features = a.args.query.head_dim();
    scale = static_cast<double>(ScaleOf(a));
  }
  double LogDecay(int64_t /*batch*/, int64_t /*token*/, int64_t head,
                  int64_t /*channel*/) const {
    return Gate(a, head);
  }
};

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return LinearCost(shape, params, shape.head_dim, static_cast<int>(knobs[3]),
                    false);
}

}  // namespace

Variant lightning() {
  return {.summary = "Lightning attention: a fixed slope per head and layer.",
          .paper = "Qin et al. 2024, arXiv:2401.04658",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 4,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = ReferenceOf<Law>};
}

}  // namespace heed::variants
