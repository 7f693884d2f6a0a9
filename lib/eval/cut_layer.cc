// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Copies of views with other extents, and copies of heads.
#include "lib/eval/cut_layer.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "heed/ops.h"
#include "lib/io/input_error.h"
#include "lib/io/quoted.h"

namespace heed::eval {
namespace {

using io::InputError;

std::vector<int64_t> NumbersOf(const std::vector<io::NumberRange>& ranges,
                               int64_t end) {
  std::vector<int64_t> numbers;
  for (int64_t number = 0; number < end; ++number) {
    if (AnyHolds(ranges, number)) numbers.push_back(number);
  }
  return numbers;
}

Tensor CopyHeads(const Tensor& tensor, const std::vector<int64_t>& heads,
                 Layout layout) {
  const TensorView& from = tensor.view;
  const Tensor copy =
      MakeTensor(from.batch(), from.seqlen(),
                 static_cast<int64_t>(heads.size()), from.head_dim(), layout);
  for (int64_t b = 0; b < from.batch(); ++b) {
    for (int64_t s = 0; s < from.seqlen(); ++s) {
      for (size_t h = 0; h < heads.size(); ++h) {
        std::memcpy(copy.At(b, s, static_cast<int64_t>(h)),
                    tensor.At(b, s, heads[h]),
                    static_cast<size_t>(from.head_dim()) * sizeof(float));
      }
    }
  }
  return copy;
}

// The shape's own outputs.
void MakeOutputs(Layout layout, Tensors* tensors) {
  const AttentionShape& shape = tensors->problem.shape;
  tensors->out = MakeTensor(shape.batch, shape.seqlen_q, shape.num_heads,
                            shape.head_dim_v, layout);
  tensors->lse =
      MakeTensor(shape.batch, shape.seqlen_q, shape.num_heads, 1, layout);
}

void CutKeys(int64_t keys, Tensors* tensors) {
  for (Tensor* tensor : {&tensors->key, &tensors->value}) {
    tensor->view.extent[1] = keys;
  }
  tensors->problem.shape.seqlen_k = keys;
}

// Row `row` of a layer as a call.
Layer StepOf(const Layer& layer, int64_t row) {
  Layer step = layer;
  Tensors& tensors = step.tensors;
  AttentionShape& shape = tensors.problem.shape;
  AttentionParams& params = tensors.problem.params;
  const int64_t position =
      ops::CausalOffset(params, shape.seqlen_q, shape.seqlen_k) + row;
  if (position < 0) {
    throw InputError(io::Quoted(layer.name) +
                     " has query rows before all keys");
  }
  TensorView& query = tensors.query.view;
  query.data = static_cast<char*>(query.data) + row * query.stride[1];
  query.extent[1] = 1;
  shape.seqlen_q = 1;
  if (params.causal) CutKeys(std::min(shape.seqlen_k, position + 1), &tensors);
  // The last key, as long as the row does not stand beyond all of them.
  params.causal_offset =
      position == shape.seqlen_k - 1 ? kBottomRight : position;
  MakeOutputs(Layout::kBshd, &tensors);  // of one row: both are the same
  return step;
}

}  // namespace

void KeepHeads(const std::vector<io::NumberRange>& heads, Layout layout,
               Layer* layer) {
  Tensors& tensors = layer->tensors;
  AttentionShape& shape = tensors.problem.shape;
  for (const io::NumberRange& range : heads) {
    if (range.last < shape.num_heads) continue;
    throw InputError(io::Quoted(layer->name) + " has heads 0-" +
                     std::to_string(shape.num_heads - 1) + ", not " +
                     FormatRange(range));
  }
  const std::vector<int64_t> kept = NumbersOf(heads, shape.num_heads);
  const int64_t group = shape.num_heads / shape.num_kv_heads;
  std::vector<int64_t> kv_heads, counts;
  for (const int64_t head : kept) {
    if (kv_heads.empty() || kv_heads.back() != head / group) {
      kv_heads.push_back(head / group);
      counts.push_back(0);
    }
    ++counts.back();
  }
  for (size_t i = 1; i < counts.size(); ++i) {
    if (counts[i] == counts[0]) continue;
    throw InputError("--heads leaves " + std::to_string(counts[0]) +
                     " on key head " + std::to_string(kv_heads[0]) + " and " +
                     std::to_string(counts[i]) + " on key head " +
                     std::to_string(kv_heads[i]) + " of " +
                     io::Quoted(layer->name) + "; as many of each are needed");
  }
  tensors.query = CopyHeads(tensors.query, kept, layout);
  tensors.key = CopyHeads(tensors.key, kv_heads, layout);
  tensors.value = CopyHeads(tensors.value, kv_heads, layout);
  layer->heads = kept;
  shape.num_heads = static_cast<int64_t>(kept.size());
  shape.num_kv_heads = static_cast<int64_t>(kv_heads.size());
  MakeOutputs(layout, &tensors);
}

void DecodeLast(int64_t queries, TensorSource* source) {
  std::vector<Layer> steps;
  for (const Layer& layer : source->layers) {
    const int64_t rows = layer.tensors.problem.shape.seqlen_q;
    if (queries > rows) {
      throw InputError(io::Quoted(layer.name) + " has " + std::to_string(rows) +
                       " query rows, not " + std::to_string(queries));
    }
    for (int64_t row = rows - queries; row < rows; ++row) {
      steps.push_back(StepOf(layer, row));
    }
  }
  source->layers = std::move(steps);
  source->queries = queries;
}

}  // namespace heed::eval
