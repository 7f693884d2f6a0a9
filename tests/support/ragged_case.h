// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Ragged and paged calls for tests, beside the single calls that they must
// equal.
#ifndef HEED_TESTS_SUPPORT_RAGGED_CASE_H_
#define HEED_TESTS_SUPPORT_RAGGED_CASE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "heed/attention.h"
#include "lib/eval/workload.h"
#include "tests/support/run.h"

namespace heed::test {

// The rows and keys of one sequence, and where its first row stands.
struct SequenceLengths {
  int64_t rows;
  int64_t keys;
  int64_t offset = kBottomRight;
};

// How a ragged call's tensors lie in memory.
struct RaggedLayout {
  bool packed_rows = true;   // else all sequences have as many rows
  bool packed_keys = false;  // cu_seqlens_k; else seqlens_k
  int64_t page_size = 0;     // 0: not in pages
  // Of pools and of padded keys: kBshd is NHD, kBhsd HND.
  eval::Layout keys = eval::Layout::kBshd;
  bool interleaved = false;  // keys beside values in one pool
  bool pointers = false;     // to pages instead of a table
  bool offsets = true;       // an array of them; else the parameters' one

  std::string Text() const;
};

// Everything that belongs to no sequence is poison: pages that are not used,
// rows of pages, keys behind the last one, entries of the table.
class RaggedCase {
 public:
  // `problem` says heads, head_dims, dtypes and masks: q and k do not count.
  RaggedCase(const std::string& problem,
             const std::vector<SequenceLengths>& lengths,
             const RaggedLayout& layout, uint64_t seed = 1);
  // Its arguments point into it.
  RaggedCase(const RaggedCase&) = delete;
  RaggedCase& operator=(const RaggedCase&) = delete;

  const AttentionParams& params() const { return source_.problem.params; }
  AttentionArgs Args() const;
  int64_t num_sequences() const {
    return static_cast<int64_t>(lengths_.size());
  }

  // Sequence s as a call of its own, which writes to its part of `out` and
  // `lse`.
  AttentionArgs Single(int64_t s, const eval::Tensor& out,
                       const eval::Tensor& lse) const;
  AttentionParams SingleParams(int64_t s) const;

  // Tensors as out and lse are, all sentinel.
  eval::Tensor MakeOut() const;
  eval::Tensor MakeLse() const;

  // Runs the call and compares with the single calls and, where the target has
  // their bits, with the page that defines them.
  void Check(const std::string& target, int workers,
             bool barriers = true) const;

  // Makes the pointers those of the page table.
  void PlacePointers();

  eval::Tensor out, lse;
  // May be spoiled by a test.
  std::vector<int32_t> cu_seqlens_q, seqlens_k, cu_seqlens_k, page_table;
  std::vector<int64_t> offsets;
  // Where pages begin: of keys, values, their scales and minima, as in Pages.
  std::vector<void*> pointers[6];
  int64_t pages_per_sequence = 0;
  int64_t table_stride = 0;

 private:
  // Where the parts of keys and values are copied to.
  eval::Tensor Place(const eval::Tensor& from) const;
  void PlacePages(uint64_t seed);
  void CopyKeys(const TensorView& from, const TensorView& to) const;
  void ComputeWant(const std::string& target) const;

  std::vector<SequenceLengths> lengths_;
  RaggedLayout layout_;
  eval::Tensors source_;  // batch s is sequence s
  eval::Tensor query_, key_, value_;
  eval::Tensor key_scale_, key_minimum_, value_scale_, value_minimum_;
  int64_t num_pages_ = 0;
  mutable std::string want_target_;
  mutable eval::Tensor want_out_, want_lse_;
};

}  // namespace heed::test

#endif  // HEED_TESTS_SUPPORT_RAGGED_CASE_H_
