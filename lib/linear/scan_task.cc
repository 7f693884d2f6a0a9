// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// A task walks through the tokens of its sequence in segments, prepares the
// chunks of a segment once and then passes each tile of columns through them. A
// single token meets the state where it lies.
#include "lib/linear/scan_task.h"

#include <algorithm>
#include <cstdint>

#include "lib/kernels/kernels.h"
#include "lib/linear/scan_layout.h"
#include "lib/linear/scan_load.h"

namespace heed::internal {
namespace {

// The most sets of rows that a tile fetches ahead.
constexpr int64_t kMaxFetch = 16;

class ScanTask {
 public:
  // Of columns of head `index` of all sequences; `next` heads of the same
  // task come after it.
  ScanTask(const ScanRun& run, int64_t index, int64_t split, int64_t next,
           int worker)
      : plan_(run.plan),
        args_(run.args),
        of_(HeadAt(run.plan, run.args, index)),
        split_(split),
        head_(of_.head),
        sequence_(of_.sequence),
        next_(next),
        batch_(of_.batch),
        first_(of_.first),
        end_(of_.end),
        first_tile_(run.tiles * split_ / run.splits),
        end_tile_(run.tiles * (split_ + 1) / run.splits),
        carver_(static_cast<char*>(run.workspace.data) +
                worker * plan_.worker_bytes),
        memory_(CarveMemory(carver_, plan_)) {}

  void Run() {
    if (end_ - first_ == 1 && StepsInPlace()) return RunStep();
    LoadState();
    const int64_t segment = int64_t{plan_.chunk} * plan_.segment;
    for (int64_t t = first_; t < end_; t += segment) {
      RunSegment(t, std::min(t + segment, end_), segment);
    }
    StoreState();
  }

 private:
  int64_t dim() const { return KeyDim(plan_.shape); }
  // Whether the state of a single token is met where it lies.
  bool StepsInPlace() const {
    return !args_.key.absent() && !args_.initial_state.absent() &&
           !plan_.params.state_transposed;
  }

  void LoadState() {
    const ConstTensorView& from = args_.initial_state;
    for (int64_t tile = first_tile_; tile < end_tile_; ++tile) {
      const Columns c = ColumnsOf(plan_, tile);
      float* state = memory_.state + c.state;
      std::fill(state, state + dim() * c.width, 0.0f);
      for (int64_t m = 0; m < dim() && !from.absent(); ++m) {
        float* row = state + m * c.width;
        if (plan_.params.state_transposed) {
          for (int64_t x = 0; x < c.count; ++x) {
            row[x] = RowAt(from, sequence_, head_, c.first + x)[m];
          }
        } else {
          const float* x = RowAt(from, sequence_, head_, m) + c.first;
          std::copy(x, x + c.count, row);
        }
      }
    }
    LoadSum();
  }

  void LoadSum() {
    std::fill(memory_.sum, memory_.sum + dim(), 0.0f);
    if (args_.initial_sum.absent()) return;
    const float* sum = RowAt(args_.initial_sum, sequence_, 0, head_);
    std::copy(sum, sum + dim(), memory_.sum);
  }

  void StoreState() {
    const TensorView& to = args_.final_state;
    for (int64_t tile = first_tile_; tile < end_tile_ && !to.absent(); ++tile) {
      const Columns c = ColumnsOf(plan_, tile);
      for (int64_t m = 0; m < dim(); ++m) {
        const float* row = memory_.state + c.state + m * c.width;
        if (plan_.params.state_transposed) {
          for (int64_t x = 0; x < c.count; ++x) {
            RowAt(to, sequence_, head_, c.first + x)[m] = row[x];
          }
        } else {
          std::copy(row, row + c.count,
                    RowAt(to, sequence_, head_, m) + c.first);
        }
      }
    }
    StoreSum();
  }

  void StoreSum() {
    // Every split has the same sum.
    if (args_.final_sum.absent() || split_ != 0) return;
    std::copy(memory_.sum, memory_.sum + dim(),
              RowAt(args_.final_sum, sequence_, 0, head_));
  }

  // Makes the matrices of tokens [t, t + n), and totals with the sum of keys,
  // which moves on.
  void PrepareChunk(int64_t t, int64_t n, ChunkMemory* m) {
    ScanChunk& c = m->chunk;
    const bool keys = !args_.key.absent();
    const int64_t group = args_.query.absent() ? 0 : GroupOf(plan_);
    c.tokens = keys ? n : 0;
    c.group = group;
    c.rows = n * group;
    ScanInputs in = {};
    in.scale = plan_.scale;
    in.scratch = memory_.prepare;
    const ScanLoader loader(of_, memory_);
    if (group > 0) loader.LoadQueries(t, n, group, &in.query);
    if (keys) {
      loader.LoadKeys(t, n, &in);
      if (plan_.shape.decay_dim > 0) loader.LoadDecays(t, n, &in);
      if (m->beta != nullptr) loader.LoadBeta(t, n, m->beta);
    }
    plan_.table->prepare(in, c);
    if (plan_.params.normalise) Total(c, m->total);
  }

  void Total(const ScanChunk& c, float* total) {
    static constexpr float kOnes[kMaxChunk] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                               1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                               1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    for (int64_t r = 0; r < c.rows; ++r) {
      total[r] =
          plan_.ops->dot(c.read + r * c.row_floats, memory_.sum, c.head_dim);
      if (c.tokens == 0) continue;
      total[r] +=
          plan_.ops->dot(c.weight + r * c.stride, kOnes, r / c.group + 1);
    }
    if (c.tokens == 0) return;
    for (int64_t m = 0; m < c.head_dim; ++m) memory_.sum[m] *= c.keep[m];
    for (int64_t j = 0; j < c.tokens; ++j) {
      plan_.ops->axpy(1.0f, c.write + j * c.row_floats, memory_.sum,
                      c.head_dim);
    }
  }

  // Lists the rows that a later segment, `ahead` tokens on, has in the place of
  // a share of the tokens [t, t + n): each tile fetches one.
  int64_t ListAhead(int64_t t, int64_t n, int64_t tile, int64_t ahead,
                    FetchRows* fetch) const {
    const int64_t tiles = end_tile_ - first_tile_, index = tile - first_tile_;
    const int64_t begin = t + ahead + n * index / tiles;
    const int64_t end = std::min(t + ahead + n * (index + 1) / tiles, end_);
    if (begin >= end) return 0;
    int64_t count = 0;
    const auto add = [&](const auto& view, int64_t head) {
      if (count == kMaxFetch) return;
      fetch[count++] = {BytesAt(view, batch_, begin, head), view.stride[1],
                        end - begin, view.head_dim() * SizeOf(view.dtype)};
    };
    const int64_t group = args_.query.absent() ? 0 : GroupOf(plan_);
    for (int64_t g = 0; g < group; ++g) {
      add(args_.query, of_.QueryHead(g));
      add(args_.out, of_.GroupHead(g));
    }
    if (args_.key.absent()) return count;
    add(args_.key, of_.KeyHead());
    add(args_.value, of_.ValueHead());
    if (plan_.shape.decay_dim > 1) add(args_.log_decay, head_);
    if (plan_.shape.erase_key) add(args_.erase_key, head_);
    if (plan_.shape.remove_key) add(args_.remove_key, head_);
    return count;
  }

  void RunSegment(int64_t begin, int64_t end, int64_t ahead) {
    Carver carver = carver_;
    ChunkMemory chunks[kMaxSegment];
    int count = 0;
    for (int64_t t = begin; t < end; t += plan_.chunk) {
      ChunkMemory& m = chunks[count++];
      m = CarveChunk(carver, plan_);
      PrepareChunk(t, std::min<int64_t>(plan_.chunk, end - t), &m);
    }
    for (int64_t tile = first_tile_; tile < end_tile_; ++tile) {
      const Columns columns = ColumnsOf(plan_, tile);
      for (int i = 0; i < count; ++i) {
        const int64_t t = begin + i * plan_.chunk;
        FetchRows fetch[kMaxFetch];
        const int64_t rows = ListAhead(
            t, std::min<int64_t>(plan_.chunk, end - t), tile, ahead, fetch);
        RunTile(t, chunks[i], columns, fetch, rows);
      }
    }
  }

  void RunStep() {
    Carver carver = carver_;
    ChunkMemory m = CarveChunk(carver, plan_);
    LoadSum();
    PrepareChunk(first_, 1, &m);
    const Columns first = ColumnsOf(plan_, first_tile_);
    const Columns last = ColumnsOf(plan_, end_tile_ - 1);
    Columns columns = {};
    columns.first = first.first;
    columns.count = columns.width = last.first + last.count - first.first;
    const ConstTensorView& value = args_.value;
    const TensorView& out = args_.out;
    const auto column = [&](const auto& view) {
      return RowAt(view, sequence_, head_, 0) + columns.first;
    };
    ScanStep step = {};
    step.columns = columns.count;
    step.from = column(args_.initial_state);
    step.from_row = args_.initial_state.stride[2] / 4;
    if (next_ > 0) {
      const int64_t next = sequence_ * plan_.num_state_heads + head_ + 1;
      step.next = RowAt(args_.initial_state, next / plan_.num_state_heads,
                        next % plan_.num_state_heads, 0);
    }
    if (!args_.final_state.absent()) {
      step.to = column(args_.final_state);
      step.to_row = args_.final_state.stride[2] / 4;
    }
    const char* from = BytesAt(value, batch_, first_, of_.ValueHead()) +
                       columns.first * SizeOf(value.dtype);
    step.value = reinterpret_cast<const float*>(from);
    step.written = memory_.value;
    if (value.dtype != DType::kF32) {
      WidenValues(from, m.chunk, columns);
      step.value = memory_.value + (m.chunk.writes - 1) * columns.width;
    }
    step.out = memory_.out;
    step.out_row = columns.width;
    const bool direct = IsDirect(m.chunk);
    if (direct)
      step.out = RowAt(out, batch_, first_, of_.GroupHead(0)) + columns.first;
    plan_.table->step(m.chunk, step);
    if (!direct) StoreRows(first_, m, columns);
    StoreSum();
  }

  // Whether results are written where they belong, in no need of more.
  bool IsDirect(const ScanChunk& c) const {
    return args_.out.dtype == DType::kF32 && c.group == 1 &&
           !plan_.params.normalise;
  }

  // Values and results of f32 in whole vectors need no copies here.
  void RunTile(int64_t t, const ChunkMemory& m, const Columns& columns,
               const FetchRows* fetch, int64_t num_fetch) {
    const ScanChunk& c = m.chunk;
    const bool whole = columns.count == columns.width;
    const ConstTensorView& value = args_.value;
    const TensorView& out = args_.out;
    ScanTile tile = {};
    tile.width = columns.width;
    tile.state = memory_.state + columns.state;
    tile.value = memory_.value;
    tile.out = memory_.out;
    tile.out_row = columns.width;
    tile.fetch = fetch;
    tile.num_fetch = num_fetch;
    if (c.tokens > 0) {
      const char* from = BytesAt(value, batch_, t, of_.ValueHead()) +
                         columns.first * SizeOf(value.dtype);
      if (whole && value.dtype == DType::kF32) {
        tile.from = reinterpret_cast<const float*>(from);
        tile.from_row = value.stride[1] / 4;
      } else {
        WidenValues(from, c, columns);
      }
    }
    const bool direct = whole && IsDirect(c);
    if (direct) {
      tile.out = RowAt(out, batch_, t, of_.GroupHead(0)) + columns.first;
      tile.out_row = out.stride[1] / 4;
    }
    plan_.table->apply(c, tile);
    if (!direct) StoreRows(t, m, columns);
  }

  // To the last of the rows that each token writes.
  void WidenValues(const char* from, const ScanChunk& c,
                   const Columns& columns) {
    for (int64_t i = 0; i < c.tokens; ++i) {
      float* row = memory_.value + ((i + 1) * c.writes - 1) * columns.width;
      plan_.ops->widen(args_.value.dtype, from + i * args_.value.stride[1],
                       columns.count, row);
      std::fill(row + columns.count, row + columns.width, 0.0f);
    }
  }

  void StoreRows(int64_t t, const ChunkMemory& m, const Columns& columns) {
    const ScanChunk& c = m.chunk;
    const TensorView& out = args_.out;
    const bool f32 = out.dtype == DType::kF32;
    for (int64_t r = 0; r < c.rows; ++r) {
      float* row = memory_.out + r * columns.width;
      char* to =
          BytesAt(out, batch_, t + r / c.group, of_.GroupHead(r % c.group)) +
          columns.first * SizeOf(out.dtype);
      if (plan_.params.normalise) {
        float* quotients = f32 ? reinterpret_cast<float*>(to) : row;
        plan_.table->divide(row, m.total[r], columns.count, quotients);
        if (f32) continue;
      }
      plan_.ops->narrow(out.dtype, row, columns.count, to);
    }
  }

  const ScanPlan& plan_;
  const ScanArgs& args_;
  const ScanHead of_;
  const int64_t split_, head_, sequence_, next_, batch_;
  const int64_t first_, end_;  // tokens
  const int64_t first_tile_, end_tile_;
  Carver carver_;
  const ScanMemory memory_;
};

}  // namespace

void RunScanTask(void* ctx, int64_t i, int worker) {
  const ScanRun& run = *static_cast<const ScanRun*>(ctx);
  const int64_t first = i / run.splits * run.run;
  const int64_t end = std::min(first + run.run, run.heads);
  for (int64_t head = first; head < end; ++head) {
    ScanTask(run, head, i % run.splits, end - 1 - head, worker).Run();
  }
}

}  // namespace heed::internal
