// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Some heads of a layer, and its last tokens one by one: the same numbers as in
// the whole.
#include "lib/eval/cut_layer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "heed/attention.h"
#include "lib/eval/knob_sweep.h"
#include "lib/io/input_error.h"
#include "tests/eval/compare_run.h"

namespace heed::test {
namespace {

using eval::Layer;
using eval::TensorSource;

// Attention over a layer; its output, [seqlen][heads][head_dim].
std::vector<float> OutputOf(const Layer& layer) {
  const eval::Tensors& tensors = layer.tensors;
  EXPECT_TRUE(
      Attention(tensors.problem.params, tensors.Args(), SerialExecutor()).ok());
  return tensors.out.Dense();
}

TEST(DecodeLast, GivesTheRowsOfTheWhole) {
  for (const char* text :
       {"b1_h4_kv2_d8_q9_causal", "b1_h2_d8_q3_k12_causal",
        "b1_h2_d8_q9_causal_wl3_sink1", "b1_h2_d8_q9_wl3_wr2",
        "b1_h2_d8_q5_k9_causal_off2", "b1_h2_d8_q5_k6_causal_off7"}) {
    SCOPED_TRACE(text);
    TensorSource source = eval::MakeSynthetic(text, {});
    const AttentionShape shape = source.layers[0].tensors.problem.shape;
    const std::vector<float> whole = OutputOf(source.layers[0]);
    const size_t row = static_cast<size_t>(shape.num_heads * shape.head_dim_v);
    DecodeLast(3, &source);
    ASSERT_EQ(source.layers.size(), 3u);
    EXPECT_EQ(source.queries, 3);
    for (size_t i = 0; i < 3; ++i) {
      const std::vector<float> step = OutputOf(source.layers[i]);
      ASSERT_EQ(step.size(), row);
      const size_t at = (static_cast<size_t>(shape.seqlen_q) - 3 + i) * row;
      EXPECT_TRUE(std::equal(step.begin(), step.end(), whole.data() + at))
          << "step " << i;
    }
  }
}

// A causal step must not look at keys that were not there yet.
TEST(DecodeLast, CutsTheCache) {
  TensorSource source = eval::MakeSynthetic("b1_h2_d8_q9_causal", {});
  DecodeLast(2, &source);
  EXPECT_EQ(FormatProblem(source.layers[0].tensors.problem),
            "b1_h2_d8_q1_k8_f32_causal");
  EXPECT_EQ(FormatProblem(source.layers[1].tensors.problem),
            "b1_h2_d8_q1_k9_f32_causal");
}

TEST(DecodeLast, RefusesWhatIsNotThere) {
  TensorSource source = eval::MakeSynthetic("b1_h2_d8_q9_causal", {});
  EXPECT_THROW(DecodeLast(10, &source), io::InputError);
  source = eval::MakeSynthetic("b1_h2_d8_q9_k4_causal", {});
  EXPECT_THROW(DecodeLast(9, &source), io::InputError);
}

// Sums over the steps of each layer: two layers of two steps.
TEST(DecodeLast, SummarisesByLayer) {
  TensorSource source = eval::MakeSynthetic("b3_h2_d8_q9_causal", {});
  source.layers.push_back(
      eval::MakeSynthetic("b3_h2_d8_q7_causal", {}).layers[0]);
  DecodeLast(2, &source);
  const eval::CompareResult result =
      CompareOn(source, {eval::DefaultSetting(Real("window_sink"))});
  ASSERT_EQ(result.layers.size(), 2u);
  EXPECT_EQ(result.layers[1].calls, 2);
  EXPECT_EQ(result.layers[1].rows, 2);
  ASSERT_EQ(result.cells[1].size(), 4u);
  const auto& cells = result.cells[1];
  for (size_t l = 0; l < 2; ++l) {
    EXPECT_EQ(result.by_layer[l][1].total.kv_bytes,
              cells[2 * l].kv_bytes + cells[2 * l + 1].kv_bytes);
  }
  EXPECT_EQ(result.rows[1].tokens, 3 * 2);
  // Keys and values of 8 and 9 keys, then of 6 and 7.
  EXPECT_EQ(result.rows[1].total.kv_bytes, 3 * 2 * 2 * 8 * 4 * (8 + 9 + 6 + 7));
}

TEST(KeepHeads, GivesTheHeadsOfTheWhole) {
  for (const eval::Layout layout : {eval::Layout::kBshd, eval::Layout::kBhsd}) {
    for (const auto& [ranges, kept] : std::vector<
             std::pair<std::vector<io::NumberRange>, std::vector<size_t>>>{
             {{{5, 5}}, {5}},
             {{{0, 1}}, {0, 1}},
             {{{1, 1}, {3, 4}}, {1, 3, 4}},
             {{{1, 3}}, {}},  // one on a key head, two on the next
             {{{0, 5}}, {0, 1, 2, 3, 4, 5}}}) {
      eval::WorkloadOptions options;
      options.layout = layout;
      Layer layer =
          eval::MakeSynthetic("b2_h6_kv3_d8_q5_causal", options).layers[0];
      const std::vector<float> whole = OutputOf(layer);
      if (kept.empty()) {
        EXPECT_THROW(KeepHeads(ranges, layout, &layer), io::InputError);
        continue;
      }
      KeepHeads(ranges, layout, &layer);
      const std::vector<float> part = OutputOf(layer);
      std::vector<float> expected;
      for (size_t row = 0; row < 2 * 5; ++row) {
        for (const size_t head : kept) {
          const auto at =
              whole.begin() + static_cast<std::ptrdiff_t>((row * 6 + head) * 8);
          expected.insert(expected.end(), at, at + 8);
        }
      }
      EXPECT_EQ(part, expected);
    }
  }
  Layer layer = eval::MakeSynthetic("h4_d8_q5", {}).layers[0];
  EXPECT_THROW(KeepHeads({{2, 4}}, eval::Layout::kBshd, &layer),
               io::InputError);
}

}  // namespace
}  // namespace heed::test
