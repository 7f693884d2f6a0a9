// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Raven (Afzal et al. 2026, "Raven: High-Recall Sequence Modeling with Sparse
// Memory Routing"): gated slot attention (gsa.cc) in which a router sends each
// token to topk of the slots and leaves the others as they are.
//
//   w_t = sigmoid(router_t) over its topk largest, divided by their sum
//   K <- diag(a_t) K + (1 - a_t) k_t^T;  V <- diag(a_t) V + (1 - a_t) v_t^T
//   out_t = V^T softmax(scale * K q_t),  a_t = exp(w_t gate_t)
//
// There are head_dim slots. The gate, a number a token and head, and the
// router's logits, one a slot, are inputs. There is no scale unless
// softmax_scale asks for one, as in flash-linear-attention's layer.
#include <heed/linear_slots.h>
#include <heed/portable_math.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {
    {"topk", "Slots that take a token in; at most all.", 32, 1, 1024, true},
    kChunkKnob,
};
constexpr Input kInputs[] = {
    {"gate", "Logarithm of what is left of a slot that takes in all.", false,
     -0.5, 0.0},
    {"router", "The logit of a slot.", true, -4.0, 4.0}};

// Writes the weights of a token's slots; `order` has room for as many.
void Route(const float* router, int64_t slots, int64_t topk, int32_t* order,
           float* weight) {
  const int64_t kept = ops::TopK(router, slots, topk, order);
  double sum = 1e-9;
  std::fill(weight, weight + slots, 0.0f);
  for (int64_t i = 0; i < kept; ++i) {
    const double share =
        portable::Sigmoid(static_cast<double>(router[order[i]]));
    sum += share;
    weight[order[i]] = static_cast<float>(share);
  }
  for (int64_t i = 0; i < kept; ++i) {
    weight[order[i]] =
        static_cast<float>(static_cast<double>(weight[order[i]]) / sum);
  }
}

// weight * gate, where nothing of a gate of -inf is still nothing.
double LogDecay(double weight, double gate) {
  return weight == 0 ? 0.0 : weight * gate;
}

// Sets *view to the logarithms of what is left of each slot.
Status MakeDecays(const VariantArgs& a, const ConstTensorView& gate,
                  const ConstTensorView& router, ConstTensorView* view) {
  const ConstTensorView& key = a.args.key;
  const int64_t slots = key.head_dim();
  const int64_t each = (slots + 15) / 16 * 16;  // so that workers share no line
  float* decay =
      a.scratch.Array<float>(key.batch() * key.seqlen(), key.heads(), slots);
  int32_t* orders = a.scratch.Array<int32_t>(each, a.executor.max_workers);
  if (decay == nullptr || orders == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "decays of slots could not be allocated");
  }
  const TensorView made =
      Bshd(decay, key.batch(), key.seqlen(), key.heads(), slots);
  ForEachTokens(a, [&](int64_t b, int64_t first, int64_t end, int worker) {
    for (int64_t t = first; t < end; ++t) {
      for (int64_t h = 0; h < key.heads(); ++h) {
        float* row = RowAt(made, b, t, h);
        Route(RowAt(router, b, t, h), slots, static_cast<int64_t>(a.knobs[0]),
              orders + worker * each, row);
        const double of_all = static_cast<double>(*RowAt(gate, b, t, h));
        for (int64_t s = 0; s < slots; ++s) {
          row[s] =
              static_cast<float>(LogDecay(static_cast<double>(row[s]), of_all));
        }
      }
    }
  });
  *view = made;
  return Status();
}

Status RunVariant(const VariantArgs& a) {
  const int64_t slots = a.args.key.head_dim();
  SlotCall call;
  call.scale = ScaleOrOne(a.params);
  call.chunk = static_cast<int>(a.knobs[1]);
  ConstTensorView gate, router;
  Status status = InputOrDrawn(a, kInputs, 0, kLogDecays, &gate);
  if (status.ok()) status = InputOrDrawn(a, kInputs, 1, kAnyNumber, &router);
  if (status.ok()) status = MakeDecays(a, gate, router, &call.log_decay);
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

// A token's weights, chosen by counting the slots that go before each.
std::vector<double> WeightsAt(const VariantArgs& a, int64_t b, int64_t token,
                              int64_t head) {
  const int64_t slots = a.args.key.head_dim();
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  std::vector<double> logit, weight;
  for (int64_t s = 0; s < slots; ++s) {
    logit.push_back(InputAt(a, kInputs, 1, b, token, head, s));
  }
  double sum = 1e-9;
  for (size_t s = 0; s < logit.size(); ++s) {
    double before = 0;
    for (size_t other = 0; other < logit.size(); ++other) {
      before +=
          logit[other] > logit[s] || (logit[other] == logit[s] && other < s);
    }
    weight.push_back(before < a.knobs[0] ? sigmoid(logit[s]) : 0.0);
    sum += weight.back();
  }
  for (double& w : weight) w /= sum;
  return weight;
}

void Reference(const VariantArgs& a, double* out) {
  const int64_t slots = a.args.key.head_dim();
  std::vector<double> decays;
  for (int64_t b = 0; b < a.args.key.batch(); ++b) {
    for (int64_t t = 0; t < a.args.key.seqlen(); ++t) {
      for (int64_t h = 0; h < a.args.key.heads(); ++h) {
        for (const double weight : WeightsAt(a, b, t, h)) {
          decays.push_back(
              LogDecay(weight, InputAt(a, kInputs, 0, b, t, h, 0)));
        }
      }
    }
  }
  const auto decay = [&](int64_t b, int64_t t, int64_t h, int64_t s) {
    const ConstTensorView& key = a.args.key;
    return decays[static_cast<size_t>(
        ((b * key.seqlen() + t) * key.heads() + h) * slots + s)];
  };
  SlotReference(
      a, slots, static_cast<double>(ScaleOrOne(a.params)), decay,
      [&](int64_t b, int64_t t, int64_t h, int64_t s) {
        return 1 - std::exp(decay(b, t, h, s));
      },
      out);
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  return SlotCost(shape, params, shape.head_dim, static_cast<int>(knobs[1]));
}

}  // namespace

Variant raven() {
  return {.summary = "Raven: a router sends each token to a few slots.",
          .paper = "Afzal et al. 2026, Raven (no identifier yet)",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 2,
          .inputs = kInputs,
          .num_inputs = 2,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
