// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A variant's run by scores of key blocks: each query block scores and chooses,
// and what is chosen becomes the lists of a plan.
#include <algorithm>
#include <cstdint>

#include "heed/estimators.h"
#include "heed/ops.h"
#include "lib/core/variant_call.h"
#include "lib/kernels/kernel_table.h"
#include "lib/sparse/block_mask.h"
#include "lib/sparse/plan_memory.h"

namespace heed::sparse {
namespace {

using heed::internal::BlocksOf;

class BlockRun {
 public:
  BlockRun(const VariantArgs& a, BlockGrid grid,
           const internal::BlockFunctions& functions)
      : a_(a),
        grid_(grid),
        functions_(functions),
        query_blocks_(BlocksOf(a.args.query.seqlen(), grid.query_block)),
        key_blocks_(BlocksOf(a.args.key.seqlen(), grid.key_block)),
        lists_(a.args.query.batch() * a.args.query.heads() * query_blocks_) {}

  Status Run() {
    const int64_t all = a_.executor.max_workers * key_blocks_;
    kept_ = a_.scratch.Array<uint8_t>(lists_ * key_blocks_);
    floats_ = a_.scratch.Array<float>(3 * all);
    indices_ = a_.scratch.Array<int32_t>(3 * all);
    keep_ = a_.scratch.Array<uint8_t>(all);
    if (kept_ == nullptr || floats_ == nullptr || indices_ == nullptr ||
        keep_ == nullptr) {
      return OutOfMemory();
    }
    a_.phases.Enter(Phase::kSelect);
    ops::ParallelFor(a_.executor, lists_,
                     [&](int64_t list, int worker) { Select(list, worker); });
    a_.phases.Enter(Phase::kBuild);
    SparsePlan plan;
    const BlockGridShape shape = {a_.args.query.batch(),  a_.args.query.heads(),
                                  a_.args.query.seqlen(), a_.args.key.seqlen(),
                                  grid_.query_block,      grid_.key_block};
    if (lists_ == 0) return ops::Attend(a_.params, a_.args, a_);
    const Status status =
        PlanFromBlockMap(a_.params, shape, kept_, a_.scratch, &plan);
    return status.ok() ? AttendPlan(a_, plan) : status;
  }

 private:
  // Marks the blocks that one query block of one head keeps.
  void Select(int64_t list, int worker) const {
    const AttentionArgs& t = a_.args;
    const int64_t keys = t.key.seqlen();
    const int64_t head = list / query_blocks_;
    BlockRows rows;
    rows.batch = head / t.query.heads();
    rows.head = head % t.query.heads();
    rows.kv_head = rows.head / (t.query.heads() / t.key.heads());
    rows.index = list % query_blocks_;
    rows.first = rows.index * grid_.query_block;
    rows.end = std::min(rows.first + grid_.query_block, t.query.seqlen());
    rows.worker = worker;
    const BlockMask mask(a_.params, t.query.seqlen(), keys, rows.first,
                         rows.end - 1);
    rows.num_blocks = BlocksOf(mask.End(), grid_.key_block);

    float* const score = floats_ + 3 * worker * key_blocks_;
    int32_t* const index = indices_ + 3 * worker * key_blocks_;
    uint8_t* const keep = keep_ + worker * key_blocks_;
    functions_.call_score(functions_.score, rows, score);
    BlockChoice choice = {};
    for (int64_t j = 0; j < rows.num_blocks; ++j) {
      const int64_t begin = j * grid_.key_block;
      const int64_t end = std::min(begin + grid_.key_block, keys);
      if (!mask.Touches(begin, end)) continue;
      score[choice.count] = score[j];
      index[choice.count] = static_cast<int32_t>(j);
      keep[choice.count++] = mask.Forces(begin, end);
    }
    choice.score = score;
    choice.keep = keep;
    choice.value = score + key_blocks_;
    choice.order = index + key_blocks_;
    choice.place = index + 2 * key_blocks_;
    functions_.call_select(functions_.select, choice);
    uint8_t* const kept = kept_ + list * key_blocks_;
    std::fill(kept, kept + key_blocks_, 0);
    for (int64_t i = 0; i < choice.count; ++i) kept[index[i]] = keep[i];
    FillKernelBlocks(mask, rows.num_blocks, kept);
  }

  // Marks blocks that no row sees where they share a block of the kernel's with
  // one that is kept, so that a choice of everything has the bits of the masks
  // alone (docs/numerics.md).
  void FillKernelBlocks(const BlockMask& mask, int64_t num_blocks,
                        uint8_t* kept) const {
    constexpr int64_t kBlock = heed::internal::kBlockKeys;
    const auto hidden = [&](int64_t j) {
      return !mask.Touches(j * grid_.key_block, (j + 1) * grid_.key_block);
    };
    for (int64_t j = 1; j < num_blocks; ++j) {
      if (hidden(j) && j * grid_.key_block % kBlock != 0)
        kept[j] |= kept[j - 1];
    }
    for (int64_t j = num_blocks - 2; j >= 0; --j) {
      if (hidden(j) && (j + 1) * grid_.key_block % kBlock != 0) {
        kept[j] |= kept[j + 1];
      }
    }
  }

  const VariantArgs& a_;
  BlockGrid grid_;
  const internal::BlockFunctions& functions_;
  int64_t query_blocks_, key_blocks_, lists_;
  uint8_t* kept_ = nullptr;  // [lists][key blocks]
  // A worker's own: scores and values, places, marks.
  float* floats_ = nullptr;
  int32_t* indices_ = nullptr;
  uint8_t* keep_ = nullptr;
};

}  // namespace

namespace internal {

Status AttendBlocks(const VariantArgs& a, BlockGrid grid,
                    const BlockFunctions& functions) {
  const Status status = heed::internal::CheckSelects(a.args);
  return status.ok() ? BlockRun(a, grid, functions).Run() : status;
}

}  // namespace internal

void TopK::operator()(const BlockChoice& choice) const {
  int64_t budget = total_blocks;
  int64_t candidates = 0;
  for (int64_t i = 0; i < choice.count; ++i) {
    if (choice.keep[i]) {
      --budget;
      continue;
    }
    choice.value[candidates] = choice.score[i];
    choice.place[candidates++] = static_cast<int32_t>(i);
  }
  const int64_t count =
      ops::TopK(choice.value, candidates, budget, choice.order);
  for (int64_t i = 0; i < count; ++i) {
    choice.keep[choice.place[choice.order[i]]] = 1;
  }
}

void TopP::operator()(const BlockChoice& choice) const {
  if (share >= 1) {
    std::fill(choice.keep, choice.keep + choice.count, 1);
    return;
  }
  double total = 0;
  double kept = 0;
  int64_t candidates = 0;
  for (int64_t i = 0; i < choice.count; ++i) {
    // Written so that NaN becomes 0.
    const float mass = choice.score[i] > 0 ? choice.score[i] : 0;
    choice.value[i] = mass;
    total += static_cast<double>(mass);
    if (choice.keep[i]) {
      kept += static_cast<double>(mass);
    } else {
      choice.order[candidates++] = static_cast<int32_t>(i);
    }
  }
  std::sort(choice.order, choice.order + candidates, [&](int32_t a, int32_t b) {
    const float x = choice.value[a];
    const float y = choice.value[b];
    return x != y ? x > y : a < b;
  });
  for (int64_t i = 0; i < candidates && kept < share * total; ++i) {
    const int32_t next = choice.order[i];
    choice.keep[next] = 1;
    kept += static_cast<double>(choice.value[next]);
  }
}

BlockCounts CountBlocks(const AttentionShape& shape,
                        const AttentionParams& params, BlockGrid grid,
                        double total_blocks) {
  BlockCounts counts;
  double blocks = 0;  // kept, of all lists
  for (int64_t first = 0; first < shape.seqlen_q; first += grid.query_block) {
    const int64_t end = std::min(first + grid.query_block, shape.seqlen_q);
    double visible = 0;
    for (int64_t row = first; row < end; ++row) {
      const ops::VisibleKeys see =
          ops::VisibleTo(params, shape.seqlen_q, shape.seqlen_k, row);
      visible += static_cast<double>(see.sink_end + see.end - see.begin);
    }
    const BlockMask mask(params, shape.seqlen_q, shape.seqlen_k, first,
                         end - 1);
    double forced = 0, candidates = 0, candidate_keys = 0;
    for (int64_t key = 0; key < shape.seqlen_k; key += grid.key_block) {
      const int64_t key_end = std::min(key + grid.key_block, shape.seqlen_k);
      if (!mask.Touches(key, key_end)) continue;
      if (mask.Forces(key, key_end)) {
        ++forced;
      } else {
        ++candidates;
        candidate_keys += static_cast<double>(key_end - key);
      }
    }
    const double chosen = std::clamp(total_blocks - forced, 0.0, candidates);
    // Every row sees the candidates whole: only a last short block makes a
    // difference which of them are chosen, and may not be.
    const double rows = static_cast<double>(end - first);
    const double chosen_keys =
        std::min(candidate_keys, chosen * static_cast<double>(grid.key_block));
    counts.pairs += visible - rows * (candidate_keys - chosen_keys);
    counts.block_pairs += forced + candidates;
    blocks += forced + chosen;
  }
  const double group =
      static_cast<double>(shape.num_heads) /
      static_cast<double>(std::max<int64_t>(shape.num_kv_heads, 1));
  counts.key_rows =
      std::min(ops::VisibleKeyRows(shape, params),
               blocks * static_cast<double>(grid.key_block) * group);
  return counts;
}

}  // namespace heed::sparse
