// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Layers and positions against those of PyTorch and Hugging Face transformers:
// reference.safetensors, which make_reference.py wrote.
#include <gtest/gtest.h>

#include <cmath>
#include <list>
#include <string>
#include <vector>

#include "heed/layers.h"
#include "heed/positions.h"
#include "lib/io/safetensors.h"
#include "tests/layers/layer_case.h"
#include "tests/support/run.h"
#include "tests/support/source_tree.h"

namespace heed::test {
namespace {

class Reference {
 public:
  Reference() : file_(SourcePath("tests/layers/reference.safetensors")) {}

  std::vector<float> Read(const std::string& name) const {
    const io::SafetensorsEntry* const entry = file_.Find(name);
    EXPECT_NE(entry, nullptr) << name;
    return entry == nullptr ? std::vector<float>() : file_.Read(*entry);
  }

 private:
  io::SafetensorsFile file_;
};

// Packed weights with their memory.
class Linears {
 public:
  PackedLinear Pack(const float* weight, const float* bias, int64_t out,
                    int64_t in) {
    LinearWeights source;
    source.weight = Bshd(weight, 1, out, 1, in);
    if (bias != nullptr) source.bias = Bshd(bias, 1, 1, 1, out);
    memory_.emplace_back(PackedLinearBytes(source));
    PackedLinear packed;
    const Status status = PackLinear(source, memory_.back().data(),
                                     memory_.back().size(), &packed);
    EXPECT_TRUE(status.ok()) << ToString(status);
    return packed;
  }
  PackedLinear Pack(const std::vector<float>& weight, int64_t out) {
    return Pack(weight.data(), nullptr, out,
                static_cast<int64_t>(weight.size()) / out);
  }

 private:
  std::list<AlignedBytes> memory_;
};

// Runs a layer whose call has no cache and compares out.
void ExpectOut(const MultiHeadParams& params, MultiHeadArgs args,
               const std::vector<float>& want) {
  MultiHeadShape shape;
  shape.batch = args.query.batch();
  shape.seqlen_q = args.query.seqlen();
  shape.seqlen_k = args.key.absent() ? shape.seqlen_q : args.key.seqlen();
  shape.scores = args.scores.any();
  MultiHeadPlan plan;
  Status status = MakeMultiHeadPlan(params, shape, {}, &plan);
  ASSERT_TRUE(status.ok()) << ToString(status);
  const WorkspaceBuffer workspace(MultiHeadWorkspaceBytes(plan, 1));
  std::vector<float> out(want.size(), NAN);
  args.out = Bshd(out.data(), shape.batch, shape.seqlen_q, 1, params.model_dim);
  status = RunMultiHead(plan, args, workspace.get(), SerialExecutor());
  ASSERT_TRUE(status.ok()) << ToString(status);
  const std::vector<double> exact(want.begin(), want.end());
  EXPECT_LE(LargestError(out, exact), 2e-6 * Largest(exact));
}

TEST(LayerReference, PyTorchMultiheadAttention) {
  const Reference file;
  const std::vector<float> x = file.Read("mha.x");
  const std::vector<float> in = file.Read("mha.in_proj_weight");
  const std::vector<float> in_bias = file.Read("mha.in_proj_bias");
  const std::vector<float> out_weight = file.Read("mha.out_weight");
  const std::vector<float> out_bias = file.Read("mha.out_bias");
  Linears linears;
  MultiHeadParams params;
  params.model_dim = 24;
  params.num_heads = 3;
  MultiHeadArgs args;
  args.query = Bshd(x.data(), 2, 7, 1, 24);
  const float* const w = in.data();
  const float* const b = in_bias.data();
  args.weights.query = linears.Pack(w, b, 24, 24);
  args.weights.key = linears.Pack(w + 24 * 24, b + 24, 24, 24);
  args.weights.value = linears.Pack(w + 48 * 24, b + 48, 24, 24);
  args.weights.out = linears.Pack(out_weight.data(), out_bias.data(), 24, 24);
  ExpectOut(params, args, file.Read("mha.out"));
  params.attention.causal = true;
  ExpectOut(params, args, file.Read("mha.causal_out"));
}

TEST(LayerReference, PyTorchCrossAttention) {
  const Reference file;
  const std::vector<float> query = file.Read("cross.query");
  const std::vector<float> key = file.Read("cross.key");
  const std::vector<float> value = file.Read("cross.value");
  Linears linears;
  MultiHeadParams params;
  params.model_dim = 24;
  params.key_dim = 20;
  params.value_dim = 28;
  params.num_heads = 4;
  MultiHeadArgs args;
  args.query = Bshd(query.data(), 2, 5, 1, 24);
  args.key = Bshd(key.data(), 2, 9, 1, 20);
  args.value = Bshd(value.data(), 2, 9, 1, 28);
  args.weights.query = linears.Pack(file.Read("cross.q_proj_weight"), 24);
  args.weights.key = linears.Pack(file.Read("cross.k_proj_weight"), 24);
  args.weights.value = linears.Pack(file.Read("cross.v_proj_weight"), 24);
  args.weights.out = linears.Pack(file.Read("cross.out_weight"), 24);
  ExpectOut(params, args, file.Read("cross.out"));
}

struct Tables {
  Tables(double theta, int64_t rotary_dim, const RopeScaling& scaling,
         int64_t positions)
      : cos(static_cast<size_t>(positions * rotary_dim / 2)), sin(cos) {
    const Status status = FillScaledRopeTables(
        theta, rotary_dim, scaling, 0, positions, cos.data(), sin.data());
    EXPECT_TRUE(status.ok()) << ToString(status);
    rope.rotary_dim = rotary_dim;
    rope.num_positions = positions;
    rope.cos = cos.data();
    rope.sin = sin.data();
  }
  std::vector<float> cos, sin;
  Rope rope;
};

TEST(LayerReference, HuggingFaceLlama) {
  const Reference file;
  const std::vector<float> x = file.Read("llama.x");
  Linears linears;
  MultiHeadParams params;
  params.model_dim = 32;
  params.num_heads = 4;
  params.num_kv_heads = 2;
  params.attention.causal = true;
  MultiHeadArgs args;
  args.query = Bshd(x.data(), 1, 12, 1, 32);
  args.weights.query = linears.Pack(file.Read("llama.q"), 32);
  args.weights.key = linears.Pack(file.Read("llama.k"), 16);
  args.weights.value = linears.Pack(file.Read("llama.v"), 16);
  args.weights.out = linears.Pack(file.Read("llama.o"), 32);
  RopeScaling llama3;
  llama3.kind = RopeScalingKind::kLlama3;
  llama3.factor = 8;
  llama3.original_positions = 64;
  RopeScaling yarn;
  yarn.kind = RopeScalingKind::kYarn;
  yarn.factor = 4;
  yarn.beta_fast = 4;
  yarn.original_positions = 32;
  const struct {
    const char* name;
    double theta;
    RopeScaling scaling;
  } kinds[] = {
      {"default", 10000, {}}, {"llama3", 500, llama3}, {"yarn", 500, yarn}};
  for (const auto& kind : kinds) {
    SCOPED_TRACE(kind.name);
    const Tables tables(kind.theta, 8, kind.scaling, 12);
    args.rope = tables.rope;
    ExpectOut(params, args, file.Read(std::string("llama.out.") + kind.name));
  }
}

TEST(LayerReference, HuggingFaceGptJ) {
  const Reference file;
  const std::vector<float> x = file.Read("gptj.x");
  Linears linears;
  MultiHeadParams params;
  params.model_dim = 16;
  params.num_heads = 2;
  params.attention.causal = true;
  MultiHeadArgs args;
  args.query = Bshd(x.data(), 1, 10, 1, 16);
  args.weights.query = linears.Pack(file.Read("gptj.q"), 16);
  args.weights.key = linears.Pack(file.Read("gptj.k"), 16);
  args.weights.value = linears.Pack(file.Read("gptj.v"), 16);
  args.weights.out = linears.Pack(file.Read("gptj.out_weight"), 16);
  const Tables tables(10000, 4, {}, 10);
  args.rope = tables.rope;
  args.rope.interleaved = true;
  ExpectOut(params, args, file.Read("gptj.out"));
}

TEST(LayerReference, HuggingFaceT5) {
  const Reference file;
  const std::vector<float> x = file.Read("t5.x");
  const std::vector<float> weight = file.Read("t5.bias");
  Linears linears;
  MultiHeadParams params;
  params.model_dim = 24;
  params.num_heads = 3;
  params.attention.softmax_scale = 1;
  MultiHeadArgs args;
  args.query = Bshd(x.data(), 1, 30, 1, 24);
  args.weights.query = linears.Pack(file.Read("t5.q"), 24);
  args.weights.key = linears.Pack(file.Read("t5.k"), 24);
  args.weights.value = linears.Pack(file.Read("t5.v"), 24);
  args.weights.out = linears.Pack(file.Read("t5.o"), 24);
  T5Buckets buckets;
  buckets.num_buckets = 8;
  buckets.max_distance = 20;
  std::vector<float> bias(3 * 41);
  ASSERT_TRUE(FillT5Bias(buckets, 3, weight.data(), 20, bias.data()).ok());
  args.scores.relative_bias = Bshd<const float>(bias.data(), 1, 1, 3, 41);
  ExpectOut(params, args, file.Read("t5.out"));

  for (const bool sides : {false, true}) {
    T5Buckets whole;
    whole.bidirectional = sides;
    const std::vector<float> want =
        file.Read(sides ? "t5.buckets1" : "t5.buckets0");
    for (int64_t distance = -150; distance <= 150; ++distance) {
      EXPECT_EQ(static_cast<float>(T5Bucket(whole, distance)),
                want[static_cast<size_t>(distance + 150)])
          << distance;
    }
  }
}

TEST(LayerReference, HuggingFaceSlopes) {
  const Reference file;
  for (const int64_t heads : {1, 6, 8, 12, 20}) {
    std::vector<float> slope(static_cast<size_t>(heads));
    ASSERT_TRUE(AlibiSlopes(heads, slope.data()).ok());
    const std::vector<float> want = file.Read("alibi." + std::to_string(heads));
    for (size_t h = 0; h < slope.size(); ++h) {
      EXPECT_NEAR(slope[h], want[h], 1e-6f * want[h]) << heads << " " << h;
    }
  }
}

TEST(LayerReference, HuggingFaceRopeScaling) {
  const Reference file;
  RopeScaling linear, dynamic, yarn, gpt_oss, llama3;
  linear.kind = RopeScalingKind::kLinear;
  linear.factor = 4;
  dynamic.kind = RopeScalingKind::kNtk;
  dynamic.factor = 2;
  dynamic.original_positions = 2048;
  dynamic.seqlen = 5000;
  yarn.kind = gpt_oss.kind = RopeScalingKind::kYarn;
  yarn.factor = 4;
  yarn.original_positions = 32768;
  gpt_oss.factor = 32;
  gpt_oss.original_positions = 4096;
  gpt_oss.truncate = false;
  llama3.kind = RopeScalingKind::kLlama3;
  llama3.factor = 8;
  llama3.original_positions = 8192;
  const struct {
    const char* name;
    double theta;
    const RopeScaling& scaling;
  } kinds[] = {{"linear", 1e4, linear},
               {"dynamic", 1e4, dynamic},
               {"yarn", 1e6, yarn},
               {"gpt_oss", 15e4, gpt_oss},
               {"llama3", 5e5, llama3}};
  for (const auto& kind : kinds) {
    SCOPED_TRACE(kind.name);
    const std::string name = std::string("rope.") + kind.name;
    const std::vector<float> want = file.Read(name);
    double got[64], factor = 0;
    ASSERT_TRUE(
        ScaledRopeFrequencies(kind.theta, 128, kind.scaling, got, &factor)
            .ok());
    for (size_t i = 0; i < 64; ++i) {
      EXPECT_NEAR(got[i], want[i], 2e-6 * want[i]) << i;
    }
    EXPECT_NEAR(factor, file.Read(name + ".factor")[0], 1e-6);
  }
}

}  // namespace
}  // namespace heed::test
