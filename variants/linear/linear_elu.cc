// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Linear attention with the feature map elu + 1 (Katharopoulos et al. 2020,
// arXiv:2006.16236): a weighted mean of the values as softmax attention is, but
// with weights phi(q) . phi(k), which factor, so that all keys so far fit one
// state of head_dim x (head_dim_v + 1) numbers.
//
//   phi(x) = x + 1 for x > 0, exp(x) otherwise
//   out_i  = sum_j phi(q_i).phi(k_j) v_j / sum_j phi(q_i).phi(k_j)
//
// softmax_scale has no part in it, as in the paper: it would cancel. Nothing is
// added to the denominator (others add 1e-6 or 1e-10), so that weights sum to
// one; a row without keys, or whose weights all vanish, is zero. `lse` is NaN,
// as no sum of exp(score) exists. Causal masks of any offset are served;
// windows, softcap and key lists are refused.
#include <heed/ops.h>
#include <heed/variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace heed::variants {
namespace {

// 8 to 64 take the same time at head_dim 64 and 128, 128 takes 1.3 times that.
constexpr Knob kKnobs[] = {
    {.name = "chunk",
     .summary = "Tokens between two updates of the state.",
     .default_value = 32,
     .min = 1,
     .max = 4096,
     .integer = true},
};

// Scratch of one worker.
struct Buffers {
  float* query;   // phi of a chunk of queries [chunk][head_dim]
  float* key;     // phi of a chunk of keys [chunk][head_dim]
  float* value;   // (v, 1, 0 ...) of a chunk of keys [chunk][width]
  float* weight;  // [chunk][chunk]
  float* out;     // sums of weight * (v, 1, 0 ...) [chunk][width]
  float* state;   // sum of phi(k)^T (v, 1, 0 ...) [head_dim][width]

  static int64_t Floats(int64_t chunk, int64_t dim, int64_t width) {
    return 2 * chunk * dim + 2 * chunk * width + chunk * chunk + dim * width;
  }
  Buffers(float* memory, int64_t chunk, int64_t dim, int64_t width)
      : query(memory),
        key(query + chunk * dim),
        value(key + chunk * dim),
        weight(value + chunk * width),
        out(weight + chunk * chunk),
        state(out + chunk * width) {}
};

// phi(x) = exp(min(x, 0)) + max(x, 0): no branch on a random sign.
void FeatureMap(const ops::ConstMatrix& x, float* phi) {
  for (int64_t i = 0; i < x.rows; ++i) {
    const float* from = x.row(i);
    float* to = phi + i * x.cols;
    for (int64_t c = 0; c < x.cols; ++c) to[c] = std::min(from[c], 0.0f);
    ops::Exp(to, to, x.cols);
    for (int64_t c = 0; c < x.cols; ++c) to[c] += std::max(from[c], 0.0f);
  }
}

// The value, a one whose sum is the denominator, and zeros up to whole vectors
// of any target.
int64_t PaddedWidth(int64_t head_dim_v) { return (head_dim_v + 16) / 16 * 16; }

// One (batch, kv head) with all its query heads, which share the state.
class Head {
 public:
  Head(const VariantArgs& a, int64_t batch, int64_t kv_head, float* memory)
      : t_(a.args),
        chunk_(static_cast<int64_t>(a.knobs[0])),
        dim_(t_.query.head_dim()),
        width_(PaddedWidth(t_.value.head_dim())),
        batch_(batch),
        group_(t_.query.heads() / t_.key.heads()),
        first_head_(kv_head * group_),
        key_(ops::Head(t_.key, batch, kv_head)),
        value_(ops::Head(t_.value, batch, kv_head)),
        buffers_(memory, chunk_, dim_, width_),
        state_(ops::Dense(buffers_.state, dim_, width_)) {
    std::fill(state_.data, state_.data + dim_ * width_, 0.0f);
  }

  // Every row sees every key.
  void AttendAll() {
    AddKeysUpTo(key_.rows);
    for (int64_t i = 0; i < t_.query.seqlen(); i += chunk_) {
      AttendChunk(i, std::min(i + chunk_, t_.query.seqlen()), nullptr);
    }
  }

  // Row i sees the first visible[i] keys, at most one more than the row before.
  void AttendCausal(const AttentionParams& params) {
    const int64_t rows = t_.query.seqlen();
    for (int64_t i = 0; i < rows; i += chunk_) {
      // What the chunk's first row sees goes into the state but for its own
      // key; the chunk's keys are then weighed pair by pair.
      AddKeysUpTo(std::max<int64_t>(Visible(params, i) - 1, 0));
      AttendChunk(i, std::min(i + chunk_, rows), &params);
    }
  }

 private:
  int64_t Visible(const AttentionParams& params, int64_t row) const {
    return ops::VisibleTo(params, t_.query.seqlen(), key_.rows, row).end;
  }

  // Brings phi(k) and (v, 1, 0 ...) of keys [begin, end) into the buffers.
  void LoadKeys(int64_t begin, int64_t end) {
    FeatureMap(ops::RowRange(key_, begin, end), buffers_.key);
    for (int64_t j = begin; j < end; ++j) {
      float* row = buffers_.value + (j - begin) * width_;
      std::copy(value_.row(j), value_.row(j) + value_.cols, row);
      row[value_.cols] = 1.0f;
      std::fill(row + value_.cols + 1, row + width_, 0.0f);
    }
  }

  void AddKeysUpTo(int64_t end) {
    while (in_state_ < end) {
      const int64_t next = std::min(in_state_ + chunk_, end);
      const int64_t count = next - in_state_;
      LoadKeys(in_state_, next);
      ops::MatMulAdd(ops::Transposed(ops::Dense(buffers_.key, count, dim_)),
                     ops::Dense(buffers_.value, count, width_), state_);
      in_state_ = next;
    }
  }

  // Query rows [first, end): the state, and where `causal` is not null the keys
  // after it, up to each row's own.
  void AttendChunk(int64_t first, int64_t end, const AttentionParams* causal) {
    const int64_t rows = end - first;
    const int64_t keys =
        causal == nullptr ? 0 : Visible(*causal, end - 1) - in_state_;
    if (keys > 0) LoadKeys(in_state_, in_state_ + keys);
    const ops::Matrix query = ops::Dense(buffers_.query, rows, dim_);
    const ops::Matrix key = ops::Dense(buffers_.key, keys, dim_);
    const ops::Matrix value = ops::Dense(buffers_.value, keys, width_);
    const ops::Matrix weight = ops::Dense(buffers_.weight, rows, keys);
    const ops::Matrix out = ops::Dense(buffers_.out, rows, width_);
    for (int64_t g = 0; g < group_; ++g) {
      const int64_t h = first_head_ + g;
      FeatureMap(ops::RowRange(ops::Head(t_.query, batch_, h), first, end),
                 query.data);
      ops::MatMul(query, state_, out);
      if (keys > 0) ops::MatMul(query, ops::Transposed(key), weight);
      for (int64_t i = 0; i < rows && keys > 0; ++i) {
        // Row by row, so that a NaN in a later key stays out of earlier rows.
        const int64_t seen = Visible(*causal, first + i) - in_state_;
        if (seen <= 0) continue;
        ops::MatMulAdd(ops::Dense(weight.row(i), 1, seen),
                       ops::RowRange(value, 0, seen),
                       ops::RowRange(out, i, i + 1));
      }
      for (int64_t i = 0; i < rows; ++i) Store(out.row(i), first + i, h);
    }
  }

  void Store(const float* sums, int64_t row, int64_t h) {
    float* out = RowAt(t_.out, batch_, row, h);
    const float total = sums[value_.cols];
    if (total == 0) {
      std::fill(out, out + value_.cols, 0.0f);
    } else {
      for (int64_t c = 0; c < value_.cols; ++c) out[c] = sums[c] / total;
    }
    if (!t_.lse.absent()) *RowAt(t_.lse, batch_, row, h) = NAN;
  }

  const AttentionArgs& t_;
  const int64_t chunk_;
  const int64_t dim_;
  const int64_t width_;
  const int64_t batch_;
  const int64_t group_;
  const int64_t first_head_;
  const ops::ConstMatrix key_;
  const ops::ConstMatrix value_;
  const Buffers buffers_;
  const ops::Matrix state_;
  int64_t in_state_ = 0;  // keys that the state holds
};

Status CheckSupported(const VariantArgs& a) {
  const AttentionParams& params = a.params;
  if (params.window_left >= 0) {
    return Status(StatusCode::kUnsupported, "window_left",
                  "a state of sums cannot forget keys");
  }
  if (params.window_right >= 0 && !params.causal) {
    return Status(StatusCode::kUnsupported, "window_right",
                  "only a causal mask is served");
  }
  if (params.softcap != 0) {
    return Status(StatusCode::kUnsupported, "softcap",
                  "linear attention has no scores to cap");
  }
  if (a.args.key_intervals.query_block_size != 0) {
    return Status(StatusCode::kUnsupported, "key_intervals",
                  "a state of sums cannot select keys");
  }
  return Status();
}

Status RunVariant(const VariantArgs& a) {
  const Status status = CheckSupported(a);
  if (!status.ok()) return status;
  const ConstTensorView& key = a.args.key;
  const int64_t floats =
      Buffers::Floats(static_cast<int64_t>(a.knobs[0]), key.head_dim(),
                      PaddedWidth(a.args.value.head_dim()));
  float* memory = a.scratch.Array<float>(a.executor.max_workers * floats);
  if (memory == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "a state a worker could not be allocated");
  }
  ops::ParallelFor(a.executor, key.batch() * key.heads(),
                   [&](int64_t i, int worker) {
                     Head head(a, i / key.heads(), i % key.heads(),
                               memory + worker * floats);
                     if (a.params.causal) {
                       head.AttendCausal(a.params);
                     } else {
                       head.AttendAll();
                     }
                   });
  return Status();
}

// Pair by pair in double: the definition, with no state.
void Reference(const VariantArgs& a, double* out) {
  const AttentionArgs& t = a.args;
  const auto phi = [](float x) {
    return x > 0 ? static_cast<double>(x) + 1
                 : std::exp(static_cast<double>(x));
  };
  const int64_t group =
      t.key.heads() == 0 ? 1 : t.query.heads() / t.key.heads();
  const int64_t dim = t.key.head_dim();
  const int64_t dim_v = t.value.head_dim();
  std::vector<double> phi_k(
      static_cast<size_t>(t.key.heads() * t.key.seqlen() * dim));
  std::vector<double> phi_q(static_cast<size_t>(dim));
  for (int64_t b = 0; b < t.query.batch(); ++b) {
    double* at = phi_k.data();
    for (int64_t h = 0; h < t.key.heads(); ++h) {
      for (int64_t j = 0; j < t.key.seqlen(); ++j) {
        const float* k = RowAt(t.key, b, j, h);
        at = std::transform(k, k + dim, at, phi);
      }
    }
    for (int64_t i = 0; i < t.query.seqlen(); ++i) {
      const int64_t end =
          ops::VisibleTo(a.params, t.query.seqlen(), t.key.seqlen(), i).end;
      for (int64_t h = 0; h < t.query.heads(); ++h, out += dim_v) {
        const float* q = RowAt(t.query, b, i, h);
        std::transform(q, q + dim, phi_q.data(), phi);
        const double* k = phi_k.data() + h / group * t.key.seqlen() * dim;
        std::fill(out, out + dim_v, 0.0);
        double total = 0;
        for (int64_t j = 0; j < end; ++j, k += dim) {
          const float* v = RowAt(t.value, b, j, h / group);
          double weight = 0;
          for (int64_t c = 0; c < dim; ++c) {
            weight += phi_q[static_cast<size_t>(c)] * k[c];
          }
          total += weight;
          for (int64_t c = 0; c < dim_v; ++c) {
            out[c] += weight * static_cast<double>(v[c]);
          }
        }
        for (int64_t c = 0; total != 0 && c < dim_v; ++c) out[c] /= total;
      }
    }
  }
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const double queries = static_cast<double>(shape.seqlen_q) *
                         static_cast<double>(shape.num_heads);
  const double keys = static_cast<double>(shape.seqlen_k) *
                      static_cast<double>(shape.num_kv_heads);
  const double dim = static_cast<double>(shape.head_dim);
  const double width = static_cast<double>(shape.head_dim_v + 1);
  Cost cost = ops::SoftmaxCost(shape, 0);
  double flops = 2 * (queries + keys) * dim * width;
  // All weights of a chunk, and on average half of the products with values.
  if (params.causal) flops += queries * knobs[0] * (2 * dim + width);
  cost.flops = static_cast<double>(shape.batch) * flops;
  return cost;
}

}  // namespace

Variant linear_elu() {
  return {.summary =
              "Linear attention with the feature map elu + 1, "
              "normalised.",
          .paper = "Katharopoulos et al. 2020, arXiv:2006.16236",
          .semantics = Semantics::kOwnReference,
          .knobs = kKnobs,
          .num_knobs = 1,
          .cost = EstimateCost,
          .run = RunVariant,
          .reference = Reference};
}

}  // namespace heed::variants
