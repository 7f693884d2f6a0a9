// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Layers against their definition in double, and the bits of a layer however it
// is run: by any target, threads, batch, chunks and cache.
#include <gtest/gtest.h>

#include <vector>

#include "tests/layers/layer_case.h"
#include "tests/support/quick.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

constexpr CacheKind kCaches[] = {CacheKind::kContiguous, CacheKind::kPaged,
                                 CacheKind::kPointers};

LayerCase Case(int64_t model_dim, int64_t heads, int64_t kv_heads = 0) {
  LayerCase c;
  c.params.model_dim = model_dim;
  c.params.num_heads = heads;
  c.params.num_kv_heads = kv_heads;
  return c;
}

// Rounding of chains over inputs, keys and channels leaves some units of the
// largest number; what is rounded to 16 bits on its way leaves units of those.
double Bound(const LayerCase& c, const std::vector<double>& want) {
  double unit = 0x1p-24 * 64;
  if (c.cache != CacheKind::kNone && c.cache_dtype == DType::kBF16) {
    unit += 0x1p-8;
  }
  if (c.cache != CacheKind::kNone && c.cache_dtype == DType::kF16) {
    unit += 0x1p-11;
  }
  if (c.out_dtype == DType::kBF16) unit += 0x1p-8;
  if (c.out_dtype == DType::kF16) unit += 0x1p-11;
  return unit * Largest(want);
}

void ExpectNear(const Layer& layer, const std::vector<float>& got) {
  const std::vector<double> want = oracle::MultiHeadDouble(layer.Truth());
  EXPECT_LE(LargestError(got, want), Bound(layer.layer(), want))
      << layer.layer().Text();
}

std::vector<LayerCase> Cases() {
  std::vector<LayerCase> cases;
  for (const int64_t heads : {1, 2, 3, 8, 16, 64}) {
    if (Quick() && heads > 8) continue;
    cases.push_back(Case(heads * 8, heads));
    cases.back().bias = heads % 2 == 0;
    cases.back().params.attention.causal = heads > 2;
  }
  for (const int64_t kv_heads : {1, 2, 6}) {
    cases.push_back(Case(12 * 16, 12, kv_heads));
    cases.back().batch = 2;
    cases.back().params.attention.causal = true;
    cases.back().rotary_dim = kv_heads == 1 ? 0 : kv_heads == 2 ? 16 : 6;
    cases.back().interleaved = kv_heads == 6;
  }
  {  // every width is its own, and none is a multiple of anything
    LayerCase c = Case(37, 3, 1);
    c.params.key_dim = 29;
    c.params.value_dim = 53;
    c.params.out_dim = 131;
    c.params.head_dim = 11;
    c.params.head_dim_v = 7;
    c.batch = 3;
    c.seqlen_q = 9;
    c.seqlen_k = 21;
    c.own_value = true;
    c.bias = true;
    cases.push_back(c);
  }
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    LayerCase c = Case(160, 5);
    c.weight_dtype = dtype;
    c.batch = 2;
    c.bias = true;
    cases.push_back(c);
    c.input_dtype = dtype;
    c.out_dtype = dtype;
    c.seqlen_k = 31;
    cases.push_back(c);
  }
  for (const CacheKind cache : kCaches) {
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      LayerCase c = Case(96, 6, 2);
      c.batch = 2;
      c.seqlen_q = 23;
      c.params.attention.causal = true;
      c.cache = cache;
      c.cache_dtype = dtype;
      c.rotary_dim = 8;
      cases.push_back(c);
      c.params.attention.causal = false;
      c.seqlen_k = 14;
      c.rotary_dim = 0;
      cases.push_back(c);
    }
  }
  {  // window, sinks and softcap
    LayerCase c = Case(64, 4, 2);
    c.seqlen_q = 40;
    c.params.attention.causal = true;
    c.params.attention.window_left = 9;
    c.params.attention.sink_size = 2;
    c.params.attention.softcap = 5.0f;
    c.params.attention.softmax_scale = 0.4f;
    cases.push_back(c);
  }
  return cases;
}

class MultiHead : public OnEveryTarget {};

TEST_P(MultiHead, EqualsItsDefinition) {
  for (const LayerCase& c : Cases()) {
    const Layer layer(c);
    ExpectNear(layer, layer.Run({GetParam(), 1, {}}));
  }
}

TEST_P(MultiHead, HasTheBitsOfPlainCode) {
  if (!HasSameBits(GetParam()) || GetParam() == "plain") return;
  for (const LayerCase& c : Cases()) {
    const Layer layer(c);
    EXPECT_TRUE(
        SameBitsAs(layer.Run({GetParam(), 3, {}}), layer.Run({"plain", 1, {}})))
        << c.Text();
  }
}

HEED_ON_EVERY_TARGET(MultiHead);

TEST(MultiHeadBits, ChunksAndTokensAreTheWholePrompt) {
  for (const CacheKind cache : kCaches) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      LayerCase c = Case(96, 6, 2);
      c.batch = 2;
      c.seqlen_q = Quick() ? 24 : 90;
      c.bias = true;
      c.weight_dtype = dtype;
      c.cache = cache;
      c.cache_dtype = dtype;
      c.params.attention.causal = true;
      c.rotary_dim = 16;
      const Layer layer(c);
      const std::vector<float> whole = layer.Run({"", 1, {}});
      std::vector<int64_t> chunks = {7, 1, 12};
      int64_t left = c.seqlen_q - 20;
      for (; left > 0; --left) chunks.push_back(1);
      EXPECT_TRUE(SameBitsAs(layer.Run({"", 2, chunks}), whole)) << c.Text();
      if (dtype != DType::kF32) continue;
      LayerCase without = c;
      without.cache = CacheKind::kNone;
      EXPECT_TRUE(SameBitsAs(Layer(without).Run({"", 1, {}}), whole));
    }
  }
}

TEST(MultiHeadBits, EncoderIsProjectedOnce) {
  LayerCase c = Case(80, 5);
  c.seqlen_q = 12;
  c.seqlen_k = 33;
  c.own_value = true;
  const std::vector<float> whole = Layer(c).Run({"", 1, {}});
  c.cache = CacheKind::kContiguous;
  EXPECT_TRUE(SameBitsAs(Layer(c).Run({"", 2, {5, 1, 6}}), whole));
}

TEST(MultiHeadBits, DependOnTheRowAlone) {
  // Wide and long enough for several blocks of rows and groups of panels.
  LayerCase c = Case(224, 7, 7);
  c.batch = Quick() ? 2 : 3;
  c.seqlen_q = Quick() ? 40 : 130;
  c.weight_dtype = DType::kBF16;
  const Layer layer(c);
  const std::vector<float> all = layer.Run({"", 1, {}});
  EXPECT_TRUE(SameBitsAs(layer.Run({"", 4, {}}), all));
  const size_t row = 224 * static_cast<size_t>(c.seqlen_q);
  for (int64_t b = 0; b < c.batch; ++b) {
    LayerCase one = c;
    one.batch = 1;
    Layer alone(one);
    const size_t first = static_cast<size_t>(b) * row;
    const auto begin = layer.query.f32.begin() + static_cast<int64_t>(first);
    alone.query =
        Elements(std::vector<float>(begin, begin + static_cast<int64_t>(row)),
                 c.input_dtype);
    const std::vector<float> want(
        all.begin() + static_cast<int64_t>(first),
        all.begin() + static_cast<int64_t>(first + row));
    EXPECT_TRUE(SameBitsAs(alone.Run({"", 2, {}}), want)) << b;
  }
}

// Fewer queries than keys, turned where the mask has them; and a cache that is
// longer than the plan.
TEST(MultiHead, LastQueriesToAllKeysHaveTheBitsOfTheWhole) {
  for (const bool cache : {false, true}) {
    LayerCase c = Case(32, 4, 2);
    c.seqlen_q = 17;
    c.rotary_dim = 4;
    c.params.attention.causal = true;
    if (cache) c.cache = CacheKind::kContiguous;
    const Layer layer(c);
    const std::vector<float> want = layer.Run({"", 1, {}});
    const MultiHeadShape shape = layer.Shape();
    MultiHeadPlan plan;
    ASSERT_TRUE(MakeMultiHeadPlan(c.params, shape, {}, &plan).ok());
    MultiHeadArgs args = layer.Args();
    args.key = args.query;
    args.query = TokensOf(args.key, 14, 3);
    std::vector<float> out(3 * 32), caches(2 * 40 * 2 * 8);
    args.out = Bshd(out.data(), 1, 3, 1, 32);
    const int32_t past = 0;
    if (cache) {
      args.key_cache = Bshd(caches.data(), 1, 40, 2, 8);
      args.value_cache = Bshd(caches.data() + caches.size() / 2, 1, 40, 2, 8);
      args.past_lengths = &past;
    }
    const AlignedBytes memory(MultiHeadWorkspaceBytes(plan, 1));
    const Status status = RunMultiHead(
        plan, args, {memory.data(), memory.size()}, SerialExecutor());
    ASSERT_TRUE(status.ok()) << ToString(status);
    EXPECT_TRUE(SameBitsAs(out, {want.end() - 3 * 32, want.end()}));
  }
}

// Rows of three widths that begin at one place are not one another.
TEST(MultiHead, RowsThatBeginTogetherHaveTheirOwnWidths) {
  LayerCase c = Case(16, 2);
  c.params.key_dim = 24;
  c.params.value_dim = 30;
  c.params.out_dim = 16;
  c.seqlen_k = c.seqlen_q;
  c.input_dtype = DType::kBF16;
  const Layer layer(c);
  MultiHeadPlan plan;
  ASSERT_TRUE(MakeMultiHeadPlan(c.params, layer.Shape(), {}, &plan).ok());
  const Elements rows(Normal(17 * 30, 9), DType::kBF16);
  const AlignedBytes memory(MultiHeadWorkspaceBytes(plan, 1));
  std::vector<float> outs[2] = {std::vector<float>(17 * 16),
                                std::vector<float>(17 * 16)};
  const std::vector<uint16_t> copies[3] = {rows.bits, rows.bits, rows.bits};
  for (const bool apart : {false, true}) {
    MultiHeadArgs args = layer.Args();
    ConstTensorView* const views[] = {&args.query, &args.key, &args.value};
    for (int i = 0; i < 3; ++i) {
      *views[i] = rows.View(1, 17, 1, 30);
      if (apart) views[i]->data = copies[i].data();
      views[i]->extent[3] = i == 0 ? 16 : i == 1 ? 24 : 30;
    }
    args.out = Bshd(outs[apart ? 1 : 0].data(), 1, 17, 1, 16);
    const Status status = RunMultiHead(
        plan, args, {memory.data(), memory.size()}, SerialExecutor());
    ASSERT_TRUE(status.ok()) << ToString(status);
  }
  EXPECT_TRUE(SameBitsAs(outs[0], outs[1]));
}

TEST(Linear, EqualsItsDefinitionFromAnyStridesAndEitherLayout) {
  for (const int64_t in : {1, 5, 127, 128, 300}) {
    for (const int64_t out : {1, 17, 48, 50, 112}) {
      const int64_t rows = 11;
      const std::vector<float> weight = Normal(out * in, 3);
      const std::vector<float> bias = Normal(out, 4);
      std::vector<float> turned(weight.size());
      for (int64_t o = 0; o < out; ++o) {
        for (int64_t i = 0; i < in; ++i) {
          turned[static_cast<size_t>(i * out + o)] =
              weight[static_cast<size_t>(o * in + i)];
        }
      }
      // Two batches of rows that stand apart.
      const int64_t pitch = in + 3, batch_pitch = rows * pitch + 5;
      const std::vector<float> x = Normal(2 * batch_pitch, 5);
      std::vector<double> dense;
      for (int64_t b = 0; b < 2; ++b) {
        for (int64_t r = 0; r < rows; ++r) {
          const auto at = x.begin() + b * batch_pitch + r * pitch;
          dense.insert(dense.end(), at, at + in);
        }
      }
      const oracle::LinearTruth truth = {{weight.begin(), weight.end()},
                                         {bias.begin(), bias.end()}};
      const std::vector<double> want =
          oracle::LinearDouble(truth, dense, 2 * rows);
      for (const bool input_major : {false, true}) {
        LinearWeights source;
        source.input_major = input_major;
        source.weight = input_major
                            ? Bshd<const float>(turned.data(), 1, in, 1, out)
                            : Bshd<const float>(weight.data(), 1, out, 1, in);
        source.bias = Bshd<const float>(bias.data(), 1, 1, 1, out);
        const AlignedBytes memory(PackedLinearBytes(source));
        PackedLinear linear;
        ASSERT_TRUE(
            PackLinear(source, memory.data(), memory.size(), &linear).ok());
        std::vector<float> got(static_cast<size_t>(2 * rows * out));
        const Status status = RunLinear(
            linear, Strided(x.data(), 2, rows, 1, in, batch_pitch, pitch, in),
            Bshd(got.data(), 2, rows, 1, out));
        ASSERT_TRUE(status.ok()) << ToString(status);
        EXPECT_LE(LargestError(got, want), 0x1p-20 * Largest(want))
            << in << " to " << out;
      }
    }
  }
}

}  // namespace
}  // namespace heed::test
