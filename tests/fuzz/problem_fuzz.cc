// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Problem strings: whatever the text, either it is read and what is written for
// it reads back to the same, or a sentence says why not.
#include <string>
#include <string_view>
#include <vector>

#include "lib/io/problem.h"
#include "tests/fuzz/fuzz_target.h"

namespace heed::test {
namespace {

void Run(std::string_view bytes) {
  io::Problem before;
  before.shape.batch = 77;
  io::Problem problem = before;
  const std::string error = io::ParseProblem(bytes, &problem);
  if (!error.empty()) {
    RequireSentence(error);
    Require(problem == before);
    return;
  }
  const std::string text = io::FormatProblem(problem);
  RequireSentence(text);
  io::Problem again;
  Require(io::ParseProblem(text, &again).empty());
  Require(again == problem);
  Require(io::FormatProblem(again) == text);
}

std::vector<std::string> Seeds() {
  return {
      "h1_d64_q64",
      "b2_h32_kv8_d128_dv64_q512_k4096_bf16_causal",
      "q0_k0_d0_h0_b0",
      "h1_d1_q1_f16_causal_off-3_wl128_wr0_sink4_cap30.5_scale0.125",
      "h1_d1_q1_off9223372036854775807_wl9223372036854775807",
      "h1_d1_q1_off-9223372036854775808",
      "h2147483647_d2147483647_q2147483648",
      "h1_d1_q1_cap1e-45_scale-3.4028235e38",
      "h1_d1_q1_cap-0_scale1e39",
      "h1_d1_q1_capnan_scaleinf",
      "h1_d1_q1_f32_bf16",
      "h1_d1_q1_h2",
      "h1_d1",
      "h_d1_q1",
      "h1.5_d1_q1",
      "h01_d+1_q 1",
      "H1_D1_Q1",
      "_",
      "",
      "h1__q1",
      "causal",
      "\x1b[31m_\xe2\x80\xae_\xff",
      std::string(300, 'h') + "1",
      std::string("h1_d1\0_q1", 9),
  };
}

const FuzzTarget kTarget("problem", Run, Seeds, {"_0-.9e hk\0\xff", 11});

}  // namespace
}  // namespace heed::test
