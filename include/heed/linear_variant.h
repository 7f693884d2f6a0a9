// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// For authors of linear variants: the scan of heed/linear.h under the masks and
// shapes of a variant's call, and its reference in double. A variant adds its
// map or its gates.
#ifndef HEED_LINEAR_VARIANT_H_
#define HEED_LINEAR_VARIANT_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "heed/export.h"
#include "heed/linear.h"
#include "heed/ops.h"
#include "heed/variant.h"

namespace heed {

// What a linear variant makes of a call.
struct LinearCall {
  ScanParams params;
  FeatureMap map;             // absent: rows as they are
  ConstTensorView log_decay;  // by key: [batch, seqlen_k, num_kv_heads, dim]
  ConstTensorView beta;       // by key: [batch, seqlen_k, num_kv_heads, 1]
  ConstTensorView erase_key;  // by key: [batch, seqlen_k, num_kv_heads, dim]
  ConstTensorView remove_key;
  int chunk = 0;  // of ScanOptions
};

// Computes a variant's call: row i reads the state after the last key that it
// sees, so that any causal_offset, keys before the first row, rows beyond the
// last key and calls that are not causal have a meaning: the recurrence's.
// Writes NaN to lse. Refuses masks that a state cannot serve: windows, softcap
// and key intervals; and whatever RunScan refuses. Takes its workspace, and a
// state a head where rows and keys are not aligned, from host.scratch.
HEED_API Status AttendLinear(const VariantArgs& host, const LinearCall& call);

// Returns what that costs by the formulas of docs/linear.md, with `features`
// columns of keys; of the delta rule where `delta`, with a key of its own to
// erase along where `untied`. What a variant adds beside the state is not in
// it.
HEED_API Cost LinearCost(const AttentionShape& shape,
                         const AttentionParams& params, int64_t features,
                         int chunk, bool delta, bool untied = false);

// Returns how many numbers an input has for each token and head of a key.
inline int64_t ChannelsOf(const Input& input, const AttentionArgs& args) {
  if (!input.per_channel) return 1;
  return input.values ? args.value.head_dim() : args.key.head_dim();
}

// Returns the number that stands for input `index` of a variant at one place
// where the host gives none: evenly drawn, always the same.
HEED_API double DrawnAt(const Input& input, int index, int64_t batch,
                        int64_t token, int64_t head, int64_t channel);

// The numbers that an input may hold, bounds among them; NaN is none of them.
struct InputRange {
  float low, high;
  const char* message;  // of what is refused
};
inline constexpr InputRange kAnyNumber = {-INFINITY, INFINITY,
                                          "must not be NaN"};
inline constexpr InputRange kLogDecays = {-INFINITY, 0.0f,
                                          "must be at most 0 and not NaN"};
inline constexpr InputRange kBetas = {0.0f, 2.0f, "must be 0 to 2 and not NaN"};

// Sets *view to input `index` of the host, or to drawn numbers in its scratch.
// Refuses inputs of another shape or type, by their name.
HEED_API Status InputOrDrawn(const VariantArgs& host, const Input* inputs,
                             int index, ConstTensorView* view);

// The same of an input with a range: refuses by its name what lies outside, of
// the tokens that the call's rows see.
HEED_API Status InputOrDrawn(const VariantArgs& host, const Input* inputs,
                             int index, const InputRange& range,
                             ConstTensorView* view);

// Refuses a head_dim, by its name, that a map of `times` as many features makes
// wider than a scan takes.
HEED_API Status CheckMapWidth(const VariantArgs& host, int64_t times);

// Refuses an input of weights that has not `rows` rows; without a host's
// nothing.
HEED_API Status CheckWeights(const VariantArgs& host, const Input* inputs,
                             int index, int64_t rows);

// Runs f(batch, first, end, worker) for runs of key tokens [first, end), as
// tasks.
template <class F>
void ForEachTokens(const VariantArgs& host, F f) {
  constexpr int64_t kTokens = 64;
  const int64_t seqlen = host.args.key.seqlen();
  const int64_t runs = (seqlen + kTokens - 1) / kTokens;
  const int64_t tasks = host.args.key.batch() * runs;
  if (tasks == 0) return;
  ops::ParallelFor(host.executor, tasks, [&](int64_t i, int worker) {
    const int64_t first = i % runs * kTokens;
    f(i / runs, first, first + kTokens < seqlen ? first + kTokens : seqlen,
      worker);
  });
}

// Sets *view to f(batch, token, head, channel), `dim` channels a key token and
// head, in the host's scratch: gates that a variant computes. Workers call f at
// the same time; the channels of a token and head come in turn.
template <class F>
Status MakeInput(const VariantArgs& host, int64_t dim, F f,
                 ConstTensorView* view) {
  const ConstTensorView& key = host.args.key;
  float* at =
      host.scratch.Array<float>(key.batch() * key.seqlen() * key.heads() * dim);
  if (at == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "an input could not be allocated");
  }
  *view = Bshd(static_cast<const float*>(at), key.batch(), key.seqlen(),
               key.heads(), dim);
  ForEachTokens(host, [&](int64_t b, int64_t first, int64_t end, int) {
    float* to = at + (b * key.seqlen() + first) * key.heads() * dim;
    for (int64_t t = first; t < end; ++t) {
      for (int64_t h = 0; h < key.heads(); ++h) {
        for (int64_t c = 0; c < dim; ++c) {
          *to++ = static_cast<float>(f(b, t, h, c));
        }
      }
    }
  });
  return Status();
}

// The same of one number a head that no token changes.
template <class F>
Status MakeHeadInput(const VariantArgs& host, F f, ConstTensorView* view) {
  const ConstTensorView& key = host.args.key;
  float* at = host.scratch.Array<float>(key.heads());
  if (at == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "numbers a head could not be allocated");
  }
  for (int64_t h = 0; h < key.heads(); ++h) at[h] = static_cast<float>(f(h));
  *view = Strided(static_cast<const float*>(at), key.batch(), key.seqlen(),
                  key.heads(), 1, 0, 0, 1);
  return Status();
}

// Returns the position of query row 0, 0 where the call is not causal. Kept
// away from the ends of 64 bits, where it makes no difference.
inline int64_t FirstPosition(const AttentionParams& params, int64_t seqlen_q,
                             int64_t seqlen_k) {
  constexpr int64_t kFar = int64_t{1} << 61;
  if (!params.causal) return 0;
  const int64_t offset = ops::CausalOffset(params, seqlen_q, seqlen_k);
  return offset < -kFar ? -kFar : offset > kFar ? kFar : offset;
}

// Returns softmax_scale, or 1 where it is not given: for methods without one.
inline float ScaleOrOne(const AttentionParams& params) {
  return params.softmax_scale == 0 ? 1.0f : params.softmax_scale;
}

// Calls f(batch, row, head, key, kv_head) for each query row that has a key of
// its own, the last that it sees: those of causal calls.
template <class F>
void ForEachOwnKey(const VariantArgs& host, F f) {
  const ConstTensorView &query = host.args.query, &key = host.args.key;
  if (!host.params.causal || key.heads() == 0) return;
  const int64_t rows = query.seqlen(), keys = key.seqlen();
  const int64_t offset = FirstPosition(host.params, rows, keys);
  const int64_t group = query.heads() / key.heads();
  for (int64_t b = 0; b < query.batch(); ++b) {
    for (int64_t i = 0; i < rows; ++i) {
      if (i + offset < 0 || i + offset >= keys) continue;
      for (int64_t h = 0; h < query.heads(); ++h) {
        f(b, i, h, i + offset, h / group);
      }
    }
  }
}

// Returns one number of InputOrDrawn, for references.
inline double InputAt(const VariantArgs& host, const Input* inputs, int index,
                      int64_t batch, int64_t token, int64_t head,
                      int64_t channel) {
  const int64_t c = inputs[index].per_channel ? channel : 0;
  if (host.inputs == nullptr) {
    return static_cast<double>(static_cast<float>(
        DrawnAt(inputs[index], index, batch, token, head, c)));
  }
  return static_cast<double>(RowAt(host.inputs[index], batch, token, head)[c]);
}

// The knob that most linear variants have, in the place of their choice.
inline constexpr Knob kChunkKnob = {
    "chunk", "Tokens between two updates of the state.", 16, 1, 32, true};

// One row of queries or keys, and its place, as in FeatureRows.
struct LinearRow {
  const float* x;
  int64_t batch, position, head;
  bool key;
};

// x / sqrt(|x|^2 + 1e-6), as UnitRows has it.
inline void UnitLength(const float* x, int64_t n, double* phi) {
  double square = 1e-6;
  for (int64_t c = 0; c < n; ++c) {
    phi[c] = static_cast<double>(x[c]);
    square += phi[c] * phi[c];
  }
  for (int64_t c = 0; c < n; ++c) phi[c] /= std::sqrt(square);
}

// What the reference below is told of a variant: derive, and hide what differs.
struct LinearLaw {
  int64_t features;  // of phi
  double scale = 1;
  bool normalise = false;
  bool delta = false;
  bool erase_unfaded = false;

  // One row of head_dim numbers as `features` numbers.
  void Phi(const LinearRow& row, double* phi) const {
    for (int64_t c = 0; c < features; ++c) {
      phi[c] = static_cast<double>(row.x[c]);
    }
  }
  // Of a key token, its head and a channel.
  double LogDecay(int64_t /*batch*/, int64_t /*token*/, int64_t /*head*/,
                  int64_t /*channel*/) const {
    return 0;
  }
  double Beta(int64_t /*batch*/, int64_t /*token*/, int64_t /*head*/) const {
    return 1;
  }
  // What a key token reads of what is erased, and along what it is taken away,
  // where these are not phi, which they hold before.
  void EraseKey(const LinearRow& /*row*/, double* /*key*/) const {}
  void RemoveKey(const LinearRow& /*row*/, double* /*key*/) const {}
  // Of a key token, its head and a channel.
  double Value(const VariantArgs& a, int64_t batch, int64_t token, int64_t head,
               int64_t channel) const {
    return static_cast<double>(
        RowAt(a.args.value, batch, token, head)[channel]);
  }
};

// The recurrence of heed/linear.h in plain double, token by token: a variant's
// reference. Shares nothing with the scan.
template <class Law>
class LinearReference {
 public:
  LinearReference(const VariantArgs& a, const Law& law)
      : a_(a),
        law_(law),
        dim_(law.features),
        dim_v_(a.args.value.head_dim()),
        state_(Size(dim_ * dim_v_)),
        sum_(Size(dim_)),
        phi_(Size(dim_)),
        erase_(Size(dim_)),
        remove_(Size(dim_)),
        erased_(Size(dim_v_)) {}

  // out[batch][seqlen_q][num_heads][head_dim_v].
  void Compute(double* out) {
    const AttentionArgs& t = a_.args;
    const int64_t heads = t.query.heads(), rows = t.query.seqlen();
    if (t.key.heads() == 0) return;
    const int64_t group = heads / t.key.heads();
    const int64_t offset = FirstPosition(a_.params, rows, t.key.seqlen());
    for (int64_t b = 0; b < t.query.batch(); ++b) {
      for (int64_t kv = 0; kv < t.key.heads(); ++kv) {
        state_.assign(state_.size(), 0.0);
        sum_.assign(sum_.size(), 0.0);
        int64_t keys = 0;  // in the state
        for (int64_t i = 0; i < rows; ++i) {
          const int64_t end =
              ops::VisibleTo(a_.params, rows, t.key.seqlen(), i).end;
          for (; keys < end; ++keys) Write(b, keys, kv);
          for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
            Read({RowAt(t.query, b, i, h), b, i + offset, h, false},
                 out + ((b * rows + i) * heads + h) * dim_v_);
          }
        }
      }
    }
  }

 private:
  static size_t Size(int64_t n) { return static_cast<size_t>(n); }

  void Write(int64_t b, int64_t j, int64_t head) {
    const LinearRow row = {RowAt(a_.args.key, b, j, head), b, j, head, true};
    law_.Phi(row, phi_.data());
    if (law_.delta && law_.erase_unfaded) Find(row);
    for (int64_t m = 0; m < dim_; ++m) {
      const double decay = std::exp(law_.LogDecay(b, j, head, m));
      sum_[Size(m)] = decay * sum_[Size(m)] + phi_[Size(m)];
      for (int64_t x = 0; x < dim_v_; ++x)
        state_[Size(m * dim_v_ + x)] *= decay;
    }
    if (law_.delta && !law_.erase_unfaded) Find(row);
    remove_ = phi_;
    law_.RemoveKey(row, remove_.data());
    const double beta = law_.Beta(b, j, head);
    for (int64_t x = 0; x < dim_v_; ++x) {
      const double value = law_.Value(a_, b, j, head, x);
      for (int64_t m = 0; m < dim_; ++m) {
        state_[Size(m * dim_v_ + x)] +=
            beta *
            (phi_[Size(m)] * value - remove_[Size(m)] * erased_[Size(x)]);
      }
    }
  }

  // What the state holds of what the row erases.
  void Find(const LinearRow& row) {
    erase_ = phi_;
    law_.EraseKey(row, erase_.data());
    erased_.assign(erased_.size(), 0.0);
    for (int64_t m = 0; m < dim_; ++m) {
      for (int64_t x = 0; x < dim_v_; ++x) {
        erased_[Size(x)] += erase_[Size(m)] * state_[Size(m * dim_v_ + x)];
      }
    }
  }

  void Read(const LinearRow& query, double* out) {
    law_.Phi(query, phi_.data());
    double total = 0;
    for (int64_t x = 0; x < dim_v_; ++x) out[x] = 0;
    for (int64_t m = 0; m < dim_; ++m) {
      const double read = law_.scale * phi_[Size(m)];
      total += read * sum_[Size(m)];
      for (int64_t x = 0; x < dim_v_; ++x) {
        out[x] += read * state_[Size(m * dim_v_ + x)];
      }
    }
    for (int64_t x = 0; law_.normalise && x < dim_v_; ++x) {
      out[x] = total == 0 ? 0.0 : out[x] / total;
    }
  }

  const VariantArgs& a_;
  const Law& law_;
  const int64_t dim_, dim_v_;
  std::vector<double> state_, sum_, phi_, erase_, remove_, erased_;
};

// Variant::reference of a law that is made of the call: Law(const
// VariantArgs&).
template <class Law>
void ReferenceOf(const VariantArgs& a, double* out) {
  const Law law(a);
  LinearReference<Law>(a, law).Compute(out);
}

}  // namespace heed

#endif  // HEED_LINEAR_VARIANT_H_
