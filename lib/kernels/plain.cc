// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The plain table: standard C++, one row a lane. Serves machines that no other
// table serves, with the same bits: std::fma is exact whatever the CPU has.
#include <cmath>
#include <cstdint>

#include "lib/kernels/carver.h"
#include "lib/kernels/kernels.h"
#include "lib/kernels/scalar_math.h"
#include "lib/kernels/scalar_rotate.h"

namespace heed::internal {
namespace {

using scalar::Exp2;
using scalar::LogSum;
using scalar::Rescale;
using scalar::Tanh;

int Lanes() { return 1; }

// The elements of a row as f32, one by one.
class Elements {
 public:
  Elements(DType type, const void* row) : type_(type), row_(row) {}
  // Row i of a list, which may be quantised.
  Elements(DType type, const void* const* rows, const RowScales& scales, int i)
      : type_(type), row_(rows[i]), group_(scales.group) {
    if (scales.scale != nullptr) scale_ = scales.scale[i];
    if (scales.minimum != nullptr) minimum_ = scales.minimum[i];
  }

  float operator[](int i) const {
    if (scale_ == nullptr) return Stored(i);
    const float scale = scale_[i / group_];
    if (minimum_ == nullptr) return Stored(i) * scale;
    return std::fma(Stored(i), scale, minimum_[i / group_]);
  }

 private:
  template <typename T>
  T At(int i) const {
    return static_cast<const T*>(row_)[i];
  }
  float Stored(int i) const {
    switch (type_) {
      case DType::kF32:
        return At<float>(i);
      case DType::kBF16:
        return ToFloat(At<bf16>(i));
      case DType::kF16:
        return ToFloat(At<f16>(i));
      case DType::kI8:
        return At<int8_t>(i);
      case DType::kF8E4M3:
        return ToFloat(At<f8_e4m3>(i));
      case DType::kF8E5M2:
        return ToFloat(At<f8_e5m2>(i));
      default:
        break;
    }
    const uint32_t pair = At<u4x2>(i / 2).bits;
    return static_cast<float>(i % 2 == 0 ? pair & 15 : pair >> 4);
  }

  DType type_;
  const void* row_;
  const float* scale_ = nullptr;
  const float* minimum_ = nullptr;
  int group_ = 1;
};

void Store(DType type, float x, void* row, int i) {
  if (type == DType::kBF16) {
    static_cast<bf16*>(row)[i] = ToBF16(x);
  } else if (type == DType::kF16) {
    static_cast<f16*>(row)[i] = ToF16(x);
  } else {
    static_cast<float*>(row)[i] = x;
  }
}

// Rows of a lane group: they share which keys of a block are looked at.
constexpr int kRows = 8;

struct State {
  float* acc;  // [rows][head_dim_v]
  float* m;
  float* l;
};

State StateAt(const QueryTile& tile, const void* state) {
  float* acc = static_cast<float*>(const_cast<void*>(state));
  float* m = acc + int64_t{tile.shape.rows} * tile.shape.head_dim_v;
  return {acc, m, m + tile.shape.rows};
}

int64_t StateBytes(const TileShape& shape) {
  return Padded(int64_t{shape.rows} * (shape.head_dim_v + 2) * 4);
}

int64_t CarveTile(const TileShape& shape, void* memory, QueryTile* tile) {
  Carver carver(memory);
  tile->begin = carver.Take<int32_t>(shape.rows);
  tile->end = carver.Take<int32_t>(shape.rows);
  tile->sink_end = carver.Take<int32_t>(shape.rows);
  tile->query = carver.Take<float>(int64_t{shape.rows} * shape.head_dim);
  tile->score = carver.Take<float>(kBlockKeys);
  if (shape.scores) tile->addend = carver.Take<float>(kBlockKeys);
  return carver.used();
}

int64_t TileBytes(const TileShape& shape) {
  QueryTile tile;
  return CarveTile(shape, nullptr, &tile);
}

void Open(const TileShape& shape, void* memory, QueryTile* tile) {
  tile->shape = shape;
  tile->padded_rows = shape.rows;
  tile->num_groups = 0;
  for (int row = 0; row < shape.rows; row += kRows) {
    const int rest = shape.rows - row;
    tile->groups[tile->num_groups++] = {row, rest < kRows ? rest : kRows};
  }
  CarveTile(shape, memory, tile);
}

void Pack(const QueryTile& tile, const void* const* query) {
  const int dim = tile.shape.head_dim;
  for (int r = 0; r < tile.shape.rows; ++r) {
    const Elements row(tile.shape.query, query[r]);
    float* query_row = tile.query + r * dim;
    for (int c = 0; c < dim; ++c) query_row[c] = row[c];
    if (tile.shape.rotate_query) {
      scalar::RotateRow(query_row, static_cast<size_t>(dim));
    }
    for (int c = 0; c < dim; ++c) query_row[c] *= tile.shape.rule.query_scale;
  }
}

void Clear(const QueryTile& tile) {
  const State state = StateAt(tile, tile.state);
  const int dim = tile.shape.head_dim_v;
  for (int r = 0; r < tile.shape.rows; ++r) {
    state.m[r] = kEmptyMax;
    state.l[r] = 0.0f;
    for (int c = 0; c < dim; ++c) state.acc[r * dim + c] = 0.0f;
  }
}

float Score(const QueryTile& tile, int row, const Elements& key) {
  const int dim = tile.shape.head_dim;
  const ScoreRule& rule = tile.shape.rule;
  const float* query = tile.query + row * dim;
  float score = 0.0f;
  for (int c = 0; c < dim; ++c) score = std::fma(key[c], query[c], score);
  return rule.softcap ? Tanh(score * rule.in_scale) * rule.out_scale : score;
}

// Applies score inputs to the score of a key that is seen so far, whose addend
// was laid out. Returns whether it still is.
bool AddToScore(const QueryTile& tile, int row, int key, int32_t position) {
  const ScoreRows& scores = *tile.scores;
  if (scores.first != nullptr && position < scores.first[row]) return false;
  float addend = scores.adds ? tile.addend[key] : 0.0f;
  if (addend == -INFINITY) return false;
  if (scores.alibi_slope != nullptr) {
    const float distance =
        std::fabs(scores.position[row] - static_cast<float>(position));
    addend = std::fma(-scores.alibi_slope[row], distance, addend);
  }
  float& score = tile.score[key];
  score = std::fma(addend, kLog2E, score);
  if (scores.hook == nullptr) return true;
  score *= kLn2;
  ScoreTile one;
  one.batch = scores.batch;
  one.num_keys = one.num_rows = 1;
  one.key_position = &position;
  one.row_index = scores.row_index + row;
  one.row_head = scores.row_head + row;
  one.key_stride = one.row_stride = 1;
  one.score = &score;
  scores.hook(scores.hook_self, one);
  if (score == -INFINITY) return false;
  score *= kLog2E;
  return true;
}

void StepRow(const QueryTile& tile, const KeyBlock& block, int row, int first,
             int last) {
  const State state = StateAt(tile, tile.state);
  const int dim = tile.shape.head_dim_v;
  bool visible[kBlockKeys];
  float max = state.m[row];
  if (tile.scores != nullptr && tile.scores->adds && first < last) {
    AddendsOf(*tile.scores, row, block.position + first, last - first,
              tile.addend + first);
  }
  for (int key = first; key < last; ++key) {
    const int32_t position = block.position[key];
    visible[key] = (position >= tile.begin[row] && position < tile.end[row]) ||
                   position < tile.sink_end[row];
    if (!visible[key]) continue;
    tile.score[key] = Score(
        tile, row, Elements(tile.shape.key, block.key, block.key_scales, key));
    if (tile.scores != nullptr) {
      visible[key] = AddToScore(tile, row, key, position);
      if (!visible[key]) continue;
    }
    max = std::fmax(max, std::nearbyint(tile.score[key]));
  }
  const float alpha = Rescale(state.m[row] - max);
  float* acc = state.acc + row * dim;
  state.m[row] = max;
  state.l[row] *= alpha;
  for (int c = 0; c < dim; ++c) acc[c] *= alpha;
  for (int key = first; key < last; ++key) {
    if (!visible[key]) continue;
    const float weight = Exp2(tile.score[key] - max);
    const Elements value(tile.shape.value, block.value, block.value_scales,
                         key);
    state.l[row] += weight;
    for (int c = 0; c < dim; ++c) acc[c] = std::fma(value[c], weight, acc[c]);
  }
}

void Step(const QueryTile& tile, const KeyBlock& block) {
  for (int g = 0; g < tile.num_groups; ++g) {
    const LaneGroup& group = tile.groups[g];
    for (int row = group.row; row < group.row + group.rows; ++row) {
      StepRow(tile, block, row, block.first[g], block.last[g]);
    }
  }
}

void Merge(const QueryTile& tile, const void* later_state) {
  const State state = StateAt(tile, tile.state);
  const State later = StateAt(tile, later_state);
  const int dim = tile.shape.head_dim_v;
  for (int r = 0; r < tile.shape.rows; ++r) {
    const float max = std::fmax(state.m[r], later.m[r]);
    const float a = Rescale(state.m[r] - max);
    const float b = Rescale(later.m[r] - max);
    state.m[r] = max;
    state.l[r] = std::fma(b, later.l[r], a * state.l[r]);
    for (int i = r * dim; i < (r + 1) * dim; ++i) {
      state.acc[i] = std::fma(b, later.acc[i], a * state.acc[i]);
    }
  }
}

// As AddSink of the other tables.
void AddSinks(const QueryTile& tile) {
  const State state = StateAt(tile, tile.state);
  const int dim = tile.shape.head_dim_v;
  for (int r = 0; r < tile.shape.rows; ++r) {
    const float sink = tile.scores->sink[r] * kLog2E;
    if (sink == -INFINITY) continue;
    if (!(sink < INFINITY)) {
      state.l[r] = NAN;
      continue;
    }
    const float own = std::nearbyint(sink);
    const float max = std::fmax(state.m[r], own);
    const float alpha = Rescale(state.m[r] - max);
    state.l[r] =
        std::fma(Rescale(own - max), Exp2(sink - own), alpha * state.l[r]);
    state.m[r] = max;
    for (int c = 0; c < dim; ++c) state.acc[r * dim + c] *= alpha;
  }
}

void Save(const QueryTile& tile, void* const* row) {
  const State state = StateAt(tile, tile.state);
  const int dim = tile.shape.head_dim_v;
  for (int r = 0; r < tile.shape.rows; ++r) {
    float* to = static_cast<float*>(row[r]);
    to[0] = state.m[r];
    to[1] = state.l[r];
    for (int c = 0; c < dim; ++c) to[2 + c] = state.acc[r * dim + c];
  }
}

void Finish(const QueryTile& tile, void* const* out, float* const* lse) {
  const State state = StateAt(tile, tile.state);
  const int dim = tile.shape.head_dim_v;
  if (tile.scores != nullptr && tile.scores->sink != nullptr) AddSinks(tile);
  for (int r = 0; r < tile.shape.rows; ++r) {
    const float l = state.l[r];
    float* acc = state.acc + r * dim;
    for (int c = 0; c < dim; ++c) acc[c] = l == 0.0f ? 0.0f : acc[c] / l + 0.0f;
    if (tile.shape.rotate_out) {
      scalar::RotateRow(acc, static_cast<size_t>(dim));
    }
    for (int c = 0; c < dim; ++c) Store(tile.shape.out, acc[c], out[r], c);
    if (lse != nullptr) *lse[r] = LogSum(state.m[r], l);
  }
}

void MergeRows(const FinishedRow& a, const FinishedRow& b, int64_t dim,
               float* out, float* lse) {
  const bool no_a = a.lse == -INFINITY;
  const bool no_b = b.lse == -INFINITY;
  if (no_a || no_b) {
    const float* from = no_a ? b.out : a.out;
    for (int64_t c = 0; c < dim; ++c) out[c] = no_a && no_b ? 0.0f : from[c];
    *lse = no_a ? b.lse : a.lse;
    return;
  }
  const float max = a.lse > b.lse ? a.lse : b.lse;
  const float wa = Exp2((a.lse - max) * kLog2E);
  const float wb = Exp2((b.lse - max) * kLog2E);
  const float l = wa + wb;
  const float log = max + LogSum(0.0f, l);
  for (int64_t c = 0; c < dim; ++c) {
    out[c] = std::fma(wb, b.out[c], wa * a.out[c]) / l;
  }
  *lse = log;
}

}  // namespace

const AttentionTable kPlainTable = {
    /*attend=*/{
        /*name=*/FactsOf(Target::kPlain).kernel,
        /*same_bits=*/true,
        /*lanes=*/&Lanes,
        /*max_group_vectors=*/kRows,
        /*tile_bytes=*/&TileBytes,
        /*state_bytes=*/&StateBytes,
        /*open=*/&Open,
        /*pack=*/&Pack,
        /*clear=*/&Clear,
        /*step=*/&Step,
        /*merge=*/&Merge,
        /*save=*/&Save,
        /*finish=*/&Finish,
        /*score=*/nullptr,
        /*weigh=*/nullptr,
    },
    /*attend_bf16=*/{},
    /*decode=*/{},
    /*decode_rows=*/0,
    /*merge_rows=*/&MergeRows,
};

}  // namespace heed::internal
