// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/sparse/check_lists.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "lib/core/check.h"
#include "lib/sparse/plan_memory.h"

namespace heed::internal {
namespace {

Status Unserved(const char* argument) {
  return Status(StatusCode::kUnsupported, argument,
                "must be absent where keys are listed");
}

Status CheckExtents(const KeyLists& lists, const AttentionArgs& args) {
  const int64_t batch = args.query.batch();
  if (lists.batch != 1 && lists.batch != batch) {
    return Invalid("batch", "must be 1 or the query's")
        .WithValue(lists.batch)
        .WithBound(batch, BoundKind::kNeeds);
  }
  if (lists.num_heads != 1 && lists.num_heads != args.key.heads() &&
      lists.num_heads != args.query.heads()) {
    return Invalid("num_heads", "must be 1, the key's heads or the query's")
        .WithValue(lists.num_heads);
  }
  const struct {
    const char* name;
    int64_t value, least;
  } sizes[] = {{"query_block_size", lists.query_block_size, 1},
               {"width", lists.width, 0}};
  for (const auto& size : sizes) {
    if (size.value >= size.least) continue;
    return Invalid(size.name, "is too small for lists of keys")
        .WithValue(size.value)
        .WithBound(size.least, BoundKind::kAtLeast);
  }
  if (lists.width > INT32_MAX) {
    return Invalid("width", "is more keys than a call has")
        .WithValue(lists.width)
        .WithBound(INT32_MAX);
  }
  int64_t entries = lists.batch;
  for (const int64_t factor :
       {lists.num_heads, BlocksOf(args.query.seqlen(), lists.query_block_size),
        lists.width}) {
    if (__builtin_mul_overflow(entries, factor, &entries)) {
      return Status(StatusCode::kOverflow, "width",
                    "makes more entries than 63 bits count");
    }
  }
  if (entries > 0 && lists.indices == nullptr) {
    return Invalid("indices", "are null");
  }
  return Status();
}

// `listed` has no bit set, before and after.
Status CheckList(const KeyLists& lists, int64_t list, int64_t keys,
                 uint64_t* listed) {
  const int64_t first = list * lists.width;
  for (int64_t i = first; i < first + lists.width; ++i) {
    const int64_t key = lists.indices[i];
    if (key < -1 || key >= keys) {
      return Invalid("indices", "must be -1 or a key of the sequence")
          .WithIndex(i)
          .WithValue(key)
          .WithBound(keys - 1);
    }
    if (key < 0) continue;
    // Written so that NaN fails.
    if (lists.log_weights != nullptr && !(lists.log_weights[i] < INFINITY)) {
      return Invalid("log_weights", "must be finite or -inf").WithIndex(i);
    }
    uint64_t& word = listed[key / 64];
    const uint64_t bit = uint64_t{1} << key % 64;
    if (word & bit) {
      return Invalid("indices", "must not list a key twice")
          .WithIndex(i)
          .WithValue(key);
    }
    word |= bit;
  }
  for (int64_t i = first; i < first + lists.width; ++i) {
    if (lists.indices[i] >= 0) listed[lists.indices[i] / 64] = 0;
  }
  return Status();
}

Status CheckEntries(const KeyLists& lists, const AttentionArgs& args,
                    const Scratch& scratch) {
  const int64_t blocks = BlocksOf(args.query.seqlen(), lists.query_block_size);
  const int64_t batch = args.query.batch();
  if (batch == 0) return Status();  // no keys that a list could name
  int64_t most = 0;
  for (int64_t b = 0; b < batch; ++b) most = std::max(most, KeysOf(args, b));
  uint64_t* const listed = scratch.Array<uint64_t>(WordsOf(most));
  if (listed == nullptr) return PlanOutOfMemory();
  std::fill(listed, listed + WordsOf(most), 0);
  const int64_t of_batch = lists.num_heads * blocks;
  for (int64_t list = 0; list < lists.batch * of_batch; ++list) {
    int64_t keys = KeysOf(args, 0);
    if (lists.batch == batch) {
      keys = KeysOf(args, list / of_batch);
    } else {
      for (int64_t b = 1; b < batch; ++b)
        keys = std::min(keys, KeysOf(args, b));
    }
    const Status status = CheckList(lists, list, keys, listed);
    if (!status.ok()) return status;
  }
  return Status();
}

}  // namespace

Status CheckListedCall(const AttentionArgs& args) {
  const KvScales& scales = args.kv_scales;
  if (args.key_intervals.query_block_size != 0) {
    return Unserved("key_intervals");
  }
  if (args.scores.any()) return Unserved("scores");
  if (args.ragged.cu_seqlens_q != nullptr) return Unserved("cu_seqlens_q");
  if (args.ragged.cu_seqlens_k != nullptr) return Unserved("cu_seqlens_k");
  if (args.ragged.num_shared_prefixes != 0) {
    return Unserved("shared_prefixes");
  }
  if (!scales.key_scale.absent() || !scales.key_minimum.absent()) {
    return Unserved("key_scale");
  }
  if (!scales.value_scale.absent() || !scales.value_minimum.absent()) {
    return Unserved("value_scale");
  }
  if (scales.key_rotated) return Unserved("key_rotated");
  if (scales.value_rotated) return Unserved("value_rotated");
  return Status();
}

Status CheckLists(const KeyLists& lists, const AttentionArgs& args,
                  const Scratch& scratch) {
  const Status status = CheckExtents(lists, args);
  return status.ok() ? CheckEntries(lists, args, scratch) : status;
}

}  // namespace heed::internal
