// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The C door (C99): everything of heed/heed.h for hosts in C, Rust, Go and
// whatever binds C. What a field means stands in the C++ header that has a type
// or function of the same name; here stands what is different. docs/c.md shows
// it at work.
//
// Structs. Each begins with struct_size, which the caller sets to its sizeof;
// everything else may be zero, which is "absent" or "off" but where an _init
// function gives other defaults. A size below that of the first version is
// refused; a larger one is taken as long as what this version does not know is
// zero. Booleans are 0 or 1; reserved fields are 0. There are no holes, so on
// every 64-bit system a struct has one layout.
//
// Calls that can be refused return a code of heed_status_code, and write the
// particulars to *status where that is not null. A refused call has written
// nothing else. No call throws, aborts, prints, or allocates but for
// heed_attention. Null pointers are refused.
#ifndef HEED_HEED_C_H_
#define HEED_HEED_C_H_

#include <stdint.h>

#include "heed/export.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- Status -----------------------------------------------------------------

enum heed_status_code {
  HEED_OK = 0,
  HEED_INVALID_ARGUMENT = 1,
  HEED_UNSUPPORTED = 2,
  HEED_OVERFLOW = 3,
  HEED_WORKSPACE = 4,
  HEED_OUT_OF_MEMORY = 5,
  HEED_INTERNAL = 6
};

enum heed_bound_kind {
  HEED_BOUND_AT_MOST = 0,
  HEED_BOUND_AT_LEAST = 1,
  HEED_BOUND_NEEDS = 2,
  HEED_BOUND_OVER = 3,
  HEED_BOUND_OF = 4,
  HEED_BOUND_SAID = 5
};

// What was refused. The texts are static, never null. Only struct_size is read
// of one that a call is given; where it is wrong, the call is refused.
typedef struct heed_status {
  uint64_t struct_size;
  int32_t code;
  int32_t bound_kind;
  const char* argument;  // "" if none
  const char* message;
  const char* unit;  // "" if none
  int64_t index;
  int64_t value;
  int64_t bound;
  int32_t has_index;
  int32_t has_value;
  int32_t has_bound;
  int32_t reserved;
} heed_status;

// Returns "invalid argument" and so on, "unknown status" for other numbers.
HEED_API const char* heed_status_name(int32_t code);

// Writes the sentence of a status and a terminating zero, cut to `capacity`
// bytes. Returns the length of the whole sentence without the zero; 0 where
// `status` is null or its struct_size wrong. `text` may be null if `capacity`
// is 0.
HEED_API uint64_t heed_status_text(const heed_status* status, char* text,
                                   uint64_t capacity);

// Returns 10000 * major + 100 * minor + patch of the library, which may be
// newer than this header.
HEED_API int32_t heed_version(void);

// ---- Tensors ----------------------------------------------------------------

enum heed_dtype {
  HEED_F32 = 0,
  HEED_BF16 = 1,
  HEED_F16 = 2,
  HEED_I8 = 3,
  HEED_F8_E4M3 = 4,
  HEED_F8_E5M2 = 5,
  HEED_U4 = 6,
  HEED_BOOL = 7,
  HEED_I32 = 8,
  HEED_U64 = 9
};

// A view of the caller's memory, as heed::TensorView: extents [batch, seqlen,
// heads, head_dim], strides in bytes. Of inputs `data` is only read. This
// struct never grows: struct_size is its sizeof, or 0 in a view that is absent,
// which is zero throughout.
typedef struct heed_tensor {
  uint64_t struct_size;
  void* data;
  int32_t dtype;
  int32_t reserved;
  int64_t extent[4];
  int64_t stride[4];
} heed_tensor;

// Return dense views, as heed::Bshd, Bhsd, Thd and Bhs. Inputs are handed in
// const and are only read.
HEED_API heed_tensor heed_bshd(const void* data, int32_t dtype, int64_t batch,
                               int64_t seqlen, int64_t heads, int64_t head_dim);
HEED_API heed_tensor heed_bhsd(const void* data, int32_t dtype, int64_t batch,
                               int64_t heads, int64_t seqlen, int64_t head_dim);
HEED_API heed_tensor heed_thd(const void* data, int32_t dtype, int64_t tokens,
                              int64_t heads, int64_t head_dim);
HEED_API heed_tensor heed_bhs(const void* data, int32_t dtype, int64_t batch,
                              int64_t heads, int64_t seqlen);

// Returns the view of positions [first, first + count), which it must have.
HEED_API heed_tensor heed_tokens_of(heed_tensor view, int64_t first,
                                    int64_t count);

// Return the bytes of `count` neighbouring elements (0 for a dtype outside the
// enum), and a dtype's name ("unknown").
HEED_API int64_t heed_bytes_of(int32_t dtype, int64_t count);
HEED_API const char* heed_dtype_name(int32_t dtype);

// Conversions of single numbers, as heed::ToFloat, ToBF16 and ToF16.
HEED_API uint16_t heed_float_to_bf16(float x);
HEED_API uint16_t heed_float_to_f16(float x);
HEED_API float heed_bf16_to_float(uint16_t bits);
HEED_API float heed_f16_to_float(uint16_t bits);
HEED_API float heed_f8_e4m3_to_float(uint8_t bits);
HEED_API float heed_f8_e5m2_to_float(uint8_t bits);

// ---- What is computed -------------------------------------------------------

// causal_offset: the last query row sees the last key (heed::kBottomRight).
static const int64_t HEED_BOTTOM_RIGHT = INT64_MIN;

typedef struct heed_attention_params {
  uint64_t struct_size;
  float softmax_scale;
  float softcap;
  int32_t causal;
  int32_t reserved;
  int64_t causal_offset;
  int64_t window_left;
  int64_t window_right;
  int64_t sink_size;
} heed_attention_params;

// Sets the defaults: HEED_BOTTOM_RIGHT, windows of -1, zeros. `struct_size` is
// the caller's sizeof(heed_attention_params), and is set too.
HEED_API int32_t heed_attention_params_init(heed_attention_params* params,
                                            uint64_t struct_size);

// Positions [begin, end): an element of an array, hence without a struct_size.
typedef struct heed_key_interval {
  int32_t begin;
  int32_t end;
} heed_key_interval;

typedef struct heed_key_intervals {
  uint64_t struct_size;
  int64_t query_block_size;
  int64_t num_offsets;
  int64_t num_intervals;
  const int64_t* offsets;
  const heed_key_interval* intervals;
} heed_key_intervals;

typedef struct heed_kv_scales {
  uint64_t struct_size;
  heed_tensor key_scale;
  heed_tensor value_scale;
  heed_tensor key_minimum;
  heed_tensor value_minimum;
  int32_t key_rotated;
  int32_t value_rotated;
} heed_kv_scales;

// An element of an array, hence without a struct_size.
typedef struct heed_shared_prefix {
  int32_t first_sequence;
  int32_t num_sequences;
  int32_t num_keys;
} heed_shared_prefix;

typedef struct heed_ragged {
  uint64_t struct_size;
  int64_t num_sequences;
  const int32_t* cu_seqlens_q;
  const int32_t* seqlens_k;
  const int32_t* cu_seqlens_k;
  const int64_t* causal_offset;
  const heed_shared_prefix* shared_prefixes;
  int64_t num_shared_prefixes;
} heed_ragged;

typedef struct heed_pages {
  uint64_t struct_size;
  const int32_t* page_table;
  int64_t num_sequences;
  int64_t pages_per_sequence;
  int64_t table_stride;
  void* const* key_pages;
  void* const* value_pages;
  void* const* key_scale_pages;
  void* const* value_scale_pages;
  void* const* key_minimum_pages;
  void* const* value_minimum_pages;
} heed_pages;

typedef struct heed_score_tile {
  uint64_t struct_size;  // of the library's, which may be larger
  int64_t batch;
  int32_t num_keys;
  int32_t num_rows;
  const int32_t* key_position;
  const int32_t* row_index;
  const int32_t* row_head;
  int64_t key_stride;
  int64_t row_stride;
  float* score;
} heed_score_tile;

typedef void (*heed_score_hook)(void* self, const heed_score_tile* tile);

typedef struct heed_score_inputs {
  uint64_t struct_size;
  heed_tensor bias;
  heed_tensor mask;
  heed_tensor alibi_slopes;
  heed_tensor relative_bias;
  heed_tensor query_decay;
  heed_tensor key_decay;
  heed_tensor sink_logits;
  heed_tensor prefix_lengths;
  heed_tensor row_lengths;
  heed_tensor query_documents;
  heed_tensor key_documents;
  heed_tensor tree_mask;
  heed_score_hook hook;
  void* hook_self;
} heed_score_inputs;

// The groups behind lse are absent where they are null.
typedef struct heed_attention_args {
  uint64_t struct_size;
  heed_tensor query;
  heed_tensor key;
  heed_tensor value;
  heed_tensor out;
  heed_tensor lse;
  const heed_key_intervals* key_intervals;
  const heed_kv_scales* kv_scales;
  const heed_ragged* ragged;
  const heed_pages* pages;
  const heed_score_inputs* scores;
} heed_attention_args;

// ---- Threads ----------------------------------------------------------------

typedef void (*heed_task)(void* ctx, int64_t i, int32_t worker);

// The contract of heed/executor.h. parallel_for does not throw.
typedef struct heed_executor {
  uint64_t struct_size;
  void* self;
  void (*parallel_for)(void* self, int64_t num_tasks, void* ctx,
                       heed_task task);
  int32_t max_workers;
  int32_t reserved;
} heed_executor;

// ---- Plan and run -----------------------------------------------------------

typedef struct heed_attention_shape {
  uint64_t struct_size;
  int32_t query_dtype;
  int32_t key_dtype;
  int32_t value_dtype;
  int32_t out_dtype;
  int64_t batch;
  int64_t seqlen_q;
  int64_t seqlen_k;
  int64_t num_heads;
  int64_t num_kv_heads;
  int64_t head_dim;
  int64_t head_dim_v;
  int64_t num_sequences;
  int32_t key_rotated;
  int32_t value_rotated;
  int32_t scores;
  int32_t shared_prefixes;
} heed_attention_shape;

// Sets *shape, whose struct_size stands, to what fits exactly these tensors.
HEED_API int32_t heed_shape_of(const heed_attention_args* args,
                               heed_attention_shape* shape,
                               heed_status* status);

enum heed_numerics { HEED_NUMERICS_SAME = 0, HEED_NUMERICS_FAST = 1 };

typedef struct heed_plan_options {
  uint64_t struct_size;
  const char* target;
  const char* unit;
  int32_t lane_groups;
  int32_t decode_rows;
  int32_t numerics;
  int32_t reserved;
} heed_plan_options;

// Sets the defaults: decode_rows -1, HEED_NUMERICS_FAST, zeros.
HEED_API int32_t heed_plan_options_init(heed_plan_options* options,
                                        uint64_t struct_size);

// A plan lives in memory of the caller, heed_plan_bytes() of it, aligned to 16
// bytes as malloc's is:
//
//   heed_plan* plan = malloc(heed_plan_bytes());
//
// It owns nothing: free the memory, and it is gone. Any number of threads may
// use it. A plan that was never made is refused where its memory was zero.
typedef struct heed_plan heed_plan;
HEED_API uint64_t heed_plan_bytes(void);

// As heed::MakePlan. `options` may be null: the defaults. `plan_bytes` is what
// `plan` has. Leaves *plan untouched where refused.
HEED_API int32_t heed_make_plan(const heed_attention_params* params,
                                const heed_attention_shape* shape,
                                const heed_plan_options* options,
                                heed_plan* plan, uint64_t plan_bytes,
                                heed_status* status);

// Sets *bytes to what a run with this many workers needs, and returns how that
// memory is aligned.
HEED_API int32_t heed_workspace_bytes(const heed_plan* plan, int32_t workers,
                                      uint64_t* bytes, heed_status* status);
HEED_API uint64_t heed_workspace_alignment(void);

// Writes what the plan chose, and why, as heed_status_text writes a sentence,
// and sets *length, where that is not null, to the length of the whole text.
HEED_API int32_t heed_explain_plan(const heed_plan* plan, char* text,
                                   uint64_t capacity, uint64_t* length,
                                   heed_status* status);

// As heed::Run. `executor` may be null: everything on the calling thread.
HEED_API int32_t heed_run_plan(const heed_plan* plan,
                               const heed_attention_args* args, void* workspace,
                               uint64_t workspace_bytes,
                               const heed_executor* executor,
                               heed_status* status);

// The same in one call: the only one that allocates, its workspace.
HEED_API int32_t heed_attention(const heed_attention_params* params,
                                const heed_attention_args* args,
                                const heed_executor* executor,
                                heed_status* status);

// ---- For engines whose threads arrive as "i of n" ---------------------------

typedef struct heed_run_options {
  uint64_t struct_size;
  int32_t no_barriers;  // heed::RunOptions::barriers, the other way round
  int32_t reserved;
} heed_run_options;

// One checked and scheduled run, in memory of the caller as a plan is. All
// threads share it; it is not to be copied, nor its memory freed, before the
// last task has returned.
typedef struct heed_run heed_run;
HEED_API uint64_t heed_run_bytes(void);

// As heed::BeginRun. `options` may be null.
HEED_API int32_t heed_begin_run(const heed_plan* plan,
                                const heed_attention_args* args,
                                void* workspace, uint64_t workspace_bytes,
                                int32_t workers,
                                const heed_run_options* options, heed_run* run,
                                uint64_t run_bytes, heed_status* status);

// Return the number of phases, and of a phase's tasks: 0 where there is nothing
// to do, or `run` is null or was not begun.
HEED_API int32_t heed_num_phases(const heed_run* run);
HEED_API int64_t heed_num_tasks(const heed_run* run, int32_t phase);

// Runs one task. Returns HEED_INVALID_ARGUMENT, having done nothing, where
// `run` is null or was not begun, and for a phase, a task or a worker that it
// has not.
HEED_API int32_t heed_run_task(const heed_run* run, int32_t phase, int64_t i,
                               int32_t worker);

// ---- States and caches ------------------------------------------------------

// As heed::MergeStates.
HEED_API int32_t heed_merge_states(const heed_tensor* out_a,
                                   const heed_tensor* lse_a,
                                   const heed_tensor* out_b,
                                   const heed_tensor* lse_b,
                                   const heed_tensor* out,
                                   const heed_tensor* lse, heed_status* status);

typedef struct heed_quantize_options {
  uint64_t struct_size;
  int32_t rotate;
  int32_t given_scale;
} heed_quantize_options;

// As heed::QuantizeKv. `options`, `scale` and `minimum` may be null: the
// defaults, and absent.
HEED_API int32_t heed_quantize_kv(const heed_tensor* source,
                                  const heed_quantize_options* options,
                                  const heed_tensor* to,
                                  const heed_tensor* scale,
                                  const heed_tensor* minimum,
                                  heed_status* status);

// Turns channels by their row's position: heed::Rope.
typedef struct heed_rope {
  uint64_t struct_size;
  int64_t rotary_dim;
  int64_t num_positions;
  const float* cos;
  const float* sin;
  int32_t interleaved;
  int32_t reserved;
} heed_rope;

// As heed::ApplyRope, RopeFrequencies and FillRopeTables. `rope` may be null:
// absent.
HEED_API int32_t heed_apply_rope(const heed_tensor* source,
                                 const int32_t* positions,
                                 const heed_rope* rope, const heed_tensor* to,
                                 const heed_executor* executor,
                                 heed_status* status);
HEED_API int32_t heed_rope_frequencies(double theta, int64_t rotary_dim,
                                       double* frequency, heed_status* status);
HEED_API int32_t heed_fill_rope_tables(const double* frequency,
                                       int64_t rotary_dim, int64_t first,
                                       int64_t count, float* cos, float* sin,
                                       heed_status* status);

typedef struct heed_append_args {
  uint64_t struct_size;
  heed_tensor key;
  heed_tensor value;
  heed_tensor key_cache;
  heed_tensor value_cache;
  heed_tensor key_scale;
  heed_tensor value_scale;
  heed_tensor key_minimum;
  heed_tensor value_minimum;
  int64_t num_sequences;
  const int32_t* past_lengths;
  const int32_t* cu_seqlens;
  const int32_t* rope_positions;
  const heed_pages* pages;
  const heed_rope* rope;
  int32_t given_scales;
  int32_t key_rotated;
  int32_t value_rotated;
  int32_t reserved;
} heed_append_args;

// As heed::AppendKv. `executor` may be null.
HEED_API int32_t heed_append_kv(const heed_append_args* args,
                                const heed_executor* executor,
                                heed_status* status);

typedef struct heed_shard {
  uint64_t struct_size;
  int64_t first_key;
  int32_t whole_groups;
  int32_t reserved;
} heed_shard;

// Sets *count to the states of a shard of so many keys: heed::NumStates.
HEED_API int32_t heed_num_states(const heed_shard* shard, int64_t num_keys,
                                 int64_t* count, heed_status* status);

// As heed::RunStates. `executor` may be null.
HEED_API int32_t heed_run_states(const heed_plan* plan,
                                 const heed_attention_args* args,
                                 const heed_shard* shard, void* workspace,
                                 uint64_t workspace_bytes,
                                 const heed_executor* executor,
                                 const heed_tensor* states,
                                 heed_status* status);

typedef struct heed_running_states {
  uint64_t struct_size;
  heed_tensor memory;
  int64_t next_key;
} heed_running_states;

// As heed::InitStates, AppendStates and FinishStates. `lse` may be null.
HEED_API int32_t heed_init_states(const heed_tensor* memory,
                                  heed_running_states* total,
                                  heed_status* status);
HEED_API int32_t heed_append_states(const heed_tensor* states,
                                    const heed_shard* shard, int64_t num_keys,
                                    heed_running_states* total,
                                    heed_status* status);
HEED_API int32_t heed_finish_states(const heed_running_states* total,
                                    int32_t value_rotated,
                                    const heed_tensor* out,
                                    const heed_tensor* lse,
                                    heed_status* status);

// ---- Masks ------------------------------------------------------------------

enum heed_mask_form {
  HEED_MASK_ALL = 0,
  HEED_MASK_RULE = 1,
  HEED_MASK_LENGTHS = 2,
  HEED_MASK_RANGES = 3,
  HEED_MASK_OTHER = 4
};

typedef struct heed_mask_options {
  uint64_t struct_size;
  int32_t* begin;
  int32_t* end;
  int32_t* seqlens_k;
  int32_t lowest_hides_rows;
  int32_t reserved;
} heed_mask_options;

typedef struct heed_recognised_mask {
  uint64_t struct_size;
  int32_t form;
  int32_t causal;
  int64_t causal_offset;
  int64_t window_left;
} heed_recognised_mask;

// As heed::RecogniseMask. `options` may be null.
HEED_API int32_t heed_recognise_mask(const heed_tensor* mask,
                                     const heed_mask_options* options,
                                     heed_recognised_mask* recognised,
                                     heed_status* status);

// ---- Kernel tables ----------------------------------------------------------

// The texts are static.
typedef struct heed_target_info {
  uint64_t struct_size;
  const char* name;
  const char* needs;
  const char* reason;
  int32_t usable;
  int32_t vector_bytes;
  int32_t same_bits;
  int32_t reserved;
} heed_target_info;

typedef struct heed_unit_info {
  uint64_t struct_size;
  const char* name;
  const char* target;
  const char* serves;
  const char* needs;
  const char* reason;
  int32_t usable;
  int32_t used;
} heed_unit_info;

// As heed::NumTargets, GetTarget, NumUnits, GetUnit and DefaultTarget.
// `struct_size` of *info stands; an index outside is refused.
HEED_API int32_t heed_num_targets(void);
HEED_API int32_t heed_get_target(int32_t index, heed_target_info* info,
                                 heed_status* status);
HEED_API int32_t heed_num_units(void);
HEED_API int32_t heed_get_unit(int32_t index, heed_unit_info* info,
                               heed_status* status);
HEED_API const char* heed_default_target(void);

#ifdef __cplusplus
}  // extern "C"
#endif

#endif  // HEED_HEED_C_H_
