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

// Inputs of a piece of a panel: 24 KiB of f32, which stay in L1 while rows go
// by.
constexpr int64_t kPieceInputs = 128;

// Inputs that all panels of a task meet before the next ones: the rows of x
// have that part in L2.
constexpr int64_t kRoundInputs = 512;

// Rows that are multiplied between two shares of what is fetched: whole tiles
// of every target.
constexpr int64_t kFetchRows = 24;

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

// Inputs [first, first + count) of a panel: rows of kPanelOutputs weights,
// which stay in L1 while rows of x go by.
struct Piece {
  int64_t panel, first, count;
};

const char* AddressOf(const PackedLinear& linear, const Piece& piece) {
  return static_cast<const char*>(linear.weight) +
         (piece.panel * linear.in_features + piece.first) * kPanelOutputs *
             SizeOf(linear.dtype);
}

int64_t BytesIn(const PackedLinear& linear, const Piece& piece) {
  return piece.count * kPanelOutputs * SizeOf(linear.dtype);
}

// Fetches memory ahead in shares, so that it arrives between other loads.
class Fetcher {
 public:
  Fetcher(const char* at, int64_t bytes, int64_t shares)
      : at_(at), end_(at + bytes) {
    const int64_t lines = (bytes + kLine - 1) / kLine;
    step_ = (lines + shares - 1) / std::max<int64_t>(shares, 1) * kLine;
  }
  void FetchShare() {
    for (const char* stop = at_ + step_; at_ < stop && at_ < end_;
         at_ += kLine) {
      __builtin_prefetch(at_, 0, 2);
    }
  }

 private:
  static constexpr int64_t kLine = 64;
  const char* at_;
  const char* end_;
  int64_t step_;
};

// Rows of one batch.
struct RowRange {
  int64_t batch, first, count;
};

// Fetches columns [first, first + count) of rows that are met for the first
// time soon.
template <bool kWritten, class View>
void FetchRows(const View& view, const RowRange& rows, int64_t first,
               int64_t count) {
  for (int64_t r = 0; r < rows.count; ++r) {
    const float* const row =
        RowAt(ConstTensorView(view), rows.batch, rows.first + r, 0) + first;
    for (int64_t i = 0; i < count; i += 16) {
      __builtin_prefetch(row + i, kWritten ? 1 : 0, 2);
    }
  }
}

// y = W x, or y += W x, for the inputs of a piece.
struct Product {
  ops::ConstMatrix x;
  ops::Matrix y;
  bool add;
};

// With its first inputs, y begins at the bias.
Product ProductOf(const LinearJob& job, const Piece& piece,
                  const RowRange& rows) {
  const PackedLinear& linear = *job.linear;
  const int64_t output = piece.panel * kPanelOutputs;
  const auto step = [](int64_t bytes) {
    return bytes / static_cast<int64_t>(sizeof(float));
  };
  const Product p = {
      {RowAt(job.x, rows.batch, rows.first, 0) + piece.first, rows.count,
       piece.count, step(job.x.stride[1])},
      {RowAt(job.y, rows.batch, rows.first, 0) + output, rows.count,
       std::min(kPanelOutputs, linear.out_features - output),
       step(job.y.stride[1])},
      piece.first > 0 || linear.bias != nullptr};
  if (piece.first == 0 && linear.bias != nullptr) {
    for (int64_t r = 0; r < rows.count; ++r) {
      std::copy_n(linear.bias + output, p.y.cols, p.y.row(r));
    }
  }
  return p;
}

// What a task has: rows [first_row, end_row) of all batches, and panels.
struct Block {
  int64_t first_row, end_row, first_panel, end_panel;
};

// The piece after this one, in the order of RunBlock; count 0 behind the last.
Piece Next(const PackedLinear& linear, const Block& block, Piece piece) {
  const int64_t round = piece.first / kRoundInputs * kRoundInputs;
  const int64_t end = std::min(round + kRoundInputs, linear.in_features);
  piece.first += piece.count;
  if (piece.first == end && ++piece.panel < block.end_panel) {
    piece.first = round;
  } else if (piece.first == end) {
    piece.panel = block.first_panel;  // of the next round
  }
  piece.count = std::min(linear.in_features - piece.first, kPieceInputs);
  return piece;
}

// The f32 weights of a piece: in place, or widened in `wide`.
const float* WidenPiece(const OpsTable& ops, const PackedLinear& linear,
                        const Piece& piece, float* wide) {
  const char* const at = AddressOf(linear, piece);
  if (linear.dtype == DType::kF32) return reinterpret_cast<const float*>(at);
  ops.widen(linear.dtype, at, piece.count * kPanelOutputs, wide);
  return wide;
}

// The rows from `row` on that are multiplied at once.
RowRange Group(const Block& block, int64_t seqlen, int64_t row) {
  const int64_t batch = row / seqlen;
  const int64_t end = std::min(block.end_row, (batch + 1) * seqlen);
  return {batch, row - batch * seqlen, std::min(end - row, kFetchRows)};
}

// Many rows: each piece meets all of them, while the next one is fetched.
void RunBlock(const OpsTable& ops, const LinearJob& job, const Block& block) {
  const PackedLinear& linear = *job.linear;
  const int64_t num_rows = block.end_row - block.first_row;
  const int64_t seqlen = job.x.seqlen();
  alignas(64) float wide[kPieceInputs * kPanelOutputs];
  Piece piece = {block.first_panel, 0,
                 std::min(kPieceInputs, linear.in_features)};
  while (piece.count > 0) {
    const Piece next = Next(linear, block, piece);
    Fetcher fetcher(AddressOf(linear, next), BytesIn(linear, next),
                    (num_rows - 1) / kFetchRows + 1);
    const float* const weight = WidenPiece(ops, linear, piece, wide);
    const int64_t output = piece.panel * kPanelOutputs;
    RowRange rows = Group(block, seqlen, block.first_row);
    for (int64_t row = block.first_row; row < block.end_row;) {
      row += rows.count;
      RowRange next_rows = {};
      if (row < block.end_row) {
        next_rows = Group(block, seqlen, row);
        if (piece.panel == block.first_panel) {
          FetchRows<false>(job.x, next_rows, piece.first, piece.count);
        }
        if (piece.first == 0) {
          FetchRows<true>(
              job.y, next_rows, output,
              std::min(kPanelOutputs, linear.out_features - output));
        }
      }
      fetcher.FetchShare();
      const Product p = ProductOf(job, piece, rows);
      ops.matmul(p.x, {weight, piece.count, p.y.cols, kPanelOutputs}, p.y,
                 p.add);
      rows = next_rows;
    }
    piece = next;
  }
}

// Few rows: the panels of a block are one stream of memory.
void RunStream(const OpsTable& ops, const LinearJob& job, const Block& block) {
  const PackedLinear& linear = *job.linear;
  const int64_t seqlen = job.x.seqlen();
  Piece piece = {block.first_panel, 0, linear.in_features};
  for (; piece.panel < block.end_panel; ++piece.panel) {
    for (int64_t row = block.first_row; row < block.end_row;) {
      const RowRange rows = Group(block, seqlen, row);
      const Product p = ProductOf(job, piece, rows);
      ops.multiply_panel(p.x, linear.dtype, AddressOf(linear, piece), p.y,
                         p.add);
      row += rows.count;
    }
  }
}

void RunTask(void* ctx, int64_t task, int /*worker*/) {
  const Context& c = *static_cast<const Context*>(ctx);
  int j = 0;
  while (j + 1 < c.num_jobs && task >= c.cuts[j + 1].first_task) ++j;
  const Cut& cut = c.cuts[j];
  task -= cut.first_task;
  Block block;
  block.first_row = task / cut.panel_groups * cut.rows_per_block;
  block.end_row = std::min(block.first_row + cut.rows_per_block, cut.rows);
  block.first_panel = task % cut.panel_groups * cut.panels_per_task;
  block.end_panel =
      std::min(block.first_panel + cut.panels_per_task, cut.panels);
  const bool few = block.end_row - block.first_row <= kFewRows;
  (few ? &RunStream : &RunBlock)(*c.ops, c.jobs[j], block);
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
