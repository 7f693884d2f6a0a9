// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The backend cases of the ONNX operator Attention (data/README.md), read into
// tensors.
#ifndef HEED_TESTS_SUPPORT_ONNX_CASE_H_
#define HEED_TESTS_SUPPORT_ONNX_CASE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "heed/attention.h"
#include "lib/eval/workload.h"

namespace heed::test {

// What the operator gives beside its result (qk_matmul_output_mode).
enum class OnnxScores { kNone = -1, kRaw, kSoftcapped, kBiased, kWeights };

struct OnnxCase {
  std::string name;
  eval::Tensors tensors;  // stored in the problem's types
  eval::Tensor want;      // f32
  // Numbers that are added, in the query's type; or booleans.
  eval::Tensor bias;
  ConstTensorView mask;
  // One a sequence where they differ.
  std::vector<int32_t> seqlens_k;
  std::vector<int64_t> causal_offset;
  // [batch][heads][seqlen_q][seqlen_k].
  OnnxScores scores_kind = OnnxScores::kNone;
  std::vector<float> scores;

  AttentionArgs Args() const;

  std::shared_ptr<std::vector<uint8_t>> mask_memory;
};

// Reads data/onnx_attention_cases.safetensors, wherever it is. Fails the test
// where it is missing or holds other than `count` cases.
void ReadOnnxCases(const std::string& path, size_t count,
                   std::vector<OnnxCase>* cases);

}  // namespace heed::test

#endif  // HEED_TESTS_SUPPORT_ONNX_CASE_H_
