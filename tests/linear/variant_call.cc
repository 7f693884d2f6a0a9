// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/linear/variant_call.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lib/core/ops_target.h"
#include "lib/eval/knob_sweep.h"
#include "tests/support/run.h"

namespace heed::test {
namespace {

constexpr float kUnwritten = -77.0f;

// The tensors of a problem, of which the variant serves the shape.
eval::Tensors TensorsFor(const Variant& variant, const std::string& text) {
  io::Problem problem = ProblemOf(text);
  if (variant.equal_head_dims) {
    problem.shape.head_dim_v = problem.shape.head_dim;
  }
  return eval::MakeTensors(problem, {});
}

}  // namespace

std::vector<NamedVariant> LinearVariants() {
  std::vector<NamedVariant> all = eval::AllVariants();
  std::erase_if(all, [](const NamedVariant& named) {
    return named.variant.semantics != Semantics::kOwnReference ||
           named.variant.non_causal;
  });
  return all;
}

NamedVariant VariantNamed(const std::string& name) {
  for (const NamedVariant& named : eval::AllVariants()) {
    if (name == named.name) return named;
  }
  ADD_FAILURE() << "no variant " << name;
  return {};
}

VariantCall::VariantCall(const std::string& name, const std::string& problem,
                         const std::string& target)
    : named_(VariantNamed(name)),
      target_(target),
      tensors_(TensorsFor(named_.variant, problem)) {
  args_.params = tensors_.problem.params;
  args_.args = tensors_.Args();
  args_.args.lse = TensorView();
  for (int i = 0; i < variant().num_knobs; ++i) {
    args_.knobs[i] = variant().knobs[i].default_value;
  }
  args_.target = target_.c_str();
}

int VariantCall::IndexOf(const std::string& input) const {
  for (int i = 0; i < variant().num_inputs; ++i) {
    if (input == variant().inputs[i].name) return i;
  }
  ADD_FAILURE() << "no input " << input;
  return 0;
}

void VariantCall::SetKnob(const std::string& name, double value) {
  for (int i = 0; i < variant().num_knobs; ++i) {
    if (name == variant().knobs[i].name) args_.knobs[i] = value;
  }
}

ConstTensorView& VariantCall::InputView(const std::string& name) {
  const size_t index = static_cast<size_t>(IndexOf(name));
  if (inputs_.empty()) {
    const ConstTensorView& key = args_.args.key;
    for (int i = 0; i < variant().num_inputs; ++i) {
      const Input& input = variant().inputs[i];
      const int64_t batch = input.weights ? 1 : key.batch();
      // As many rows as most variants of weights take.
      const int64_t rows = input.weights ? key.head_dim() : key.seqlen();
      const int64_t dim = ChannelsOf(input, args_.args);
      std::vector<float>& numbers = numbers_.emplace_back();
      for (int64_t b = 0; b < batch; ++b) {
        for (int64_t t = 0; t < rows; ++t) {
          for (int64_t h = 0; h < key.heads(); ++h) {
            for (int64_t c = 0; c < dim; ++c) {
              numbers.push_back(
                  static_cast<float>(DrawnAt(input, i, b, t, h, c)));
            }
          }
        }
      }
    }
    for (int i = 0; i < variant().num_inputs; ++i) {
      const Input& input = variant().inputs[i];
      const std::vector<float>& numbers = numbers_[static_cast<size_t>(i)];
      inputs_.push_back(Bshd(numbers.data(), input.weights ? 1 : key.batch(),
                             input.weights ? key.head_dim() : key.seqlen(),
                             key.heads(), ChannelsOf(input, args_.args)));
    }
    args_.inputs = inputs_.data();
  }
  return inputs_[index];
}

void VariantCall::SetInput(const std::string& name,
                           const std::function<double(int64_t, int64_t)>& f) {
  const ConstTensorView& view = InputView(name);
  float* at = numbers_[static_cast<size_t>(IndexOf(name))].data();
  for (int64_t b = 0; b < view.batch(); ++b) {
    for (int64_t t = 0; t < view.seqlen(); ++t) {
      for (int64_t h = 0; h < view.heads(); ++h) {
        for (int64_t c = 0; c < view.head_dim(); ++c) {
          *at++ = static_cast<float>(f(t, c));
        }
      }
    }
  }
}

Status VariantCall::Run() {
  uint32_t bits = 0;
  std::memcpy(&bits, &kUnwritten, sizeof(bits));
  tensors_.out.FillAll(bits);
  args_.scratch = pool_.Begin();
  return RunVariant(variant(), args_);
}

std::vector<float> VariantCall::Out() {
  const Status status = Run();
  EXPECT_TRUE(status.ok()) << named_.name << ": " << ToString(status);
  return tensors_.out.Dense();
}

std::vector<double> VariantCall::Reference() {
  std::vector<double> out(tensors_.out.Dense().size());
  variant().reference(args_, out.data());
  return out;
}

bool VariantCall::Untouched() const {
  const std::vector<float> out = tensors_.out.Dense();
  return std::all_of(out.begin(), out.end(),
                     [](float x) { return x == kUnwritten; });
}

void LinearVariantOnTarget::SetUp() {
  ASSERT_TRUE(internal::SetOpsTarget(GetParam().c_str()));
}
void LinearVariantOnTarget::TearDown() { internal::SetOpsTarget(nullptr); }

double ErrorOf(const std::vector<float>& got, const std::vector<double>& want) {
  EXPECT_EQ(got.size(), want.size());
  double error = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double distance = static_cast<double>(got[i]) - want[i];
    error += distance * distance;
    norm += want[i] * want[i];
  }
  return error == 0 ? 0 : std::sqrt(error / norm);
}

std::vector<double> Doubles(const std::vector<float>& x) {
  return {x.begin(), x.end()};
}

}  // namespace heed::test
