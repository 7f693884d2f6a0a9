// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// For authors of variants with a memory of slots: each is a key and a value
// that fade by the slot's own gate and take in the token by a weight of its
// own, and rows attend to slots by softmax. For each sequence and head
//
//   K <- diag(exp(log_decay_t)) K + write_t k_t^T
//   V <- diag(exp(log_decay_t)) V + write_t v_t^T
//   out_t = V^T softmax(scale * K q_t)
//
// as in gated slot attention (Zhang et al. 2024, arXiv:2409.07146): two scans
// with a decay a channel, the first of which fades by the channels of what it
// returns.
#ifndef HEED_LINEAR_SLOTS_H_
#define HEED_LINEAR_SLOTS_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "heed/export.h"
#include "heed/linear_state.h"
#include "heed/linear_variant.h"

namespace heed {

// Both inputs by key: [batch, seqlen_k, num_kv_heads, slots].
struct SlotCall {
  ConstTensorView log_decay;  // -inf to 0
  ConstTensorView write;
  float scale = 1.0f;  // of the scores of slots
  int chunk = 1;       // of ScanOptions
};

// Computes a variant's call as AttendLinear does: the same masks, offsets and
// refusals.
HEED_API Status AttendSlots(const VariantArgs& host, const SlotCall& call);

// Returns what that costs: two scans.
inline Cost SlotCost(const AttentionShape& shape, const AttentionParams& params,
                     int64_t slots, int chunk) {
  AttentionShape keys = shape;
  keys.head_dim_v = slots;
  Cost cost = LinearCost(shape, params, slots, chunk, false);
  cost.flops += LinearCost(keys, params, shape.head_dim, chunk, false).flops;
  return cost;
}

// The same in plain double, token by token; log_decay(batch, token, head, slot)
// and write(...) are numbers. Shares with AttendSlots only the order of keys
// and rows, InTokenOrder.
template <class LogDecay, class Write>
void SlotReference(const VariantArgs& a, int64_t slots, double scale,
                   LogDecay log_decay, Write write, double* out) {
  const AttentionArgs& t = a.args;
  const int64_t dim = t.key.head_dim(), dim_v = t.value.head_dim();
  const auto fade = [](double decay, double weight, const float* from,
                       int64_t n, double* to) {
    for (int64_t c = 0; c < n; ++c) {
      to[c] = decay * to[c] + weight * static_cast<double>(from[c]);
    }
  };
  for (int64_t b = 0; b < t.key.batch(); ++b) {
    for (int64_t kv = 0; kv < t.key.heads(); ++kv) {
      std::vector<double> keys(static_cast<size_t>(slots * dim));
      std::vector<double> values(static_cast<size_t>(slots * dim_v));
      std::vector<double> weight(static_cast<size_t>(slots));
      const auto take = [&](int64_t j) {
        for (int64_t m = 0; m < slots; ++m) {
          const double decay = std::exp(log_decay(b, j, kv, m));
          const double in = write(b, j, kv, m);
          fade(decay, in, RowAt(t.key, b, j, kv), dim, keys.data() + m * dim);
          fade(decay, in, RowAt(t.value, b, j, kv), dim_v,
               values.data() + m * dim_v);
        }
      };
      const auto read = [&](int64_t i, int64_t h) {
        const float* q = RowAt(t.query, b, i, h);
        double most = -INFINITY, sum = 0;
        for (int64_t m = 0; m < slots; ++m) {
          double& s = weight[static_cast<size_t>(m)];
          s = 0;
          for (int64_t c = 0; c < dim; ++c) {
            s += scale * static_cast<double>(q[c]) *
                 keys[static_cast<size_t>(m * dim + c)];
          }
          most = std::max(most, s);
        }
        for (double& s : weight) sum += s = std::exp(s - most);
        double* row =
            out + ((b * t.query.seqlen() + i) * t.query.heads() + h) * dim_v;
        for (int64_t x = 0; x < dim_v; ++x) {
          row[x] = 0;
          for (int64_t m = 0; m < slots; ++m) {
            row[x] += weight[static_cast<size_t>(m)] / sum *
                      values[static_cast<size_t>(m * dim_v + x)];
          }
        }
      };
      InTokenOrder(a, kv, take, read);
    }
  }
}

}  // namespace heed

#endif  // HEED_LINEAR_SLOTS_H_
