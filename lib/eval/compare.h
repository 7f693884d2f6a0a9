// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Runs settings of variants side by side on the layers of a source: checks each
// result, then times those that hold.
#ifndef HEED_LIB_EVAL_COMPARE_H_
#define HEED_LIB_EVAL_COMPARE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "heed/executor.h"
#include "lib/eval/knob_sweep.h"
#include "lib/eval/phase_timer.h"
#include "lib/eval/tensor_source.h"

namespace heed::eval {

struct CompareOptions {
  Executor executor = SerialExecutor();
  int repeats = 5;  // timed rounds
  // A timed sample repeats the run until it lasts this long, and is divided.
  double min_sample_seconds = 0.002;
  // What the oracle may spend on a layer, in operations: about 2 seconds on one
  // core. Longer layers are measured on fewer rows.
  double truth_flops = 6e9;
  int64_t gate_rows = 64;  // rows whose tolerance is derived from a yardstick
};

enum class Gate {
  kPassed,   // holds what its semantics promises
  kFailed,   // does not: has no time
  kRefused,  // the variant does not serve this problem with these knobs
};

// Where the distribution of row errors is looked at.
inline constexpr double kRowQuantiles[] = {
    0,    0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4,  0.45,  0.5,
    0.55, 0.6,  0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99, 0.999, 1};

// What one query head of a call lost.
struct HeadMeasurement {
  double density, mass_mean, rel_l2;
};

// One setting on one layer. Numbers that do not exist are NaN: times of what
// did not pass, mass of variants without a softmax, speed-up without a
// baseline.
struct Measurement {
  Gate gate = Gate::kRefused;
  std::string reason;           // one sentence
  std::vector<double> seconds;  // of each round
  // The same by phases: of a call, of all rounds together; of a summary, its
  // median shared out so.
  PhaseSeconds phases = {};
  // Of the pairs that were recorded, where any were; else by the variant's own
  // formula.
  Cost cost;
  bool recorded = false;
  // Keys and values that the pairs need, and what choosing them reads.
  double kv_bytes = 0;
  size_t workspace = 0;  // bytes, the high-water mark
  double density;  // kept pairs / visible pairs; NaN where none is recorded
  double mass_mean, mass_p05;
  double rel_l2, max_abs, cosine;
  std::vector<HeadMeasurement> heads;
  // Of a call, relative L2 of each query row of each head by itself; of a
  // summary, their quantiles at kRowQuantiles, over all calls.
  std::vector<double> row_errors;

  Measurement();
};

// The calls that share a name: one, or those that decode token by token.
struct LayerInfo {
  std::string name;
  std::string problem;         // of the last call
  std::vector<int64_t> heads;  // the numbers of its query heads
  int64_t rows = 0;            // query rows of a head
  int64_t checked_rows = 0;    // of them, those whose errors are measured
  int64_t calls = 1;
};

// A spread beyond this share of the median says that the machine was disturbed.
inline constexpr double kNoisySpread = 0.03;

// One setting over all calls, or over those of a layer: seconds of a round and
// costs are summed; workspace and max_abs are maxima; density, mass, rel_l2 and
// cosine are means over calls. Of one layer there are heads, too, as means.
// Passes where every call passes.
struct Summary {
  Measurement total;
  double median_seconds;
  double mad_seconds;  // NaN for a single round
  double speedup;      // the baseline's median over this one's
  double tokens = 0;   // decoded in a round; 0 where nothing is decoded
  // The spread is too large to compare by, and the rounds should be repeated.
  bool noisy = false;
  // An output of zeros would be as near to the truth, or nearer.
  bool beaten_by_zeros = false;
  // On the frontier of median_seconds, with their spread, against rel_l2, where
  // errors up to twice the baseline's are the same: among exact variants they
  // are rounding.
  bool pareto = false;
};

struct CompareResult {
  std::vector<Setting> settings;
  std::vector<LayerInfo> layers;
  std::vector<std::vector<Measurement>> cells;  // [setting][call]
  std::vector<Summary> rows;                    // of each setting
  std::vector<std::vector<Summary>> by_layer;   // [layer][setting]
  size_t baseline = 0;                          // the setting that is `exact`
  int64_t queries = 0;  // decoded one by one on each layer; 0: none
  double tokens = 0;    // the same, over the batch
};

// Told after each step: a check or a timed run, of equal weight to their cost.
struct Progress {
  double share = 0;  // done, in [0, 1]
  std::string what;  // "timing block_topk:... on layer.2"
};
using ProgressFunction = std::function<void(const Progress&)>;

// Compares. `exact` at its defaults is put first where the settings lack it.
// In every round each setting runs once, so that a disturbance of the machine
// meets all alike. Throws InputError where the build has no variant `exact`, or
// it refuses the input, or f32 does not hold the input's scores or sums.
CompareResult RunCompare(const TensorSource& source,
                         std::vector<Setting> settings,
                         const CompareOptions& options,
                         const ProgressFunction& progress);

class CallRun;

// The same with some settings at a time: the truth is computed once. Holds the
// truths of all calls, as RunCompare does of one.
class Comparison {
 public:
  // The source must stay.
  Comparison(const TensorSource& source, const CompareOptions& options);
  ~Comparison();

  CompareResult Run(std::vector<Setting> settings,
                    const ProgressFunction& progress);

 private:
  const TensorSource& source_;
  CompareOptions options_;
  std::vector<std::unique_ptr<CallRun>> calls_;
};

// Adds the rows of `more` that `result`, of the same source, lacks. Their
// speed-ups stay those to the baseline of their own rounds; the frontier is
// found anew.
void AddRows(const CompareResult& more, CompareResult* result);

}  // namespace heed::eval

#endif  // HEED_LIB_EVAL_COMPARE_H_
