// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The attention free transformer (AFT, Zhai et al. 2021, arXiv:2105.14103):
// each channel of the value is averaged under weights of the same channel of
// the keys, and of the places; the query is a gate.
//
//   out_i = sigmoid(q_i) * sum_j exp(k_j + w_ij) v_j / sum_j exp(k_j + w_ij)
//
// where products and quotients are by channel, so that head_dim_v is head_dim.
// w_ij = u_i . p_j + d_|i-j| where |i - j| < window, else 0: far keys count,
// without a bias. u, p and d are inputs: AFT-full has u and p and a window as
// long as the sequence, AFT-local a shorter one, AFT-conv d alone (alike on
// both sides where calls are not causal), AFT-simple no window. Rows that stand
// at no key have no bias. softmax_scale has no part. Rows without a key, and
// channels whose weights all vanish, are 0.
//
// Exponents are taken off the largest so far, channel by channel, so that
// nothing overflows and none that counts is lost. What stands before a row's
// window is a state that each key enters once; what stands behind it, in calls
// that are not causal, is kept for every 64th key.
#include <heed/linear_ops.h>
#include <heed/linear_state.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

namespace heed::variants {
namespace {

constexpr Knob kKnobs[] = {{"window",
                            "Pairs nearer than so many tokens have a bias.", 32,
                            0, 1 << 20, true}};
constexpr Input kInputs[] = {
    {"query_bias", "What a place as a query's has of the bias.", true, -0.5,
     0.5},
    {"key_bias", "What a place as a key's has of it.", true, -0.5, 0.5},
    {"distance_bias", "The bias of pairs so many tokens apart.", false, -0.5,
     0.5}};
// So that no product of them overflows.
constexpr InputRange kBounded = {-1e15f, 1e15f,
                                 "must be -1e15 to 1e15 and not NaN"};

// What a row sees: keys before its window, [0, begin), within it, [begin, end),
// and behind it, [end, visible).
struct Parts {
  int64_t begin, end, visible;
  int64_t place;  // of the row among the keys
};

Parts PartsOf(const VariantArgs& a, int64_t row) {
  const int64_t rows = a.args.query.seqlen(), keys = a.args.key.seqlen();
  const int64_t window = static_cast<int64_t>(a.knobs[0]);
  const int64_t visible = ops::VisibleTo(a.params, rows, keys, row).end;
  int64_t place = 0;
  const int64_t offset = ops::CausalOffset(a.params, rows, keys);
  if (__builtin_add_overflow(offset, row, &place)) place = keys;
  if (window == 0 || place >= keys) return {visible, visible, visible, place};
  if (place < 0) return {0, 0, visible, place};
  const int64_t begin = std::clamp<int64_t>(place - window + 1, 0, visible);
  return {begin, std::clamp(place + window, begin, visible), visible, place};
}

// Sums of each channel under weights exp(score - most).
struct Sums {
  float *most, *weight, *value;

  Sums(float* memory, int64_t dim)
      : most(memory), weight(memory + dim), value(memory + 2 * dim) {}
  static int64_t Floats(int64_t dim) { return 3 * dim; }
  void Clear(int64_t dim) const {
    std::fill(most, most + dim, -INFINITY);
    std::fill(weight, weight + dim, 0.0f);
    std::fill(value, value + dim, 0.0f);
  }
  void CopyFrom(const Sums& other, int64_t dim) const {
    std::copy(other.most, other.most + Floats(dim), most);
  }
};

float NoBias(int64_t /*key*/) { return 0; }

// One head's keys and values.
class Head {
 public:
  // `memory` has room for 2 head_dim numbers.
  Head(const VariantArgs& a, const ConstTensorView* bias, int64_t batch,
       int64_t kv_head, float* memory)
      : a_(a),
        bias_(bias),
        batch_(batch),
        head_(kv_head),
        dim_(a.args.key.head_dim()),
        most_(memory),
        exp_(memory + dim_) {}

  // Adds keys [first, end), with the biases that bias(key) says.
  template <class Bias>
  void Add(int64_t first, int64_t end, Bias bias, const Sums& to) const {
    for (; first < end; first += kKeys) {
      AddFew(first, std::min(first + kKeys, end), bias, to);
    }
  }

  void Merge(const Sums& from, const Sums& to) const {
    for (int64_t c = 0; c < dim_; ++c) {
      most_[c] = std::max(to.most[c], from.most[c]);
    }
    Fade(to);
    Exponents(from.most, 0);
    for (int64_t c = 0; c < dim_; ++c) {
      to.weight[c] += exp_[c] * from.weight[c];
      to.value[c] += exp_[c] * from.value[c];
    }
  }

  // Of a key in the window of a row at `place`.
  float BiasOf(int64_t place, int64_t key) const {
    return ops::Dot(RowAt(bias_[0], batch_, place, head_),
                    RowAt(bias_[1], batch_, key, head_), dim_) +
           *RowAt(bias_[2], batch_, std::abs(place - key), head_);
  }

  // Writes a row of each query head.
  void Read(int64_t row, const Sums& from) const {
    const AttentionArgs& t = a_.args;
    const int64_t group = t.query.heads() / t.key.heads();
    for (int64_t h = head_ * group; h < (head_ + 1) * group; ++h) {
      float* out = RowAt(t.out, batch_, row, h);
      ops::Sigmoid(RowAt(t.query, batch_, row, h), exp_, dim_);
      for (int64_t c = 0; c < dim_; ++c) {
        out[c] = from.weight[c] == 0
                     ? 0.0f
                     : exp_[c] * (from.value[c] / from.weight[c]);
      }
    }
  }

 private:
  static constexpr int64_t kKeys = 16;

  // exp_ = exp(score + bias - most_).
  void Exponents(const float* score, float bias) const {
    for (int64_t c = 0; c < dim_; ++c) {
      const float off = most_[c] == -INFINITY ? 0.0f : most_[c];
      exp_[c] = score[c] + bias - off;
    }
    ops::Exp(exp_, exp_, dim_);
  }

  // Takes sums to weights that are 1 at most_.
  void Fade(const Sums& sums) const {
    Exponents(sums.most, 0);
    for (int64_t c = 0; c < dim_; ++c) {
      sums.weight[c] *= exp_[c];
      sums.value[c] *= exp_[c];
      sums.most[c] = most_[c];
    }
  }

  template <class Bias>
  void AddFew(int64_t first, int64_t end, Bias bias, const Sums& to) const {
    const AttentionArgs& t = a_.args;
    float biases[kKeys];
    std::copy(to.most, to.most + dim_, most_);
    for (int64_t j = first; j < end; ++j) {
      const float w = biases[j - first] = bias(j);
      const float* key = RowAt(t.key, batch_, j, head_);
      for (int64_t c = 0; c < dim_; ++c) {
        most_[c] = std::max(most_[c], key[c] + w);
      }
    }
    Fade(to);
    for (int64_t j = first; j < end; ++j) {
      Exponents(RowAt(t.key, batch_, j, head_), biases[j - first]);
      const float* value = RowAt(t.value, batch_, j, head_);
      for (int64_t c = 0; c < dim_; ++c) {
        to.weight[c] += exp_[c];
        to.value[c] += exp_[c] * value[c];
      }
    }
  }

  const VariantArgs& a_;
  const ConstTensorView* bias_;
  const int64_t batch_, head_, dim_;
  float *most_, *exp_;
};

constexpr int64_t kBehind = 64;  // keys between two states from the end

// States of the keys from 0, kBehind, ... on, which rows that see beyond their
// window read.
int64_t StatesBehind(const VariantArgs& a) {
  if (a.params.causal || a.knobs[0] == 0) return 0;
  return (a.args.key.seqlen() + kBehind - 1) / kBehind;
}

// `memory` holds sums: before a row's window, of the row, and those behind.
void AttendHead(const VariantArgs& a, const Head& head, float* memory) {
  const int64_t dim = a.args.key.head_dim(), keys = a.args.key.seqlen();
  const auto sums = [&](int64_t i) {
    return Sums(memory + i * Sums::Floats(dim), dim);
  };
  const Sums before = sums(0), row = sums(1);
  const int64_t states = StatesBehind(a);
  for (int64_t s = states - 1; s >= 0; --s) {
    sums(2 + s).Clear(dim);
    if (s + 1 < states) sums(2 + s).CopyFrom(sums(3 + s), dim);
    head.Add(s * kBehind, std::min((s + 1) * kBehind, keys), NoBias,
             sums(2 + s));
  }
  before.Clear(dim);
  int64_t added = 0;
  for (int64_t i = 0; i < a.args.query.seqlen(); ++i) {
    const Parts parts = PartsOf(a, i);
    head.Add(added, parts.begin, NoBias, before);
    added = parts.begin;
    row.CopyFrom(before, dim);
    const auto bias = [&](int64_t key) {
      return head.BiasOf(parts.place, key);
    };
    head.Add(parts.begin, parts.end, bias, row);
    const int64_t state = (parts.end + kBehind - 1) / kBehind;
    head.Add(parts.end, std::min(state * kBehind, parts.visible), NoBias, row);
    if (state * kBehind < parts.visible) head.Merge(sums(2 + state), row);
    head.Read(i, row);
  }
}

Status RunVariant(const VariantArgs& a) {
  ConstTensorView bias[3];
  Status status = CheckLinearCall(a);
  for (int i = 0; i < 3 && status.ok(); ++i) {
    status = InputOrDrawn(a, kInputs, i, kBounded, &bias[i]);
  }
  if (!status.ok()) return status;
  const int64_t dim = a.args.key.head_dim();
  status = ForEachState(a, 2 * dim + (2 + StatesBehind(a)) * Sums::Floats(dim),
                        [&](int64_t b, int64_t kv, float* memory) {
                          AttendHead(a, Head(a, bias, b, kv, memory),
                                     memory + 2 * dim);
                        });
  if (status.ok()) WriteNoLse(a);
  return status;
}

// The formula as it stands, pair by pair: its own places and biases.
void Reference(const VariantArgs& a, double* out) {
  const AttentionArgs& t = a.args;
  const int64_t rows = t.query.seqlen(), keys = t.key.seqlen();
  const int64_t dim = t.key.head_dim(), heads = t.query.heads();
  const size_t n = static_cast<size_t>(dim);
  const double window = a.knobs[0];
  const double offset =
      static_cast<double>(ops::CausalOffset(a.params, rows, keys));
  const auto bias_of = [&](int64_t b, int64_t kv, double place, int64_t j) {
    const double distance = std::fabs(place - static_cast<double>(j));
    if (!(distance < window && place >= 0 &&
          place < static_cast<double>(keys))) {
      return 0.0;
    }
    double w = InputAt(a, kInputs, 2, b, static_cast<int64_t>(distance), kv, 0);
    for (int64_t c = 0; c < dim; ++c) {
      w += InputAt(a, kInputs, 0, b, static_cast<int64_t>(place), kv, c) *
           InputAt(a, kInputs, 1, b, j, kv, c);
    }
    return w;
  };
  const int64_t kv_heads = t.key.heads();
  for (int64_t at = 0; at < t.query.batch() * rows * kv_heads; ++at) {
    const int64_t kv = at % kv_heads, i = at / kv_heads % rows;
    const int64_t b = at / kv_heads / rows;
    const double place = offset + static_cast<double>(i);
    int64_t visible = 0;
    while (visible < keys &&
           (!a.params.causal || static_cast<double>(visible) <= place)) {
      ++visible;
    }
    std::vector<double> bias(static_cast<size_t>(visible));
    std::vector<double> most(n, -INFINITY), weight(n), value(n);
    for (int64_t j = 0; j < visible; ++j) {
      const double w = bias[static_cast<size_t>(j)] = bias_of(b, kv, place, j);
      for (size_t c = 0; c < n; ++c) {
        most[c] = std::max(most[c],
                           static_cast<double>(RowAt(t.key, b, j, kv)[c]) + w);
      }
    }
    for (int64_t j = 0; j < visible; ++j) {
      for (size_t c = 0; c < n; ++c) {
        const double k = static_cast<double>(RowAt(t.key, b, j, kv)[c]);
        const double e = std::exp(k + bias[static_cast<size_t>(j)] -
                                  (most[c] == -INFINITY ? 0 : most[c]));
        weight[c] += e;
        value[c] += e * static_cast<double>(RowAt(t.value, b, j, kv)[c]);
      }
    }
    const int64_t group = heads / kv_heads;
    for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
      double* to = out + ((b * rows + i) * heads + h) * dim;
      for (size_t c = 0; c < n; ++c) {
        const double q = static_cast<double>(RowAt(t.query, b, i, h)[c]);
        to[c] = weight[c] == 0 ? 0 : value[c] / weight[c] / (1 + std::exp(-q));
      }
    }
  }
}

// A product for the bias of each pair in a window, and two for each channel of
// what is added up.
Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const double window = knobs[0];
  AttentionParams within = params;
  within.window_left = static_cast<int64_t>(std::max(window - 1, 0.0));
  within.window_right = within.window_left;
  const double near = window == 0 ? 0 : ops::VisiblePairs(shape, within);
  const double keys = ops::VisibleKeyRows(shape, params);
  const double states = static_cast<double>(shape.batch * shape.num_kv_heads);
  const double dim = static_cast<double>(shape.head_dim);
  const double rows =
      static_cast<double>(shape.batch * shape.num_heads * shape.seqlen_q);
  Cost cost;
  cost.flops = states * dim * (4 * keys + 6 * near) + 2 * dim * rows;
  cost.bytes = 4 * (2 * dim * rows + states * keys * (4 * dim + 1));
  return cost;
}

}  // namespace

Variant aft() {
  return {.summary = "Attention free: channels averaged under their own keys.",
          .paper = "Zhai et al. 2021, arXiv:2105.14103",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 1,
          .inputs = kInputs,
          .num_inputs = 3,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference,
          .equal_head_dims = true};
}

}  // namespace heed::variants
