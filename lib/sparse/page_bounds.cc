// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "heed/page_bounds.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "heed/gather.h"
#include "heed/ops.h"
#include "heed/sparse_variant.h"
#include "lib/core/check.h"
#include "lib/core/check_host.h"
#include "lib/sparse/block_mask.h"
#include "lib/sparse/plan_memory.h"

namespace heed {
namespace {

using internal::BlocksOf;
using internal::Invalid;

Status CheckExtent(const char* name, int64_t got, int64_t want) {
  if (got == want) return Status();
  return Invalid(name, "is another than the bounds'")
      .WithValue(got)
      .WithBound(want, BoundKind::kNeeds);
}

Status CheckKeys(const ConstTensorView& key, const PageBounds& bounds) {
  if (bounds.data == nullptr) return Invalid("bounds", "were never made");
  if (key.dtype != DType::kF32) {
    return Status(StatusCode::kUnsupported, "key_dtype",
                  "must be f32 where pages have bounds");
  }
  Status status = CheckExtent("batch", key.batch(), bounds.batch);
  if (status.ok()) {
    status = CheckExtent("num_kv_heads", key.heads(), bounds.num_kv_heads);
  }
  return status.ok() ? CheckExtent("head_dim", key.head_dim(), bounds.head_dim)
                     : status;
}

class PageRun {
 public:
  PageRun(const PageBounds& bounds, int64_t token_budget,
          const AttentionParams& params, const AttentionArgs& args,
          const Scratch& scratch, const Executor& executor)
      : bounds_(bounds),
        params_(params),
        args_(args),
        scratch_(scratch),
        executor_(executor),
        rows_(args.query.seqlen()),
        keys_(args.key.seqlen()),
        pages_(BlocksOf(keys_, bounds.page_size)),
        group_(args.key.heads() == 0 ? 0
                                     : args.query.heads() / args.key.heads()) {
    budget_ = std::max<int64_t>(token_budget / bounds.page_size, 1);
  }

  Status Run(const char* target) {
    const int64_t kv_heads = args_.key.heads();
    KeyLists lists;
    lists.batch = args_.query.batch();
    lists.num_heads = kv_heads;
    // Pages that are kept anyway may be more than the budget.
    width_ = lists.width = std::min(keys_, WidestChoice() * bounds_.page_size);
    const int64_t num_lists = lists.batch * kv_heads * rows_;
    const int64_t workers = executor_.max_workers;
    const int64_t dims = 2 * bounds_.head_dim;
    indices_ = scratch_.Array<int32_t>(num_lists, width_);
    queries_ = scratch_.Array<float>(workers * group_ * dims);
    scores_ = scratch_.Array<float>(workers * (group_ + 2) * pages_);
    places_ = scratch_.Array<int32_t>(workers * 3 * pages_);
    keep_ = scratch_.Array<uint8_t>(workers * pages_);
    if (!indices_ || !queries_ || !scores_ || !places_ || !keep_) {
      return internal::PlanOutOfMemory();
    }
    ops::ParallelFor(executor_, num_lists,
                     [&](int64_t list, int worker) { Choose(list, worker); });
    lists.indices = indices_;
    return AttendListed(lists, params_, args_, scratch_, executor_, target);
  }

 private:
  // The pages of the longest list.
  int64_t WidestChoice() const {
    int64_t widest = 0;
    for (int64_t row = 0; row < rows_; ++row) {
      const sparse::BlockMask mask(params_, rows_, keys_, row, row);
      int64_t forced = 0;
      for (int64_t j = 0; j < pages_; ++j) forced += Forces(mask, j);
      widest = std::max(widest, std::max(forced, std::min(budget_, pages_)));
    }
    return widest;
  }

  bool Touches(const sparse::BlockMask& mask, int64_t page) const {
    return mask.Touches(page * bounds_.page_size,
                        std::min((page + 1) * bounds_.page_size, keys_));
  }
  bool Forces(const sparse::BlockMask& mask, int64_t page) const {
    return Touches(mask, page) &&
           mask.Forces(page * bounds_.page_size,
                       std::min((page + 1) * bounds_.page_size, keys_));
  }

  // Lists the keys that one row of one key head keeps.
  void Choose(int64_t list, int worker) const {
    const int64_t row = list % rows_;
    const int64_t head = list / rows_;  // of keys, over the batch
    const sparse::BlockMask mask(params_, rows_, keys_, row, row);
    float* const bound = scores_ + worker * (group_ + 2) * pages_;
    float* const score = bound + group_ * pages_;
    ScorePages(head, row, worker, bound);
    int32_t* const page_of = places_ + worker * 3 * pages_;
    sparse::BlockChoice choice = {};
    uint8_t* const keep = keep_ + worker * pages_;
    for (int64_t j = 0; j < pages_; ++j) {
      if (!Touches(mask, j)) continue;
      page_of[choice.count] = static_cast<int32_t>(j);
      keep[choice.count++] = Forces(mask, j);
    }
    std::fill(score, score + choice.count, -INFINITY);
    for (int64_t g = 0; g < group_; ++g) {
      const float* const of_head = bound + g * pages_;
      float most = -INFINITY;
      for (int64_t i = 0; i < choice.count; ++i) {
        most = std::max(most, of_head[page_of[i]]);
      }
      for (int64_t i = 0; i < choice.count; ++i) {
        score[i] = std::max(score[i], of_head[page_of[i]] - most);
      }
    }
    choice.score = score;
    choice.keep = keep;
    choice.value = score + pages_;
    choice.order = page_of + pages_;
    choice.place = page_of + 2 * pages_;
    sparse::TopK{budget_}(choice);
    int32_t* const index = indices_ + list * width_;
    int64_t count = 0;
    for (int64_t i = 0; i < choice.count; ++i) {
      if (!keep[i]) continue;
      const int64_t begin = page_of[i] * bounds_.page_size;
      const int64_t end = std::min(begin + bounds_.page_size, keys_);
      for (int64_t key = begin; key < end; ++key) {
        index[count++] = static_cast<int32_t>(key);
      }
    }
    std::fill(index + count, index + width_, -1);
  }

  // Sets bound[g][page] for the query heads of a group.
  void ScorePages(int64_t head, int64_t row, int worker, float* bound) const {
    const int64_t dim = bounds_.head_dim;
    const int64_t batch = head / args_.key.heads();
    const int64_t first = head % args_.key.heads() * group_;
    const float scale = ops::SoftmaxScale(params_, dim);
    float* const queries = queries_ + worker * group_ * 2 * dim;
    for (int64_t g = 0; g < group_; ++g) {
      const float* const query = RowAt(args_.query, batch, row, first + g);
      float* const positive = queries + g * 2 * dim;
      for (int64_t c = 0; c < dim; ++c) {
        const float q = scale * query[c];
        positive[c] = std::max(q, 0.0f);
        positive[dim + c] = std::min(q, 0.0f);
      }
    }
    const float* const data = bounds_.data + head * 2 * dim * bounds_.capacity;
    ops::MatMul(ops::Dense(static_cast<const float*>(queries), group_, 2 * dim),
                ops::ConstMatrix{data, 2 * dim, pages_, bounds_.capacity},
                ops::Dense(bound, group_, pages_));
  }

  const PageBounds& bounds_;
  const AttentionParams& params_;
  const AttentionArgs& args_;
  const Scratch& scratch_;
  const Executor& executor_;
  int64_t rows_, keys_, pages_, group_;
  int64_t budget_ = 0;  // pages
  int64_t width_ = 0;   // keys
  int32_t* indices_ = nullptr;
  // A worker's own.
  float* queries_ = nullptr;   // [heads of a group][2 head_dim]
  float* scores_ = nullptr;    // bounds [heads of a group][pages]; two more
  int32_t* places_ = nullptr;  // three a page
  uint8_t* keep_ = nullptr;
};

}  // namespace

Status MakePageBounds(int64_t batch, int64_t num_kv_heads, int64_t head_dim,
                      int64_t page_size, int64_t max_keys,
                      const Scratch& memory, PageBounds* bounds) {
  const struct {
    const char* name;
    int64_t value, least;
  } sizes[] = {{"batch", batch, 0},
               {"num_kv_heads", num_kv_heads, 0},
               {"head_dim", head_dim, 1},
               {"page_size", page_size, 1},
               {"max_keys", max_keys, 1}};
  for (const auto& size : sizes) {
    if (size.value >= size.least) continue;
    return Invalid(size.name, "is too small for bounds of pages")
        .WithValue(size.value)
        .WithBound(size.least, BoundKind::kAtLeast);
  }
  if (memory.allocate == nullptr) return Invalid("scratch", "has no allocate");
  const int64_t capacity = BlocksOf(max_keys, page_size);
  int64_t floats = 2, rows = 0;
  if (__builtin_mul_overflow(capacity, page_size, &rows)) {
    return Status(StatusCode::kOverflow, "max_keys",
                  "makes more rows of pages than 63 bits count");
  }
  for (const int64_t factor : {batch, num_kv_heads, head_dim, capacity}) {
    if (__builtin_mul_overflow(floats, factor, &floats)) {
      return Status(StatusCode::kOverflow, "max_keys",
                    "makes more bounds than 63 bits count");
    }
  }
  float* const data = memory.Array<float>(floats);
  if (data == nullptr) return internal::PlanOutOfMemory();
  *bounds = {batch, num_kv_heads, head_dim, page_size, capacity, 0, data};
  return Status();
}

Status AppendPageBounds(const ConstTensorView& key, const Executor& executor,
                        PageBounds* bounds) {
  Status status = internal::CheckExecutor(executor);
  if (status.ok()) status = CheckKeys(key, *bounds);
  if (!status.ok()) return status;
  if (key.seqlen() < bounds->num_keys ||
      BlocksOf(key.seqlen(), bounds->page_size) > bounds->capacity) {
    return Invalid("seqlen_k", "is less than before, or more than has room")
        .WithValue(key.seqlen())
        .WithBound(bounds->capacity * bounds->page_size);
  }
  if (key.data == nullptr && key.batch() * key.seqlen() * key.heads() > 0) {
    return Invalid("key", "is null");
  }
  if (key.head_dim() > 1 && key.stride[3] != SizeOf(key.dtype)) {
    return Invalid("key", "must have an innermost stride of one element")
        .WithValue(key.stride[3]);
  }
  const int64_t dim = bounds->head_dim;
  const int64_t pages = bounds->capacity;
  const auto append = [&](int64_t head, int /*worker*/) {
    float* const most = bounds->data + head * 2 * dim * pages;
    float* const least = most + dim * pages;
    for (int64_t row = bounds->num_keys; row < key.seqlen(); ++row) {
      const float* const x =
          RowAt(key, head / key.heads(), row, head % key.heads());
      const int64_t page = row / bounds->page_size;
      const bool first = row % bounds->page_size == 0;
      for (int64_t c = 0; c < dim; ++c) {
        float& high = most[c * pages + page];
        float& low = least[c * pages + page];
        high = first ? x[c] : std::max(high, x[c]);
        low = first ? x[c] : std::min(low, x[c]);
      }
    }
  };
  ops::ParallelFor(executor, key.batch() * key.heads(), append);
  bounds->num_keys = key.seqlen();
  return Status();
}

Status AttendPages(const PageBounds& bounds, int64_t token_budget,
                   const AttentionParams& params, const AttentionArgs& args,
                   const Scratch& scratch, const Executor& executor,
                   const char* target) {
  Status status = internal::CheckHost(executor, scratch);
  if (!status.ok()) return status;
  if (token_budget < 1) {
    return Invalid("token_budget", "must be at least 1")
        .WithValue(token_budget)
        .WithBound(1, BoundKind::kAtLeast);
  }
  if (args.ragged.num_sequences != 0 || args.pages.any()) {
    return Status(StatusCode::kUnsupported, "ragged",
                  "must be absent where pages have bounds");
  }
  status = CheckArgs(params, args);
  if (status.ok()) status = CheckKeys(args.key, bounds);
  if (status.ok()) {
    status = CheckExtent("seqlen_k", args.key.seqlen(), bounds.num_keys);
  }
  if (!status.ok()) return status;
  return PageRun(bounds, token_budget, params, args, scratch, executor)
      .Run(target);
}

}  // namespace heed
