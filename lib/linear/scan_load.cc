// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/linear/scan_load.h"

#include <algorithm>
#include <cstdint>

#include "lib/kernels/kernels.h"

namespace heed::internal {

ScanHead HeadAt(const ScanPlan& plan, const ScanArgs& args, int64_t index) {
  const ConstTensorView& rows = args.key.absent() ? args.query : args.key;
  const int64_t sequence = index / plan.num_state_heads;
  ScanHead of = {plan,     args, sequence,     index % plan.num_state_heads,
                 sequence, 0,    rows.seqlen()};
  if (args.cu_seqlens != nullptr) {
    of.batch = 0;
    of.first = args.cu_seqlens[sequence];
    of.end = args.cu_seqlens[sequence + 1];
  }
  return of;
}

// Rows of f32 for the kernel: in place where they may be read so, else in
// `copy`, rows of `row_floats` floats with zeros behind them.
ScanRows ScanLoader::LoadRows(const Rows& rows, bool key, float* copy) const {
  const int64_t row = RoundUp(dim(), kRowFloats);
  if (args_.map.features > 0) {
    MapRows(rows, key, copy, row);
  } else if (row == dim() && rows.view.dtype == DType::kF32) {
    return InPlace(rows);
  } else {
    CopyRows(rows, copy, row);
  }
  return {copy, row, 0};
}

ScanRows ScanLoader::InPlace(const Rows& rows) const {
  return {reinterpret_cast<const float*>(
              BytesAt(rows.view, of_.batch, rows.token, rows.head)),
          rows.view.stride[1] / 4, 0};
}

// Zeros from a row's last number up to whole kRowFloats.
void ScanLoader::PadRow(float* row) const {
  std::fill(row + dim(), row + RoundUp(dim(), kRowFloats), 0.0f);
}

// Rows of f32, `step` floats apart.
void ScanLoader::CopyRows(const Rows& rows, float* to, int64_t step) const {
  for (int64_t i = 0; i < rows.count; ++i) {
    plan_.ops->widen(rows.view.dtype,
                     BytesAt(rows.view, of_.batch, rows.token + i, rows.head),
                     dim(), to + i * step);
    PadRow(to + i * step);
  }
}

// The same of rows that the map makes.
void ScanLoader::MapRows(const Rows& rows, bool key, float* to,
                         int64_t step) const {
  const FeatureMap& map = args_.map;
  const int64_t n = rows.count, head_dim = rows.view.head_dim();
  ops::ConstMatrix x = {memory_.raw, n, head_dim, head_dim};
  if (rows.view.dtype == DType::kF32) {
    const ScanRows in_place = InPlace(rows);
    x = {in_place.at, n, head_dim, in_place.token};
  } else {
    for (int64_t i = 0; i < n; ++i) {
      plan_.ops->widen(rows.view.dtype,
                       BytesAt(rows.view, of_.batch, rows.token + i, rows.head),
                       head_dim, memory_.raw + i * head_dim);
    }
  }
  const int64_t first = key ? map.key_position : map.query_position;
  map.map(map.self, {x,
                     {to, n, dim(), step},
                     rows.head,
                     key,
                     of_.sequence,
                     first + rows.token - of_.first});
  for (int64_t i = 0; i < n; ++i) PadRow(to + i * step);
}

void ScanLoader::LoadKeys(int64_t t, int64_t n, ScanInputs* in) const {
  const Rows key = {args_.key, t, n, of_.KeyHead()};
  const Rows erase = {args_.erase_key, t, n, of_.head};
  const int64_t row = RoundUp(dim(), kRowFloats);
  if (!plan_.shape.remove_key) {
    in->erase = in->key = LoadRows(key, true, memory_.key);
  } else {
    CopyRows({args_.remove_key, t, n, of_.head}, memory_.key, 2 * row);
    if (args_.map.features > 0) {
      MapRows(key, true, memory_.key + row, 2 * row);
    } else {
      CopyRows(key, memory_.key + row, 2 * row);
    }
    in->key = {memory_.key, row, 0};
    in->erase = {memory_.key + row, 2 * row, 0};
  }
  if (!plan_.shape.erase_key) return;
  if (row == dim() && erase.view.dtype == DType::kF32) {
    in->erase = InPlace(erase);
  } else {
    CopyRows(erase, memory_.erase, row);
    in->erase = {memory_.erase, row, 0};
  }
}

void ScanLoader::LoadQueries(int64_t t, int64_t n, int64_t group,
                             ScanRows* rows) const {
  const int64_t block = plan_.chunk * RoundUp(dim(), kRowFloats);
  for (int64_t g = 0; g < group; ++g) {
    const ScanRows head = LoadRows({args_.query, t, n, of_.QueryHead(g)}, false,
                                   memory_.query + g * block);
    if (g == 0) *rows = head;
    if (g == 1) rows->head = head.at - rows->at;
  }
}

void ScanLoader::LoadDecays(int64_t t, int64_t n, ScanInputs* in) const {
  const int64_t writes = plan_.shape.remove_key ? 2 : 1;
  in->decay = memory_.decay;
  in->vector_decay = plan_.shape.decay_dim > 1;
  const ConstTensorView& view = args_.log_decay;
  if (plan_.shape.decay_dim <= 1) {
    std::fill(memory_.decay, memory_.decay + n * writes, 0.0f);
    for (int64_t i = 0; i < n; ++i) {
      memory_.decay[i * writes] = *RowAt(view, of_.batch, t + i, of_.head);
    }
    plan_.ops->exp(memory_.decay, memory_.decay, n * writes);
    return;
  }
  const int64_t row = RoundUp(dim(), kRowFloats);
  for (int64_t i = 0; i < n; ++i) {
    float* to = memory_.decay + i * writes * row;
    plan_.ops->exp(RowAt(view, of_.batch, t + i, of_.head), to, dim());
    PadRow(to);
    std::fill(to + row, to + writes * row, 1.0f);
  }
}

void ScanLoader::LoadBeta(int64_t t, int64_t n, float* beta) const {
  for (int64_t i = 0; i < n; ++i) {
    beta[i] = plan_.shape.beta ? *RowAt(args_.beta, of_.batch, t + i, of_.head)
                               : 1.0f;
  }
}

}  // namespace heed::internal
