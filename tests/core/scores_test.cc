// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Score inputs, alone and together, give the defined bits on every table and
// are close to the definition in double.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "lib/oracle/oracle.h"
#include "tests/support/quick.h"
#include "tests/support/run.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

// Everything of one case, by the bits of `use`.
enum Use {
  kBias = 1,
  kMask = 2,
  kAlibi = 4,
  kRelative = 8,
  kDecay = 16,
  kSink = 32,
  kPrefix = 64,
  kLengths = 128,
  kDocuments = 256,
  kTree = 512,
  kHook = 1024,
  kUses = 2048,
};

void Hook(void*, const ScoreTile& t) {
  for (int k = 0; k < t.num_keys; ++k) {
    for (int r = 0; r < t.num_rows; ++r) {
      float& x = t.score[k * t.key_stride + r * t.row_stride];
      const int a = t.key_position[k] + 3 * t.row_index[r] + t.row_head[r];
      x = a % 7 == 0 ? -INFINITY : x + 0.25f * static_cast<float>(a % 5);
    }
  }
}

struct Sizes {
  int64_t b, q, k, h, kv, d;
};

struct Case {
  Sizes n;
  AttentionParams params;
  AttentionArgs args;
  std::vector<float> query, key, value, out, lse, bias, alibi, relative, qd, kd,
      sink;
  std::vector<uint8_t> mask;
  std::vector<int32_t> prefix, lengths, qdoc, kdoc;
  std::vector<uint64_t> tree;

  Case(const Sizes& sizes, int use, unsigned seed, bool poison) : n(sizes) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<float>* v, int64_t count, float scale) {
      v->resize(static_cast<size_t>(count));
      for (float& x : *v) x = scale * normal(random);
    };
    const auto below = [&](int64_t most) {
      return static_cast<int32_t>(random() % static_cast<uint64_t>(most + 1));
    };
    fill(&query, n.b * n.q * n.h * n.d, 1);
    fill(&key, n.b * n.k * n.kv * n.d, 1);
    fill(&value, n.b * n.k * n.kv * n.d, 1);
    out.assign(query.size(), 7.0f);
    lse.assign(static_cast<size_t>(n.b * n.q * n.h), 7.0f);
    args.query = Bshd(query.data(), n.b, n.q, n.h, n.d);
    args.key = Bshd(key.data(), n.b, n.k, n.kv, n.d);
    args.value = Bshd(value.data(), n.b, n.k, n.kv, n.d);
    args.out = Bshd(out.data(), n.b, n.q, n.h, n.d);
    args.lse = Bshd(lse.data(), n.b, n.q, n.h, 1);
    ScoreInputs& in = args.scores;
    if (use & kBias) {
      fill(&bias, n.b * n.q * n.h * n.k, 1);
      for (float& x : bias) {
        if (random() % 9 == 0) x = -INFINITY;
      }
      in.bias = Bhsd(bias.data(), n.b, n.h, n.q, n.k);
    }
    if (use & kMask) {
      mask.resize(static_cast<size_t>(n.b * n.q * n.h * n.k));
      for (uint8_t& x : mask) x = random() % 4 == 0 ? 0 : random() % 255 + 1;
      in.mask =
          Bhsd(reinterpret_cast<const bool*>(mask.data()), n.b, n.h, n.q, n.k);
    }
    if (use & kAlibi) {
      fill(&alibi, n.b * n.h, 0.05f);
      in.alibi_slopes = Bshd(alibi.data(), n.b, 1, n.h, 1);
    }
    if (use & kRelative) {
      fill(&relative, n.b * n.h * 41, 1);
      in.relative_bias = Bshd(relative.data(), n.b, 1, n.h, 41);
    }
    if (use & kDecay) {
      fill(&qd, n.b * n.q * n.h, 1);
      fill(&kd, n.b * n.k * n.h, 1);
      in.query_decay = Bshd(qd.data(), n.b, n.q, n.h, 1);
      in.key_decay = Bshd(kd.data(), n.b, n.k, n.h, 1);
    }
    if (use & kSink) {
      fill(&sink, n.b * n.h, 3);
      in.sink_logits = Bshd(sink.data(), n.b, 1, n.h, 1);
    }
    if (use & kPrefix) {
      for (int64_t b = 0; b < n.b; ++b) prefix.push_back(below(n.k));
      in.prefix_lengths = Bshd(prefix.data(), n.b, 1, 1, 1);
    }
    if (use & kLengths) {
      for (int64_t i = 0; i < n.b * n.q; ++i) lengths.push_back(below(n.k));
      in.row_lengths = Bshd(lengths.data(), n.b, n.q, 1, 1);
    }
    if (use & kDocuments) {
      for (int64_t i = 0; i < n.b * n.q; ++i) qdoc.push_back(below(3) - 1);
      for (int64_t b = 0; b < n.b; ++b) {
        int32_t document = -1;
        for (int64_t j = 0; j < n.k; ++j) {
          if (random() % 40 == 0) ++document;
          kdoc.push_back(document);
        }
      }
      in.query_documents = Bshd(qdoc.data(), n.b, n.q, 1, 1);
      in.key_documents = Bshd(kdoc.data(), n.b, n.k, 1, 1);
    }
    if (use & kTree) {
      const int64_t words = (n.q + 63) / 64;
      for (int64_t i = 0; i < n.b * n.q * words; ++i) {
        tree.push_back(uint64_t{random()} << 32 | random());
      }
      in.tree_mask = Bshd(tree.data(), n.b, n.q, 1, words);
    }
    if (use & kHook) in.hook = Hook;
    // A few keys and values that rows may see or not.
    for (int i = 0; poison && i < 3; ++i) {
      key[random() % key.size()] = i == 0 ? NAN : INFINITY;
      value[random() % value.size()] = i == 0 ? NAN : INFINITY;
    }
  }

  void ExpectBits(const RunConfig& config, const std::string& what) {
    const Status status = RunOn(config, params, args);
    ASSERT_TRUE(status.ok()) << what << ToString(status);
    std::vector<float> want(out), want_lse(lse);
    AttentionArgs wanted = args;
    wanted.out = Bshd(want.data(), n.b, n.q, n.h, n.d);
    wanted.lse = Bshd(want_lse.data(), n.b, n.q, n.h, 1);
    oracle::AttentionBits(params, wanted);
    ExpectSame(want, out, what + " out");
    ExpectSame(want_lse, lse, what + " lse");
  }

  static void ExpectSame(const std::vector<float>& want,
                         const std::vector<float>& got,
                         const std::string& what) {
    for (size_t i = 0; i < want.size(); ++i) {
      const bool same = std::isnan(want[i])
                            ? std::isnan(got[i])
                            : std::memcmp(&want[i], &got[i], 4) == 0;
      ASSERT_TRUE(same) << what << " at " << i << ": " << got[i] << ", not "
                        << want[i];
    }
  }
};

AttentionParams ParamsOf(unsigned seed) {
  AttentionParams params;
  params.causal = seed % 2 == 0;
  if (seed % 3 == 0) params.window_left = 20;
  if (seed % 5 == 0) params.softcap = 2.0f;
  if (seed % 4 == 0) params.sink_size = 3;
  if (seed % 7 == 0) params.causal_offset = 11;
  return params;
}

constexpr Sizes kSizes[] = {{1, 3, 70, 2, 1, 8},
                            {2, 37, 150, 4, 2, 12},
                            {1, 1, 200, 1, 1, 16},
                            {1, 70, 67, 2, 2, 5}};

// From one seed to the next: sizes and parameters follow the seed by fours.
unsigned Step() { return Quick() ? 11 : 1; }

class Scores : public OnEveryTarget {
 protected:
  void Check(int use, unsigned seed, bool poison) {
    if (!HasSameBits(GetParam())) return;
    Case c(kSizes[seed % 4], use, seed, poison);
    c.params = ParamsOf(seed / 4);
    RunConfig config;
    config.target = GetParam();
    if (seed % 11 == 0) config.decode_rows = 0;
    if (seed % 13 == 0) config.workers = 3;
    c.ExpectBits(
        config, "use " + std::to_string(use) + " seed " + std::to_string(seed));
  }
};

TEST_P(Scores, EachAlone) {
  for (int use = 1; use < kUses; use *= 2) {
    for (unsigned seed = 0; seed < 48 && !HasFatalFailure(); seed += Step()) {
      Check(use, seed, seed % 2 == 1);
    }
  }
}

TEST_P(Scores, Together) {
  std::mt19937 random(5);
  for (unsigned seed = 0; seed < 400 && !HasFatalFailure(); seed += Step()) {
    Check(static_cast<int>(random() % kUses), seed, seed % 3 == 1);
  }
}

// A bias of 16 bits is added as the float that it is: the bits of f32 biases
// that are such numbers, and of the definition.
TEST_P(Scores, BiasOf16Bits) {
  if (!HasSameBits(GetParam())) return;
  for (const int use : {int{kBias}, kBias | kMask, kBias | kRelative | kSink}) {
    for (unsigned seed = 0; seed < 16 && !HasFatalFailure(); ++seed) {
      Case c(kSizes[seed % 4], use, seed, false);
      c.params = ParamsOf(seed / 4);
      RunConfig config;
      config.target = GetParam();
      if (seed % 3 == 0) config.decode_rows = 0;
      const std::string what =
          "use " + std::to_string(use) + " seed " + std::to_string(seed);
      std::vector<bf16> brain;
      std::vector<f16> half;
      for (const float x : c.bias) {
        brain.push_back(ToBF16(x));
        half.push_back(ToF16(x));
      }
      const Sizes& n = c.n;
      for (const bool is_half : {false, true}) {
        c.args.scores.bias =
            is_half ? Bhsd<const f16>(half.data(), n.b, n.h, n.q, n.k)
                    : Bhsd<const bf16>(brain.data(), n.b, n.h, n.q, n.k);
        c.ExpectBits(config, what + (is_half ? " f16" : " bf16"));
        const std::vector<float> out = c.out;
        for (size_t i = 0; i < c.bias.size(); ++i) {
          c.bias[i] = is_half ? ToFloat(half[i]) : ToFloat(brain[i]);
        }
        c.args.scores.bias =
            Bhsd<const float>(c.bias.data(), n.b, n.h, n.q, n.k);
        ASSERT_TRUE(RunOn(config, c.params, c.args).ok());
        Case::ExpectSame(out, c.out, what + " as f32");
      }
    }
  }
}

// One number for all keys, for all rows, for everything: the bits of tensors
// where it is written out.
TEST_P(Scores, RepeatedAlongKeys) {
  if (!HasSameBits(GetParam())) return;
  for (const int use : {int{kBias}, int{kMask}, kBias | kMask,
                        kBias | kMask | kRelative, kMask | kAlibi}) {
    for (unsigned seed = 0; seed < 12 && !HasFatalFailure(); ++seed) {
      Case c(kSizes[seed % 4], use, seed, false);
      c.params = ParamsOf(seed / 4);
      RunConfig config;
      config.target = GetParam();
      if (seed % 3 == 0) config.decode_rows = 0;
      const std::string what =
          "use " + std::to_string(use) + " seed " + std::to_string(seed);
      const Sizes& n = c.n;
      const auto repeat = [&](ConstTensorView* view) {
        if (view->absent()) return;
        view->stride[3] = 0;
        if (seed % 2 == 1) view->stride[0] = view->stride[2] = 0;
      };
      repeat(&c.args.scores.bias);
      repeat(&c.args.scores.mask);
      c.ExpectBits(config, what);
      const std::vector<float> out = c.out, lse = c.lse;
      // Written out.
      std::vector<float> bias;
      std::vector<uint8_t> mask;
      for (int64_t i = 0; i < n.b * n.h * n.q * n.k; ++i) {
        const int64_t q = i / n.k % n.q, h = i / n.k / n.q % n.h;
        const int64_t b = i / n.k / n.q / n.h;
        if (use & kBias) bias.push_back(*RowAt(c.args.scores.bias, b, q, h));
        if (use & kMask) {
          mask.push_back(*reinterpret_cast<const uint8_t*>(
              internal::BytesAt(c.args.scores.mask, b, q, h)));
        }
      }
      if (use & kBias) {
        c.args.scores.bias = Bhsd<const float>(bias.data(), n.b, n.h, n.q, n.k);
      }
      if (use & kMask) {
        c.args.scores.mask = Bhsd(reinterpret_cast<const bool*>(mask.data()),
                                  n.b, n.h, n.q, n.k);
      }
      ASSERT_TRUE(RunOn(config, c.params, c.args).ok());
      Case::ExpectSame(out, c.out, what + " out, written out");
      Case::ExpectSame(lse, c.lse, what + " lse, written out");
    }
  }
}

// Spans merge, and units that rows by data reach are not left out.
TEST_P(Scores, Spans) {
  if (!HasSameBits(GetParam())) return;
  for (const int use :
       {kBias | kSink, int{kMask}, kDocuments | kLengths, kPrefix | kAlibi}) {
    for (const int workers : {1, 4}) {
      Case c({1, 3, 9000, 1, 1, 8}, use, 3, false);
      c.params.causal = true;
      c.params.window_left = 50;
      RunConfig config;
      config.target = GetParam();
      config.workers = workers;
      c.ExpectBits(config, "use " + std::to_string(use));
    }
  }
}

HEED_ON_EVERY_TARGET(Scores);

// The bits are those of the definition but for rounding.
TEST(ScoresBits, AreCloseToDouble) {
  std::mt19937 random(6);
  for (unsigned seed = 0; seed < 200; seed += Step()) {
    Case c(kSizes[seed % 4], static_cast<int>(random() % kUses), seed, false);
    c.params = ParamsOf(seed / 4);
    std::vector<double> out(c.out.size()), lse(c.lse.size());
    std::vector<double> fast(c.out.size()), fast_lse(c.lse.size());
    oracle::AttentionBits(c.params, c.args);
    oracle::AttentionDouble(c.params, c.args, out.data(), lse.data());
    oracle::AttentionFast(c.params, c.args, fast.data(), fast_lse.data());
    for (size_t i = 0; i < out.size(); ++i) {
      ASSERT_NEAR(c.out[i], out[i], 3e-5) << seed;
      ASSERT_NEAR(fast[i], out[i], 1e-6) << seed;
    }
    for (size_t i = 0; i < lse.size(); ++i) {
      if (lse[i] == -INFINITY) {
        ASSERT_EQ(c.lse[i], -INFINITY) << seed;
        continue;
      }
      ASSERT_NEAR(c.lse[i], lse[i], 3e-5) << seed;
    }
  }
}

}  // namespace
}  // namespace heed::test
