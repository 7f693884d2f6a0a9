// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What a third party says that attention is: the stored backend cases of the
// ONNX operator Attention (data/README.md), on every table and for the oracle
// that the other tests trust.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/eval/workload.h"
#include "lib/io/problem.h"
#include "lib/io/safetensors.h"
#include "lib/oracle/oracle.h"
#include "tests/support/run.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

constexpr char kPath[] =
    HEED_TESTS_DIR "/../data/onnx_attention_cases.safetensors";
constexpr size_t kCases = 30;
// Times the largest |out|. Rounding takes 2.4e-7 of it.
constexpr double kTolerance = 1e-6;

struct Case {
  std::string name;
  eval::Tensors tensors;
  eval::Tensor want;
};

// Reads a tensor of three dimensions, [batch, seqlen, heads * head_dim], or of
// four, [batch, heads, seqlen, head_dim].
void Read(const io::SafetensorsFile& file, const std::string& name,
          int64_t batch, int64_t seqlen, int64_t heads, int64_t head_dim,
          eval::Tensor* tensor) {
  const io::SafetensorsEntry* entry = file.Find(name);
  ASSERT_NE(entry, nullptr) << name;
  const std::vector<int64_t> flat = {batch, seqlen, heads * head_dim};
  const std::vector<int64_t> by_head = {batch, heads, seqlen, head_dim};
  ASSERT_EQ(entry->shape, entry->shape.size() == 3 ? flat : by_head) << name;
  tensor->memory = std::make_shared<std::vector<float>>(file.Read(*entry));
  float* data = tensor->memory->data();
  tensor->view = entry->shape.size() == 3
                     ? Bshd(data, batch, seqlen, heads, head_dim)
                     : Bhsd(data, batch, heads, seqlen, head_dim);
}

void ReadCase(const io::SafetensorsFile& file, const std::string& name,
              const std::string& problem, Case* made) {
  made->name = name;
  eval::Tensors& tensors = made->tensors;
  tensors.problem = ProblemOf(problem);
  const AttentionShape& s = tensors.problem.shape;
  Read(file, name + ".query", s.batch, s.seqlen_q, s.num_heads, s.head_dim,
       &tensors.query);
  Read(file, name + ".key", s.batch, s.seqlen_k, s.num_kv_heads, s.head_dim,
       &tensors.key);
  Read(file, name + ".value", s.batch, s.seqlen_k, s.num_kv_heads, s.head_dim_v,
       &tensors.value);
  Read(file, name + ".out", s.batch, s.seqlen_q, s.num_heads, s.head_dim_v,
       &made->want);
  if (::testing::Test::HasFatalFailure()) return;
  // The result lies in memory as the stored one does.
  tensors.out = made->want;
  tensors.out.memory =
      std::make_shared<std::vector<float>>(made->want.memory->size());
  tensors.out.view.data = tensors.out.memory->data();
  tensors.lse = eval::MakeTensor(s.batch, s.seqlen_q, s.num_heads, 1,
                                 eval::Layout::kBshd);
  tensors.ClearOutput();
}

// Fails where the file is missing or holds other than these cases.
void ReadCases(std::vector<Case>* cases) {
  const io::SafetensorsFile file(kPath);
  constexpr std::string_view kSuffix = ".problem";
  for (const auto& [key, text] : file.header().metadata) {
    if (!std::string_view(key).ends_with(kSuffix)) continue;
    cases->emplace_back();
    ReadCase(file, key.substr(0, key.size() - kSuffix.size()), text,
             &cases->back());
    if (::testing::Test::HasFatalFailure()) return;
  }
  ASSERT_EQ(cases->size(), kCases);
  ASSERT_EQ(file.header().entries.size(), 4 * kCases);
}

void ExpectNear(const std::vector<double>& got, const eval::Tensor& stored) {
  const std::vector<float> want = stored.Dense();
  ASSERT_EQ(got.size(), want.size());
  double largest = 0;
  for (const float element : want) {
    largest = std::max(largest, std::fabs(static_cast<double>(element)));
  }
  ASSERT_GT(largest, 0.0);
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], kTolerance * largest) << "element " << i;
  }
}

class OnnxCases : public OnEveryTarget {};

TEST_P(OnnxCases, TableGivesWhatIsStored) {
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

TEST(OnnxOracle, GivesWhatIsStored) {
  std::vector<Case> cases;
  ASSERT_NO_FATAL_FAILURE(ReadCases(&cases));
  for (const Case& made : cases) {
    SCOPED_TRACE(made.name);
    const eval::Tensors& tensors = made.tensors;
    std::vector<double> out(tensors.out.memory->size());
    oracle::AttentionDouble(tensors.problem.params, tensors.Args(), out.data(),
                            nullptr);
    ExpectNear(out, made.want);
  }
}

HEED_ON_EVERY_TARGET(OnnxCases);

}  // namespace
}  // namespace heed::test
