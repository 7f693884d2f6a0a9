// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Cuts a problem into runs of rows, each an attention call of its own with its
// place among the keys, and asks the oracles about them in parallel.
#include "lib/eval/truth.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "heed/ops.h"
#include "lib/oracle/element.h"
#include "lib/oracle/oracle.h"

namespace heed::eval {
namespace {

constexpr int64_t kDenseRun = 32;
constexpr int64_t kSampleRun = 4;

double MaxError(const std::vector<float>& got,
                const std::vector<double>& truth) {
  ErrorMetrics error;
  for (size_t i = 0; i < got.size(); ++i) {
    // The lse of rows that see nothing.
    if (std::isinf(truth[i]) && got[i] == static_cast<float>(truth[i]))
      continue;
    error.Add(got[i], truth[i]);
  }
  return error.MaxAbs();
}

struct Job {
  const AttentionParams& params;
  const AttentionArgs& args;
  const Selection* selection;
  bool yardstick;
  Truth* truth;
  struct PlainError {
    double out = 0, lse = 0;
  };
  std::vector<PlainError> plain_error;  // of each run
};

void ComputeRun(Job& job, size_t index) {
  TruthRun& run = job.truth->runs[index];
  const AttentionShape& shape = job.truth->shape;
  AttentionParams params = job.params;
  AttentionArgs args = job.args;
  CutRows(run.rows, &params, &args);
  const size_t rows =
      static_cast<size_t>(shape.batch * run.rows.count * shape.num_heads);
  run.lse.resize(rows);
  run.out.resize(rows * static_cast<size_t>(shape.head_dim_v));
  const auto compute = [&] {
    oracle::AttentionFast(params, args, run.out.data(), run.lse.data());
    if (!job.yardstick) return;
    std::vector<float> out(run.out.size()), lse(run.lse.size());
    oracle::AttentionPlainFloat(params, args, out.data(), lse.data());
    job.plain_error[index] = {MaxError(out, run.out), MaxError(lse, run.lse)};
  };
  if (job.selection == nullptr) return compute();
  const SelectionMask mask(*job.selection, shape, run.rows.first,
                           run.rows.count);
  args.key_intervals = mask.View();
  compute();
}

// A number in [0, bound) that looks random: the finaliser of MurmurHash3.
int64_t Scatter(uint64_t i, int64_t bound) {
  i = (i + 1) * 0xff51afd7ed558ccdu;
  i = (i ^ i >> 33) * 0xc4ceb9fe1a85ec53u;
  return static_cast<int64_t>((i ^ i >> 33) % static_cast<uint64_t>(bound));
}

// Calls f(head, got, expected) for every output element of the truth's rows.
template <typename F>
void ForEachOutput(const Truth& truth, const ConstTensorView& out, F f) {
  for (const TruthRun& run : truth.runs) {
    const double* expected = run.out.data();
    for (int64_t b = 0; b < truth.shape.batch; ++b) {
      for (int64_t s = 0; s < run.rows.count; ++s) {
        for (int64_t h = 0; h < truth.shape.num_heads; ++h) {
          for (int64_t c = 0; c < truth.shape.head_dim_v; ++c) {
            f(h, oracle::ElementAt(out, b, run.rows.first + s, h, c),
              *expected++);
          }
        }
      }
    }
  }
}

// The same for every lse.
template <typename F>
void ForEachLse(const Truth& truth, const ConstTensorView& lse, F f) {
  for (const TruthRun& run : truth.runs) {
    const double* exact = run.lse.data();
    for (int64_t b = 0; b < truth.shape.batch; ++b) {
      for (int64_t s = 0; s < run.rows.count; ++s) {
        for (int64_t h = 0; h < truth.shape.num_heads; ++h) {
          f(h, oracle::ElementAt(lse, b, run.rows.first + s, h, 0), *exact++);
        }
      }
    }
  }
}

}  // namespace

void CutRows(const RowRun& rows, AttentionParams* params, AttentionArgs* args) {
  const int64_t offset =
      ops::CausalOffset(*params, args->query.seqlen(), args->key.seqlen());
  if (__builtin_add_overflow(offset, rows.first, &params->causal_offset)) {
    params->causal_offset = std::numeric_limits<int64_t>::max();
  }
  args->query.data = static_cast<const char*>(args->query.data) +
                     rows.first * args->query.stride[1];
  args->query.extent[1] = rows.count;
  // Only its type stays: what the plain one rounds to.
  const DType out_dtype = args->out.dtype;
  args->out = TensorView();
  args->out.dtype = out_dtype;
  args->lse = TensorView();
}

std::vector<RowRun> PickRows(int64_t seqlen_q, int64_t max_rows) {
  std::vector<RowRun> runs;
  if (seqlen_q <= max_rows) {
    for (int64_t first = 0; first < seqlen_q; first += kDenseRun) {
      runs.push_back({first, std::min(kDenseRun, seqlen_q - first)});
    }
    return runs;
  }
  const int64_t count = std::max<int64_t>(1, max_rows / kSampleRun);
  for (int64_t i = 0; i < count; ++i) {
    int64_t first = count == 1 ? 0 : (seqlen_q - kSampleRun) * i / (count - 1);
    if (i > 0 && i + 1 < count) {
      const int64_t room = (seqlen_q - kSampleRun) / (count - 1) - kSampleRun;
      if (room > 0) first += Scatter(static_cast<uint64_t>(i), room);
    }
    // More runs than fit side by side would overlap.
    const int64_t next =
        runs.empty() ? 0 : runs.back().first + runs.back().count;
    const int64_t begin = std::max(first, next);
    const int64_t end = std::min(seqlen_q, first + kSampleRun);
    if (begin < end) runs.push_back({begin, end - begin});
  }
  return runs;
}

int64_t CountRows(const std::vector<RowRun>& runs) {
  int64_t count = 0;
  for (const RowRun& run : runs) count += run.count;
  return count;
}

int64_t AffordableRows(const AttentionShape& shape, double flops,
                       int64_t min_rows) {
  const double row = 2.0 * static_cast<double>(shape.batch) *
                     static_cast<double>(shape.num_heads) *
                     static_cast<double>(shape.seqlen_k) *
                     static_cast<double>(shape.head_dim + shape.head_dim_v);
  const double rows = flops / std::max(row, 1.0);
  return std::max(min_rows, static_cast<int64_t>(std::min(rows, 1e15)));
}

Truth ComputeTruth(const AttentionParams& params, const AttentionArgs& args,
                   const std::vector<RowRun>& runs, const Selection* selection,
                   bool yardstick, const Executor& executor) {
  Truth truth;
  truth.shape = ShapeOf(args);
  for (const RowRun& rows : runs) truth.runs.push_back({rows, {}, {}});
  Job job{params,    args,   selection,
          yardstick, &truth, std::vector<Job::PlainError>(runs.size())};
  executor.parallel_for(executor.self, static_cast<int64_t>(runs.size()), &job,
                        [](void* ctx, int64_t i, int /*worker*/) {
                          ComputeRun(*static_cast<Job*>(ctx),
                                     static_cast<size_t>(i));
                        });
  for (const Job::PlainError& error : job.plain_error) {
    truth.plain_error = std::max(truth.plain_error, error.out);
    truth.plain_lse_error = std::max(truth.plain_lse_error, error.lse);
  }
  return truth;
}

ErrorMetrics MeasureError(const Truth& truth, const ConstTensorView& out) {
  ErrorMetrics error;
  ForEachOutput(truth, out, [&](int64_t /*head*/, double got, double expected) {
    error.Add(got, expected);
  });
  return error;
}

std::vector<double> RowErrors(const Truth& truth, const ConstTensorView& out) {
  std::vector<double> errors;
  ErrorMetrics row;
  int64_t left = truth.shape.head_dim_v;
  ForEachOutput(truth, out, [&](int64_t /*head*/, double got, double expected) {
    row.Add(got, expected);
    if (--left > 0) return;
    errors.push_back(row.RelativeL2());
    row = ErrorMetrics();
    left = truth.shape.head_dim_v;
  });
  return errors;
}

MassMetrics MeasureMass(const Truth& truth, const ConstTensorView& lse) {
  MassMetrics mass;
  ForEachLse(truth, lse, [&](int64_t /*head*/, double got, double exact) {
    mass.Add(got, exact);
  });
  return mass;
}

std::vector<HeadMetrics> MeasureHeads(const Truth& truth,
                                      const ConstTensorView& out,
                                      const ConstTensorView& lse) {
  std::vector<HeadMetrics> heads(static_cast<size_t>(truth.shape.num_heads));
  ForEachOutput(truth, out, [&](int64_t head, double got, double expected) {
    heads[static_cast<size_t>(head)].error.Add(got, expected);
  });
  ForEachLse(truth, lse, [&](int64_t head, double got, double exact) {
    heads[static_cast<size_t>(head)].mass.Add(got, exact);
  });
  return heads;
}

}  // namespace heed::eval
