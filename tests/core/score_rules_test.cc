// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What score inputs are to one another: the same masks said in other ways give
// the same bits.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "heed/heed.h"
#include "tests/support/guard.h"
#include "tests/support/run.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

constexpr int64_t kBatch = 2, kHeads = 3, kDim = 8;

class ScoreRules : public OnEveryTarget {
 protected:
  using Results = std::vector<float>;

  ScoreRules() { SetExtents(37, 150); }

  void SetExtents(int64_t rows, int64_t keys) {
    rows_ = rows;
    keys_ = keys;
    std::normal_distribution<float> normal;
    for (auto* tensor : {&query_, &key_, &value_}) {
      tensor->resize(static_cast<size_t>(
          kBatch * (tensor == &query_ ? rows : keys) * kHeads * kDim));
      for (float& x : *tensor) x = normal(random_);
    }
    mask_.assign(static_cast<size_t>(kBatch * kHeads * rows * keys), 1);
    args_ = AttentionArgs();
    args_.query = Bshd(query_.data(), kBatch, rows, kHeads, kDim);
    args_.key = Bshd(key_.data(), kBatch, keys, kHeads, kDim);
    args_.value = Bshd(value_.data(), kBatch, keys, kHeads, kDim);
  }

  int64_t Below(int64_t n) {
    return static_cast<int64_t>(random_() % static_cast<uint64_t>(n));
  }
  std::vector<float> Floats(int64_t count, float scale = 1.0f) {
    std::normal_distribution<float> normal(0.0f, scale);
    std::vector<float> floats(static_cast<size_t>(count));
    for (float& x : floats) x = normal(random_);
    return floats;
  }

  // out, and lse behind it.
  Results Run(const ScoreInputs& scores) {
    AttentionArgs args = args_;
    const int64_t rows = args.query.batch() * args.query.seqlen() * kHeads;
    Results results(static_cast<size_t>(rows * (kDim + 1)), 7.0f);
    args.scores = scores;
    args.out = Bshd(results.data(), args.query.batch(), args.query.seqlen(),
                    kHeads, kDim);
    args.lse = Bshd(results.data() + rows * kDim, args.query.batch(),
                    args.query.seqlen(), kHeads, 1);
    RunConfig config;
    config.target = GetParam();
    const Status status = RunOn(config, params_, args);
    EXPECT_TRUE(status.ok()) << ToString(status);
    return results;
  }

  static void ExpectSame(const Results& got, const Results& want) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      if (std::isnan(want[i]) && std::isnan(got[i])) continue;
      ASSERT_EQ(std::memcmp(&got[i], &want[i], 4), 0)
          << "at " << i << ": " << got[i] << ", not " << want[i];
    }
  }

  // A mask of the pairs for which seen(batch, row, key).
  ConstTensorView MaskOf(
      const std::function<bool(int64_t, int64_t, int64_t)>& seen) {
    size_t at = 0;
    for (int64_t b = 0; b < kBatch; ++b) {
      for (int64_t h = 0; h < kHeads; ++h) {
        for (int64_t i = 0; i < rows_; ++i) {
          for (int64_t j = 0; j < keys_; ++j) mask_[at++] = seen(b, i, j);
        }
      }
    }
    return Mask();
  }
  ConstTensorView Mask() {
    return Bhsd(reinterpret_cast<const bool*>(mask_.data()), kBatch, kHeads,
                rows_, keys_);
  }

  // Each of these parameters in turn.
  template <class Function>
  void WithMasks(Function f) {
    for (int i = 0; i < 4 && !HasFatalFailure(); ++i) {
      params_ = AttentionParams();
      params_.causal = i % 2 == 1;
      if (i >= 2) {
        params_.window_left = 30;
        params_.sink_size = 5;
      }
      f();
    }
  }

  std::mt19937 random_{3};
  int64_t rows_ = 0, keys_ = 0;
  std::vector<float> query_, key_, value_;
  std::vector<uint8_t> mask_;
  AttentionParams params_;
  AttentionArgs args_;
};

TEST_P(ScoreRules, BiasOfMinusInfinityIsAMask) {
  WithMasks([&] {
    ScoreInputs masked, biased;
    masked.mask = MaskOf([&](int64_t, int64_t i, int64_t) {
      return i % 5 != 0 && Below(3) > 0;
    });
    std::vector<float> bias(mask_.size());
    for (size_t i = 0; i < bias.size(); ++i) {
      bias[i] = mask_[i] != 0 ? 0.0f : -INFINITY;
    }
    biased.bias = Bhsd(const_cast<const float*>(bias.data()), kBatch, kHeads,
                       rows_, keys_);
    ExpectSame(Run(biased), Run(masked));
  });
}

TEST_P(ScoreRules, LimitsByDataAreMasks) {
  WithMasks([&] {
    std::vector<int32_t> lengths, of_rows, of_keys;
    for (int64_t i = 0; i < kBatch * rows_; ++i) {
      lengths.push_back(static_cast<int32_t>(Below(keys_ + 1)));
      of_rows.push_back(static_cast<int32_t>(Below(6)));
    }
    for (int64_t i = 0; i < kBatch * keys_; ++i) {
      of_keys.push_back(static_cast<int32_t>(i % keys_ / 31));
    }
    const auto view = [](const std::vector<int32_t>& list, int64_t n) {
      return ConstTensorView(Bshd(list.data(), kBatch, n, 1, 1));
    };
    ScoreInputs masked, limited;
    limited.row_lengths = view(lengths, rows_);
    masked.mask = MaskOf([&](int64_t b, int64_t i, int64_t j) {
      return j < lengths[static_cast<size_t>(b * rows_ + i)];
    });
    ExpectSame(Run(limited), Run(masked));
    limited = ScoreInputs();
    limited.query_documents = view(of_rows, rows_);
    limited.key_documents = view(of_keys, keys_);
    masked.mask = MaskOf([&](int64_t b, int64_t i, int64_t j) {
      return of_rows[static_cast<size_t>(b * rows_ + i)] ==
             of_keys[static_cast<size_t>(b * keys_ + j)];
    });
    ExpectSame(Run(limited), Run(masked));
  });
}

TEST_P(ScoreRules, PrefixIsAMask) {
  WithMasks([&] {
    const std::vector<int32_t> prefix = {100, 40};
    ScoreInputs masked, limited;
    limited.prefix_lengths = Bshd(prefix.data(), kBatch, 1, 1, 1);
    const Results got = Run(limited);
    const AttentionParams params = params_;
    masked.mask = MaskOf([&](int64_t b, int64_t i, int64_t j) {
      const int64_t position = i + keys_ - rows_;
      return j < prefix[static_cast<size_t>(b)] ||
             ((!params.causal || j <= position) &&
              (params.window_left < 0 || j < params.sink_size ||
               j >= position - params.window_left));
    });
    params_ = AttentionParams();
    ExpectSame(got, Run(masked));
  });
}

TEST_P(ScoreRules, TreeIsAMask) {
  for (const int64_t rows : {1, 5, 64, 65, 130}) {
    SetExtents(rows, 150);
    const int64_t words = (rows + 63) / 64;
    std::vector<uint64_t> tree;
    for (int64_t i = 0; i < kBatch * rows * words; ++i) {
      tree.push_back(uint64_t{random_()} << 32 | random_());
    }
    ScoreInputs masked, limited;
    limited.tree_mask =
        Bshd(const_cast<const uint64_t*>(tree.data()), kBatch, rows, 1, words);
    masked.mask = MaskOf([&](int64_t b, int64_t i, int64_t j) {
      const int64_t t = j - (keys_ - rows_);
      return t < 0 ||
             (tree[static_cast<size_t>((b * rows_ + i) * words + t / 64)] >>
                  (t % 64) &
              1) != 0;
    });
    ExpectSame(Run(limited), Run(masked));
  }
}

// Every subset of the first three axes: the same as copies.
TEST_P(ScoreRules, ZeroStridesRepeat) {
  const std::vector<float> bias = Floats(kBatch * kHeads * rows_ * keys_);
  for (uint8_t& x : mask_) x = Below(3) > 0;
  const auto repeated = [](ConstTensorView view, int axes) {
    for (int axis = 0; axis < 3; ++axis) {
      if ((axes >> axis & 1) != 0) view.stride[axis] = 0;
    }
    return view;
  };
  for (int axes = 0; axes < 8 && !HasFatalFailure(); ++axes) {
    ScoreInputs in, copied;
    in.bias = repeated(Bhsd(bias.data(), kBatch, kHeads, rows_, keys_), axes);
    in.mask = repeated(Mask(), axes);
    std::vector<float> bias_copy;
    std::vector<uint8_t> mask_copy;
    for (int64_t b = 0; b < kBatch; ++b) {
      for (int64_t h = 0; h < kHeads; ++h) {
        for (int64_t i = 0; i < rows_; ++i) {
          const auto* from = reinterpret_cast<const float*>(
              internal::BytesAt(in.bias, b, i, h));
          bias_copy.insert(bias_copy.end(), from, from + keys_);
          const auto* seen = reinterpret_cast<const uint8_t*>(
              internal::BytesAt(in.mask, b, i, h));
          mask_copy.insert(mask_copy.end(), seen, seen + keys_);
        }
      }
    }
    copied.bias = Bhsd(const_cast<const float*>(bias_copy.data()), kBatch,
                       kHeads, rows_, keys_);
    copied.mask = Bhsd(reinterpret_cast<const bool*>(mask_copy.data()), kBatch,
                       kHeads, rows_, keys_);
    const ScoreInputs only_masks[2] = {[&] {
                                         ScoreInputs s;
                                         s.mask = in.mask;
                                         return s;
                                       }(),
                                       [&] {
                                         ScoreInputs s;
                                         s.mask = copied.mask;
                                         return s;
                                       }()};
    ExpectSame(Run(in), Run(copied));
    ExpectSame(Run(only_masks[0]), Run(only_masks[1]));
  }
}

// A bias of 16 bits gives the bits of its numbers as floats, alone and beside a
// mask.
TEST_P(ScoreRules, BiasesOf16BitsAreWidened) {
  const int64_t count = kBatch * kHeads * rows_ * keys_;
  const std::vector<float> numbers = Floats(count, 2.0f);
  std::vector<bf16> narrow;
  std::vector<f16> half;
  std::vector<float> from_narrow, from_half;
  for (int64_t i = 0; i < count; ++i) {
    const float x = i % 11 == 0   ? -INFINITY
                    : i % 13 == 0 ? 0x1p-20f  // subnormal in f16
                                  : numbers[static_cast<size_t>(i)];
    narrow.push_back(ToBF16(x));
    half.push_back(ToF16(x));
    from_narrow.push_back(ToFloat(narrow.back()));
    from_half.push_back(ToFloat(half.back()));
  }
  const auto view = [&](const auto& bias) {
    return Bhsd(bias.data(), kBatch, kHeads, rows_, keys_);
  };
  for (const bool masked : {false, true}) {
    ScoreInputs in;
    if (masked) {
      in.mask = MaskOf(
          [](int64_t, int64_t i, int64_t j) { return (i + j) % 5 != 0; });
    }
    ScoreInputs wide = in;
    in.bias = view(narrow);
    wide.bias = view(from_narrow);
    ExpectSame(Run(in), Run(wide));
    in.bias = view(half);
    wide.bias = view(from_half);
    ExpectSame(Run(in), Run(wide));
  }
}

// Wherever documents begin among the lanes, in order or not.
TEST_P(ScoreRules, DocumentsOfAnyLengthAreMasks) {
  SetExtents(150, 150);
  for (const int64_t length : {1, 7, 8, 16, 24, 33, 64, 100}) {
    for (const bool in_order : {true, false}) {
      std::vector<int32_t> of_rows, of_keys;
      for (int64_t b = 0; b < kBatch; ++b) {
        for (int64_t i = 0; i < 150; ++i) {
          of_keys.push_back(static_cast<int32_t>((i + 5 * b) / length));
          of_rows.push_back(in_order ? of_keys.back()
                                     : static_cast<int32_t>(Below(8)));
        }
      }
      ScoreInputs in, mask;
      in.query_documents = Bshd(of_rows.data(), kBatch, 150, 1, 1);
      in.key_documents = Bshd(of_keys.data(), kBatch, 150, 1, 1);
      mask.mask = MaskOf([&](int64_t b, int64_t i, int64_t j) {
        return of_rows[static_cast<size_t>(b * 150 + i)] ==
               of_keys[static_cast<size_t>(b * 150 + j)];
      });
      WithMasks([&] { ExpectSame(Run(in), Run(mask)); });
    }
  }
}

// A row that sees no key sees its sink alone.
TEST_P(ScoreRules, SinksAlone) {
  for (const float sink : {0.5f, -3.0f, NAN, INFINITY, -INFINITY}) {
    const std::vector<float> sinks(kBatch * kHeads, sink);
    ScoreInputs in;
    in.mask = MaskOf([](int64_t, int64_t, int64_t) { return false; });
    in.sink_logits = Bshd(sinks.data(), kBatch, 1, kHeads, 1);
    const Results got = Run(in);
    const size_t outs = static_cast<size_t>(kBatch * rows_ * kHeads * kDim);
    const bool bad = std::isnan(sink) || sink == INFINITY;
    for (size_t i = 0; i < got.size(); ++i) {
      if (bad) {
        ASSERT_TRUE(std::isnan(got[i])) << sink << " at " << i;
      } else if (i < outs) {
        ASSERT_EQ(got[i], 0.0f) << sink << " at " << i;
      } else if (sink == -INFINITY) {
        ASSERT_EQ(got[i], sink);
      } else {
        ASSERT_NEAR(got[i], sink, 1e-6) << " at " << i;
      }
    }
  }
}

// A sink of -inf is none.
TEST_P(ScoreRules, NoSinks) {
  const std::vector<float> sinks(kBatch * kHeads, -INFINITY);
  ScoreInputs in;
  in.sink_logits = Bshd(sinks.data(), kBatch, 1, kHeads, 1);
  ExpectSame(Run(in), Run(ScoreInputs()));
}

// What hidden pairs would give reaches no result.
TEST_P(ScoreRules, HiddenNumbersCountForNothing) {
  ScoreInputs in;
  in.mask = MaskOf([](int64_t, int64_t i, int64_t j) {
    return j % 3 != 0 && (i + j) % 4 != 0;
  });
  std::vector<float> bias = Floats(kBatch * kHeads * rows_ * keys_);
  in.bias =
      Bhsd(const_cast<const float*>(bias.data()), kBatch, kHeads, rows_, keys_);
  const Results want = Run(in);
  for (const float poison : {NAN, INFINITY, -INFINITY}) {
    for (size_t i = 0; i < bias.size(); ++i) {
      if (mask_[i] == 0) bias[i] = poison;
    }
    for (size_t i = 0; i < key_.size(); ++i) {
      const int64_t j = static_cast<int64_t>(i) / (kHeads * kDim) % keys_;
      if (j % 3 == 0) key_[i] = value_[i] = poison;
    }
    ExpectSame(Run(in), want);
  }
}

// Offsets as far as they go, with distances by float and by table.
TEST_P(ScoreRules, FarPositions) {
  const std::vector<float> slopes = Floats(kBatch * kHeads, 1e-18f);
  const std::vector<float> relative = Floats(kBatch * kHeads * 7);
  std::vector<float> ends;
  for (int64_t i = 0; i < kBatch * kHeads; ++i) {
    ends.push_back(relative[static_cast<size_t>(7 * i)]);
    ends.push_back(relative[static_cast<size_t>(7 * i + 6)]);
  }
  for (const int64_t offset :
       {int64_t{1} << 62, -(int64_t{1} << 62), (int64_t{1} << 62) - 20,
        20 - (int64_t{1} << 62), INT64_MAX, INT64_MIN + 1}) {
    params_.causal_offset = offset;
    ScoreInputs in, biased;
    in.relative_bias = Bshd(relative.data(), kBatch, 1, kHeads, 7);
    // All keys lie at one end of the table.
    std::vector<float> bias;
    for (int64_t row = 0; row < kBatch * kHeads; ++row) {
      for (int64_t j = 0; j < keys_; ++j) {
        bias.push_back(ends[static_cast<size_t>(2 * row + (offset < 0))]);
      }
    }
    biased.bias = Strided(const_cast<const float*>(bias.data()), kBatch, rows_,
                          kHeads, keys_, kHeads * keys_, 0, keys_);
    ExpectSame(Run(in), Run(biased));
    ScoreInputs sloped;
    sloped.alibi_slopes = Bshd(slopes.data(), kBatch, 1, kHeads, 1);
    const Results got = Run(sloped);
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_TRUE(std::isfinite(got[i])) << offset << " at " << i;
    }
  }
}

// A mask and the rest of it merge to the whole, but for rounding.
TEST_P(ScoreRules, ComplementsMerge) {
  ScoreInputs in;
  in.mask = MaskOf([&](int64_t, int64_t i, int64_t) {
    return i % 7 != 0 && (i % 7 == 1 || Below(2) > 0);
  });
  const Results first = Run(in);
  for (uint8_t& x : mask_) x = x == 0;
  const Results second = Run(in);
  const Results want = Run(ScoreInputs());
  const auto views = [&](const Results& results, ConstTensorView* out,
                         ConstTensorView* lse) {
    *out = Bshd(results.data(), kBatch, rows_, kHeads, kDim);
    *lse = Bshd(results.data() + kBatch * rows_ * kHeads * kDim, kBatch, rows_,
                kHeads, 1);
  };
  ConstTensorView outs[2], lses[2];
  views(first, &outs[0], &lses[0]);
  views(second, &outs[1], &lses[1]);
  Results got(want.size());
  ASSERT_TRUE(MergeStates(outs[0], lses[0], outs[1], lses[1],
                          Bshd(got.data(), kBatch, rows_, kHeads, kDim),
                          Bshd(got.data() + kBatch * rows_ * kHeads * kDim,
                               kBatch, rows_, kHeads, 1))
                  .ok());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], 1e-5) << " at " << i;
  }
}

HEED_ON_EVERY_TARGET(ScoreRules);

}  // namespace
}  // namespace heed::test
