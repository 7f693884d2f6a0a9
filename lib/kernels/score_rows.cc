// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Portable C++ for all tables: a pass over keys where rows lie in memory. What
// kernels do with it stands in lanes.
#include "lib/kernels/score_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lib/kernels/kernel_table.h"

namespace heed::internal {
namespace {

bool Neighbours(const int32_t* position, int count) {
  return position[count - 1] - position[0] == count - 1;
}

float BiasOfAll(const ScoreRows& rows, const ScoreRow& row) {
  if (rows.bias_type == DType::kBF16) {
    return ToFloat(*static_cast<const bf16*>(row.bias));
  }
  if (rows.bias_type == DType::kF16) {
    return ToFloat(*static_cast<const f16*>(row.bias));
  }
  return *static_cast<const float*>(row.bias);
}

template <typename T>
void AddBias(const ScoreRow& row, const int32_t* position, int count,
             float* addend) {
  const T* bias = static_cast<const T*>(row.bias);
  if (Neighbours(position, count)) {
    bias += position[0];
    for (int i = 0; i < count; ++i) addend[i] = ToFloat(bias[i]);
  } else {
    for (int i = 0; i < count; ++i) addend[i] = ToFloat(bias[position[i]]);
  }
}

template <>
void AddBias<float>(const ScoreRow& row, const int32_t* position, int count,
                    float* addend) {
  const float* bias = static_cast<const float*>(row.bias);
  if (Neighbours(position, count)) {
    std::memcpy(addend, bias + position[0],
                static_cast<size_t>(count) * sizeof(float));
  } else {
    for (int i = 0; i < count; ++i) addend[i] = bias[position[i]];
  }
}

void AddRelative(const ScoreRow& row, const int32_t* position, int count,
                 float* addend) {
  for (int i = 0; i < count; ++i) {
    const int64_t distance = position[i] - row.position;
    addend[i] += row.relative[std::clamp(distance, -row.relative_reach,
                                         row.relative_reach)];
  }
}

void AddDecay(const ScoreRow& row, const int32_t* position, int count,
              float* addend) {
  for (int i = 0; i < count; ++i) {
    float decay;
    std::memcpy(&decay, row.key_decay + position[i] * row.key_decay_step,
                sizeof(decay));
    addend[i] += row.query_decay - decay;
  }
}

void HideByMask(const ScoreRow& row, const int32_t* position, int count,
                float* addend) {
  if (row.mask_repeats) {
    if (*row.mask == 0) std::fill_n(addend, count, -INFINITY);
    return;
  }
  for (int i = 0; i < count; ++i) {
    addend[i] = row.mask[position[i]] != 0 ? addend[i] : -INFINITY;
  }
}

void HideByTree(const ScoreRow& row, const int32_t* position, int count,
                float* addend) {
  for (int i = 0; i < count; ++i) {
    const int64_t bit = position[i] - row.tree_begin;
    if (bit >= 0 && (row.tree[bit / 64] >> (bit % 64) & 1) == 0) {
      addend[i] = -INFINITY;
    }
  }
}

}  // namespace

void AddendsOf(const ScoreRows& rows, int index, const int32_t* position,
               int count, float* addend) {
  const ScoreRow& row = rows.row[index];
  if (row.bias == nullptr) {
    std::memset(addend, 0, static_cast<size_t>(count) * sizeof(float));
  } else if (row.bias_repeats) {
    std::fill_n(addend, count, BiasOfAll(rows, row));
  } else if (rows.bias_type == DType::kBF16) {
    AddBias<bf16>(row, position, count, addend);
  } else if (rows.bias_type == DType::kF16) {
    AddBias<f16>(row, position, count, addend);
  } else {
    AddBias<float>(row, position, count, addend);
  }
  if (row.relative != nullptr) AddRelative(row, position, count, addend);
  if (row.key_decay != nullptr) AddDecay(row, position, count, addend);
  if (row.mask != nullptr) HideByMask(row, position, count, addend);
  if (row.tree != nullptr) HideByTree(row, position, count, addend);
}

}  // namespace heed::internal
