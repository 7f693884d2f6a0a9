// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// What surrounds attention in a step of an engine: new rows into the cache, and
// masks that come as matrices.
#include <cstdint>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "heed/heed.h"
#include "lib/eval/workload.h"

namespace heed::bench {
namespace {

// One new token of each of 64 sequences, 8 heads of 128, turned.
void Append(benchmark::State& state, DType dtype) {
  constexpr int64_t kSequences = 64, kCapacity = 256, kHeads = 8, kDim = 128;
  const auto layout = eval::Layout::kBshd;
  const eval::Tensor rows =
      eval::MakeTensor(kSequences, 1, kHeads, kDim, layout, 0, DType::kBF16);
  eval::FillTensor(rows, 1, eval::Fill::kNormal, 1);
  const bool scaled = dtype == DType::kI8 || dtype == DType::kF8E4M3;
  eval::Tensor cache[2], scale[2];
  for (int i = 0; i < 2; ++i) {
    cache[i] =
        eval::MakeTensor(kSequences, kCapacity, kHeads, kDim, layout, 0, dtype);
    if (scaled) {
      scale[i] = eval::MakeTensor(kSequences, kCapacity, kHeads, 1, layout);
    }
  }
  std::vector<double> frequency(kDim / 2);
  std::vector<float> cos(kCapacity * kDim / 2), sin(cos);
  const std::vector<int32_t> past(kSequences, kCapacity / 2);
  AppendArgs args;
  args.key = args.value = rows.view;
  args.key_cache = cache[0].view;
  args.value_cache = cache[1].view;
  args.key_scale = scale[0].view;
  args.value_scale = scale[1].view;
  args.past_lengths = past.data();
  args.num_sequences = kSequences;
  args.rope = {kDim, false, kCapacity, cos.data(), sin.data()};
  if (!RopeFrequencies(1e4, kDim, frequency.data()).ok() ||
      !FillRopeTables(frequency.data(), kDim, 0, kCapacity, cos.data(),
                      sin.data())
           .ok()) {
    return state.SkipWithError("the tables were refused");
  }
  Measure(state, DefaultTarget(), "", 1, 0,
          static_cast<double>(2 * kSequences * kHeads *
                              (2 * kDim + BytesOf(dtype, kDim))),
          [&] { return AppendKv(args).ok(); });
}

// A causal mask of f16, larger than caches.
void Recognise(benchmark::State& state) {
  constexpr int64_t kTokens = 8192;
  std::vector<f16> mask(kTokens * kTokens);
  for (int64_t i = 0; i < kTokens * kTokens; ++i) {
    const bool sees = i % kTokens <= i / kTokens;
    mask[static_cast<size_t>(i)].bits = sees ? 0 : 0xfc00;
  }
  Measure(state, DefaultTarget(), "", 1, 0,
          static_cast<double>(mask.size() * sizeof(f16)), [&] {
            RecognisedMask got;
            return RecogniseMask(
                       Bhsd<const f16>(mask.data(), 1, 1, kTokens, kTokens),
                       MaskOptions(), &got)
                       .ok() &&
                   got.form == MaskForm::kRule && got.causal_offset == 0;
          });
}

}  // namespace

void RegisterCache() {
  for (const DType dtype : {DType::kBF16, DType::kI8, DType::kF8E4M3}) {
    benchmark::RegisterBenchmark(
        (std::string("append/b64_h8_d128_q1_bf16/") + NameOf(dtype) + "/t1")
            .c_str(),
        [dtype](benchmark::State& state) { Append(state, dtype); });
  }
  benchmark::RegisterBenchmark("recognise_mask/q8192_k8192_f16/t1", &Recognise);
}

}  // namespace heed::bench
