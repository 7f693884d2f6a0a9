// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The descriptor of an attention variant. A file variants/sparse/foo.cc that
// defines heed::variants::foo() is the whole registration: tests, benchmarks
// and the tool find it through the build.
#ifndef HEED_VARIANT_H_
#define HEED_VARIANT_H_

#include <cstdint>

#include "heed/attention.h"
#include "heed/executor.h"
#include "heed/export.h"
#include "heed/scratch.h"
#include "heed/status.h"

namespace heed {

// What a variant promises; decides how it is checked.
enum class Semantics : int32_t {
  // Equals softmax attention with AttentionParams' masks.
  kExact = 0,
  // Equals softmax attention over the pairs that it kept. Records them, and the
  // check repeats the attention with that mask.
  kExactOnSelection = 1,
  // Something else, such as linear attention: carries its own plain reference
  // in double.
  kOwnReference = 2,
};

// A number that the user of a variant may set: `window_sink:window=256:sink=4`.
struct Knob {
  const char* name;
  const char* summary;  // one sentence, with the unit
  double default_value;
  double min;
  double max;
  bool integer;
  // A value at which the variant reproduces exact attention, where there is
  // one: set has_exact. All such knobs together are set for that check.
  bool has_exact = false;
  double exact_value = 0;
};
inline constexpr int kMaxKnobs = 8;

// What a run costs by the variant's own formulas, over all batches and heads.
struct Cost {
  double flops = 0;  // multiply and add are two; estimators are counted
  double bytes = 0;  // compulsory traffic plus what the method re-reads
  // Of these, what choosing the pairs costs; 0 where masks and knobs say them
  // beforehand.
  double select_flops = 0;
  double select_bytes = 0;
  // Data say how many of these pairs there are: fewer, where a choice falls on
  // keys that masks hide, or on some twice.
  bool at_most = false;

  // Adds what choosing the pairs costs.
  void AddSelecting(double more_flops, double more_bytes) {
    select_flops += more_flops;
    select_bytes += more_bytes;
    flops += more_flops;
    bytes += more_bytes;
  }
};

// What a variant needs beside query, key and value: numbers for each key token
// and key head, as gates are, [batch, seqlen_k, num_kv_heads, 1 or head_dim] of
// f32; or weights, [1, rows, num_kv_heads, 1 or head_dim], of as many rows as
// the variant says. A host without any leaves them out: they are then drawn,
// evenly between two bounds, by their place alone (heed/linear_variant.h).
struct Input {
  const char* name;
  const char* summary;  // one sentence
  bool per_channel;     // head_dim numbers a token instead of one
  double low;
  double high;
  bool weights = false;  // rows stand in the place of tokens
  bool values = false;   // channels are the value's: head_dim_v
};

// Takes note of the pairs a variant kept. Call for each (batch, query head,
// query row) that sees anything, as often as there are intervals; rows may be
// recorded in any order from any thread, one row from one thread. Masked keys
// inside an interval do not count: the recorder applies AttentionParams' masks.
struct SelectionRecorder {
  void* self = nullptr;
  void (*keep)(void* self, int64_t batch, int64_t head, int64_t query,
               int64_t key_begin, int64_t key_end) = nullptr;

  void Keep(int64_t batch, int64_t head, int64_t query, int64_t key_begin,
            int64_t key_end) const {
    if (keep != nullptr) keep(self, batch, head, query, key_begin, key_end);
  }
};

// What a run spends its time on. Until it says otherwise it attends.
enum class Phase : int32_t {
  kEstimate = 0,  // what is made of keys or queries before anything is scored
  kSelect = 1,    // scores, and what is chosen by them
  kBuild = 2,     // lists of keys
  kAttend = 3,
};

// Takes note of where phases begin. Called from the thread that runs the
// variant; a phase may come more than once.
struct PhaseRecorder {
  void* self = nullptr;
  void (*enter)(void* self, Phase phase) = nullptr;

  void Enter(Phase phase) const {
    if (enter != nullptr) enter(self, phase);
  }
};

// One run. Tensors are f32 and were checked against each other by the caller
// with CheckArgs (heed/ops.h); everything else is the variant's to check.
struct VariantArgs {
  AttentionParams params;
  AttentionArgs args;            // lse may be absent
  double knobs[kMaxKnobs] = {};  // in the order of Variant::knobs, in range
  // In the order of Variant::inputs; null: drawn.
  const ConstTensorView* inputs = nullptr;
  Executor executor = SerialExecutor();
  Scratch scratch;              // must be set
  SelectionRecorder selection;  // does nothing unless asked for
  PhaseRecorder phases;         // nor does this
  // The kernel table that ops::Attend takes: as in PlanOptions.
  const char* target = nullptr;
};

struct Variant {
  const char* summary = "";  // one sentence
  const char* paper = "";    // authors, year, identifier
  Semantics semantics = Semantics::kExact;
  const Knob* knobs = nullptr;
  int num_knobs = 0;
  const Input* inputs = nullptr;
  int num_inputs = 0;
  // The cost of a call with these extents; never touches tensors.
  Cost (*cost)(const AttentionShape& shape, const AttentionParams& params,
               const double* knobs) = nullptr;
  // Writes args.out, and args.lse where present (natural log of the sum of the
  // kept weights; variants without such a sum write NaN). A refused call writes
  // nothing.
  Status (*run)(const VariantArgs& args) = nullptr;
  // Which keys a row attends to may depend on keys that stand behind it. (It
  // never attends to them.) Such a variant is for prompts that are there as a
  // whole.
  bool selects_ahead = false;
  // kOwnReference only: the same result in plain double, no speed asked,
  // out[batch][seqlen_q][num_heads][head_dim_v]. Also called for a part of the
  // query rows, with causal_offset set to their place among the keys,
  // and with out and lse absent.
  void (*reference)(const VariantArgs& args, double* out) = nullptr;
  // There is no causal form: RunVariant refuses causal calls.
  bool non_causal = false;
  // What a row gets depends on other query rows, as where means of queries
  // choose: the reference is called for the whole call only, with an executor
  // that it may use. (All others are called from a task of one.)
  bool reference_of_all_rows = false;
  // Channels of the value meet the same channels of query and key: RunVariant
  // refuses a head_dim_v that is not head_dim.
  bool equal_head_dims = false;
};

// A variant under its name, which is its file's.
struct NamedVariant {
  const char* name;
  Variant variant;
};

// Returns the number of variants in this build.
HEED_API int NumVariants();

// Returns variant `index` in [0, NumVariants()), sorted by name.
HEED_API NamedVariant GetVariant(int index);

}  // namespace heed

#endif  // HEED_VARIANT_H_
