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

#include "lib/eval/problem.h"
#include "lib/eval/safetensors.h"
#include "lib/eval/workload.h"
#include "lib/oracle/oracle.h"
#include "tests/support/run.h"
#include "tests/support/targets.h"

namespace heed::test {
namespace {

constexpr char kPath[] = HEED_TESTS_DIR "/../data/onnx_attention_cases.safetensors";
constexpr size_t kCases = 29;
// Times the largest |out|. ONNX itself asks for 1e-3 of each element.
constexpr double kTolerance = 2e-6;

struct Case {
  std::string name;
  eval::Tensors tensors;
  eval::Tensor want;
};

// Reads `entry`, of three dimensions [batch, seqlen, heads * head_dim], of four
// [batch, heads, seqlen, head_dim].
eval::Tensor Stored(const eval::SafetensorsFile& file, const std::string& name,
                    int64_t batch, int64_t seqlen, int64_t heads,
                    int64_t head_dim) {
  eval::Tensor tensor;
  const eval::SafetensorsEntry* entry = file.Find(name);
  if (entry == nullptr) {
    ADD_FAILURE() << "no tensor " << name;
    return tensor;
  }
  tensor.memory = std::make_shared<std::vector<float>>(file.Read(*entry));
  float* data = tensor.memory->data();
  if (entry->shape.size() == 3) {
    EXPECT_EQ(entry->shape,
              (std::vector<int64_t>{batch, seqlen, heads * head_dim}))
        << name;
    tensor.view = Bshd(data, batch, seqlen, heads, head_dim);
  } else {
    EXPECT_EQ(entry->shape,
              (std::vector<int64_t>{batch, heads, seqlen, head_dim}))
        << name;
    tensor.view = Bhsd(data, batch, heads, seqlen, head_dim);
  }
  return tensor;
}

Case ReadCase(const eval::SafetensorsFile& file, const std::string& name,
              const std::string& problem) {
  Case made;
  made.name = name;
  eval::Tensors& tensors = made.tensors;
  tensors.problem = ProblemOf(problem);
  EXPECT_EQ(FormatProblem(tensors.problem), problem);
  const AttentionShape& shape = tensors.problem.shape;
  tensors.query = Stored(file, name + ".query", shape.batch, shape.seqlen_q,
                         shape.num_heads, shape.head_dim);
  tensors.key = Stored(file, name + ".key", shape.batch, shape.seqlen_k,
                       shape.num_kv_heads, shape.head_dim);
  tensors.value = Stored(file, name + ".value", shape.batch, shape.seqlen_k,
                         shape.num_kv_heads, shape.head_dim_v);
  made.want = Stored(file, name + ".out", shape.batch, shape.seqlen_q,
                     shape.num_heads, shape.head_dim_v);
  // The result lies in memory as the stored one does.
  tensors.out = made.want;
  tensors.out.memory =
      std::make_shared<std::vector<float>>(made.want.memory->size());
  tensors.out.view.data = tensors.out.memory->data();
  tensors.lse = eval::MakeTensor(shape.batch, shape.seqlen_q, shape.num_heads,
                                 1, eval::Layout::kBshd);
  tensors.ClearOutput();
  return made;
}

// Fails where the file is missing or does not hold as many cases as it should.
class OnnxCases : public OnEveryTarget {
 protected:
  void SetUp() override {
    const eval::SafetensorsFile file(kPath);
    constexpr std::string_view kSuffix = ".problem";
    for (const auto& [key, text] : file.header().metadata) {
      if (!std::string_view(key).ends_with(kSuffix)) continue;
      cases_.push_back(
          ReadCase(file, key.substr(0, key.size() - kSuffix.size()), text));
      if (HasFailure()) FAIL() << "in case " << key;
    }
    ASSERT_EQ(cases_.size(), kCases);
    ASSERT_EQ(file.header().entries.size(), 4 * kCases);
  }

  std::vector<Case> cases_;
};

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

TEST_P(OnnxCases, TablesGiveWhatIsStored) {
  for (const Case& made : cases_) {
    SCOPED_TRACE(made.name);
    const eval::Tensors& tensors = made.tensors;
    const Status status =
        RunOn(RunConfig{GetParam()}, tensors.problem.params, tensors.Args());
    ASSERT_TRUE(status.ok()) << ToString(status);
    const std::vector<float> out = tensors.out.Dense();
    ExpectNear(std::vector<double>(out.begin(), out.end()), made.want);
  }
}

// Here the table matters not, but the file is read once more.
TEST_P(OnnxCases, TheOracleGivesWhatIsStored) {
  for (const Case& made : cases_) {
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
