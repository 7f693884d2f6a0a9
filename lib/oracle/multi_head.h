// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// The truth about a whole layer: projections, positions and attention in
// double, by their definitions.
#ifndef HEED_LIB_ORACLE_MULTI_HEAD_H_
#define HEED_LIB_ORACLE_MULTI_HEAD_H_

#include <cstdint>
#include <vector>

#include "heed/attention.h"

namespace heed::oracle {

// y = W x + b: weight[out][in], bias empty or [out].
struct LinearTruth {
  std::vector<double> weight, bias;
};

// Pairs of channels turned by position * frequency[i], and stretched.
struct RopeTruth {
  bool interleaved = false;
  std::vector<double> frequency;  // empty: none
  double stretch = 1;             // of cos and sin
};

struct MultiHeadTruth {
  AttentionParams params;
  ScoreInputs scores;
  int64_t batch = 1, seqlen_q = 0, seqlen_k = 0;
  int64_t num_heads = 1, num_kv_heads = 1, head_dim = 0, head_dim_v = 0;
  std::vector<double> query, key, value;  // [batch][rows][width]
  LinearTruth query_linear, key_linear, value_linear, out_linear;
  RopeTruth rope;
  // Of the first query row and key; rows follow one another.
  int64_t query_position = 0, key_position = 0;
};

// Returns the rows of x[rows][in] times the weights.
std::vector<double> LinearDouble(const LinearTruth& linear,
                                 const std::vector<double>& x, int64_t rows);

// Returns [batch][seqlen_q][out features].
std::vector<double> MultiHeadDouble(const MultiHeadTruth& layer);

}  // namespace heed::oracle

#endif  // HEED_LIB_ORACLE_MULTI_HEAD_H_
