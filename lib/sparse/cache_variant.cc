// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A variant's run by a cache that forgets: the steps of each key head are run
// in order, which says until which position each key is seen; that is a
// pattern, and becomes a plan.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "heed/cache_policy.h"
#include "heed/estimators.h"
#include "heed/ops.h"
#include "lib/core/tuning.h"
#include "lib/core/variant_call.h"
#include "lib/sparse/plan_memory.h"

namespace heed::sparse {
namespace {

using heed::internal::BlocksOf;
using heed::internal::PositionOf;

// What the rules come to for one call.
struct Schedule {
  Schedule(const CacheRules& cache_rules, int64_t first_row)
      : rules(cache_rules), prompt_end(std::max<int64_t>(rules.prompt, 0)) {
    if (rules.observed > 0 || rules.observes_decode) {
      prompt_end = std::max(prompt_end, first_row + 1);
    }
  }
  // The policy is shown the attention of a row at this position.
  bool Shows(int64_t position) const {
    return position < prompt_end ? position >= prompt_end - rules.observed
                                 : rules.observes_decode;
  }
  // Rows that the step leaves.
  int64_t Leaves(int64_t position) const {
    if (position + 1 < prompt_end) return INT64_MAX;
    const int64_t since = rules.once ? position + 1 - prompt_end : 0;
    return std::max<int64_t>(rules.budget, 0) + since;
  }

  const CacheRules& rules;
  int64_t prompt_end;
};

// The keys that rows see by their caches: key j of key head i until position
// last_seen[i * keys + j].
struct CachedKeys {
  static constexpr int64_t kBlock = 64;  // keys that are looked at together

  bool Keep(int64_t head, int64_t query, int64_t key) const {
    return query <= last_seen[head / group * keys + key];
  }
  template <typename F>
  void Intervals(const PatternRow& row, F f) const {
    const int64_t cache = row.head / group;
    const int64_t* const seen = last_seen + cache * keys;
    const int64_t blocks = BlocksOf(keys, kBlock);
    for (int64_t i = row.begin / kBlock; i * kBlock < row.end; ++i) {
      const int64_t end = std::min((i + 1) * kBlock, row.end);
      if (row.query > latest[cache * blocks + i]) continue;
      for (int64_t key = i * kBlock; key < end; ++key) {
        if (row.query > seen[key]) continue;
        const int64_t begin = key;
        while (key < end && row.query <= seen[key]) ++key;
        f(begin, key);
      }
    }
  }

  const int64_t* last_seen;  // [batch * kv heads][keys]
  const int64_t* latest;     // the same for blocks of keys: the largest
  int64_t keys;
  int64_t group;
};

class CacheRun {
 public:
  CacheRun(const VariantArgs& a, const CacheRules& rules,
           const internal::PolicyView& policy)
      : a_(a),
        policy_(policy),
        masks_(heed::internal::MasksOf(a.params, a.args.query.seqlen(),
                                       a.args.key.seqlen())),
        schedule_(rules, PositionOf(masks_, 0)),
        keys_(a.args.key.seqlen()),
        caches_(a.args.key.batch() * a.args.key.heads()) {}

  Status Run() {
    const AttentionArgs& t = a_.args;
    const int64_t last = PositionOf(masks_, t.query.seqlen() - 1);
    const int64_t lists = t.query.batch() * t.query.heads();
    if (lists == 0 || t.query.seqlen() == 0 || HoldsAll(last)) {
      return AttendMasked(a_, a_.params);
    }
    if (!Allocate()) return OutOfMemory();
    a_.phases.Enter(Phase::kSelect);
    ops::ParallelFor(a_.executor, caches_, [&](int64_t cache, int worker) {
      RunSteps(cache, last, workers_[worker]);
    });
    a_.phases.Enter(Phase::kBuild);
    SparsePlan plan;
    const Status status = MakePlanOfSteps(&plan);
    return status.ok() ? AttendPlan(a_, plan) : status;
  }

 private:
  // A worker's cache, and what it thinks with: an element a row.
  struct Memory {
    int32_t* rows;
    float* state;
    float* weight;
    float* score;
    float* rank;
    int32_t* index;
  };

  // Nothing leaves before the last row has attended.
  bool HoldsAll(int64_t last) const {
    if (last < schedule_.prompt_end) return true;
    // From the end of the prompt on a step leaves as much as the one before it
    // or one row more: where the last key enters says it for all.
    const int64_t at =
        std::max(std::min(last, keys_ - 1), schedule_.prompt_end - 1);
    return schedule_.Leaves(at) >= std::min(at + 1, keys_);
  }

  bool Allocate() {
    const int64_t workers = a_.executor.max_workers;
    last_seen_ = a_.scratch.Array<int64_t>(caches_, keys_);
    latest_ = a_.scratch.Array<int64_t>(caches_ *
                                        BlocksOf(keys_, CachedKeys::kBlock));
    workers_ = a_.scratch.Array<Memory>(workers);
    float* const floats = a_.scratch.Array<float>(workers * 4 * keys_);
    int32_t* const indices = a_.scratch.Array<int32_t>(workers * 2 * keys_);
    if (last_seen_ == nullptr || latest_ == nullptr || workers_ == nullptr ||
        floats == nullptr || indices == nullptr) {
      return false;
    }
    for (int64_t i = 0; i < workers; ++i) {
      float* const f = floats + i * 4 * keys_;
      int32_t* const n = indices + i * 2 * keys_;
      workers_[i] = {n, f, f + keys_, f + 2 * keys_, f + 3 * keys_, n + keys_};
    }
    return true;
  }

  // Runs all steps of one key head up to the last row's.
  void RunSteps(int64_t cache, int64_t last, const Memory& memory) const {
    int64_t* const last_seen = last_seen_ + cache * keys_;
    std::fill(last_seen, last_seen + keys_, INT64_MAX);
    const int64_t first_row = PositionOf(masks_, 0);
    CacheStep step = {};
    step.batch = cache / a_.args.key.heads();
    step.kv_head = cache % a_.args.key.heads();
    step.rows = memory.rows;
    step.state = memory.state;
    step.rank = memory.rank;
    // Behind the last key only where rows stand.
    for (int64_t at = 0; at <= last;
         at = at + 1 < keys_ ? at + 1 : std::max(at + 1, first_row)) {
      step.position = at;
      step.key = nullptr;
      if (at < keys_) {
        memory.rows[step.count] = static_cast<int32_t>(at);
        memory.state[step.count++] = 0;
        step.key = RowAt(a_.args.key, step.batch, at, step.kv_head);
      }
      step.weight = nullptr;
      if (at >= first_row && schedule_.Shows(at)) {
        Weigh(step, at - first_row, memory);
        step.weight = memory.weight;
      }
      step.evict = std::max<int64_t>(step.count - schedule_.Leaves(at), 0);
      policy_.see(policy_.self, step);
      if (step.evict > 0) step.count = Evict(step, memory, last_seen);
    }
    for (int64_t i = 0; i < keys_; i += CachedKeys::kBlock) {
      const int64_t end = std::min(i + CachedKeys::kBlock, keys_);
      latest_[cache * BlocksOf(keys_, CachedKeys::kBlock) +
              i / CachedKeys::kBlock] =
          *std::max_element(last_seen + i, last_seen + end);
    }
  }

  // Sets memory.weight to what each row of the cache gets from a query row.
  void Weigh(const CacheStep& step, int64_t row, const Memory& memory) const {
    const AttentionArgs& t = a_.args;
    const int64_t dim = t.query.head_dim();
    const int64_t group = t.query.heads() / t.key.heads();
    const float scale = ops::SoftmaxScale(a_.params, dim);
    const ops::VisibleKeys see =
        ops::VisibleTo(a_.params, t.query.seqlen(), keys_, row);
    std::fill(memory.weight, memory.weight + step.count, 0.0f);
    for (int64_t h = step.kv_head * group; h < (step.kv_head + 1) * group;
         ++h) {
      const float* const query = RowAt(t.query, step.batch, row, h);
      for (int64_t i = 0; i < step.count; ++i) {
        const float* const key =
            RowAt(t.key, step.batch, step.rows[i], step.kv_head);
        memory.score[i] = scale * ops::Dot(query, key, dim);
      }
      if (a_.params.softcap != 0) {
        CapScores(a_.params.softcap, memory.score, step.count);
      }
      for (int64_t i = 0; i < step.count; ++i) {
        const int64_t key = step.rows[i];
        const bool seen =
            key < see.sink_end || (key >= see.begin && key < see.end);
        if (!seen) memory.score[i] = -INFINITY;
      }
      ops::Softmax(memory.score, step.count);
      for (int64_t i = 0; i < step.count; ++i) {
        memory.weight[i] += memory.score[i];
      }
    }
  }

  // Takes the rows that rank lowest out of the cache; returns how many stay.
  int64_t Evict(const CacheStep& step, const Memory& memory,
                int64_t* last_seen) const {
    const int64_t stay =
        ops::TopK(step.rank, step.count, step.count - step.evict, memory.index);
    int64_t next = 0;
    for (int64_t i = 0; i < step.count; ++i) {
      if (next < stay && memory.index[next] == i) {
        memory.rows[next] = memory.rows[i];
        memory.state[next++] = memory.state[i];
      } else {
        last_seen[memory.rows[i]] = step.position;
      }
    }
    return stay;
  }

  // Patterns know no sequences: those of a batch are asked for as heads, whose
  // lists stand in the same order.
  Status MakePlanOfSteps(SparsePlan* plan) const {
    AttentionShape shape = ShapeOf(a_.args);
    const CachedKeys pattern = {last_seen_, latest_, keys_,
                                shape.num_heads / shape.num_kv_heads};
    shape.num_heads *= shape.batch;
    shape.batch = 1;
    SparseOptions options;
    options.per_head = true;
    options.query_block_size = heed::internal::kChosenRows;
    const Status status = MakeSparsePlan(a_.params, shape, pattern, options,
                                         a_.scratch, a_.executor, plan);
    plan->batch = a_.args.query.batch();
    plan->num_heads = a_.args.query.heads();
    return status;
  }

  const VariantArgs& a_;
  const internal::PolicyView& policy_;
  AttentionParams masks_;  // with the offset resolved
  Schedule schedule_;
  int64_t keys_, caches_;
  int64_t* last_seen_ = nullptr;
  int64_t* latest_ = nullptr;
  Memory* workers_ = nullptr;
};

}  // namespace

namespace internal {

Status AttendCache(const VariantArgs& a, const CacheRules& rules,
                   const PolicyView& policy) {
  const Status status = heed::internal::CheckSelects(a.args);
  if (!status.ok()) return status;
  if (a.args.scores.any()) {
    return Status(StatusCode::kUnsupported, "scores",
                  "must be absent where a cache forgets");
  }
  return CacheRun(a, rules, policy).Run();
}

}  // namespace internal

Cost CacheCost(const AttentionShape& shape, const AttentionParams& params,
               const CacheRules& rules) {
  const AttentionParams masks =
      heed::internal::MasksOf(params, shape.seqlen_q, shape.seqlen_k);
  const Schedule schedule(rules, PositionOf(masks, 0));
  double pairs = 0;
  double shown = 0;
  for (int64_t row = 0; row < shape.seqlen_q; ++row) {
    const int64_t at = PositionOf(masks, row);
    const ops::VisibleKeys see =
        ops::VisibleTo(params, shape.seqlen_q, shape.seqlen_k, row);
    const int64_t entered = std::clamp<int64_t>(at + 1, 0, shape.seqlen_k);
    const int64_t cached =
        std::min(see.sink_end, entered) +
        std::max<int64_t>(std::min(see.end, entered) - see.begin, 0);
    const int64_t held = at < schedule.prompt_end
                             ? cached
                             : std::min(cached, schedule.Leaves(at - 1) + 1);
    pairs +=
        static_cast<double>(see.sink_end + see.end - see.begin - cached + held);
    if (schedule.Shows(at)) shown += static_cast<double>(held);
  }
  Cost cost = ops::SoftmaxCost(shape, pairs);
  const double dims = shown * static_cast<double>(shape.batch * shape.head_dim);
  cost.AddSelecting(2 * dims * static_cast<double>(shape.num_heads),
                    4 * dims * static_cast<double>(shape.num_kv_heads));
  return cost;
}

}  // namespace heed::sparse
