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
        split_(split),
        head_(index % plan_.num_state_heads),
        sequence_(index / plan_.num_state_heads),
        next_(next),
        batch_(args_.cu_seqlens != nullptr ? 0 : sequence_),
        first_tile_(run.tiles * split_ / run.splits),
        end_tile_(run.tiles * (split_ + 1) / run.splits),
        carver_(static_cast<char*>(run.workspace.data) +
                worker * plan_.worker_bytes),
        memory_(CarveMemory(carver_, plan_)) {
    const ConstTensorView& rows = args_.key.absent() ? args_.query : args_.key;
    first_ = 0;
    end_ = rows.seqlen();
    if (args_.cu_seqlens != nullptr) {
      first_ = args_.cu_seqlens[sequence_];
      end_ = args_.cu_seqlens[sequence_ + 1];
    }
  }

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
  int64_t GroupHead(int64_t g) const {  // of out
    return plan_.params.head_map == HeadMap::kTiled
               ? g * plan_.num_state_heads + head_
               : head_ * GroupOf(plan_) + g;
  }
  int64_t QueryHead(int64_t g) const {
    return HeadOf(plan_.params.head_map, GroupHead(g), plan_.num_heads,
                  plan_.shape.num_query_heads);
  }
  int64_t KeyHead() const {
    return HeadOf(plan_.params.head_map, head_, plan_.num_state_heads,
                  plan_.shape.num_key_heads);
  }
  int64_t ValueHead() const {
    return HeadOf(plan_.params.head_map, head_, plan_.num_state_heads,
                  plan_.shape.num_value_heads);
  }

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

  // Rows of f32 for the kernel: in place where they may be read so, else in
  // `copy`, rows of `row_floats` floats with zeros behind them.
  ScanRows LoadRows(const ConstTensorView& view, int64_t t, int64_t n,
                    int64_t head, bool key, float* copy) {
    const int64_t row = RoundUp(dim(), kRowFloats);
    const bool f32 = view.dtype == DType::kF32;
    const FeatureMap& map = args_.map;
    const auto* at =
        reinterpret_cast<const float*>(BytesAt(view, batch_, t, head));
    const int64_t stride = view.stride[1] / 4;
    if (f32 && map.features == 0 && row == dim()) return {at, stride, 0};
    if (row != dim()) {
      for (int64_t i = 0; i < n; ++i) {
        std::fill(copy + i * row + dim(), copy + (i + 1) * row, 0.0f);
      }
    }
    const int64_t head_dim = view.head_dim();
    float* const raw = map.features > 0 ? memory_.raw : copy;
    const int64_t raw_row = map.features > 0 ? head_dim : row;
    if (!f32 || map.features == 0) {
      for (int64_t i = 0; i < n; ++i) {
        plan_.ops->widen(view.dtype, BytesAt(view, batch_, t + i, head),
                         head_dim, raw + i * raw_row);
      }
    }
    if (map.features > 0) {
      const ops::ConstMatrix x = {f32 ? at : raw, n, head_dim,
                                  f32 ? stride : raw_row};
      const int64_t first = key ? map.key_position : map.query_position;
      map.map(
          map.self,
          {x, {copy, n, dim(), row}, head, key, sequence_, first + t - first_});
    }
    return {copy, row, 0};
  }

  // The decays of tokens [t, t + n).
  void LoadDecays(int64_t t, int64_t n) {
    const ConstTensorView& view = args_.log_decay;
    if (plan_.shape.decay_dim <= 1) {
      for (int64_t i = 0; i < n; ++i) {
        memory_.decay[i] = *RowAt(view, batch_, t + i, head_);
      }
      plan_.ops->exp(memory_.decay, memory_.decay, n);
      return;
    }
    const int64_t row = RoundUp(dim(), kRowFloats);
    for (int64_t i = 0; i < n; ++i) {
      float* to = memory_.decay + i * row;
      plan_.ops->exp(RowAt(view, batch_, t + i, head_), to, dim());
      std::fill(to + dim(), to + row, 0.0f);
    }
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
    if (group > 0) LoadQueries(t, n, group, &in.query);
    if (keys) {
      in.key = LoadRows(args_.key, t, n, KeyHead(), true, memory_.key);
      if (plan_.shape.decay_dim > 0) {
        LoadDecays(t, n);
        in.decay = memory_.decay;
        in.vector_decay = plan_.shape.decay_dim > 1;
      }
      for (int64_t i = 0; i < n && m->beta != nullptr; ++i) {
        m->beta[i] = *RowAt(args_.beta, batch_, t + i, head_);
      }
    }
    plan_.table->prepare(in, c);
    if (plan_.params.normalise) Total(c, m->total);
  }

  void LoadQueries(int64_t t, int64_t n, int64_t group, ScanRows* rows) {
    const int64_t block = plan_.chunk * RoundUp(dim(), kRowFloats);
    for (int64_t g = 0; g < group; ++g) {
      const ScanRows head = LoadRows(args_.query, t, n, QueryHead(g), false,
                                     memory_.query + g * block);
      if (g == 0) *rows = head;
      if (g == 1) rows->head = head.at - rows->at;
    }
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
      add(args_.query, QueryHead(g));
      add(args_.out, GroupHead(g));
    }
    if (args_.key.absent()) return count;
    add(args_.key, KeyHead());
    add(args_.value, ValueHead());
    if (plan_.shape.decay_dim > 1) add(args_.log_decay, head_);
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
    const char* from = BytesAt(value, batch_, first_, ValueHead()) +
                       columns.first * SizeOf(value.dtype);
    step.value = reinterpret_cast<const float*>(from);
    step.written = memory_.value;
    if (value.dtype != DType::kF32) {
      WidenValues(from, 1, columns);
      step.value = memory_.value;
    }
    step.out = memory_.out;
    step.out_row = columns.width;
    const bool direct = IsDirect(m.chunk);
    if (direct)
      step.out = RowAt(out, batch_, first_, GroupHead(0)) + columns.first;
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
      const char* from = BytesAt(value, batch_, t, ValueHead()) +
                         columns.first * SizeOf(value.dtype);
      if (whole && value.dtype == DType::kF32) {
        tile.from = reinterpret_cast<const float*>(from);
        tile.from_row = value.stride[1] / 4;
      } else {
        WidenValues(from, c.tokens, columns);
      }
    }
    const bool direct = whole && IsDirect(c);
    if (direct) {
      tile.out = RowAt(out, batch_, t, GroupHead(0)) + columns.first;
      tile.out_row = out.stride[1] / 4;
    }
    plan_.table->apply(c, tile);
    if (!direct) StoreRows(t, m, columns);
  }

  void WidenValues(const char* from, int64_t tokens, const Columns& columns) {
    for (int64_t i = 0; i < tokens; ++i) {
      float* row = memory_.value + i * columns.width;
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
      char* to = BytesAt(out, batch_, t + r / c.group, GroupHead(r % c.group)) +
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
  const int64_t split_, head_, sequence_, next_, batch_, first_tile_, end_tile_;
  Carver carver_;
  const ScanMemory memory_;
  int64_t first_, end_;  // tokens
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
