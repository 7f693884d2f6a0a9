// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The page that defines the output bits of exact attention in f32. Every kernel
// with FMA, on every CPU, equals it bit for bit (NaNs as NaNs). Inputs of 16
// bits are widened, which is exact; quantised ones become f32 by their scales,
// rounded once (ElementAt); an output of 16 bits is the f32 one, rounded.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "lib/oracle/element.h"
#include "lib/oracle/oracle.h"
#include "lib/oracle/sequences.h"

namespace heed::oracle {
namespace {

constexpr int64_t kBlock = 64;   // keys between two moves of the maximum
constexpr int64_t kSpan = 4096;  // keys of one state
constexpr int64_t kGroup = 16;   // spans that merge among themselves first
constexpr float kEmpty = -3.40282346638528859812e+38f;  // m before any key
constexpr double kLog2E = 1.44269504088896340736;

// Adding it leaves round-to-nearest(x) + 127 in the low bits of the sum: the
// exponent field of 2^round(x).
constexpr float kRound = 12583039.0f;  // 1.5 * 2^23 + 127

float PowerOfTwo(float shifted) {
  uint32_t bits;
  std::memcpy(&bits, &shifted, 4);
  bits <<= 23;
  std::memcpy(&shifted, &bits, 4);
  return shifted;
}

// 2^x for x in [-100, 127]; exactly 0 below -100; NaN for NaN.
float Exp2(float x) {
  if (x < -100.0f) x = -127.0f;
  const float shifted = x + kRound;
  const float f = x - (shifted - kRound);
  float p = 0x1.5bba18p-10f;
  p = std::fma(p, f, 0x1.3cea88p-7f);
  p = std::fma(p, f, 0x1.c6b752p-5f);
  p = std::fma(p, f, 0x1.ebf9bcp-3f);
  p = std::fma(p, f, 0x1.62e42ap-1f);
  p = std::fma(p, f, 1.0f);
  return p * PowerOfTwo(shifted);
}

// 2^x for an integer x <= 0; exactly 0 below -100.
float Rescale(float x) {
  if (x < -100.0f) x = -127.0f;
  return PowerOfTwo(x + kRound);
}

float Tanh(float x) {
  float a = std::fabs(x);
  if (a > 10.0f) a = 10.0f;
  // Near 0: a + a^3 P(a^2).
  const float z = a * a;
  float p = -0x1.76ac1cp-8f;
  p = std::fma(p, z, 0x1.5256d8p-6f);
  p = std::fma(p, z, -0x1.b84448p-5f);
  p = std::fma(p, z, 0x1.110768p-3f);
  p = std::fma(p, z, -0x1.555534p-2f);
  const float near = std::fma(p * z, a, a);
  // Elsewhere: 1 - 2 / (e^2a + 1).
  const float far = 1.0f - 2.0f / (Exp2(a * 0x1.715476p+1f) + 1.0f);
  return std::copysign(a < 0.625f ? near : far, x);
}

// log(2^m * l); -inf for l = 0, NaN for NaN.
float LogSum(float m, float l) {
  if (l == 0.0f) return -INFINITY;
  if (l != l) return l;
  uint32_t bits;
  std::memcpy(&bits, &l, 4);
  // l = 2^e * y with y in [sqrt(1/2), sqrt(2)).
  const uint32_t shifted = bits - 0x3f3504f3u;
  const float e = static_cast<float>(static_cast<int32_t>(shifted) >> 23);
  bits = (shifted & 0x7fffffu) + 0x3f3504f3u;
  float y;
  std::memcpy(&y, &bits, 4);
  const float x = y - 1.0f;  // log(1 + x) = x - x^2/2 + x^3 P(x)
  float p = 0x1.1b42c2p-4f;
  p = std::fma(p, x, -0x1.e2e9b4p-4f);
  p = std::fma(p, x, 0x1.e650a2p-4f);
  p = std::fma(p, x, -0x1.fb432ap-4f);
  p = std::fma(p, x, 0x1.2332c0p-3f);
  p = std::fma(p, x, -0x1.5562e4p-3f);
  p = std::fma(p, x, 0x1.99a546p-3f);
  p = std::fma(p, x, -0x1.ffffeep-3f);
  p = std::fma(p, x, 0x1.555546p-2f);
  const float xx = x * x;
  const float log_y = std::fma(std::fma(p, x, -0.5f), xx, x);
  const float a = m + e;
  // log(2) in two parts.
  return std::fma(a, 0x1.62e43p-1f, std::fma(a, -0x1.05c61p-29f, log_y));
}

struct State {
  float m = kEmpty;
  float l = 0.0f;
  std::vector<float> acc;
};

void Merge(State& state, const State& later) {
  const float m = std::fmax(state.m, later.m);
  const float a = Rescale(state.m - m);
  const float b = Rescale(later.m - m);
  state.l = std::fma(b, later.l, a * state.l);
  for (size_t c = 0; c < state.acc.size(); ++c) {
    state.acc[c] = std::fma(b, later.acc[c], a * state.acc[c]);
  }
  state.m = m;
}

// The keys offered to a row, cut into blocks: dense blocks lie at the absolute
// positions from a multiple of 64; with key intervals they are the offered keys
// counted in 64s, anew in each span.
std::vector<std::vector<int64_t>> Blocks(const AttentionArgs& args, int64_t b,
                                         int64_t h, int64_t row) {
  const KeyIntervals& lists = args.key_intervals;
  std::vector<std::vector<int64_t>> blocks;
  if (lists.query_block_size == 0) {
    for (int64_t key = 0; key < args.key.seqlen(); ++key) {
      if (key % kBlock == 0) blocks.emplace_back();
      blocks.back().push_back(key);
    }
    return blocks;
  }
  const int64_t per_head = (args.query.seqlen() + lists.query_block_size - 1) /
                           lists.query_block_size;
  const int64_t list =
      (b * args.query.heads() + h) * per_head + row / lists.query_block_size;
  int64_t span = -1;
  for (int64_t i = lists.offsets[list]; i < lists.offsets[list + 1]; ++i) {
    for (int64_t key = lists.intervals[i].begin; key < lists.intervals[i].end;
         ++key) {
      if (key / kSpan != span || blocks.back().size() == kBlock) {
        blocks.emplace_back();
      }
      span = key / kSpan;
      blocks.back().push_back(key);
    }
  }
  return blocks;
}

void AttendRow(const AttentionParams& params, const AttentionArgs& args,
               int64_t b, int64_t h, int64_t row) {
  const int64_t dim = args.query.head_dim();
  const int64_t dim_v = args.value.head_dim();
  const int64_t kv_head = h / (args.query.heads() / args.key.heads());
  const double scale = params.softmax_scale != 0.0f
                           ? static_cast<double>(params.softmax_scale)
                           : 1.0 / std::sqrt(static_cast<double>(dim));
  const bool softcap = params.softcap != 0.0f;
  const double cap = params.softcap;
  const float query_scale = softcap ? 1.0f : static_cast<float>(scale * kLog2E);
  const float in_scale = static_cast<float>(scale / cap);
  const float out_scale = static_cast<float>(cap * kLog2E);

  std::vector<float> query(static_cast<size_t>(dim));
  ReadQuery(args, b, row, h, query.data());
  for (float& c : query) c *= query_scale;

  std::vector<float> k(static_cast<size_t>(dim));
  std::vector<float> v(static_cast<size_t>(dim_v));
  State none;
  none.acc.assign(static_cast<size_t>(dim_v), 0.0f);
  State total = none, group = none, state = none;
  int64_t span = 0;
  for (const std::vector<int64_t>& block : Blocks(args, b, h, row)) {
    const int64_t next = block[0] / kSpan;
    if (next != span) {
      Merge(group, state);
      state = none;
    }
    if (next / kGroup != span / kGroup) {
      Merge(total, group);
      group = none;
    }
    span = next;
    std::vector<int64_t> keys;
    std::vector<float> scores;
    float max = state.m;
    for (const int64_t key : block) {
      if (!Visible(params, args, b, h, row, key)) continue;
      ReadRow(KeyOf(args), b, key, kv_head, k.data());
      float score = 0.0f;
      for (size_t c = 0; c < k.size(); ++c) {
        score = std::fma(k[c], query[c], score);
      }
      if (softcap) score = Tanh(score * in_scale) * out_scale;
      keys.push_back(key);
      scores.push_back(score);
      max = std::fmax(max, std::nearbyint(score));
    }
    const float alpha = Rescale(state.m - max);
    state.m = max;
    state.l *= alpha;
    for (float& c : state.acc) c *= alpha;
    for (size_t i = 0; i < keys.size(); ++i) {
      const float weight = Exp2(scores[i] - max);
      ReadRow(ValueOf(args), b, keys[i], kv_head, v.data());
      state.l += weight;
      for (size_t c = 0; c < v.size(); ++c) {
        state.acc[c] = std::fma(v[c], weight, state.acc[c]);
      }
    }
  }
  Merge(group, state);
  Merge(total, group);

  for (float& c : total.acc) c = total.l == 0.0f ? 0.0f : c / total.l + 0.0f;
  RotateBack(args, total.acc.data());
  for (int64_t c = 0; c < dim_v; ++c) {
    StoreElement(args.out, b, row, h, c, total.acc[static_cast<size_t>(c)]);
  }
  if (args.lse.data != nullptr) {
    StoreElement(args.lse, b, row, h, 0, LogSum(total.m, total.l));
  }
}

void AttendDense(const AttentionParams& params, const AttentionArgs& args) {
  for (int64_t b = 0; b < args.query.batch(); ++b) {
    for (int64_t row = 0; row < args.query.seqlen(); ++row) {
      for (int64_t h = 0; h < args.query.heads(); ++h) {
        AttendRow(params, args, b, h, row);
      }
    }
  }
}

}  // namespace

void AttentionBits(const AttentionParams& params, const AttentionArgs& args) {
  ForEachSequence(params, args, AttendDense);
}

}  // namespace heed::oracle
