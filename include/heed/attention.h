// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Exact attention: out = softmax(scale * Q K^T + mask) V, blocked, never
// forming the score matrix (Rabe and Staats 2021; Dao et al. 2022,
// arXiv:2205.14135).
#ifndef HEED_ATTENTION_H_
#define HEED_ATTENTION_H_

#include <cstddef>
#include <cstdint>

#include "heed/executor.h"
#include "heed/export.h"
#include "heed/kv.h"
#include "heed/ragged.h"
#include "heed/score_inputs.h"
#include "heed/score_rule.h"
#include "heed/status.h"
#include "heed/tensor.h"
#include "heed/types.h"

namespace heed {

// causal_offset: the last query row sees the last key, as a decoder with a
// cache needs it: row i stands at position i + seqlen_k - seqlen_q.
inline constexpr int64_t kBottomRight = INT64_MIN;

// What is computed; no pointers. Query row i stands at key position
// p = i + offset, offset being causal_offset. It sees key j where
//
//   (not causal or j <= p)  and
//   (j < sink_size or
//    ((window_left < 0 or j >= p - window_left) and
//     (window_right < 0 or j <= p + window_right))).
//
// A row that sees no key gets out = 0 and lse = -inf. What stands at a position
// that a row does not see, NaN and Inf included, has no influence on it; a NaN
// that it sees, or a score of +inf, makes that row NaN, and only that row.
struct AttentionParams {
  // Multiplies the scores. 0 means 1/sqrt(head_dim); any other finite number,
  // negative ones too, is taken as it is. Times log2(e) it must stay in f32.
  float softmax_scale = 0.0f;
  // 0 is off; else scores become softcap * tanh(score / softcap) before masks.
  // softcap * log2(e) and softmax_scale / softcap must stay in f32.
  float softcap = 0.0f;
  bool causal = false;
  // The position of query row 0, or kBottomRight for seqlen_k - seqlen_q. Also
  // places the window. Rows may stand before key 0 or beyond the last key.
  int64_t causal_offset = kBottomRight;
  // Keys visible to the left and right of a row's own position; -1 is all.
  int64_t window_left = -1;
  int64_t window_right = -1;
  // Leading keys that the window never hides. (The causal mask still does.)
  int64_t sink_size = 0;
};

// The data of one call: four tensors, and below them groups that are absent
// until set. The caller owns all memory. num_heads must be a multiple of
// num_kv_heads: query head h reads key head h / (num_heads / num_kv_heads). Key
// and value may alias; out and lse may overlap nothing. Each tensor has the
// plan's dtype for it; lse is f32.
//
// Fields are set by name in a value made empty; an optional one that is left as
// it was made is absent and costs nothing.
struct AttentionArgs {
  ConstTensorView query;  // [batch, seqlen_q, num_heads, head_dim]
  ConstTensorView key;    // [batch, seqlen_k, num_kv_heads, head_dim]
  ConstTensorView value;  // [batch, seqlen_k, num_kv_heads, head_dim_v]
  TensorView out;         // [batch, seqlen_q, num_heads, head_dim_v]

  // ---- Optional ----

  // Natural log of the sum of exp(score): [batch, seqlen_q, num_heads, 1].
  TensorView lse;
  // Which keys each block of queries attends to; absent: every key.
  KeyIntervals key_intervals;
  // What quantised keys and values are multiplied by, and whether rows are
  // rotated.
  KvScales kv_scales;
  // Sequences of different lengths, and keys and values in pages.
  Ragged ragged;
  Pages pages;
  // Biases, masks and what else changes scores by data.
  ScoreInputs scores;
};

// What a plan is made for. Extents are maximal: a call may be smaller in batch,
// seqlen_q and seqlen_k, so that one plan serves a growing cache. The numbers
// of heads and the head dimensions are exact.
struct AttentionShape {
  DType query_dtype = DType::kF32;
  DType key_dtype = DType::kF32;
  DType value_dtype = DType::kF32;
  DType out_dtype = DType::kF32;
  int64_t batch = 0;
  int64_t seqlen_q = 0;
  int64_t seqlen_k = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;      // 1 to 1024
  int64_t head_dim_v = 0;    // 0 to 1024
  bool key_rotated = false;  // as in KvScales
  bool value_rotated = false;
  // Of ragged calls the most sequences. `seqlen_q` and `seqlen_k` are then the
  // most rows and keys that a single one has; `batch` is for other calls.
  int64_t num_sequences = 0;
  // Whether calls may come with score inputs. They need memory: leave it false
  // where they do not.
  bool scores = false;
  // Whether calls may say which prefixes are shared (Ragged): tiles then have
  // memory for the rows of several sequences.
  bool shared_prefixes = false;
};

// Returns the shape that fits exactly these tensors. Of ragged calls and pages
// it reads no index array: a sequence may then have every row that is packed
// and every key that its row of the page table has room for.
inline AttentionShape ShapeOf(const AttentionArgs& args) {
  AttentionShape shape;
  shape.query_dtype = args.query.dtype;
  shape.key_dtype = args.key.dtype;
  shape.value_dtype = args.value.dtype;
  shape.out_dtype = args.out.dtype;
  shape.batch = args.query.batch();
  shape.num_sequences = args.ragged.num_sequences;
  shape.seqlen_q = args.query.seqlen();
  shape.seqlen_k = args.key.seqlen();
  if (args.pages.any()) {
    // A product that no plan takes, where it would leave 31 bits.
    const int64_t pages = args.pages.pages_per_sequence;
    const bool fits = pages <= 0 || shape.seqlen_k <= INT32_MAX / pages;
    shape.seqlen_k = fits ? pages * shape.seqlen_k : INT32_MAX;
  }
  shape.num_heads = args.query.heads();
  shape.num_kv_heads = args.key.heads();
  shape.head_dim = args.query.head_dim();
  shape.head_dim_v = args.value.head_dim();
  shape.key_rotated = args.kv_scales.key_rotated;
  shape.value_rotated = args.kv_scales.value_rotated;
  shape.scores = args.scores.any();
  shape.shared_prefixes = args.ragged.num_shared_prefixes != 0;
  return shape;
}

// What the bits of a result are held to.
enum class Numerics : uint8_t {
  // The bits of docs/numerics.md on every target with FMA: those of f32 for the
  // widened inputs.
  kSame,
  // May use units that multiply narrow types themselves, where they are faster
  // on this CPU. Results then depend on the CPU, within the bound for kFast in
  // docs/numerics.md, but still neither on threads, batch, layout, lane_groups
  // nor on how keys are spread over workers.
  //
  // Today there is one: avx512_bf16, for query, key and value of bf16 (and any
  // out) that are not rotated, in plans without score inputs. Everything else
  // gives the bits of kSame under
  // kFast too; tensors that are all f32 always will. So does a call whose rows
  // a key head are few enough for the decode kernel (decode_rows): under kFast
  // the same row may have other bits there than in a longer prompt.
  kFast,
};

struct PlanOptions {
  // A name from heed/target.h, or null for the best that this CPU offers.
  const char* target = nullptr;
  // Lane groups a query tile, 1 to 16, or 0 for the measured default. Never
  // changes the result's bits.
  int lane_groups = 0;
  // The most query rows a key head (positions times heads of a group) for which
  // the decode kernel is taken instead of the tile kernel: 0 to 64, or -1 for
  // the measured default; fewer where more would not fit a worker's memory.
  // Never changes the result's bits, but where a unit serves the tile kernel.
  int decode_rows = -1;
  Numerics numerics = Numerics::kFast;
  // A name from heed/target.h to take that unit though it is not faster on this
  // CPU, or null for the measured choice. Refused where it is not offered or
  // does not serve the shape's types, rotated rows or score inputs, and with
  // kSame.
  const char* unit = nullptr;
};

namespace internal {
struct AttendKernel;
struct AttentionTable;
}  // namespace internal

// What decided the query rows of a tile.
enum class TileLimit : uint8_t { kDefault, kAsked, kRows, kMemory };

// How one shape is computed on one kernel table. A small value: copy it freely,
// use it from any number of threads, keep it across layers. Made by MakePlan.
struct Plan {
  AttentionParams params;
  AttentionShape shape;
  internal::ScoreRule score_rule;
  const internal::AttentionTable* table = nullptr;  // null until made
  const internal::AttendKernel* attend = nullptr;   // the table's for tiles
  Numerics numerics = Numerics::kSame;              // as asked
  const char* unit_reason = nullptr;  // of a unit for these types, or null
  const char* target = nullptr;       // the table's name
  bool target_named = false;          // by PlanOptions
  TileLimit tile_limit = TileLimit::kDefault;
  int32_t lane_groups = 0;    // lane groups of a query tile, at most
  int32_t tile_rows = 0;      // query rows of a tile: (position, head) pairs
  int32_t decode_rows = 0;    // as in PlanOptions, but for what never occurs
  int64_t tile_bytes = 0;     // workspace of one worker's tile
  int64_t slots_bytes = 0;    // what each of several workers adds for states
  int64_t carries_bytes = 0;  // and what they add together
  bool shares = false;        // tiles have memory for shared prefixes
};

// Memory that a run may use. Aligned to kWorkspaceAlignment; its contents are
// never read before they are written. One run at a time may use it.
struct Workspace {
  void* data = nullptr;
  size_t bytes = 0;
};
inline constexpr size_t kWorkspaceAlignment = 64;

// Makes a plan. Errors: kInvalidArgument for negative extents, num_heads not a
// multiple of num_kv_heads, head_dim below 1, NaN or infinite softmax_scale,
// NaN, negative or infinite softcap, a window below -1, a negative sink_size, a
// head_dim of 4-bit keys (head_dim_v of values) that is no multiple of 32,
// numerics that do not exist; kUnsupported for a dtype that is not offered
// (query and out: kF32, kBF16 and kF16), head_dim or head_dim_v above 1024, and
// a target or a unit that is unknown or not usable here;
// kOverflow. Leaves *plan untouched on error. Allocates nothing, costs well
// under a microsecond.
HEED_API Status MakePlan(const AttentionParams& params,
                         const AttentionShape& shape,
                         const PlanOptions& options, Plan* plan);

// Returns the bytes that a run with this many workers needs: at most 1 MiB a
// worker (with vectors up to 64 bytes), whatever the extents, and 128 a
// sequence of the plan's num_sequences.
HEED_API size_t WorkspaceBytes(const Plan& plan, int workers);

// Writes which kernel, blocks and tiles the plan chose, and why, as a few lines
// of text cut to `capacity` bytes with a terminating zero. Returns the length
// of the whole text.
HEED_API size_t ExplainPlan(const Plan& plan, char* text, size_t capacity);

// Computes `args`. Refuses shapes that the plan does not cover, null data with
// elements behind it, strides that are not offered, overlap of out or lse with
// anything (and of the workspace with any tensor), and a workspace that is too
// small (the status carries the bytes needed) or misaligned; then nothing has
// been written. Allocates nothing. kInternal means that the executor broke its
// contract.
HEED_API Status Run(const Plan& plan, const AttentionArgs& args,
                    Workspace workspace, const Executor& executor);

// The same in one call, with a workspace of its own. For repeated calls a plan
// and a kept workspace are cheaper.
HEED_API Status Attention(const AttentionParams& params,
                          const AttentionArgs& args,
                          const Executor& executor = SerialExecutor());

// ---- For engines whose threads arrive as "i of n" ---------------------------

struct RunOptions {
  // False for hosts that cannot make all threads wait for one another between
  // phases: the run then has a single phase, and whichever task arrives last
  // at a row merges its spans.
  bool barriers = true;
};

namespace internal {
// How the rows of one sequence (or of all those of a call that is not ragged)
// become tasks: lib/core/work.h.
struct SequenceWork {
  const AttendKernel* kernel = nullptr;
  int64_t sequence = 0;   // its index in the call
  int64_t num_lists = 0;  // sets of query rows that share keys
  int64_t tiles_per_list = 0;
  int64_t tiles_per_task = 1;
  // What the sequences before it come to: numbers go on.
  int64_t first_tile = 0;
  int64_t first_item = 0;
  int64_t first_task = 0;
  // Keys in units of whole spans, of which only those are visited that some
  // row sees: [0, sink_units) and num_units - sink_units from first_unit on.
  int64_t unit_spans = 0;
  int64_t sink_units = 0;
  int64_t first_unit = 0;
  int64_t num_units = 0;
  float weight = 0;  // (row, key) pairs of the heaviest task
  int32_t tile_rows = 0;
  int32_t rest_rows = 0;    // at the end of a list, by the decode kernel
  int32_t uneven_keys = 0;  // that a row sees, where rows see different ones
  // Sequences from `sequence` on that share whole spans of keys, how many, and
  // whose rows are in a tile; 0: the work of one sequence.
  int32_t sharers = 0;
  int32_t shared_spans = 0;
  int32_t sharers_per_tile = 0;
  int8_t together = 1;  // neighbouring tiles that are taken side by side
  bool split = false;   // the units of a tile are tasks of their own
  bool position_major = false;  // tiles of all lists, the heaviest first
};

// How a split run's spans are cut further, where they are fewer than the
// workers: lib/core/parts.h. None where key_parts is 0.
struct PartWork {
  int32_t key_parts = 0;     // of a span, of part_keys keys each
  int32_t column_parts = 0;  // of its values, of part_columns columns each
  int32_t part_keys = 0;
  int32_t part_columns = 0;
};
}  // namespace internal

// One checked and scheduled run. A plain value that points into the workspace
// and at the tensors; copy it to every thread.
//
//   AttentionRun run;
//   Status status = BeginRun(plan, args, workspace, workers, {}, &run);
//   for (int phase = 0; phase < NumPhases(run); ++phase) {
//     // every i in [0, NumTasks(run, phase)) once, on any thread:
//     RunTask(run, phase, i, worker);
//     // all threads wait here
//   }
struct AttentionRun {
  Plan plan;
  AttentionArgs args;
  Workspace workspace;
  int32_t workers = 0;
  int32_t num_phases = 0;
  bool barriers = true;
  int64_t causal_offset = 0;   // resolved; of a ragged call not used
  internal::SequenceWork all;  // the work of a call that is not ragged
  // Of a ragged one, in the workspace: sequences with rows, those that are
  // split first, the heaviest first.
  const internal::SequenceWork* sequences = nullptr;
  int64_t num_sequences = 0;
  int64_t num_split = 0;    // sequences that are split
  int64_t split_tiles = 0;  // their tiles
  int64_t split_items = 0;  // and items
  int64_t whole_tasks = 0;  // of the others
  int64_t slot_bytes = 0;   // the state of one tile and unit
  int64_t num_slots = 0;    // such states held at a time
  internal::PartWork parts;
};

// Checks everything that Run checks and lays out the work for `workers`
// workers. The workspace must hold WorkspaceBytes(plan, workers).
HEED_API Status BeginRun(const Plan& plan, const AttentionArgs& args,
                         Workspace workspace, int workers,
                         const RunOptions& options, AttentionRun* run);

// Returns the number of phases; 0 where there is nothing to write.
HEED_API int NumPhases(const AttentionRun& run);

// Returns the number of tasks of a phase; 0 for a phase that does not exist.
HEED_API int64_t NumTasks(const AttentionRun& run, int phase);

// Runs one task. `worker` is a slot below the workers of BeginRun that no other
// task holds at the same time.
HEED_API void RunTask(const AttentionRun& run, int phase, int64_t i,
                      int worker);

// ---- States -----------------------------------------------------------------

// Merges two partial results over disjoint sets of keys, row by row:
// lse = log(exp(lse_a) + exp(lse_b)), out = the average of out_a and out_b with
// those weights. A part with lse = -inf counts for nothing, whatever its out
// holds; two such give out = 0, lse = -inf. out and lse may be the very views
// of a or b, but may not overlap them otherwise. All f32; out_* are [batch,
// seqlen, heads, head_dim_v], lse_* [batch, seqlen, heads, 1].
HEED_API Status MergeStates(const ConstTensorView& out_a,
                            const ConstTensorView& lse_a,
                            const ConstTensorView& out_b,
                            const ConstTensorView& lse_b, const TensorView& out,
                            const TensorView& lse);

}  // namespace heed

#endif  // HEED_ATTENTION_H_
