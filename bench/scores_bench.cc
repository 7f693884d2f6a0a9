// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Score inputs against a call without, for each pair that rows see:
// scores/<input>/d<head_dim>/<target or unit>/t1, f32 on a target and bf16 on a
// unit. Both sides run in turns; the label says how the best of them compare.
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "bench/compare.h"
#include "heed/attention.h"
#include "heed/target.h"
#include "lib/oracle/oracle.h"

namespace heed::bench {
namespace {

constexpr int64_t kRows = 2048, kDocument = 256;

// What one measurement is of.
struct Input {
  const char* name;
  bool causal_base;  // whether the call without is causal
};

// The memory of score inputs, and the share of pairs that they leave.
class Inputs {
 public:
  explicit Inputs(const std::string& name) {
    eval::Random random(3);
    if (name == "bias" || name == "bias_f16") {
      for (int64_t i = 0; i < kRows * kRows; ++i) {
        bias_.push_back(static_cast<float>(random.Below(2000)) / 1000 - 1);
        if (name == "bias_f16") bias_f16_.push_back(ToF16(bias_.back()));
      }
      scores.bias =
          name == "bias"
              ? ConstTensorView(Bshd(const_cast<const float*>(bias_.data()), 1,
                                     kRows, 1, kRows))
              : Bshd(const_cast<const f16*>(bias_f16_.data()), 1, kRows, 1,
                     kRows);
    } else if (name == "mask_true" || name == "mask_triangle") {
      const bool triangle = name == "mask_triangle";
      for (int64_t i = 0; i < kRows; ++i) {
        for (int64_t j = 0; j < kRows; ++j) {
          mask_.push_back(!triangle || j <= i);
        }
      }
      scores.mask =
          Bshd(reinterpret_cast<const bool*>(mask_.data()), 1, kRows, 1, kRows);
    } else if (name == "alibi") {
      scores.alibi_slopes = Bshd(&slope_, 1, 1, 1, 1);
    } else {
      for (int64_t i = 0; i < kRows; ++i) {
        documents_.push_back(static_cast<int32_t>(i / kDocument));
      }
      scores.query_documents = scores.key_documents =
          Bshd(const_cast<const int32_t*>(documents_.data()), 1, kRows, 1, 1);
      share = static_cast<double>(kDocument) / kRows;
    }
  }

  ScoreInputs scores;
  double share = 1.0;

 private:
  const float slope_ = 0.01f;
  std::vector<float> bias_;
  std::vector<f16> bias_f16_;
  std::vector<uint8_t> mask_;
  std::vector<int32_t> documents_;
};

// The bits of a few rows are those of the page that defines them; those of a
// unit are near (docs/numerics.md, kFast: the largest value is 4 here, and an
// output of bf16 is rounded).
bool IsRight(const AttentionArgs& args, bool unit) {
  for (const int64_t row : {int64_t{0}, int64_t{1000}, kRows - 1}) {
    AttentionArgs one = args;
    AttentionParams params;
    params.causal_offset = row;
    one.query = TokensOf(args.query, row, 1);
    ScoreInputs& in = one.scores;
    for (ConstTensorView* view : {&in.bias, &in.mask, &in.query_documents}) {
      if (!view->absent()) *view = TokensOf(*view, row, 1);
    }
    const eval::Tensor want =
        eval::MakeTensor(1, 1, 1, args.out.head_dim(), eval::Layout::kBshd);
    one.out = want.view;
    oracle::AttentionBits(params, one);
    const std::vector<float> is =
        eval::Tensor{nullptr, TokensOf(args.out, row, 1)}.Dense();
    const std::vector<float> was = want.Dense();
    for (size_t c = 0; c < was.size(); ++c) {
      const float bound = unit ? 4 * 0x1.08p-7f + 0x1p-8f * was[c] : 0.0f;
      if (!(std::fabs(is[c] - was[c]) <= std::fabs(bound))) return false;
    }
  }
  return true;
}

void Scored(benchmark::State& state, const Input& input, int64_t dim,
            const PlanOptions& options) {
  const bool unit = options.unit != nullptr;
  const auto make = [&] {
    return eval::MakeTensor(1, kRows, 1, dim, eval::Layout::kBshd, 0,
                            unit ? DType::kBF16 : DType::kF32);
  };
  const eval::Tensor query = make(), key = make(), value = make();
  const eval::Tensor out = make(), plain_out = make();
  eval::FillTensor(query, 0, eval::Fill::kNormal, 1);
  eval::FillTensor(key, 1, eval::Fill::kNormal, 1);
  eval::FillTensor(value, 2, eval::Fill::kNormal, 1);
  AttentionArgs plain;
  plain.query = query.view;
  plain.key = key.view;
  plain.value = value.view;
  plain.out = plain_out.view;
  const Inputs inputs(input.name);
  AttentionArgs scored = plain;
  scored.scores = inputs.scores;
  scored.out = out.view;
  AttentionParams params;
  params.causal = input.causal_base;
  const Call first(params, plain, ShapeOf(plain), SerialExecutor(), options);
  const Call second({}, scored, ShapeOf(scored), SerialExecutor(), options);
  if (!first.Run() || !second.Run() || !IsRight(scored, unit)) {
    return state.SkipWithError("the result is wrong");
  }
  Compare(
      state, [&] { return first.Run(); }, [&] { return second.Run(); },
      input.causal_base ? "a causal call, a pair" : "a call without, a pair",
      inputs.share);
}

void Register(const Input& input, int64_t dim, const char* name,
              const PlanOptions& options) {
  benchmark::RegisterBenchmark((std::string("scores/") + input.name + "/d" +
                                std::to_string(dim) + "/" + name + "/t1")
                                   .c_str(),
                               [input, dim, options](benchmark::State& state) {
                                 Scored(state, input, dim, options);
                               })
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
}

// On every target, and on every unit.
void Register(const Input& input, int64_t dim) {
  PlanOptions options;
  for (int i = 0; i < NumTargets(); ++i) {
    const TargetInfo target = GetTarget(i);
    if (!target.usable || !target.same_bits || target.vector_bytes == 4) {
      continue;
    }
    options.target = target.name;
    options.numerics = Numerics::kSame;
    options.unit = nullptr;
    Register(input, dim, target.name, options);
    for (int u = 0; u < NumUnits(); ++u) {
      const UnitInfo unit = GetUnit(u);
      if (!unit.usable || std::string(unit.target) != target.name) continue;
      options.numerics = Numerics::kFast;
      options.unit = unit.name;
      Register(input, dim, unit.name, options);
    }
  }
}

}  // namespace

void RegisterScores() {
  for (const Input& input :
       {Input{"bias", false}, Input{"bias_f16", false},
        Input{"mask_true", false}, Input{"mask_triangle", true},
        Input{"alibi", false}, Input{"documents", false}}) {
    for (const int64_t dim : {64, 128}) Register(input, dim);
  }
}

}  // namespace heed::bench
