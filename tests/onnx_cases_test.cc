// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a third party says that attention is: stored backend cases of the ONNX
// operator Attention (data/README.md), for every table and for the oracle that
// the other tests trust.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/eval/problem.h"
#include "lib/eval/safetensors.h"
#include "lib/eval/workload.h"
#include "lib/oracle/oracle.h"
#include "tests/support/run.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

constexpr char kPath[] =
    HEED_TESTS_DIR "/../data/onnx_attention_cases.safetensors";
constexpr size_t kCases = 29;
// Times the largest |out|. ONNX itself allows 1e-3 of each element.
constexpr double kTolerance = 1e-6;

struct Case {
  std::string name;
  eval::Tensors tensors;
  eval::Tensor want;
};

// Reads a tensor: of three dimensions [batch, seqlen, heads * head_dim], of
// four [batch, heads, seqlen, head_dim].
void ReadTensor(const eval::SafetensorsFile& file, const std::string& name,
                const int64_t (&extent)[4], eval::Tensor* tensor) {
  const auto [batch, seqlen, heads, head_dim] = extent;
  const eval::SafetensorsEntry* entry = file.Find(name);
  ASSERT_NE(entry, nullptr) << name;
  tensor->memory = std::make_shared<std::vector<float>>(file.Read(*entry));
  float* data = tensor->memory->data();
  const std::vector<int64_t> flat = {batch, seqlen, heads * head_dim};
  if (entry->shape == flat) {
    tensor->view = Bshd(data, batch, seqlen, heads, head_dim);
  } else {
    const std::vector<int64_t> split = {batch, heads, seqlen, head_dim};
    ASSERT_EQ(entry->shape, split) << name;
    tensor->view = Bhsd(data, batch, heads, seqlen, head_dim);
  }
}

void ReadCase(const eval::SafetensorsFile& file, const std::string& problem,
              Case* made) {
  eval::Tensors& tensors = made->tensors;
  tensors.problem = ProblemOf(problem);
  const AttentionShape& s = tensors.problem.shape;
  ReadTensor(file, made->name + ".query",
             {s.batch, s.seqlen_q, s.num_heads, s.head_dim}, &tensors.query);
  ReadTensor(file, made->name + ".key",
             {s.batch, s.seqlen_k, s.num_kv_heads, s.head_dim}, &tensors.key);
  ReadTensor(file, made->name + ".value",
             {s.batch, s.seqlen_k, s.num_kv_heads, s.head_dim_v},
             &tensors.value);
  ReadTensor(file, made->name + ".out",
             {s.batch, s.seqlen_q, s.num_heads, s.head_dim_v}, &made->want);
  // The result lies in memory as the stored one does.
  tensors.out.memory = std::make_shared<std::vector<float>>(*made->want.memory);
  tensors.out.view = made->want.view;
  tensors.out.view.data = tensors.out.memory->data();
  tensors.lse = eval::MakeTensor(s.batch, s.seqlen_q, s.num_heads, 1,
                                 eval::Layout::kBshd);
  tensors.ClearOutput();
}

void ReadCases(std::vector<Case>* cases) {
  const eval::SafetensorsFile file(kPath);  // throws where it is missing
  constexpr std::string_view kSuffix = ".problem";
  for (const auto& [key, problem] : file.header().metadata) {
    if (!std::string_view(key).ends_with(kSuffix)) continue;
    cases->emplace_back().name = key.substr(0, key.size() - kSuffix.size());
    ASSERT_NO_FATAL_FAILURE(ReadCase(file, problem, &cases->back()));
  }
  ASSERT_EQ(cases->size(), kCases);
}

void ExpectNear(const std::vector<double>& got, const eval::Tensor& stored) {
  const std::vector<float> want = stored.Dense();
  ASSERT_EQ(got.size(), want.size());
  double largest = 0;
  for (const float element : want) {
    largest = std::max(largest, std::fabs(static_cast<double>(element)));
  }
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], kTolerance * largest) << "element " << i;
  }
}

class OnnxCases : public OnEveryTarget {};

TEST_P(OnnxCases, GiveWhatIsStored) {
  std::vector<Case> cases;
  ASSERT_NO_FATAL_FAILURE(ReadCases(&cases));
  for (const Case& made : cases) {
    SCOPED_TRACE(made.name);
    const eval::Tensors& tensors = made.tensors;
    const Status status =
        RunOn(RunConfig{GetParam()}, tensors.problem.params, tensors.Args());
    ASSERT_TRUE(status.ok()) << ToString(status);
    const std::vector<float> out = tensors.out.Dense();
    ExpectNear(std::vector<double>(out.begin(), out.end()), made.want);
  }
}

HEED_ON_EVERY_TARGET(OnnxCases);

TEST(OnnxCasesOracle, GivesWhatIsStored) {
  std::vector<Case> cases;
  ASSERT_NO_FATAL_FAILURE(ReadCases(&cases));
  for (const Case& made : cases) {
    SCOPED_TRACE(made.name);
    const eval::Tensors& tensors = made.tensors;
    std::vector<double> out(made.want.memory->size());
    oracle::AttentionDouble(tensors.problem.params, tensors.Args(), out.data(),
                            nullptr);
    ExpectNear(out, made.want);
  }
}

}  // namespace
}  // namespace heed::test
