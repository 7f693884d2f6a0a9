// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Keys and values in pages against contiguous ones, and many sequences in one
// call against a call each: paged/<problem>/page<rows>/<target>/t1 and
// ragged/<lengths>/<target>/t<threads>; and a prefix that sequences share, with
// that said and without: shared/<lengths>/<type>/<target>/t<threads>. Both
// sides run in turns; the label says how the best of them compare.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "bench/compare.h"
#include "heed/attention.h"
#include "heed/target.h"

namespace heed::bench {
namespace {

// ---- Pages ------------------------------------------------------------------

// Copies one sequence into pages that lie in random order.
eval::Tensor InPages(const TensorView& from, int64_t page_size,
                     const std::vector<int32_t>& table) {
  const eval::Tensor pool = eval::MakeTensor(
      static_cast<int64_t>(table.size()), page_size, from.heads(),
      from.head_dim(), eval::Layout::kBshd, 0, from.dtype);
  const size_t bytes =
      static_cast<size_t>(BytesOf(from.dtype, from.head_dim()));
  for (int64_t i = 0; i < from.seqlen(); ++i) {
    for (int64_t h = 0; h < from.heads(); ++h) {
      std::memcpy(internal::BytesAt(pool.view,
                                    table[static_cast<size_t>(i / page_size)],
                                    i % page_size, h),
                  internal::BytesAt(from, 0, i, h), bytes);
    }
  }
  return pool;
}

std::vector<int32_t> Shuffled(int64_t count) {
  std::vector<int32_t> order;
  for (int64_t i = 0; i < count; ++i) order.push_back(static_cast<int32_t>(i));
  eval::Random random(7);
  for (size_t i = order.size(); i > 1; --i) {
    std::swap(
        order[i - 1],
        order[static_cast<size_t>(random.Below(static_cast<int64_t>(i)))]);
  }
  return order;
}

void Paged(benchmark::State& state, const char* text, int64_t page_size) {
  io::Problem problem;
  const std::string error = io::ParseProblem(text, &problem);
  if (!error.empty()) return state.SkipWithError(error.c_str());
  const eval::Tensors tensors = eval::MakeTensors(problem, {});
  AttentionArgs dense = tensors.Args();
  dense.lse = TensorView();
  const int64_t keys = problem.shape.seqlen_k;
  const std::vector<int32_t> table =
      Shuffled((keys + page_size - 1) / page_size);
  const eval::Tensor key = InPages(tensors.key.view, page_size, table);
  const eval::Tensor value = InPages(tensors.value.view, page_size, table);
  const TensorView& out_view = tensors.out.view;
  const eval::Tensor out = eval::MakeTensor(
      1, out_view.seqlen(), out_view.heads(), out_view.head_dim(),
      eval::Layout::kBshd, 0, out_view.dtype);
  const int32_t cu[2] = {0, static_cast<int32_t>(problem.shape.seqlen_q)};
  const int32_t seqlen_k = static_cast<int32_t>(keys);
  AttentionArgs paged = dense;
  paged.key = key.view;
  paged.value = value.view;
  paged.out = out.view;
  paged.ragged.num_sequences = 1;
  paged.ragged.cu_seqlens_q = cu;
  paged.ragged.seqlens_k = &seqlen_k;
  const int64_t pages = static_cast<int64_t>(table.size());
  paged.pages = {table.data(), 1, pages, pages};
  const Call first(problem.params, dense, ShapeOf(dense), SerialExecutor());
  const Call second(problem.params, paged, ShapeOf(paged), SerialExecutor());
  if (!first.Run() || !second.Run() || tensors.out.Dense() != out.Dense()) {
    return state.SkipWithError("the result is wrong");
  }
  Compare(
      state, [&] { return first.Run(); }, [&] { return second.Run(); },
      "contiguous keys");
}

// ---- Sequences --------------------------------------------------------------

// Prompts, chunks of prompts and single tokens, as a server has them at a time.
void Ragged64(benchmark::State& state, int threads) {
  constexpr int64_t kHeads = 8, kKvHeads = 2, kDim = 64, kMostKeys = 2048;
  constexpr int64_t kSequences = 64;
  std::vector<int32_t> cu = {0}, keys;
  eval::Random random(5);
  for (int64_t s = 0; s < kSequences; ++s) {
    const int64_t rows = s % 8 == 0   ? 50 + random.Below(400)
                         : s % 8 == 1 ? 64
                                      : 1;
    const int64_t before = s % 8 == 0 ? 0 : random.Below(kMostKeys - 64);
    cu.push_back(cu.back() + static_cast<int32_t>(rows));
    keys.push_back(static_cast<int32_t>(before + rows));
  }
  const auto make = [&](int64_t batch, int64_t seqlen, int64_t heads) {
    return eval::MakeTensor(batch, seqlen, heads, kDim, eval::Layout::kBshd);
  };
  const eval::Tensor query = make(1, cu.back(), kHeads);
  const eval::Tensor key = make(kSequences, kMostKeys, kKvHeads);
  const eval::Tensor value = make(kSequences, kMostKeys, kKvHeads);
  const eval::Tensor out = make(1, cu.back(), kHeads);
  const eval::Tensor want = make(1, cu.back(), kHeads);
  eval::FillTensor(query, 0, eval::Fill::kNormal, 1);
  eval::FillTensor(key, 1, eval::Fill::kNormal, 1);
  eval::FillTensor(value, 2, eval::Fill::kNormal, 1);
  AttentionArgs all;
  all.query = query.view;
  all.key = key.view;
  all.value = value.view;
  all.out = out.view;
  all.ragged.num_sequences = kSequences;
  all.ragged.cu_seqlens_q = cu.data();
  all.ragged.seqlens_k = keys.data();
  std::vector<AttentionArgs> singles;
  for (int64_t s = 0; s < kSequences; ++s) {
    const size_t at = static_cast<size_t>(s);
    AttentionArgs one;
    one.query = TokensOf(all.query, cu[at], cu[at + 1] - cu[at]);
    one.out = TokensOf(want.view, cu[at], cu[at + 1] - cu[at]);
    one.key = TokensOf(all.key, 0, keys[at]);
    one.value = TokensOf(all.value, 0, keys[at]);
    one.key.data = internal::BytesAt(all.key, s, 0, 0);
    one.value.data = internal::BytesAt(all.value, s, 0, 0);
    one.key.extent[0] = one.value.extent[0] = 1;
    singles.push_back(one);
  }
  AttentionParams params;
  params.causal = true;
  const Workers workers(threads);
  AttentionShape shape = ShapeOf(all);
  shape.batch = 1;
  shape.seqlen_q = 512;
  const Call ragged(params, all, shape, workers.executor());
  const Call single(params, all, shape, workers.executor());
  const auto run_singles = [&] {
    bool ok = true;
    for (const AttentionArgs& one : singles) ok = single.Run(one) && ok;
    return ok;
  };
  if (!run_singles() || !ragged.Run() || out.Dense() != want.Dense()) {
    return state.SkipWithError("the result is wrong");
  }
  Compare(
      state, run_singles, [&] { return ragged.Run(); }, "a call each");
}

// ---- Shared prefixes --------------------------------------------------------

// A token each of sequences that share their first keys.
void Shared(benchmark::State& state, int sequences, DType dtype, int threads) {
  constexpr int64_t kHeads = 32, kKvHeads = 8, kDim = 128, kPage = 16;
  constexpr int64_t kShared = 16384, kOwn = 128;
  constexpr int64_t kPages = (kShared + kOwn) / kPage;
  const int64_t own_pages = kOwn / kPage;
  const int64_t pool = kShared / kPage + sequences * own_pages;
  const std::vector<int32_t> order = Shuffled(pool);
  std::vector<int32_t> table, keys;
  for (int64_t s = 0; s < sequences; ++s) {
    for (int64_t p = 0; p < kPages; ++p) {
      const bool own = p >= kShared / kPage;
      table.push_back(order[static_cast<size_t>(own ? p + s * own_pages : p)]);
    }
    keys.push_back(static_cast<int32_t>(kShared + kOwn - s % 5));
  }
  const auto make = [&](int64_t batch, int64_t seqlen, int64_t heads) {
    return eval::MakeTensor(batch, seqlen, heads, kDim, eval::Layout::kBshd, 0,
                            dtype);
  };
  const eval::Tensor query = make(sequences, 1, kHeads);
  const eval::Tensor key = make(pool, kPage, kKvHeads);
  const eval::Tensor value = make(pool, kPage, kKvHeads);
  const eval::Tensor out = make(sequences, 1, kHeads);
  const eval::Tensor want = make(sequences, 1, kHeads);
  eval::FillTensor(query, 0, eval::Fill::kNormal, 1);
  eval::FillTensor(key, 1, eval::Fill::kNormal, 1);
  eval::FillTensor(value, 2, eval::Fill::kNormal, 1);
  AttentionArgs args;
  args.query = query.view;
  args.key = key.view;
  args.value = value.view;
  args.out = want.view;
  args.ragged.num_sequences = sequences;
  args.ragged.seqlens_k = keys.data();
  args.pages = {table.data(), sequences, kPages, kPages};
  const Workers workers(threads);
  const Call apart({}, args, ShapeOf(args), workers.executor());
  const SharedPrefix prefix = {0, sequences, kShared};
  args.out = out.view;
  args.ragged.shared_prefixes = &prefix;
  args.ragged.num_shared_prefixes = 1;
  const Call shared({}, args, ShapeOf(args), workers.executor());
  if (!apart.Run() || !shared.Run() || out.Dense() != want.Dense()) {
    return state.SkipWithError("the result is wrong");
  }
  Compare(
      state, [&] { return apart.Run(); }, [&] { return shared.Run(); },
      "each by itself");
}

}  // namespace

void RegisterRagged() {
  for (const char* problem :
       {"b1_h8_kv2_d64_q1024_f32_causal", "b1_h8_kv2_d128_q1024_f32_causal",
        "b1_h8_kv2_d128_q1024_bf16_causal",
        "b1_h32_kv8_d128_q1_k16384_f32_causal",
        "b1_h32_kv8_d128_q1_k16384_bf16_causal",
        "b1_h32_kv8_d128_q1_k2048_f32_causal"}) {
    for (const int64_t page_size : {64, 16, 1}) {
      benchmark::RegisterBenchmark(
          (std::string("paged/") + problem + "/page" +
           std::to_string(page_size) + "/" + DefaultTarget() + "/t1")
              .c_str(),
          [problem, page_size](benchmark::State& state) {
            Paged(state, problem, page_size);
          })
          ->UseManualTime()
          ->Unit(benchmark::kMicrosecond);
    }
  }
  for (const int threads : {1, MaxThreads()}) {
    for (const int sequences : {2, 4, 16, 64}) {
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        benchmark::RegisterBenchmark(
            ("shared/" + std::to_string(sequences) + "x1_16384/" +
             NameOf(dtype) + "/" + DefaultTarget() + "/t" +
             std::to_string(threads))
                .c_str(),
            [sequences, dtype, threads](benchmark::State& state) {
              Shared(state, sequences, dtype, threads);
            })
            ->UseManualTime()
            ->Unit(benchmark::kMicrosecond);
      }
    }
    benchmark::RegisterBenchmark(
        (std::string("ragged/64_sequences/") + DefaultTarget() + "/t" +
         std::to_string(threads))
            .c_str(),
        [threads](benchmark::State& state) { Ragged64(state, threads); })
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
    if (threads == MaxThreads()) break;
  }
}

}  // namespace heed::bench
