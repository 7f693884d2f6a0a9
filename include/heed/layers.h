// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Whole layers: learned projections, and multi-head attention between them as
// in Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2. Positions are in
// heed/positions.h and heed/rope.h.
#ifndef HEED_LAYERS_H_
#define HEED_LAYERS_H_

#include <cstddef>
#include <cstdint>

#include "heed/attention.h"
#include "heed/executor.h"
#include "heed/export.h"
#include "heed/ragged.h"
#include "heed/rope.h"
#include "heed/score_inputs.h"
#include "heed/status.h"
#include "heed/tensor.h"
#include "heed/types.h"

namespace heed {

// ---- Projections ------------------------------------------------------------

// Where a projection y = W x + b comes from.
struct LinearWeights {
  // f32, bf16 or f16: [1, out_features, 1, in_features], as torch.nn.Linear has
  // it (Bshd(w, 1, out_features, 1, in_features)); with input_major the other
  // way round, [1, in_features, 1, out_features].
  ConstTensorView weight;
  // [1, 1, 1, out_features], f32, bf16 or f16; absent: none.
  ConstTensorView bias;
  bool input_major = false;
};

// A projection as the kernels read it: in panels of 48 outputs, input by input,
// the same bytes on every CPU. A small value that points into the memory that
// it was packed into.
struct PackedLinear {
  const void* weight = nullptr;  // null until packed
  const float* bias = nullptr;   // null: none
  DType dtype = DType::kF32;     // of the weights, kept
  int64_t in_features = 0;
  int64_t out_features = 0;
};

// Returns the bytes that PackLinear needs: the weights, their outputs rounded
// up to 48, and a bias. 0 for weights that it refuses.
HEED_API size_t PackedLinearBytes(const LinearWeights& weights);

// Packs weights into `memory`, which is aligned to kWorkspaceAlignment and
// stays the caller's for as long as *packed is used; the source may go.
// Refuses, with nothing written: dtypes that are no floats, extents below 1, a
// bias of another size, memory that is too small, misaligned or meets the
// source. Allocates nothing; one thread.
HEED_API Status PackLinear(const LinearWeights& weights, void* memory,
                           size_t bytes, PackedLinear* packed);

// Computes out = W x + b for every row: x [batch, seqlen, 1, in_features], out
// [batch, seqlen, 1, out_features], both f32. Each number is one FMA chain from
// the bias (or 0) over inputs in order, so its bits depend on its own row
// alone, and neither on threads nor, with FMA, on the CPU. Refuses what other
// calls refuse of views, and an out that overlaps anything; then nothing has
// been written. Allocates nothing; takes up to 56 KiB of stack a thread.
HEED_API Status RunLinear(const PackedLinear& linear, const ConstTensorView& x,
                          const TensorView& out,
                          const Executor& executor = SerialExecutor());

// ---- Multi-head attention ---------------------------------------------------

// What a layer is; no pointers.
//
//   out = W_O concat_h(softmax(scale q_h k_h^T + mask) v_h) + b_O,
//   q = W_Q query + b_Q, k = W_K key + b_K, v = W_V value + b_V.
struct MultiHeadParams {
  // Scale, masks and softcap. The scale is of head_dim, not of model_dim.
  AttentionParams attention;
  int64_t model_dim = 0;  // of a row of query
  int64_t key_dim = 0;    // of a row that a key is made of; 0: model_dim
  int64_t value_dim = 0;  // the same of a value; 0: key_dim
  int64_t out_dim = 0;    // of a row of out; 0: model_dim
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;  // divides num_heads; 0: as many
  int64_t head_dim = 0;      // 0: model_dim / num_heads, which must be whole
  int64_t head_dim_v = 0;    // 0: head_dim
};

// What a plan is made for: the most that a call has.
struct MultiHeadShape {
  int64_t batch = 0;
  int64_t seqlen_q = 0;
  // Keys that a sequence may have, those in its cache included.
  int64_t seqlen_k = 0;
  // With a cache, new keys a sequence in one call; else all are new.
  int64_t seqlen_new = 0;
  // Of packed calls the most rows of query, and of new keys, in all sequences
  // together; the most sequences are `batch`, and the lengths above are of one.
  // total_new 0: as many. total_q 0: calls are not packed.
  int64_t total_q = 0;
  int64_t total_new = 0;
  DType input_dtype = DType::kF32;  // of query, key and value; f32, bf16, f16
  DType out_dtype = DType::kF32;
  bool cache = false;
  DType key_cache_dtype = DType::kF32;  // f32, bf16 or f16
  DType value_cache_dtype = DType::kF32;
  bool scores = false;  // whether calls may come with score inputs
};

struct MultiHeadOptions {
  // A name from heed/target.h, or null for the best that this CPU offers.
  const char* target = nullptr;
};

// The projections of a layer.
struct MultiHeadWeights {
  PackedLinear query;  // model_dim to num_heads * head_dim
  PackedLinear key;    // key_dim to num_kv_heads * head_dim
  PackedLinear value;  // value_dim to num_kv_heads * head_dim_v
  PackedLinear out;    // num_heads * head_dim_v to out_dim
};

// The data of one call. The caller owns all memory; out and caches may overlap
// nothing, but that caches may lie between one another (heed/append.h).
//
// Self-attention is `query` alone. Cross-attention adds `key`, the rows that
// keys and values are made of, and `value` where those are others. A prompt in
// chunks, and then token by token, is a call for each with the cache, whose
// past_lengths the caller raises. Attention to a cache that is whole already
// (the encoder's) is a `key` of seqlen 0.
struct MultiHeadArgs {
  ConstTensorView query;  // [batch, seqlen_q, 1, model_dim]
  ConstTensorView key;    // [batch, new keys, 1, key_dim]; absent: query
  ConstTensorView value;  // [batch, new keys, 1, value_dim]; absent: key
  TensorView out;         // [batch, seqlen_q, 1, out_dim]
  MultiHeadWeights weights;

  // ---- Packed sequences of different lengths ----

  // Prompts, chunks of prompts and single tokens side by side, as in
  // heed/ragged.h: num_sequences + 1 numbers, from 0 to the seqlen, never
  // falling. Sequence s has the rows [cu_seqlens_q[s], cu_seqlens_q[s + 1]) of
  // query and out, whose batch is 1, and those of cu_seqlens_k of key and value
  // (null: the same). A plan with total_q asks for cu_seqlens_q, others refuse
  // it. Caches, pages, past_lengths and scores are then of num_sequences.
  const int32_t* cu_seqlens_q = nullptr;
  const int32_t* cu_seqlens_k = nullptr;
  int64_t num_sequences = 0;

  // ---- With a cache ----

  // [batch, capacity, num_kv_heads, head_dim] (values: head_dim_v), or pools
  // with `pages`. New keys go to past_lengths[b] and on; rows then attend to
  // all past_lengths[b] + new ones, the last row at the last key where
  // causal_offset is kBottomRight.
  TensorView key_cache;
  TensorView value_cache;
  const int32_t* past_lengths = nullptr;  // one a sequence
  Pages pages;

  // ---- Positions; each absent until set ----

  // Turns queries and new keys. A key stands at its place in the sequence, a
  // query row i at i + causal_offset; or where these say: batch * seqlen_q and
  // batch * new numbers.
  Rope rope;
  const int32_t* query_positions = nullptr;
  const int32_t* key_positions = nullptr;
  // ALiBi, T5's bias, masks and what else changes scores. Sequences are the
  // batch.
  ScoreInputs scores;
};

namespace internal {
struct OpsTable;
}  // namespace internal

// How one shape is computed: a small value, for any number of layers.
struct MultiHeadPlan {
  MultiHeadParams params;  // with every 0 resolved
  MultiHeadShape shape;
  Plan attention;
  const internal::OpsTable* ops = nullptr;  // null until made
};

// Makes a plan. Errors: kInvalidArgument for negative extents, dimensions below
// 1 (but 0 where that says so), heads that do not divide, and what MakePlan
// refuses of masks and scales; kUnsupported for dtypes, heads wider than 1024
// and targets that are not offered; kOverflow. Leaves *plan untouched on error.
HEED_API Status MakeMultiHeadPlan(const MultiHeadParams& params,
                                  const MultiHeadShape& shape,
                                  const MultiHeadOptions& options,
                                  MultiHeadPlan* plan);

// Returns the bytes that a run with this many workers needs: rows of queries,
// new keys and values and of what attention gives, in f32, those of inputs and
// out where these are not f32, and the workspace of attention.
HEED_API size_t MultiHeadWorkspaceBytes(const MultiHeadPlan& plan, int workers);

// Computes the layer. Refuses what the plan does not cover, projections of
// other sizes, lengths, pages and positions outside their range, views as Run
// of heed/attention.h does, and a workspace that is too small or misaligned;
// then nothing but the workspace has been written. Allocates nothing.
//
// A row's bits depend on its own numbers and its keys alone: not on threads,
// batch, chunks of a prompt, pages nor, with FMA, on the CPU.
HEED_API Status RunMultiHead(const MultiHeadPlan& plan,
                             const MultiHeadArgs& args, Workspace workspace,
                             const Executor& executor);

}  // namespace heed

#endif  // HEED_LAYERS_H_
