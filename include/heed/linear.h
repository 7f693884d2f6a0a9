// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Linear attention: one recurrence over tokens, computed in chunks. For each
// sequence and head, with a state S of head_dim x head_dim_v numbers,
//
//   S   <- diag(a_t) S                          what fades
//   S   <- S - beta_t k_t (k_t^T S)             what is erased
//   S   <- S + beta_t k_t v_t^T                 what is written
//   out_t = scale * q_t^T S                     what is read
//
// where a = exp(log_decay) is 1, a number or a vector, and beta, where it is
// absent, is 1 and nothing is erased. What is erased may have keys of its own,
//
//   S   <- S - beta_t c_t (e_t^T S)             erased along c, read under e
//
// each the key where it is not given. This is linear attention (Katharopoulos
// et al. 2020, arXiv:2006.16236), RetNet (Sun et al. 2023, arXiv:2307.08621)
// and Mamba-2 (Dao and Gu 2024, arXiv:2405.21060) with a number a head; GLA
// (Yang et al. 2023, arXiv:2312.06635) with a vector; DeltaNet (Yang et al.
// 2024, arXiv:2406.06484), Gated DeltaNet (arXiv:2412.06464) and Kimi Delta
// Attention (arXiv:2510.26692) with beta; Comba (Hu et al. 2025,
// arXiv:2506.02475) and Gated DeltaNet-2 (arXiv:2605.22791) with e; RWKV-7
// (Peng et al. 2025, arXiv:2503.14456) and DPLR with e and c.
#ifndef HEED_LINEAR_H_
#define HEED_LINEAR_H_

#include <cstddef>
#include <cstdint>

#include "heed/attention.h"
#include "heed/executor.h"
#include "heed/export.h"
#include "heed/ops.h"
#include "heed/status.h"
#include "heed/tensor.h"

namespace heed {

// Which head of a tensor with fewer heads belongs to head h of `heads`.
enum class HeadMap : uint8_t {
  kInterleaved,  // h / (heads / fewer): neighbours share
  kTiled,        // h % fewer
};

// What is computed; no pointers.
struct ScanParams {
  // Multiplies the queries. 0 means 1/sqrt(head_dim), or 1 where a feature map
  // is given; any other finite number is taken as it is.
  float scale = 0.0f;
  // Divides each row of out by scale * q_t^T z_t, where z is the sum of the
  // keys, faded as S is: weights then sum to one. A row whose sum is 0 becomes
  // 0. Not with a delta rule.
  bool normalise = false;
  // Whether what is erased is read from the state before it fades, as RWKV-7
  // and Comba have it, instead of after.
  bool erase_unfaded = false;
  HeadMap head_map = HeadMap::kInterleaved;
  // Whether states stand as [head_dim_v][head_dim] instead of
  // [head_dim][head_dim_v].
  bool state_transposed = false;
};

// Rows of queries or of keys on their way into the scan.
struct FeatureRows {
  ops::ConstMatrix x;  // [rows][head_dim], of unit col_stride
  ops::Matrix phi;     // [rows][features], to be written whole
  int64_t head;        // of the query or of the key
  bool key;            // whether they are keys
  int64_t batch;       // or the sequence, of a ragged call
  int64_t position;    // of the first row
};

// A map of each row of queries and keys to `features` numbers, between which
// the scan then works in place of head_dim. Called from tasks, on rows that
// differ; what it writes must depend on the row and its place alone.
struct FeatureMap {
  int64_t features = 0;  // 1 to 1024; 0: no map
  const void* self = nullptr;
  void (*map)(const void* self, const FeatureRows& rows) = nullptr;
  // The positions of the first query and the first key of each sequence.
  int64_t query_position = 0;
  int64_t key_position = 0;
};

// Maps for rows of head_dim numbers, which RunScan holds them to.
//
// elu(x) + 1: x + 1 above 0, exp(x) below. Katharopoulos et al. 2020.
HEED_API FeatureMap EluPlusOne(int64_t head_dim);
// max(x, 0).
HEED_API FeatureMap Relu(int64_t head_dim);
// x / sqrt(|x|^2 + 1e-6), of keys alone or of queries too: what the delta rule
// asks of keys, as beyond |k|^2 = 2 / beta its state grows without end. A row
// of zeros stays one.
HEED_API FeatureMap UnitKeys(int64_t head_dim);
HEED_API FeatureMap UnitRows(int64_t head_dim);

// The data of one call. The caller owns all memory.
//
// Heads: out has `num_heads`, the most of query, key and value; states,
// log_decay and beta have `num_state_heads`, the more of key and value. Each
// number divides those above it, and HeadMap says who belongs to whom: both
// several queries a key (GQA) and several values a key (GVA) are served.
//
// query and out may be absent together: then only the state moves on. So may
// key and value (with log_decay and beta): then rows read the state as it is.
struct ScanArgs {
  // f32, bf16 or f16.
  ConstTensorView query;  // [batch, seqlen, query heads, head_dim]
  ConstTensorView key;    // [batch, seqlen, key heads, head_dim]
  ConstTensorView value;  // [batch, seqlen, value heads, head_dim_v]
  TensorView out;         // [batch, seqlen, num_heads, head_dim_v]

  // ---- Optional; f32 ----

  // Natural logarithms of a, from -inf to 0: [batch, seqlen, num_state_heads,
  // 1 or head_dim]. A stride of 0 along seqlen is a decay that does not depend
  // on the token. Decays are multiplied up, never subtracted as logarithms: no
  // gate is too small.
  ConstTensorView log_decay;
  // [batch, seqlen, num_state_heads, 1], from 0 to 2: the delta rule.
  ConstTensorView beta;
  // The delta rule untied, also of bf16 or f16: [batch, seqlen,
  // num_state_heads, head_dim]. What the state holds under erase_key (e) is
  // taken away along remove_key (c); where one is absent it is the key. No map
  // acts on them. With either and without beta, beta is 1. Nothing is asked of
  // their lengths: a state grows without end where I - beta c e^T stretches it.
  ConstTensorView erase_key;
  ConstTensorView remove_key;
  // The state before the first token, where absent zero, and after the last.
  // Both may be the same view. Extents are [sequences, num_state_heads,
  // head_dim, head_dim_v] in this order (Bshd makes a dense one), or with
  // state_transposed the last two exchanged.
  ConstTensorView initial_state;
  TensorView final_state;
  // The same of the sum of keys, with normalise: [sequences, 1,
  // num_state_heads, head_dim].
  ConstTensorView initial_sum;
  TensorView final_sum;

  // ---- Optional: sequences of different lengths ----

  // num_sequences + 1 numbers, from 0 to seqlen, never falling: sequence s has
  // the tokens [cu_seqlens[s], cu_seqlens[s + 1]), and batch is 1. Null: each
  // batch is a sequence.
  const int32_t* cu_seqlens = nullptr;
  int64_t num_sequences = 0;

  // With a map, head_dim of states and log_decay is its number of features.
  FeatureMap map;
};

// What a plan is made for. `batch`, `seqlen` and `num_sequences` are maximal,
// the rest is exact.
struct ScanShape {
  int64_t batch = 0;
  int64_t seqlen = 0;
  int64_t num_sequences = 0;  // of ragged calls; else 0
  int64_t num_query_heads = 0;
  int64_t num_key_heads = 0;
  int64_t num_value_heads = 0;
  int64_t head_dim = 0;    // of query and key, 1 to 1024
  int64_t head_dim_v = 0;  // 0 to 1024
  int64_t features = 0;    // of a map; else 0
  int64_t decay_dim = 0;   // 0: none, 1, or the width of a key
  bool beta = false;
  bool erase_key = false;
  bool remove_key = false;
};

// Returns the shape of these tensors. Of a call without queries, or without
// keys, the heads that are missing are those of the state.
HEED_API ScanShape ShapeOf(const ScanArgs& args);

struct ScanOptions {
  // A name from heed/target.h, or null for the best that this CPU offers.
  const char* target = nullptr;
  // Tokens between two updates of the state, 1 to 32, or 0 for the measured
  // choice, the same on every CPU. Changes the bits, within rounding.
  int chunk = 0;
};

namespace internal {
struct ScanTable;
struct OpsTable;
}  // namespace internal

// How one shape is computed on one kernel table: a small value.
struct ScanPlan {
  ScanParams params;
  ScanShape shape;
  const internal::ScanTable* table = nullptr;  // null until made
  const internal::OpsTable* ops = nullptr;
  const char* target = nullptr;
  float scale = 1.0f;        // resolved
  int32_t chunk = 0;         // tokens
  int32_t segment = 0;       // chunks prepared before values are met
  int32_t tile_width = 0;    // columns of the state that stay in L1
  int64_t worker_bytes = 0;  // workspace of one worker
  int64_t num_heads = 0;     // of out
  int64_t num_state_heads = 0;
};

// Makes a plan. Errors: kInvalidArgument for negative extents, heads that do
// not divide, head_dim below 1, a scale that is not finite, normalise with
// a delta rule, a chunk outside 0 to 32; kUnsupported for dimensions above 1024
// and a target that is unknown or not usable here. Leaves *plan untouched on
// error.
HEED_API Status MakeScanPlan(const ScanParams& params, const ScanShape& shape,
                             const ScanOptions& options, ScanPlan* plan);

// Returns the bytes that a run with this many workers needs. Each has the state
// of one head, and the matrices of some chunks: about 200 KiB.
HEED_API size_t ScanWorkspaceBytes(const ScanPlan& plan, int workers);

// Computes `args`. Refuses shapes that the plan does not cover, gates above 0,
// beta outside [0, 2], NaN in either, cu_seqlens that fall or do not end at
// seqlen, views as Run of heed/attention.h does, and a workspace that is too
// small or misaligned; then nothing has been written. Allocates nothing.
//
// Out depends neither on the executor nor on what else is in the batch, and
// cutting a sequence at multiples of the plan's chunk, the state handed on,
// leaves every bit; other cuts, as token by token, change it within rounding
// (docs/linear.md). A NaN reaches the rows of its own token and later ones
// only.
HEED_API Status RunScan(const ScanPlan& plan, const ScanArgs& args,
                        Workspace workspace, const Executor& executor);

// The same in one call, with a workspace of its own.
HEED_API Status Scan(const ScanParams& params, const ScanArgs& args,
                     const Executor& executor = SerialExecutor());

}  // namespace heed

#endif  // HEED_LINEAR_H_
