// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/onnx_case.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string_view>

#include "lib/io/problem.h"
#include "lib/io/safetensors.h"
#include "lib/oracle/element.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

class CaseReader {
 public:
  CaseReader(const io::SafetensorsFile& file, std::string name)
      : file_(file), name_(std::move(name)) {}

  // The text of a field, or "".
  std::string Text(const std::string& field) const {
    for (const auto& [key, text] : file_.header().metadata) {
      if (key == name_ + "." + field) return text;
    }
    return "";
  }

  // Whole numbers, joined by commas.
  template <typename T>
  std::vector<T> Numbers(const std::string& field) const {
    std::vector<T> numbers;
    std::istringstream text(Text(field));
    for (std::string number; std::getline(text, number, ',');) {
      numbers.push_back(static_cast<T>(std::stoll(number)));
    }
    return numbers;
  }

  // Reads a tensor of three dimensions, [batch, seqlen, heads * head_dim], or
  // of four, [batch, heads, seqlen, head_dim], and rounds it to `dtype`.
  void Read(const std::string& field, int64_t batch, int64_t seqlen,
            int64_t heads, int64_t head_dim, DType dtype,
            eval::Tensor* tensor) const {
    const io::SafetensorsEntry* entry = file_.Find(name_ + "." + field);
    ASSERT_NE(entry, nullptr) << field;
    const std::vector<int64_t> flat = {batch, seqlen, heads * head_dim};
    const std::vector<int64_t> by_head = {batch, heads, seqlen, head_dim};
    const bool is_flat = entry->shape.size() == 3;
    ASSERT_EQ(entry->shape, is_flat ? flat : by_head) << field;
    const std::vector<float> stored = file_.Read(*entry);
    const ConstTensorView from =
        is_flat ? Bshd(stored.data(), batch, seqlen, heads, head_dim)
                : Bhsd(stored.data(), batch, heads, seqlen, head_dim);
    *tensor = eval::MakeTensor(
        batch, seqlen, heads, head_dim,
        is_flat ? eval::Layout::kBshd : eval::Layout::kBhsd, 0, dtype);
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t s = 0; s < seqlen; ++s) {
        for (int64_t h = 0; h < heads; ++h) {
          for (int64_t c = 0; c < head_dim; ++c) {
            oracle::StoreElement(
                tensor->view, b, s, h, c,
                static_cast<float>(oracle::ElementAt(from, b, s, h, c)));
          }
        }
      }
    }
  }

  // Reads [batch, heads, seqlen_q, seqlen_k], each 1 where it repeats, and
  // repeats it by strides of zero.
  void ReadMask(OnnxCase* made) const {
    const AttentionShape& s = made->tensors.problem.shape;
    const io::SafetensorsEntry* entry = file_.Find(name_ + ".mask");
    ASSERT_NE(entry, nullptr);
    ASSERT_EQ(entry->shape.size(), 4u);
    const int64_t want[4] = {s.batch, s.num_heads, s.seqlen_q, s.seqlen_k};
    for (size_t i = 0; i < 4; ++i) {
      ASSERT_TRUE(entry->shape[i] == 1 || entry->shape[i] == want[i]);
    }
    ASSERT_EQ(entry->shape[3], s.seqlen_k);
    const int64_t batch = entry->shape[0], heads = entry->shape[1];
    const int64_t rows = entry->shape[2];
    const auto repeat = [&](auto view) {
      if (batch == 1) view.stride[0] = 0;
      if (rows == 1) view.stride[1] = 0;
      if (heads == 1) view.stride[2] = 0;
      view.extent[0] = s.batch;
      view.extent[1] = s.seqlen_q;
      view.extent[2] = s.num_heads;
      return view;
    };
    if (Text("mask") == "bias") {
      Read("mask", batch, rows, heads, s.seqlen_k, s.query_dtype, &made->bias);
      if (::testing::Test::HasFatalFailure()) return;
      made->bias.view = repeat(made->bias.view);
      return;
    }
    ASSERT_EQ(Text("mask"), "mask");
    made->mask_memory = std::make_shared<std::vector<uint8_t>>();
    for (const float x : file_.Read(*entry)) {
      made->mask_memory->push_back(x != 0.0f);
    }
    const bool* data = reinterpret_cast<const bool*>(made->mask_memory->data());
    made->mask = repeat(Bhsd(data, batch, heads, rows, s.seqlen_k));
  }

  void ReadScores(OnnxCase* made) const {
    const AttentionShape& s = made->tensors.problem.shape;
    const io::SafetensorsEntry* entry = file_.Find(name_ + ".scores");
    ASSERT_NE(entry, nullptr);
    const std::vector<int64_t> want = {s.batch, s.num_heads, s.seqlen_q,
                                       s.seqlen_k};
    ASSERT_EQ(entry->shape, want);
    made->scores = file_.Read(*entry);
    made->scores_kind = static_cast<OnnxScores>(std::stoi(Text("scores")));
  }

  void ReadCase(OnnxCase* made) const {
    made->name = name_;
    eval::Tensors& tensors = made->tensors;
    tensors.problem = ProblemOf(Text("problem"));
    const AttentionShape& s = tensors.problem.shape;
    Read("query", s.batch, s.seqlen_q, s.num_heads, s.head_dim, s.query_dtype,
         &tensors.query);
    Read("key", s.batch, s.seqlen_k, s.num_kv_heads, s.head_dim, s.key_dtype,
         &tensors.key);
    Read("value", s.batch, s.seqlen_k, s.num_kv_heads, s.head_dim_v,
         s.value_dtype, &tensors.value);
    Read("out", s.batch, s.seqlen_q, s.num_heads, s.head_dim_v, DType::kF32,
         &made->want);
    if (!Text("mask").empty()) ReadMask(made);
    if (!Text("scores").empty()) ReadScores(made);
    if (::testing::Test::HasFatalFailure()) return;
    made->seqlens_k = Numbers<int32_t>("seqlens_k");
    made->causal_offset = Numbers<int64_t>("causal_offset");
    tensors.out =
        eval::MakeTensor(s.batch, s.seqlen_q, s.num_heads, s.head_dim_v,
                         eval::Layout::kBshd, 0, s.out_dtype);
    tensors.lse = eval::MakeTensor(s.batch, s.seqlen_q, s.num_heads, 1,
                                   eval::Layout::kBshd);
    tensors.ClearOutput();
  }

 private:
  const io::SafetensorsFile& file_;
  const std::string name_;
};

}  // namespace

AttentionArgs OnnxCase::Args() const {
  AttentionArgs args = tensors.Args();
  args.scores.bias = bias.view;
  args.scores.mask = mask;
  if (!seqlens_k.empty()) {
    args.ragged.num_sequences = static_cast<int64_t>(seqlens_k.size());
    args.ragged.seqlens_k = seqlens_k.data();
  }
  if (!causal_offset.empty()) args.ragged.causal_offset = causal_offset.data();
  return args;
}

void ReadOnnxCases(const std::string& path, size_t count,
                   std::vector<OnnxCase>* cases) {
  const io::SafetensorsFile file(path);
  constexpr std::string_view kSuffix = ".problem";
  for (const auto& [key, text] : file.header().metadata) {
    if (!std::string_view(key).ends_with(kSuffix)) continue;
    SCOPED_TRACE(key);
    cases->emplace_back();
    CaseReader(file, key.substr(0, key.size() - kSuffix.size()))
        .ReadCase(&cases->back());
    if (::testing::Test::HasFatalFailure()) return;
  }
  ASSERT_EQ(cases->size(), count);
}

}  // namespace heed::test
