// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Score inputs against the call: which belong together, their extents, and
// every number in them that is an index.
#include <algorithm>
#include <cstdint>

#include "lib/core/check.h"
#include "lib/core/row_limits.h"
#include "lib/core/sequences.h"

namespace heed::internal {
namespace {

// Extents that a tensor of score inputs has; that along `least` may be larger.
struct Wanted {
  const ConstTensorView& view;
  const TensorName& name;
  int64_t extent[4];
  int least = -1;
};

Status CheckExtents(const Wanted& want) {
  if (want.view.absent()) return Status();
  for (int i = 0; i < 4; ++i) {
    const int64_t extent = want.view.extent[i];
    if (extent == want.extent[i]) continue;
    if (i == want.least && extent > want.extent[i]) continue;
    return Invalid(want.name.argument, "has an extent that does not fit")
        .WithIndex(i)
        .WithValue(extent)
        .WithBound(want.extent[i], BoundKind::kNeeds);
  }
  return Status();
}

Status CheckLength(const ConstTensorView& view, const TensorName& name,
                   int64_t batch, int64_t at, int64_t most) {
  const int32_t length = NumberAt(view, batch, at);
  if (length >= 0 && length <= most) return Status();
  return Invalid(name.argument, "must be 0 to the keys of the sequence")
      .WithIndex(batch * view.seqlen() + at)
      .WithValue(length)
      .WithBound(most);
}

// The numbers of one sequence that say which keys its rows see.
Status CheckSequence(const ScoreInputs& in, const Sequence& s) {
  Status status;
  if (!in.prefix_lengths.absent()) {
    status = CheckLength(UsedStrides(in.prefix_lengths), kPrefixLengthsName,
                         s.index, 0, s.seqlen_k);
  }
  if (!in.row_lengths.absent()) {
    const ConstTensorView lengths = UsedStrides(in.row_lengths);
    for (int64_t i = 0; i < s.seqlen_q && status.ok(); ++i) {
      status = CheckLength(lengths, kRowLengthsName, s.query_batch,
                           s.first_query + i, s.seqlen_k);
    }
  }
  if (!status.ok() || in.key_documents.absent()) return status;
  const ConstTensorView documents = UsedStrides(in.key_documents);
  for (int64_t i = 1; i < s.seqlen_k; ++i) {
    if (NumberAt(documents, s.index, i) >=
        NumberAt(documents, s.index, i - 1)) {
      continue;
    }
    return Invalid(kKeyDocumentsName.argument, "must not fall along keys")
        .WithIndex(s.index * documents.seqlen() + i)
        .WithValue(NumberAt(documents, s.index, i));
  }
  return Status();
}

Status CheckPair(const ConstTensorView& a, const TensorName& a_name,
                 const ConstTensorView& b, const TensorName& b_name) {
  if (a.absent() == b.absent()) return Status();
  return Invalid((a.absent() ? a_name : b_name).argument,
                 "is missing beside the other of its pair");
}

}  // namespace

Status CheckScores(const Plan& plan, const AttentionArgs& args) {
  const ScoreInputs& in = args.scores;
  if (!in.any()) return Status();
  const int64_t batch = args.query.batch();
  const int64_t rows = args.query.seqlen();
  const int64_t heads = args.query.heads();
  const bool ragged = args.ragged.num_sequences != 0;
  const int64_t sequences = ragged ? args.ragged.num_sequences : batch;
  const auto sequence = [&](int64_t i) {
    if (ragged) return RaggedSequence(plan.params, args, i);
    return Sequence{i, i, 0, i, 0, rows, args.key.seqlen(), 0};
  };
  // Of the longest.
  int64_t keys = 0;
  int64_t draft = 0;
  for (int64_t i = 0; i < sequences; ++i) {
    keys = std::max(keys, sequence(i).seqlen_k);
    draft = std::max(draft, sequence(i).seqlen_q);
  }
  const int64_t words = draft / 64 + (draft % 64 != 0);
  const int64_t distances = in.relative_bias.head_dim();
  if (!in.relative_bias.absent() && distances % 2 == 0) {
    return Invalid(kRelativeBiasName.argument, "must have 2 R + 1 entries")
        .WithIndex(3)
        .WithValue(distances);
  }
  Status status =
      CheckPair(in.query_decay, kQueryDecayName, in.key_decay, kKeyDecayName);
  if (!status.ok()) return status;
  status = CheckPair(in.query_documents, kQueryDocumentsName, in.key_documents,
                     kKeyDocumentsName);
  const Wanted wanted[] = {
      {in.bias, kBiasName, {batch, rows, heads, keys}, 3},
      {in.mask, kMaskName, {batch, rows, heads, keys}, 3},
      {in.alibi_slopes, kAlibiSlopesName, {sequences, 1, heads, 1}},
      {in.relative_bias, kRelativeBiasName, {sequences, 1, heads, distances}},
      {in.query_decay, kQueryDecayName, {batch, rows, heads, 1}},
      {in.key_decay, kKeyDecayName, {sequences, keys, heads, 1}, 1},
      {in.sink_logits, kSinkLogitsName, {sequences, 1, heads, 1}},
      {in.prefix_lengths, kPrefixLengthsName, {sequences, 1, 1, 1}},
      {in.row_lengths, kRowLengthsName, {batch, rows, 1, 1}},
      {in.query_documents, kQueryDocumentsName, {batch, rows, 1, 1}},
      {in.key_documents, kKeyDocumentsName, {sequences, keys, 1, 1}, 1},
      {in.tree_mask, kTreeMaskName, {batch, rows, 1, words}, 3},
  };
  for (const Wanted& want : wanted) {
    if (status.ok()) status = CheckExtents(want);
  }
  for (int64_t i = 0; i < sequences && status.ok(); ++i) {
    status = CheckSequence(in, sequence(i));
  }
  return status;
}

}  // namespace heed::internal
