// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "tests/support/ragged_case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/oracle/oracle.h"
#include "tests/support/compare.h"
#include "tests/support/targets.h"
#include "tests/support/team.h"

namespace heed::test {
namespace {

// Copies the row of one (batch, position) of all heads.
void CopyRow(const TensorView& from, int64_t from_batch, int64_t from_row,
             const TensorView& to, int64_t to_batch, int64_t to_row) {
  const size_t bytes =
      static_cast<size_t>(BytesOf(from.dtype, from.head_dim()));
  for (int64_t h = 0; h < from.heads(); ++h) {
    std::memcpy(internal::BytesAt(to, to_batch, to_row, h),
                internal::BytesAt(from, from_batch, from_row, h), bytes);
  }
}

template <typename View>
View Batch(View view, int64_t batch, int64_t rows) {
  if (view.absent()) return view;
  view.data = internal::BytesAt(view, batch, 0, 0);
  view.extent[0] = 1;
  view.extent[1] = rows;
  return view;
}

// Heads [first, first + count).
eval::Tensor Heads(eval::Tensor tensor, int64_t first, int64_t count) {
  tensor.view.data = internal::BytesAt(tensor.view, 0, 0, first);
  tensor.view.extent[2] = count;
  return tensor;
}

eval::Tensors SourceOf(const std::string& text,
                       const std::vector<SequenceLengths>& lengths,
                       uint64_t seed) {
  io::Problem problem = ProblemOf(text);
  problem.shape.batch = static_cast<int64_t>(lengths.size());
  problem.shape.seqlen_q = problem.shape.seqlen_k = 0;
  for (const SequenceLengths& s : lengths) {
    problem.shape.seqlen_q = std::max(problem.shape.seqlen_q, s.rows);
    problem.shape.seqlen_k = std::max(problem.shape.seqlen_k, s.keys);
  }
  eval::WorkloadOptions options;
  options.seed = seed;
  return eval::MakeTensors(problem, options);
}

}  // namespace

std::string RaggedLayout::Text() const {
  return std::string(packed_rows ? "packed rows, " : "batches of rows, ") +
         (page_size > 0 ? "pages of " + std::to_string(page_size)
          : packed_keys ? std::string("packed keys")
                        : std::string("padded keys")) +
         (keys == eval::Layout::kBhsd ? ", HND" : "") +
         (interleaved ? ", interleaved" : "") + (pointers ? ", pointers" : "") +
         (offsets ? ", offsets" : "");
}

RaggedCase::RaggedCase(const std::string& problem,
                       const std::vector<SequenceLengths>& lengths,
                       const RaggedLayout& layout, uint64_t seed)
    : lengths_(lengths),
      layout_(layout),
      source_(SourceOf(problem, lengths, seed)) {
  cu_seqlens_q = cu_seqlens_k = {0};
  for (const SequenceLengths& s : lengths) {
    cu_seqlens_q.push_back(cu_seqlens_q.back() + static_cast<int32_t>(s.rows));
    cu_seqlens_k.push_back(cu_seqlens_k.back() + static_cast<int32_t>(s.keys));
    seqlens_k.push_back(static_cast<int32_t>(s.keys));
    offsets.push_back(s.offset);
  }
  const TensorView& q = source_.query.view;
  query_ = source_.query;
  if (layout_.packed_rows) {
    query_ = eval::MakeTensor(1, cu_seqlens_q.back(), q.heads(), q.head_dim(),
                              eval::Layout::kBshd, 0, q.dtype);
    for (int64_t s = 0; s < num_sequences(); ++s) {
      for (int64_t i = 0; i < lengths_[static_cast<size_t>(s)].rows; ++i) {
        CopyRow(q, s, i, query_.view, 0,
                cu_seqlens_q[static_cast<size_t>(s)] + i);
      }
    }
  }
  if (layout_.page_size > 0) PlacePages(seed);
  key_scale_ = Place(source_.key_scale);
  key_minimum_ = Place(source_.key_minimum);
  value_scale_ = Place(source_.value_scale);
  value_minimum_ = Place(source_.value_minimum);
  if (layout_.interleaved) {
    const TensorView& k = source_.key.view;
    const eval::Tensor both =
        eval::MakeTensor(num_pages_, layout_.page_size, 2 * k.heads(),
                         k.head_dim(), layout_.keys, 0, k.dtype);
    key_ = Heads(both, 0, k.heads());
    value_ = Heads(both, k.heads(), k.heads());
    CopyKeys(source_.key.view, key_.view);
    CopyKeys(source_.value.view, value_.view);
  } else {
    key_ = Place(source_.key);
    value_ = Place(source_.value);
  }
  if (layout_.pointers) PlacePointers();
  out = MakeOut();
  lse = MakeLse();
}

// Pages in random order, with some that no sequence has; entries that are not
// needed are not pages at all.
void RaggedCase::PlacePages(uint64_t seed) {
  const auto pages_of = [&](const SequenceLengths& s) {
    return (s.keys + layout_.page_size - 1) / layout_.page_size;
  };
  int64_t used = 0;
  for (const SequenceLengths& s : lengths_) {
    used += pages_of(s);
    pages_per_sequence = std::max(pages_per_sequence, pages_of(s));
  }
  ++pages_per_sequence;
  table_stride = pages_per_sequence + 2;
  num_pages_ = used + 3;
  std::vector<int32_t> order;
  for (int32_t i = 0; i < num_pages_; ++i) order.push_back(i);
  eval::Random random(seed);
  for (size_t i = order.size(); i > 1; --i) {
    std::swap(
        order[i - 1],
        order[static_cast<size_t>(random.Below(static_cast<int64_t>(i)))]);
  }
  page_table.assign(static_cast<size_t>(table_stride * num_sequences()),
                    INT32_MIN);
  size_t next = 0;
  for (size_t s = 0; s < lengths_.size(); ++s) {
    for (int64_t p = 0; p < pages_of(lengths_[s]); ++p) {
      page_table[s * static_cast<size_t>(table_stride) +
                 static_cast<size_t>(p)] = order[next++];
    }
  }
}

// Entries that are not needed lead nowhere.
void RaggedCase::PlacePointers() {
  const eval::Tensor* const tensors[] = {&key_,         &value_,
                                         &key_scale_,   &value_scale_,
                                         &key_minimum_, &value_minimum_};
  for (size_t i = 0; i < 6; ++i) {
    const TensorView& view = tensors[i]->view;
    pointers[i].clear();
    if (view.absent()) continue;
    for (const int32_t page : page_table) {
      pointers[i].push_back(page < 0 ? reinterpret_cast<void*>(uintptr_t{1})
                                     : internal::BytesAt(view, page, 0, 0));
    }
  }
}

void RaggedCase::CopyKeys(const TensorView& from, const TensorView& to) const {
  for (int64_t s = 0; s < num_sequences(); ++s) {
    for (int64_t i = 0; i < lengths_[static_cast<size_t>(s)].keys; ++i) {
      if (layout_.page_size > 0) {
        const int64_t at = s * table_stride + i / layout_.page_size;
        CopyRow(from, s, i, to, page_table[static_cast<size_t>(at)],
                i % layout_.page_size);
      } else if (layout_.packed_keys) {
        CopyRow(from, s, i, to, 0, cu_seqlens_k[static_cast<size_t>(s)] + i);
      } else {
        CopyRow(from, s, i, to, s, i);
      }
    }
  }
}

eval::Tensor RaggedCase::Place(const eval::Tensor& from) const {
  const TensorView& f = from.view;
  if (f.absent()) return from;
  int64_t batch = num_sequences();
  int64_t rows = f.seqlen() + 3;
  if (layout_.page_size > 0) {
    batch = num_pages_;
    rows = layout_.page_size;
  } else if (layout_.packed_keys) {
    batch = 1;
    rows = cu_seqlens_k.back();
  }
  const eval::Tensor to = eval::MakeTensor(batch, rows, f.heads(), f.head_dim(),
                                           layout_.keys, 0, f.dtype);
  CopyKeys(f, to.view);
  return to;
}

eval::Tensor RaggedCase::MakeOut() const {
  const TensorView& q = query_.view;
  return eval::MakeTensor(q.batch(), q.seqlen(), q.heads(),
                          source_.out.view.head_dim(), eval::Layout::kPadded, 0,
                          source_.out.view.dtype);
}

eval::Tensor RaggedCase::MakeLse() const {
  const TensorView& q = query_.view;
  return eval::MakeTensor(q.batch(), q.seqlen(), q.heads(), 1,
                          eval::Layout::kPadded);
}

AttentionArgs RaggedCase::Args() const {
  AttentionArgs args;
  args.query = query_.view;
  args.key = key_.view;
  args.value = value_.view;
  args.out = out.view;
  args.lse = lse.view;
  args.kv_scales = source_.Args().kv_scales;
  args.kv_scales.key_scale = key_scale_.view;
  args.kv_scales.key_minimum = key_minimum_.view;
  args.kv_scales.value_scale = value_scale_.view;
  args.kv_scales.value_minimum = value_minimum_.view;
  args.ragged.num_sequences = num_sequences();
  if (layout_.packed_rows) args.ragged.cu_seqlens_q = cu_seqlens_q.data();
  if (layout_.packed_keys) {
    args.ragged.cu_seqlens_k = cu_seqlens_k.data();
  } else {
    args.ragged.seqlens_k = seqlens_k.data();
  }
  if (layout_.offsets) args.ragged.causal_offset = offsets.data();
  if (layout_.page_size > 0) {
    args.pages = {page_table.data(), num_sequences(), pages_per_sequence,
                  table_stride};
  }
  if (layout_.pointers) {
    KvScales& scales = args.kv_scales;
    const std::pair<ConstTensorView*, void* const**> all[] = {
        {&args.key, &args.pages.key_pages},
        {&args.value, &args.pages.value_pages},
        {&scales.key_scale, &args.pages.key_scale_pages},
        {&scales.value_scale, &args.pages.value_scale_pages},
        {&scales.key_minimum, &args.pages.key_minimum_pages},
        {&scales.value_minimum, &args.pages.value_minimum_pages}};
    args.pages.page_table = nullptr;
    for (size_t i = 0; i < 6; ++i) {
      if (all[i].first->absent()) continue;
      all[i].first->data = nullptr;
      all[i].first->extent[0] = 1;
      *all[i].second = pointers[i].data();
    }
  }
  return args;
}

AttentionParams RaggedCase::SingleParams(int64_t s) const {
  AttentionParams params = source_.problem.params;
  if (layout_.offsets) {
    params.causal_offset = lengths_[static_cast<size_t>(s)].offset;
  }
  return params;
}

AttentionArgs RaggedCase::Single(int64_t s, const eval::Tensor& to,
                                 const eval::Tensor& to_lse) const {
  const SequenceLengths& length = lengths_[static_cast<size_t>(s)];
  AttentionArgs args = source_.Args();
  args.query = Batch(args.query, s, length.rows);
  for (ConstTensorView* view :
       {&args.key, &args.value, &args.kv_scales.key_scale,
        &args.kv_scales.key_minimum, &args.kv_scales.value_scale,
        &args.kv_scales.value_minimum}) {
    *view = Batch(*view, s, length.keys);
  }
  const int64_t first =
      layout_.packed_rows ? cu_seqlens_q[static_cast<size_t>(s)] : 0;
  const int64_t batch = layout_.packed_rows ? 0 : s;
  args.out = Batch(TokensOf(to.view, first, length.rows), batch, length.rows);
  args.lse =
      Batch(TokensOf(to_lse.view, first, length.rows), batch, length.rows);
  return args;
}

void RaggedCase::ComputeWant(const std::string& target) const {
  if (want_target_ == target) return;
  want_target_ = target;
  want_out_ = MakeOut();
  want_lse_ = MakeLse();
  RunConfig config;
  config.target = target;
  for (int64_t s = 0; s < num_sequences(); ++s) {
    const AttentionArgs args = Single(s, want_out_, want_lse_);
    const Status status = RunOn(config, SingleParams(s), args);
    ASSERT_TRUE(status.ok()) << ToString(status);
  }
  if (!HasSameBits(target)) return;
  const eval::Tensor bits_out = MakeOut(), bits_lse = MakeLse();
  AttentionArgs args = Args();
  args.out = bits_out.view;
  args.lse = bits_lse.view;
  oracle::AttentionBits(params(), args);
  EXPECT_TRUE(SameBits(want_out_, bits_out)) << "single calls";
  EXPECT_TRUE(SameBits(want_lse_, bits_lse)) << "lse of single calls";
}

void RaggedCase::Check(const std::string& target, int workers,
                       bool barriers) const {
  SCOPED_TRACE(target + ", " + io::FormatProblem(source_.problem) + ", " +
               layout_.Text() + ", workers " + std::to_string(workers) +
               (barriers ? "" : ", no barriers"));
  ComputeWant(target);
  out.FillAll(eval::kSentinelBits);
  lse.FillAll(eval::kSentinelBits);
  PlanOptions options;
  options.target = target.c_str();
  options.numerics = Numerics::kSame;
  Plan plan;
  const AttentionArgs args = Args();
  Status status = MakePlan(params(), ShapeOf(args), options, &plan);
  ASSERT_TRUE(status.ok()) << ToString(status);
  const WorkspaceBuffer buffer(WorkspaceBytes(plan, workers));
  AttentionRun run;
  status = BeginRun(plan, args, buffer.get(), workers, {barriers}, &run);
  ASSERT_TRUE(status.ok()) << ToString(status);
  RunByTeam(run, workers);
  EXPECT_TRUE(buffer.TailIntact()) << "written behind the workspace";
  EXPECT_TRUE(SameBits(out, want_out_)) << "out";
  EXPECT_TRUE(SameBits(lse, want_lse_)) << "lse";
  EXPECT_TRUE(out.PaddingIntact()) << "written outside out";
  EXPECT_TRUE(lse.PaddingIntact()) << "written outside lse";
}

}  // namespace heed::test
