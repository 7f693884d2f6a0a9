// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Attends to the key blocks that score highest against the mean of a block of
// queries: the block-sparse pattern of MInference (Jiang et al. 2024,
// arXiv:2407.02490), whose gate MoBA trains (Lu et al. 2025, arXiv:2502.13189).
//
// Keys are cut into blocks at multiples of `block` from key 0, query rows from
// row 0, so a chunk of a prompt selects as the whole prompt does where it
// begins at a multiple of `block`. Per query head and query block
//
//   score(j) = scale * mean(query rows) . mean(keys of block j),
//
// a last short block being averaged over the keys that it has. Kept are, all
// within the budget of total_blocks,
//   - the first block, the blocks at the rows' own positions, and the blocks
//     that a mask cuts for some of the rows, however many those are;
//   - of the blocks that every row sees whole, those that score highest, the
//     lowest index first among equals.
// A mean therefore never holds a key that some row may not see.
#include <heed/ops.h>
#include <heed/variant.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::variants {
namespace {

constexpr double kAll = 2147483647;

constexpr Knob kKnobs[] = {
    {.name = "block",
     .summary = "Keys a block, and query rows that select together.",
     .default_value = 64,
     .min = 1,
     .max = 65536,
     .integer = true},
    {.name = "total_blocks",
     .summary = "Key blocks that a query block keeps, forced ones included.",
     .default_value = 16,
     .min = 1,
     .max = kAll,
     .integer = true,
     .has_exact = true,
     .exact_value = kAll},
};

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How the masks treat key blocks for query rows [first, last]. What a row sees
// only moves right from row to row, so two rows speak for all.
class BlockMask {
 public:
  BlockMask(const AttentionParams& params, int64_t seqlen_q, int64_t seqlen_k,
            int64_t first, int64_t last)
      : first_(ops::VisibleTo(params, seqlen_q, seqlen_k, first)),
        last_(ops::VisibleTo(params, seqlen_q, seqlen_k, last)) {
    AttentionParams position;  // the end of what it shows is a row's position
    position.causal = true;
    position.causal_offset = params.causal_offset;
    own_begin_ = ops::VisibleTo(position, seqlen_q, seqlen_k, first).end - 1;
    own_end_ = ops::VisibleTo(position, seqlen_q, seqlen_k, last).end;
  }

  // Some row may see a key of [begin, end).
  bool Touches(int64_t begin, int64_t end) const {
    return begin < last_.sink_end || (begin < last_.end && end > first_.begin);
  }
  // [begin, end) is kept whatever it scores.
  bool Forces(int64_t begin, int64_t end) const {
    return begin == 0 || (begin < own_end_ && end > own_begin_) ||
           !SeesWhole(first_, begin, end) || !SeesWhole(last_, begin, end);
  }

 private:
  static bool SeesWhole(const ops::VisibleKeys& see, int64_t begin,
                        int64_t end) {
    return end <= see.sink_end ||
           (end <= see.end &&
            (begin >= see.begin || see.begin == see.sink_end));
  }

  ops::VisibleKeys first_;
  ops::VisibleKeys last_;
  int64_t own_begin_;
  int64_t own_end_;
};

// The problem in blocks, and the scratch of a run.
struct Run {
  const VariantArgs* args;
  int64_t block;
  int64_t total_blocks;
  int64_t query_blocks;
  int64_t key_blocks;
  float* key_mean;  // [batch][num_kv_heads][key_blocks][head_dim]
  uint8_t* kept;    // [batch][num_heads][query_blocks][key_blocks]
  // A worker's own.
  float* query_mean;   // [workers][head_dim]
  float* score;        // [workers][key_blocks]
  int32_t* candidate;  // [workers][key_blocks]
  int32_t* chosen;     // [workers][key_blocks]

  int64_t lists() const {
    const ConstTensorView& query = args->args.query;
    return query.batch() * query.heads() * query_blocks;
  }
};

// Marks the blocks that one query block of one head keeps.
void SelectBlocks(const Run& run, int64_t list, int worker) {
  const AttentionArgs& t = run.args->args;
  const int64_t dim = t.query.head_dim();
  const int64_t keys = t.key.seqlen();
  const int64_t head = list / run.query_blocks;
  const int64_t b = head / t.query.heads();
  const int64_t h = head % t.query.heads();
  const int64_t kv_head = h / (t.query.heads() / t.key.heads());
  const int64_t first = list % run.query_blocks * run.block;
  const int64_t end = std::min(first + run.block, t.query.seqlen());

  float* query_mean = run.query_mean + worker * dim;
  ops::MeanPool(ops::RowRange(ops::Head(t.query, b, h), first, end), run.block,
                ops::Dense(query_mean, 1, dim));
  const float* key_mean =
      run.key_mean + (b * t.key.heads() + kv_head) * run.key_blocks * dim;
  const float scale = ops::SoftmaxScale(run.args->params, dim);

  const BlockMask mask(run.args->params, t.query.seqlen(), keys, first,
                       end - 1);
  uint8_t* kept = run.kept + list * run.key_blocks;
  float* score = run.score + worker * run.key_blocks;
  int32_t* candidate = run.candidate + worker * run.key_blocks;
  int64_t budget = run.total_blocks;
  int64_t candidates = 0;
  for (int64_t j = 0; j < run.key_blocks; ++j) {
    const int64_t begin = j * run.block;
    const int64_t block_end = std::min(begin + run.block, keys);
    kept[j] = mask.Touches(begin, block_end) && mask.Forces(begin, block_end);
    if (kept[j]) {
      --budget;
    } else if (mask.Touches(begin, block_end)) {
      score[candidates] = scale * ops::Dot(query_mean, key_mean + j * dim, dim);
      candidate[candidates++] = static_cast<int32_t>(j);
    }
  }
  int32_t* chosen = run.chosen + worker * run.key_blocks;
  const int64_t count = ops::TopK(score, candidates, budget, chosen);
  for (int64_t i = 0; i < count; ++i) kept[candidate[chosen[i]]] = 1;
}

// Calls f(begin, end) for the runs of kept blocks of a list, in keys.
template <typename F>
void ForEachInterval(const Run& run, int64_t list, F f) {
  const uint8_t* kept = run.kept + list * run.key_blocks;
  const int64_t keys = run.args->args.key.seqlen();
  for (int64_t j = 0; j < run.key_blocks; ++j) {
    if (!kept[j]) continue;
    const int64_t begin = j;
    while (j < run.key_blocks && kept[j]) ++j;
    f(begin * run.block, std::min(j * run.block, keys));
  }
}

void RecordSelection(const Run& run) {
  const VariantArgs& a = *run.args;
  if (a.selection.keep == nullptr) return;
  const ConstTensorView& query = a.args.query;
  for (int64_t list = 0; list < run.lists(); ++list) {
    const int64_t head = list / run.query_blocks;
    const int64_t first = list % run.query_blocks * run.block;
    const int64_t end = std::min(first + run.block, query.seqlen());
    ForEachInterval(run, list, [&](int64_t begin, int64_t key_end) {
      for (int64_t row = first; row < end; ++row) {
        a.selection.Keep(head / query.heads(), head % query.heads(), row, begin,
                         key_end);
      }
    });
  }
}

Status OutOfMemory() {
  return Status(StatusCode::kOutOfMemory, "scratch",
                "block means and lists could not be allocated");
}

// Turns the marks into lists for the exact kernel, and runs it.
Status AttendKept(const Run& run) {
  const VariantArgs& a = *run.args;
  int64_t* offsets = a.scratch.Array<int64_t>(run.lists() + 1);
  if (offsets == nullptr) return OutOfMemory();
  offsets[0] = 0;
  for (int64_t list = 0; list < run.lists(); ++list) {
    int64_t count = 0;
    ForEachInterval(run, list, [&](int64_t, int64_t) { ++count; });
    offsets[list + 1] = offsets[list] + count;
  }
  KeyInterval* intervals = a.scratch.Array<KeyInterval>(offsets[run.lists()]);
  if (intervals == nullptr) return OutOfMemory();
  for (int64_t list = 0; list < run.lists(); ++list) {
    KeyInterval* next = intervals + offsets[list];
    ForEachInterval(run, list, [&](int64_t begin, int64_t end) {
      *next++ = {static_cast<int32_t>(begin), static_cast<int32_t>(end)};
    });
  }
  AttentionArgs args = a.args;
  args.key_intervals.query_block_size = run.block;
  args.key_intervals.num_offsets = run.lists() + 1;
  args.key_intervals.num_intervals = offsets[run.lists()];
  args.key_intervals.offsets = offsets;
  args.key_intervals.intervals = intervals;
  return ops::Attend(a.params, args, a);
}

Status RunVariant(const VariantArgs& a) {
  const AttentionArgs& t = a.args;
  if (t.key_intervals.query_block_size != 0) {
    return Status(StatusCode::kUnsupported, "key_intervals",
                  "block_topk makes its own lists of keys");
  }
  Run run = {};
  run.args = &a;
  run.block = static_cast<int64_t>(a.knobs[0]);
  run.total_blocks = static_cast<int64_t>(a.knobs[1]);
  run.query_blocks = CeilDiv(t.query.seqlen(), run.block);
  run.key_blocks = CeilDiv(t.key.seqlen(), run.block);
  const int64_t dim = t.query.head_dim();
  const int64_t workers = a.executor.max_workers;
  const int64_t key_heads = t.key.batch() * t.key.heads();
  run.key_mean = a.scratch.Array<float>(key_heads * run.key_blocks * dim);
  run.kept = a.scratch.Array<uint8_t>(run.lists() * run.key_blocks);
  run.query_mean = a.scratch.Array<float>(workers * dim);
  run.score = a.scratch.Array<float>(workers * run.key_blocks);
  run.candidate = a.scratch.Array<int32_t>(workers * run.key_blocks);
  run.chosen = a.scratch.Array<int32_t>(workers * run.key_blocks);
  if (run.key_mean == nullptr || run.kept == nullptr ||
      run.query_mean == nullptr || run.score == nullptr ||
      run.candidate == nullptr || run.chosen == nullptr) {
    return OutOfMemory();
  }
  ops::ParallelFor(a.executor, key_heads, [&](int64_t i, int /*worker*/) {
    ops::MeanPool(ops::Head(t.key, i / t.key.heads(), i % t.key.heads()),
                  run.block,
                  ops::Dense(run.key_mean + i * run.key_blocks * dim,
                             run.key_blocks, dim));
  });
  ops::ParallelFor(a.executor, run.lists(), [&](int64_t list, int worker) {
    SelectBlocks(run, list, worker);
  });
  const Status status = AttendKept(run);
  if (status.ok()) RecordSelection(run);
  return status;
}

Cost EstimateCost(const AttentionShape& shape, const AttentionParams& params,
                  const double* knobs) {
  const int64_t block = static_cast<int64_t>(knobs[0]);
  double pairs = 0;   // of one head
  double scores = 0;  // block pairs that one head scores
  double blocks = 0;  // key blocks kept by the query blocks of one head
  for (int64_t first = 0; first < shape.seqlen_q; first += block) {
    const int64_t end = std::min(first + block, shape.seqlen_q);
    double visible = 0;
    for (int64_t row = first; row < end; ++row) {
      const ops::VisibleKeys see =
          ops::VisibleTo(params, shape.seqlen_q, shape.seqlen_k, row);
      visible += static_cast<double>(see.sink_end + see.end - see.begin);
    }
    const BlockMask mask(params, shape.seqlen_q, shape.seqlen_k, first,
                         end - 1);
    double forced = 0, candidates = 0, candidate_keys = 0;
    for (int64_t key = 0; key < shape.seqlen_k; key += block) {
      const int64_t key_end = std::min(key + block, shape.seqlen_k);
      if (!mask.Touches(key, key_end)) continue;
      if (mask.Forces(key, key_end)) {
        ++forced;
      } else {
        ++candidates;
        candidate_keys += static_cast<double>(key_end - key);
      }
    }
    const double chosen = std::clamp(knobs[1] - forced, 0.0, candidates);
    // Every row sees the candidates whole: only a last short block makes a
    // difference which of them are chosen.
    const double whole = static_cast<double>(end - first) * candidate_keys;
    pairs += visible - whole;
    if (candidates > 0) pairs += whole * chosen / candidates;
    scores += candidates;
    blocks += forced + chosen;
  }
  const double batch = static_cast<double>(shape.batch);
  const double dim = static_cast<double>(shape.head_dim);
  const double heads = static_cast<double>(shape.num_heads);
  const double pooled = static_cast<double>(shape.seqlen_q) * heads +
                        static_cast<double>(shape.seqlen_k) *
                            static_cast<double>(shape.num_kv_heads);
  // At most: blocks of different lists are often the same.
  const double key_rows =
      std::min(ops::VisibleKeyRows(shape, params),
               blocks * static_cast<double>(block) *
                   static_cast<double>(shape.num_heads / shape.num_kv_heads));
  Cost cost = ops::SoftmaxCost(shape, pairs, key_rows);
  cost.select_flops = batch * dim * (2 * scores * heads + pooled);
  // Queries and keys are read again.
  cost.select_bytes = 4 * batch * dim * pooled;
  cost.flops += cost.select_flops;
  cost.bytes += cost.select_bytes;
  return cost;
}

}  // namespace

Variant block_topk() {
  return {.summary =
              "The key blocks whose mean scores highest against the "
              "mean of a block of queries.",
          .paper = "Jiang et al. 2024, arXiv:2407.02490",
          .semantics = Semantics::kExactOnSelection,
          .knobs = kKnobs,
          .num_knobs = 2,
          .cost = EstimateCost,
          .run = RunVariant};
}

}  // namespace heed::variants
