// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Exact attention of few query rows, compiled once per target: bound by reading
// each key and value once, for all rows of a tile.
#include <cstddef>
#include <cstdint>

#include "lib/kernels/hwy_targets.h"
#include "lib/kernels/kernel_table.h"
#include "lib/kernels/kernels.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lib/kernels/decode.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"
#include "lib/kernels/carver.h"
#include "lib/kernels/convert-inl.h"
#include "lib/kernels/decode_step-inl.h"
#include "lib/kernels/decode_values-inl.h"
#include "lib/kernels/hwy_math-inl.h"

#if HEED_COMPILE_TARGET
HWY_BEFORE_NAMESPACE();
namespace heed {
namespace HWY_NAMESPACE {
namespace {

// A tile is one lane group of its rows, without padding.
constexpr int kMaxDecodeRows = 64;

int DecodeLanes() { return 1; }

int64_t DecodeStateBytes(const internal::TileShape& shape) {
  return internal::Padded(int64_t{shape.rows} * (shape.head_dim_v + 2) * 4);
}

int64_t CarveDecodeTile(const internal::TileShape& shape, void* memory,
                        QueryTile* tile) {
  const int64_t rows = shape.rows;
  const int64_t keys_at_once = kKeysAtOnce;
  const int64_t columns = kColumnsAtOnce;
  internal::Carver carver(memory);
  tile->begin = carver.Take<int32_t>(rows);
  tile->end = carver.Take<int32_t>(rows);
  tile->sink_end = carver.Take<int32_t>(rows);
  tile->query = carver.Take<float>(rows * shape.head_dim);
  tile->score = carver.Take<float>(rows * kBlockKeys + keys_at_once);
  tile->key_f32 = carver.Take<float>(keys_at_once *
                                     HWY_MIN(int64_t{shape.head_dim}, columns));
  if (shape.out != DType::kF32) {
    tile->row_f32 = carver.Take<float>(shape.head_dim_v);
  }
  return carver.used();
}

int64_t DecodeTileBytes(const internal::TileShape& shape) {
  QueryTile tile;
  return CarveDecodeTile(shape, nullptr, &tile);
}

void OpenDecode(const internal::TileShape& shape, void* memory,
                QueryTile* tile) {
  tile->shape = shape;
  tile->padded_rows = shape.rows;
  tile->num_groups = 1;
  tile->groups[0] = {0, shape.rows};
  CarveDecodeTile(shape, memory, tile);
}

// x[i] *= by, a vector at a time.
void ScaleRow(float by, size_t count, float* x) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  size_t i = 0;
  for (; i + N <= count; i += N) {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, by)), d, x + i);
  }
  for (; i < count; ++i) x[i] *= by;
}

void PackDecode(const QueryTile& tile, const void* const* query) {
  const size_t dim = static_cast<size_t>(tile.shape.head_dim);
  for (int r = 0; r < tile.shape.rows; ++r) {
    float* to = tile.query + static_cast<size_t>(r) * dim;
    WidenRow(tile.shape.query, query[r], dim, to);
    ScaleRow(tile.shape.rule.query_scale, dim, to);
  }
}

void ClearDecode(const QueryTile& tile) {
  const DecodeState state = DecodeStateAt(tile, tile.state);
  const int rows = tile.shape.rows;
  for (int r = 0; r < rows; ++r) {
    state.m[r] = internal::kEmptyMax;
    state.l[r] = 0.0f;
  }
  for (int i = 0; i < rows * tile.shape.head_dim_v; ++i) state.acc[i] = 0.0f;
}

void StepDecode(const QueryTile& tile, const KeyBlock& block) {
  const DecodeStep s = {&tile, &block, block.first[0], block.last[0],
                        block.full[0]};
  if (s.first >= s.last) return;
  const size_t rows = static_cast<size_t>(tile.shape.rows);
  const DecodeState state = DecodeStateAt(tile, tile.state);
  switch (tile.shape.key) {
    case DType::kBF16:
      AllDecodeScores<bf16>(s);
      break;
    case DType::kF16:
      AllDecodeScores<f16>(s);
      break;
    default:
      AllDecodeScores<float>(s);
  }
  int32_t position[kBlockKeys] = {};
  if (!s.full) {
    for (size_t k = s.first; k < s.last; ++k) position[k] = block.position[k];
  }
  float alpha[kMaxDecodeRows];
  for (size_t r = 0; r < rows; ++r) {
    alpha[r] = DecodeWeights(s, r, position, state.m + r);
    state.l[r] *= alpha[r];
  }
  for (size_t r = 0; r < rows;) {
    const float* weight = tile.score + r * kBlockKeys;
    if (rows - r >= 4) {
      AddWeights<4>(weight, s.first, s.last, state.l + r);
      r += 4;
    } else {
      AddWeights<1>(weight, s.first, s.last, state.l + r);
      r += 1;
    }
  }
  switch (tile.shape.value) {
    case DType::kBF16:
      AllDecodeValues<bf16>(s, position, alpha, state.acc);
      break;
    case DType::kF16:
      AllDecodeValues<f16>(s, position, alpha, state.acc);
      break;
    default:
      AllDecodeValues<float>(s, position, alpha, state.acc);
  }
}

void MergeDecode(const QueryTile& tile, const void* later_state) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> one;
  const size_t N = hn::Lanes(d);
  const size_t dim = static_cast<size_t>(tile.shape.head_dim_v);
  const DecodeState state = DecodeStateAt(tile, tile.state);
  const DecodeState later = DecodeStateAt(tile, later_state);
  for (int r = 0; r < tile.shape.rows; ++r) {
    const auto ma = hn::Set(d, state.m[r]);
    const auto mb = hn::Set(d, later.m[r]);
    const auto max = hn::Max(ma, mb);
    const auto a = Rescale(d, hn::Sub(ma, max));
    const auto b = Rescale(d, hn::Sub(mb, max));
    const auto a1 = hn::Set(one, hn::GetLane(a));
    const auto b1 = hn::Set(one, hn::GetLane(b));
    state.m[r] = hn::GetLane(max);
    const auto la = hn::Mul(a1, hn::Set(one, state.l[r]));
    state.l[r] = hn::GetLane(hn::MulAdd(b1, hn::Set(one, later.l[r]), la));
    float* acc = state.acc + static_cast<size_t>(r) * dim;
    const float* from = later.acc + static_cast<size_t>(r) * dim;
    size_t c = 0;
    for (; c + N <= dim; c += N) {
      const auto old = hn::Mul(a, hn::LoadU(d, acc + c));
      hn::StoreU(hn::MulAdd(b, hn::LoadU(d, from + c), old), d, acc + c);
    }
    for (; c < dim; ++c) {
      const auto old = hn::Mul(a1, hn::Set(one, acc[c]));
      acc[c] = hn::GetLane(hn::MulAdd(b1, hn::Set(one, from[c]), old));
    }
  }
}

void FinishDecode(const QueryTile& tile, void* const* out, float* const* lse) {
  const hn::ScalableTag<float> d;
  const size_t N = hn::Lanes(d);
  const size_t dim = static_cast<size_t>(tile.shape.head_dim_v);
  const DType type = tile.shape.out;
  const DecodeState state = DecodeStateAt(tile, tile.state);
  for (int r = 0; r < tile.shape.rows; ++r) {
    const float l = state.l[r];
    const float* acc = state.acc + static_cast<size_t>(r) * dim;
    float* to =
        type == DType::kF32 ? static_cast<float*>(out[r]) : tile.row_f32;
    size_t c = 0;
    // + 0 turns -0 into 0, as a masked key may or may not have done before.
    for (; l != 0.0f && c + N <= dim; c += N) {
      const auto x = hn::Div(hn::LoadU(d, acc + c), hn::Set(d, l));
      hn::StoreU(hn::Add(x, hn::Zero(d)), d, to + c);
    }
    for (; c < dim; ++c) to[c] = l == 0.0f ? 0.0f : acc[c] / l + 0.0f;
    if (type != DType::kF32) NarrowRow(type, to, dim, out[r]);
    if (lse == nullptr) continue;
    *lse[r] = hn::GetLane(LogSum(d, hn::Set(d, state.m[r]), hn::Set(d, l)));
  }
}

constexpr internal::AttendKernel kTable = {
    /*name=*/HEED_TARGET_FACTS.decode_kernel,
    /*same_bits=*/HEED_TARGET_FACTS.same_bits,
    /*lanes=*/&DecodeLanes,
    /*max_group_vectors=*/kMaxDecodeRows,
    /*tile_bytes=*/&DecodeTileBytes,
    /*state_bytes=*/&DecodeStateBytes,
    /*open=*/&OpenDecode,
    /*pack=*/&PackDecode,
    /*clear=*/&ClearDecode,
    /*step=*/&StepDecode,
    /*merge=*/&MergeDecode,
    /*finish=*/&FinishDecode,
};

}  // namespace
// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace heed
HWY_AFTER_NAMESPACE();
#endif  // HEED_COMPILE_TARGET

#if HWY_ONCE
namespace heed::internal {

const AttendKernel* HighwayDecode(Target target) {
  static constexpr const AttendKernel* kTables[] = {HEED_TABLES};
  return kTables[static_cast<int>(target)];
}

}  // namespace heed::internal
#endif  // HWY_ONCE
