// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Products with packed weights: blocks of rows times groups of panels are
// tasks; a panel is multiplied by the nest of heed/ops.h.
#include "lib/layers/linear.h"

#include <algorithm>
#include <cstdint>

#include "lib/core/parallel.h"

namespace heed::internal {
namespace {

// Rows that meet a panel before the next one is read: enough that reading the
// weights from memory costs little, few enough that they stay in L2.
constexpr int64_t kBlockRows = 192;

// Tasks a worker, so that one that starts late takes fewer.
constexpr int64_t kTasksPerWorker = 8;

// How a job is cut.
struct Cut {
  int64_t rows, row_blocks, rows_per_block;
  int64_t panels, panels_per_task, panel_groups;
  int64_t first_task;
};

struct Context {
  const OpsTable* ops;
  LinearJob jobs[kMostLinearJobs];
  Cut cuts[kMostLinearJobs];
  int num_jobs;
};

// y = W x + b for the outputs of one panel.
void MultiplyPanel(const OpsTable& ops, const PackedLinear& linear,
                   int64_t panel, const ops::ConstMatrix& x,
                   const ops::Matrix& whole_y) {
  const int64_t first = panel * kPanelOutputs;
  const int64_t outputs = std::min(kPanelOutputs, linear.out_features - first);
  ops::Matrix y = whole_y;
  y.data += first;
  y.cols = outputs;
  const bool bias = linear.bias != nullptr;
  for (int64_t r = 0; bias && r < y.rows; ++r) {
    std::copy_n(linear.bias + first, outputs, y.row(r));
  }
  const char* const weight =
      static_cast<const char*>(linear.weight) +
      panel * linear.in_features * kPanelOutputs * SizeOf(linear.dtype);
  if (linear.dtype == DType::kF32) {
    const ops::ConstMatrix w{reinterpret_cast<const float*>(weight),
                             linear.in_features, outputs, kPanelOutputs};
    ops.matmul(x, w, y, bias);
    return;
  }
  alignas(64) float wide[kWidenInputs * kPanelOutputs];
  for (int64_t k = 0; k < linear.in_features; k += kWidenInputs) {
    const int64_t inputs = std::min(kWidenInputs, linear.in_features - k);
    ops.widen(linear.dtype, weight + k * kPanelOutputs * SizeOf(linear.dtype),
              inputs * kPanelOutputs, wide);
    ops::ConstMatrix some = x;
    some.data += k;
    some.cols = inputs;
    ops.matmul(some, {wide, inputs, outputs, kPanelOutputs}, y, bias || k > 0);
  }
}

// Rows [first, first + count) of one batch.
template <class View, class Matrix>
Matrix RowsOf(const View& view, int64_t batch, int64_t first, int64_t count) {
  return Matrix{RowAt(view, batch, first, 0), count, view.head_dim(),
                view.stride[1] / static_cast<int64_t>(sizeof(float))};
}

void RunTask(void* ctx, int64_t task, int /*worker*/) {
  const Context& c = *static_cast<const Context*>(ctx);
  int j = 0;
  while (j + 1 < c.num_jobs && task >= c.cuts[j + 1].first_task) ++j;
  const LinearJob& job = c.jobs[j];
  const Cut& cut = c.cuts[j];
  task -= cut.first_task;
  const int64_t first_row = task / cut.panel_groups * cut.rows_per_block;
  const int64_t end_row = std::min(first_row + cut.rows_per_block, cut.rows);
  const int64_t first_panel = task % cut.panel_groups * cut.panels_per_task;
  const int64_t end_panel =
      std::min(first_panel + cut.panels_per_task, cut.panels);
  const int64_t seqlen = job.x.seqlen();
  for (int64_t panel = first_panel; panel < end_panel; ++panel) {
    for (int64_t row = first_row; row < end_row;) {
      const int64_t batch = row / seqlen;
      const int64_t count = std::min(end_row, (batch + 1) * seqlen) - row;
      const int64_t at = row - batch * seqlen;
      MultiplyPanel(
          *c.ops, *job.linear, panel,
          RowsOf<ConstTensorView, ops::ConstMatrix>(job.x, batch, at, count),
          RowsOf<TensorView, ops::Matrix>(job.y, batch, at, count));
      row += count;
    }
  }
}

// Whether the rows of all batches stand at one distance.
bool EvenRows(const ConstTensorView& view) {
  return view.batch() <= 1 || view.seqlen() == 1 ||
         view.stride[0] == view.seqlen() * view.stride[1];
}

// Turns batches into one, so that rows of several fill a tile.
template <class View>
void JoinBatches(View* view) {
  if (view->batch() <= 1) return;
  if (view->seqlen() == 1) view->stride[1] = view->stride[0];
  view->extent[1] *= view->extent[0];
  view->extent[0] = 1;
}

}  // namespace

Status RunLinearJobs(const OpsTable& ops, const LinearJob* jobs, int num_jobs,
                     const Executor& executor) {
  Context context;
  context.ops = &ops;
  context.num_jobs = 0;
  int64_t units = 0;  // blocks times panels
  for (int j = 0; j < num_jobs; ++j) {
    LinearJob job = jobs[j];
    if (EvenRows(job.x) && EvenRows(job.y)) {
      JoinBatches(&job.x);
      JoinBatches(&job.y);
    }
    Cut cut;
    cut.rows = job.x.batch() * job.x.seqlen();
    if (cut.rows == 0) continue;
    cut.row_blocks = (cut.rows - 1) / kBlockRows + 1;
    cut.rows_per_block = (cut.rows - 1) / cut.row_blocks + 1;
    // Whole tiles of every target.
    cut.rows_per_block = (cut.rows_per_block + 23) / 24 * 24;
    cut.row_blocks = (cut.rows - 1) / cut.rows_per_block + 1;
    cut.panels = NumPanels(job.linear->out_features);
    units += cut.row_blocks * cut.panels;
    context.jobs[context.num_jobs] = job;
    context.cuts[context.num_jobs] = cut;
    ++context.num_jobs;
  }
  const int64_t workers = executor.max_workers;
  const int64_t share =
      workers == 1 ? units
                   : std::max<int64_t>(units / (kTasksPerWorker * workers), 1);
  int64_t tasks = 0;
  for (int j = 0; j < context.num_jobs; ++j) {
    Cut& cut = context.cuts[j];
    const int64_t groups = (cut.panels - 1) / std::min(share, cut.panels) + 1;
    cut.panels_per_task = (cut.panels - 1) / groups + 1;
    cut.panel_groups = (cut.panels - 1) / cut.panels_per_task + 1;
    cut.first_task = tasks;
    tasks += cut.row_blocks * cut.panel_groups;
  }
  return ParallelFor(executor, tasks, executor.max_workers, &context, &RunTask);
}

}  // namespace heed::internal
