// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// That what a layer writes meets nothing that it reads.
#include <cstdint>

#include "lib/core/check_pages.h"
#include "lib/core/rope.h"
#include "lib/layers/check_multi_head.h"
#include "lib/layers/linear.h"

namespace heed::internal {
namespace {

constexpr TensorName kWorkspaceName = {"workspace", "overlaps workspace"};

struct Named {
  ConstTensorView view;
  TensorName name;
};

// From the first to the last entry that may be read; of numbers that no table
// has, which the append and attention refuse, 0.
int64_t TableEntries(const Pages& pages, int64_t sequences) {
  int64_t entries;
  if (sequences == 0 || pages.table_stride < 0 ||
      pages.pages_per_sequence < 0 ||
      __builtin_mul_overflow(sequences - 1, pages.table_stride, &entries) ||
      __builtin_add_overflow(entries, pages.pages_per_sequence, &entries) ||
      entries > INT64_MAX / 8) {
    return 0;
  }
  return entries;
}

// Every tensor and array of a call, outputs first. Pages that have pointers are
// not among them.
class Tensors {
 public:
  explicit Tensors(const MultiHeadArgs& args) {
    Add(args.out, kOutName);
    Add(args.key_cache, {"key_cache", "overlaps key_cache"});
    Add(args.value_cache, {"value_cache", "overlaps value_cache"});
    Add(args.query, kQueryName);
    Add(args.key, kKeyName);
    Add(args.value, kValueName);
    Add(args.weights.query, {"weights.query", "overlaps weights.query"});
    Add(args.weights.key, {"weights.key", "overlaps weights.key"});
    Add(args.weights.value, {"weights.value", "overlaps weights.value"});
    Add(args.weights.out, {"weights.out", "overlaps weights.out"});
    Add(TableView(args.rope, args.rope.cos), {"cos", "overlaps cos"});
    Add(TableView(args.rope, args.rope.sin), {"sin", "overlaps sin"});
    const int64_t batch = args.query.batch(), sequences = NumSequences(args);
    Add(args.past_lengths, sequences,
        {"past_lengths", "overlaps past_lengths"});
    Add(args.cu_seqlens_q, sequences + 1,
        {"cu_seqlens_q", "overlaps cu_seqlens_q"});
    Add(args.cu_seqlens_k, sequences + 1,
        {"cu_seqlens_k", "overlaps cu_seqlens_k"});
    Add(args.query_positions, batch * args.query.seqlen(),
        {"query_positions", "overlaps query_positions"});
    Add(args.key_positions, batch * args.key.seqlen(),
        {"key_positions", "overlaps key_positions"});
    Add(args.pages.page_table, TableEntries(args.pages, sequences),
        {"page_table", "overlaps page_table"});
    ForEachScoreTensor(args.scores,
                       [this](const auto& view, const TensorName& name,
                              TensorRole) { Add(view, name); });
  }

  static constexpr int kOutputs = 3;
  const Named* begin() const { return all_; }
  const Named* end() const { return all_ + count_; }
  bool IsCache(const Named& named) const {
    return &named == all_ + 1 || &named == all_ + 2;
  }

 private:
  void Add(const ConstTensorView& view, const TensorName& name) {
    all_[count_++] = {view, name};
  }
  void Add(const PackedLinear& linear, const TensorName& name) {
    const int64_t bytes = NumPanels(linear.out_features) * kPanelOutputs *
                          linear.in_features * SizeOf(linear.dtype);
    Add(Bshd(static_cast<const int8_t*>(linear.weight), 1, 1, 1, bytes), name);
    Add(Bshd(linear.bias, 1, 1, 1, linear.out_features), name);
  }
  void Add(const int32_t* array, int64_t count, const TensorName& name) {
    Add(Bshd(array, 1, 1, 1, count), name);
  }

  Named all_[22 + kMostTensors];
  int count_ = 0;
};

ConstTensorView MemoryView(Workspace workspace, size_t bytes) {
  return Bshd(static_cast<const int8_t*>(workspace.data), 1, 1, 1,
              static_cast<int64_t>(bytes));
}

}  // namespace

Status CheckLinearApart(const PackedLinear& linear, const TensorName& name,
                        const ConstTensorView& output,
                        const TensorName& output_name) {
  const int64_t bytes = NumPanels(linear.out_features) * kPanelOutputs *
                        linear.in_features * SizeOf(linear.dtype);
  const Status status = CheckOverlap(
      output, output_name,
      Bshd(static_cast<const int8_t*>(linear.weight), 1, 1, 1, bytes), name);
  if (!status.ok()) return status;
  return CheckOverlap(output, output_name,
                      Bshd(linear.bias, 1, 1, 1, linear.out_features), name);
}

Status CheckApart(const MultiHeadArgs& args) {
  const Tensors tensors(args);
  const Named* const outputs = tensors.begin();
  for (int i = 0; i < Tensors::kOutputs; ++i) {
    for (const Named& other : tensors) {
      // Caches may lie between one another: the append looks at them.
      if (&other == &outputs[i] ||
          (tensors.IsCache(outputs[i]) && tensors.IsCache(other))) {
        continue;
      }
      const Status status = CheckOverlap(outputs[i].view, outputs[i].name,
                                         other.view, other.name);
      if (!status.ok()) return status;
    }
  }
  return Status();
}

Status CheckOutsideWorkspace(const MultiHeadArgs& args, Workspace workspace,
                             size_t bytes) {
  for (const Named& tensor : Tensors(args)) {
    const Status status = CheckOverlap(
        MemoryView(workspace, bytes), kWorkspaceName, tensor.view, tensor.name);
    if (!status.ok()) return status;
  }
  return Status();
}

Status CheckPagesOutside(const MultiHeadArgs& args,
                         const AttentionArgs& attention, Workspace workspace,
                         size_t bytes) {
  if (!args.pages.by_pointers()) return Status();
  const int64_t page_size = attention.key.seqlen();
  const auto entries = [&](int64_t s) {
    const int64_t keys = attention.ragged.seqlens_k[s];
    return PageEntries{s * args.pages.table_stride,
                       (keys + page_size - 1) / page_size};
  };
  const Tensors tensors(args);
  for (const PagedTensor& paged : PagedTensors(attention)) {
    const auto apart = [&](const ConstTensorView& view, const char* overlaps) {
      return CheckPagesApart(args.pages, paged, view, overlaps, entries);
    };
    Status status =
        apart(MemoryView(workspace, bytes), kWorkspaceName.overlaps);
    for (const Named& tensor : tensors) {
      if (!status.ok()) return status;
      status = apart(tensor.view, tensor.name.overlaps);
    }
    if (!status.ok()) return status;
  }
  return Status();
}

}  // namespace heed::internal
