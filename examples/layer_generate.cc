// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A language model of two attention layers that generates with caches: the
// induction circuit (Olsson et al. 2022, arXiv:2209.11895), with weights
// written by hand. The first layer looks one token back, the second finds where
// the present token stood before and says what came after it: so a text goes on
// as it began. The prompt goes in at once, then token by token; what comes out
// has the bits of the whole text in one call.
#include <heed/heed.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace {

const std::string kLetters = "^abcdefghijklmnopqrstuvwxyz ";
constexpr int64_t kVocabulary = 28;
// A token is three parts: itself, the one before, the one that comes next.
constexpr int64_t kModel = 3 * kVocabulary;
enum Part : int64_t { kItself, kBefore, kNext };
constexpr int64_t kMostTokens = 64;

void Check(const heed::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", heed::ToString(status).c_str());
  std::exit(1);
}

using Memory = std::unique_ptr<void, void (*)(void*)>;
Memory Aligned(size_t bytes) {
  const size_t step = heed::kWorkspaceAlignment;
  return Memory(std::aligned_alloc(step, (bytes + step - 1) / step * step),
                &std::free);
}

// A projection that has `strength` from each input of one part to the output of
// another, and the memory that it is packed into.
struct Projection {
  Projection(int64_t in, int64_t from, int64_t out, int64_t to, float strength)
      : memory(nullptr, &std::free) {
    std::vector<float> weight(static_cast<size_t>(in * out));
    for (int64_t i = 0; i < kVocabulary; ++i) {
      const int64_t row = to * kVocabulary + i, column = from * kVocabulary + i;
      weight[static_cast<size_t>(row * in + column)] = strength;
    }
    heed::LinearWeights source;
    source.weight =
        heed::Bshd(static_cast<const float*>(weight.data()), 1, out, 1, in);
    const size_t bytes = heed::PackedLinearBytes(source);
    memory = Aligned(bytes);
    Check(heed::PackLinear(source, memory.get(), bytes, &packed));
  }
  Memory memory;
  heed::PackedLinear packed;
};

// A layer that compares part `query` with part `key` of tokens, and writes part
// `value` of those that it finds into part `out`.
struct Layer {
  Layer(float strength, Part query, Part key, Part value, Part out)
      : q(kModel, query, kVocabulary, 0, strength),
        k(kModel, key, kVocabulary, 0, 1),
        v(kModel, value, kVocabulary, 0, 1),
        o(kVocabulary, 0, kModel, out, 1),
        key_cache(kMostTokens * kVocabulary),
        value_cache(kMostTokens * kVocabulary) {}
  Projection q, k, v, o;
  std::vector<float> key_cache, value_cache;
};

class Model {
 public:
  Model()
      : layers_{{0, kItself, kItself, kItself, kBefore},
                {30, kItself, kBefore, kItself, kNext}},
        workspace_memory_(nullptr, &std::free) {
    heed::MultiHeadParams params;
    params.model_dim = kModel;
    params.num_heads = 1;
    params.head_dim = kVocabulary;
    params.attention.causal = true;
    params.attention.softmax_scale = 1;
    heed::MultiHeadShape shape;
    shape.batch = 1;
    shape.seqlen_q = shape.seqlen_k = shape.seqlen_new = kMostTokens;
    shape.cache = true;
    shape.scores = true;
    Check(heed::MakeMultiHeadPlan(params, shape, {}, &plan_));
    workspace_.bytes = heed::MultiHeadWorkspaceBytes(plan_, 1);
    workspace_memory_ = Aligned(workspace_.bytes);
    workspace_.data = workspace_memory_.get();
  }

  // Takes some tokens that follow those before. Returns the last row.
  std::vector<float> Step(const std::string& text) {
    const int64_t tokens = static_cast<int64_t>(text.size());
    std::vector<float> x(static_cast<size_t>(tokens * kModel));
    for (size_t i = 0; i < text.size(); ++i) {
      x[i * kModel + kLetters.find(text[i])] = 1;
    }
    std::vector<float> y(x.size());
    for (Layer& layer : layers_) {
      heed::MultiHeadArgs args;
      args.query =
          heed::Bshd(static_cast<const float*>(x.data()), 1, tokens, 1, kModel);
      args.out = heed::Bshd(y.data(), 1, tokens, 1, kModel);
      args.weights = {layer.q.packed, layer.k.packed, layer.v.packed,
                      layer.o.packed};
      args.key_cache =
          heed::Bshd(layer.key_cache.data(), 1, kMostTokens, 1, kVocabulary);
      args.value_cache =
          heed::Bshd(layer.value_cache.data(), 1, kMostTokens, 1, kVocabulary);
      args.past_lengths = &past_;
      if (&layer == layers_) {  // positions: one token back, and no other
        args.scores.relative_bias = heed::Bshd(kOneBack, 1, 1, 1, 5);
      }
      Check(
          heed::RunMultiHead(plan_, args, workspace_, heed::SerialExecutor()));
      for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
    }
    past_ += static_cast<int32_t>(tokens);
    return std::vector<float>(x.end() - kModel, x.end());
  }

  void Forget() { past_ = 0; }

 private:
  // Of distances -2 (and all beyond), -1, 0, 1 and 2.
  static constexpr float kOneBack[5] = {0, 50, 0, 0, 0};

  Layer layers_[2];
  heed::MultiHeadPlan plan_;
  Memory workspace_memory_;
  heed::Workspace workspace_;
  int32_t past_ = 0;
};

char Likeliest(const std::vector<float>& row) {
  const auto next = row.begin() + kNext * kVocabulary;
  return kLetters[static_cast<size_t>(std::max_element(next, row.end()) -
                                      next)];
}

}  // namespace

int main() {
  const std::string prompt = "^sparkling spar";
  const std::string want = "kling sparkling sparkling sp";
  Model model;
  std::string text = prompt;
  std::vector<float> row = model.Step(prompt);
  for (size_t i = 0; i < want.size(); ++i) {
    text += Likeliest(row);
    row = model.Step(text.substr(text.size() - 1));
  }
  std::printf("%s|%s\n", prompt.c_str() + 1, text.c_str() + prompt.size());
  model.Forget();
  const std::vector<float> whole = model.Step(text);
  const bool same =
      std::memcmp(whole.data(), row.data(), row.size() * sizeof(float)) == 0;
  std::printf("the whole text at once: %s\n",
              same ? "the same bits" : "other bits");
  return same && text == prompt + want ? 0 : 1;
}
