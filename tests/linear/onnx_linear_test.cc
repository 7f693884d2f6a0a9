// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a third party says that linear attention is: the backend cases of the
// ONNX operator LinearAttention.
#include "heed/onnx_linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "lib/io/safetensors.h"
#include "lib/oracle/element.h"
#include "tests/support/source_tree.h"

namespace heed::test {
namespace {

constexpr char kPath[] = "data/onnx_linear_cases.safetensors";

// One case of the file.
class Case {
 public:
  Case(const io::SafetensorsFile& file, std::string name)
      : file_(file), name_(std::move(name)) {
    const std::string dtype = Text("dtype");
    dtype_ = dtype == "f16" ? DType::kF16 : DType::kF32;
    attributes.q_num_heads = std::stoll(Text("q_num_heads"));
    attributes.kv_num_heads = std::stoll(Text("kv_num_heads"));
    attributes.scale = std::stof(Text("scale"));
    const char* const rules[] = {"linear", "gated", "delta", "gated_delta"};
    int rule = 0;
    while (Text("update_rule") != rules[rule]) ++rule;
    attributes.update_rule = static_cast<OnnxUpdateRule>(rule);
    tensors.query = Packed("query", dtype_);
    tensors.key = Packed("key", dtype_);
    tensors.value = Packed("value", dtype_);
    tensors.decay = Packed("decay", DType::kF32);
    tensors.beta = Packed("beta", DType::kF32);
    const io::SafetensorsEntry* past = Find("past_state");
    if (past != nullptr) tensors.past_state = View(*past, DType::kF32);
    output = file_.Read(*Find("output"));
    state = file_.Read(*Find("present_state"));
    got_output.assign(output.size(), -77.0f);
    got_state.assign(state.size(), -77.0f);
    const std::vector<int64_t>& shape = Find("output")->shape;
    tensors.output = Bshd(got_output.data(), shape[0], shape[1], 1, shape[2]);
    const std::vector<int64_t>& of_state = Find("present_state")->shape;
    tensors.present_state = Bshd(got_state.data(), of_state[0], of_state[1],
                                 of_state[2], of_state[3]);
  }

  bool wide() const { return dtype_ == DType::kF32; }
  const std::string& name() const { return name_; }

  OnnxLinearAttributes attributes;
  OnnxLinearTensors tensors;
  std::vector<float> output, state, got_output, got_state;

 private:
  const io::SafetensorsEntry* Find(const std::string& field) const {
    return file_.Find(name_ + "." + field);
  }
  std::string Text(const std::string& field) const {
    for (const auto& [key, text] : file_.header().metadata) {
      if (key == name_ + "." + field) return text;
    }
    ADD_FAILURE() << name_ << " has no " << field;
    return "linear";
  }
  ConstTensorView Packed(const std::string& field, DType dtype) {
    const io::SafetensorsEntry* entry = Find(field);
    return entry == nullptr ? ConstTensorView() : View(*entry, dtype);
  }
  // Numbers of 16 bits are narrowed back to them, which is exact.
  ConstTensorView View(const io::SafetensorsEntry& entry, DType dtype) {
    const std::vector<float>& wide = memory_.emplace_back(file_.Read(entry));
    const bool packed = entry.shape.size() == 3;
    ConstTensorView view =
        Bshd(wide.data(), entry.shape[0], entry.shape[1],
             packed ? 1 : entry.shape[2], entry.shape.back());
    if (dtype == DType::kF32) return view;
    std::vector<uint16_t>& narrow = narrow_.emplace_back();
    for (const float x : wide) narrow.push_back(oracle::RoundToF16(x).bits);
    view.data = narrow.data();
    view.dtype = dtype;
    for (int64_t& stride : view.stride) stride /= 2;
    return view;
  }

  const io::SafetensorsFile& file_;
  const std::string name_;
  DType dtype_ = DType::kF32;
  std::vector<std::vector<float>> memory_;
  std::vector<std::vector<uint16_t>> narrow_;
};

std::vector<std::string> Names(const io::SafetensorsFile& file) {
  const std::string field = ".update_rule";
  std::vector<std::string> names;
  for (const auto& [key, text] : file.header().metadata) {
    const size_t at = key.find(field);
    if (at != std::string::npos) names.push_back(key.substr(0, at));
  }
  return names;
}

void ExpectNear(const std::vector<float>& got, const std::vector<float>& want,
                double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want[i],
                tolerance * (1 + std::fabs(static_cast<double>(want[i]))))
        << "element " << i;
  }
}

TEST(OnnxLinear, BackendCases) {
  const io::SafetensorsFile file(SourcePath(kPath));
  const std::vector<std::string> names = Names(file);
  EXPECT_EQ(names.size(), 14u);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    Case c(file, name);
    const Status status = OnnxLinearAttention(c.attributes, c.tensors);
    ASSERT_TRUE(status.ok()) << ToString(status);
    // Those of 16 bits are stored rounded to them.
    const double tolerance = c.wide() ? 2e-6 : 0x1p-10;
    ExpectNear(c.got_output, c.output, tolerance);
    ExpectNear(c.got_state, c.state, tolerance);
  }
}

TEST(OnnxLinear, SixteenBitsGoIn) {
  const io::SafetensorsFile file(SourcePath(kPath));
  Case c(file, "fp16");
  EXPECT_EQ(c.tensors.query.dtype, DType::kF16);
}

TEST(OnnxLinear, Refuses) {
  const io::SafetensorsFile file(SourcePath(kPath));
  using Spoil = std::function<void(Case*)>;
  const struct {
    const char* argument;
    Spoil spoil;
  } cases[] = {
      {"q_num_heads", [](Case* c) { c->attributes.q_num_heads = 5; }},
      {"q_num_heads", [](Case* c) { c->attributes.kv_num_heads = 0; }},
      {"update_rule",
       [](Case* c) {
         c->attributes.update_rule = static_cast<OnnxUpdateRule>(9);
       }},
      {"decay",
       [](Case* c) { c->attributes.update_rule = OnnxUpdateRule::kDelta; }},
      {"beta",
       [](Case* c) { c->attributes.update_rule = OnnxUpdateRule::kGated; }},
      {"decay", [](Case* c) { c->tensors.decay = {}; }},
      {"beta", [](Case* c) { c->tensors.beta = {}; }},
      {"key", [](Case* c) { c->tensors.key.extent[3] -= 1; }},
      {"value", [](Case* c) { c->tensors.value.extent[2] = 2; }},
      {"past_state", [](Case* c) { c->tensors.past_state.extent[3] -= 1; }},
  };
  for (const auto& bad : cases) {
    SCOPED_TRACE(bad.argument);
    Case c(file, "prefill_with_past");
    bad.spoil(&c);
    const Status status = OnnxLinearAttention(c.attributes, c.tensors);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << ToString(status);
    const std::string argument = bad.argument;
    EXPECT_EQ(status.argument(),
              argument == "past_state" ? "initial_state" : argument);
    for (const float x : c.got_output) ASSERT_EQ(x, -77.0f);
    for (const float x : c.got_state) ASSERT_EQ(x, -77.0f);
  }
}

// Unpacked, heads of one channel would have a stride of their own.
TEST(OnnxLinear, RefusesGapsBetweenHeadsOfOneNumber) {
  const io::SafetensorsFile file(SourcePath(kPath));
  Case c(file, "prefill_with_past");
  ASSERT_EQ(c.tensors.beta.head_dim(), c.attributes.kv_num_heads);
  c.tensors.beta.stride[3] *= 2;
  const Status status = OnnxLinearAttention(c.attributes, c.tensors);
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_STREQ(status.argument(), "beta") << ToString(status);
  for (const float x : c.got_output) ASSERT_EQ(x, -77.0f);
}

}  // namespace
}  // namespace heed::test
