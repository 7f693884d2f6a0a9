// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

#include "lib/linear/check_scan.h"

#include <cmath>
#include <cstdint>

#include "lib/core/check.h"
#include "lib/kernels/kernel_table.h"
#include "lib/linear/scan_layout.h"
#include "lib/linear/scan_tensors.h"

namespace heed::internal {
namespace {

Status CheckDivides(int64_t fewer, int64_t heads, const char* name) {
  if (heads % fewer == 0) return Status();
  return Invalid(name, "must divide the heads that it serves")
      .WithValue(heads)
      .WithBound(fewer, BoundKind::kOver)
      .WithUnit("heads");
}

// What an extent of a tensor must be.
struct Want {
  const ConstTensorView& view;
  int axis;
  int64_t want;
  const TensorName& name;
  const char* message;
};

Status CheckWant(const Want& w) {
  if (w.view.absent() || w.view.extent[w.axis] == w.want) return Status();
  return Invalid(w.name.argument, w.message)
      .WithIndex(w.axis)
      .WithValue(w.view.extent[w.axis])
      .WithBound(w.want, BoundKind::kNeeds);
}

// Which tensors come together.
Status CheckPresence(const ScanPlan& plan, const ScanArgs& args) {
  const ScanShape& shape = plan.shape;
  if (args.query.absent() != args.out.absent()) {
    return Invalid(args.query.absent() ? "query" : "out",
                   "must be given or absent as the other is");
  }
  if (args.key.absent() != args.value.absent()) {
    return Invalid(args.key.absent() ? "key" : "value",
                   "must be given or absent as the other is");
  }
  if (args.query.absent() && args.key.absent()) {
    return Invalid("query", "is absent, and so is key");
  }
  const bool keys = !args.key.absent();
  const struct {
    const ConstTensorView& view;
    bool planned;
    const TensorName& name;
  } optional[] = {{args.beta, shape.beta, kBetaName},
                  {args.log_decay, shape.decay_dim > 0, kLogDecayName},
                  {args.erase_key, shape.erase_key, kEraseKeyName},
                  {args.remove_key, shape.remove_key, kRemoveKeyName}};
  for (const auto& tensor : optional) {
    if (tensor.view.absent() != (tensor.planned && keys)) continue;
    return Invalid(tensor.name.argument, "is not as the plan was made for");
  }
  if (args.map.features != shape.features) {
    return Invalid("map", "has other features than the plan")
        .WithValue(args.map.features)
        .WithBound(shape.features, BoundKind::kNeeds);
  }
  if (args.map.features > 0 && args.map.map == nullptr) {
    return Invalid("map", "has no function");
  }
  // Maps of the library write as many numbers as a row has.
  bool own = false;
  for (const auto& maker : {&EluPlusOne, &Relu, &UnitKeys, &UnitRows}) {
    own |= args.map.map == maker(shape.head_dim).map;
  }
  if (shape.features > 0 && own && shape.features != shape.head_dim) {
    return Invalid("map", "has other features than a row has numbers")
        .WithValue(shape.features)
        .WithBound(shape.head_dim, BoundKind::kNeeds);
  }
  if (!plan.params.normalise &&
      (!args.initial_sum.absent() || !args.final_sum.absent())) {
    return Invalid(args.initial_sum.absent() ? "final_sum" : "initial_sum",
                   "is given, but normalise is off");
  }
  return Status();
}

Status CheckExtents(const ScanPlan& plan, const ScanArgs& args) {
  const ScanShape& shape = plan.shape;
  const ConstTensorView out = args.out;
  const ConstTensorView final_state = args.final_state;
  const ConstTensorView final_sum = args.final_sum;
  const ConstTensorView& rows = args.key.absent() ? args.query : args.key;
  const bool ragged = args.cu_seqlens != nullptr;
  const int64_t batch = ragged ? 1 : rows.batch();
  const int64_t sequences = ragged ? args.num_sequences : rows.batch();
  const int64_t seqlen = rows.seqlen();
  const int64_t dim = KeyDim(shape), dim_v = shape.head_dim_v;
  const int64_t states = plan.num_state_heads;
  const bool turned = plan.params.state_transposed;
  const char* const kBatch = ragged ? "must be 1, as rows are packed"
                                    : "must be the batch of the others";
  const char* const kSeqlen = "must be the seqlen of the others";
  const char* const kPlan = "differs from the plan's";
  const char* const kStates = "must be the heads of the state";
  const char* const kKeys = "must be the key's head_dim";
  const char* const kSequences = "must be the number of sequences";
  const char* const kDims = turned ? "must be those of [head_dim_v, head_dim]"
                                   : "must be those of [head_dim, head_dim_v]";
  const Want wants[] = {
      {args.query, 0, batch, kScanQueryName, kBatch},
      {args.query, 1, seqlen, kScanQueryName, kSeqlen},
      {args.query, 2, shape.num_query_heads, kScanQueryName, kPlan},
      {args.query, 3, shape.head_dim, kScanQueryName, kPlan},
      {args.key, 0, batch, kScanKeyName, kBatch},
      {args.key, 2, shape.num_key_heads, kScanKeyName, kPlan},
      {args.key, 3, shape.head_dim, kScanKeyName, kPlan},
      {args.value, 0, batch, kScanValueName, kBatch},
      {args.value, 1, seqlen, kScanValueName, kSeqlen},
      {args.value, 2, shape.num_value_heads, kScanValueName, kPlan},
      {args.value, 3, dim_v, kScanValueName, kPlan},
      {out, 0, batch, kScanOutName, kBatch},
      {out, 1, seqlen, kScanOutName, kSeqlen},
      {out, 2, plan.num_heads, kScanOutName,
       "must be the most heads of query, key and value"},
      {out, 3, dim_v, kScanOutName, "must be the value's head_dim"},
      {args.log_decay, 0, batch, kLogDecayName, kBatch},
      {args.log_decay, 1, seqlen, kLogDecayName, kSeqlen},
      {args.log_decay, 2, states, kLogDecayName, kStates},
      {args.log_decay, 3, shape.decay_dim, kLogDecayName, kPlan},
      {args.beta, 0, batch, kBetaName, kBatch},
      {args.beta, 1, seqlen, kBetaName, kSeqlen},
      {args.beta, 2, states, kBetaName, kStates},
      {args.beta, 3, 1, kBetaName, "must be 1"},
      {args.erase_key, 0, batch, kEraseKeyName, kBatch},
      {args.erase_key, 1, seqlen, kEraseKeyName, kSeqlen},
      {args.erase_key, 2, states, kEraseKeyName, kStates},
      {args.erase_key, 3, dim, kEraseKeyName, kKeys},
      {args.remove_key, 0, batch, kRemoveKeyName, kBatch},
      {args.remove_key, 1, seqlen, kRemoveKeyName, kSeqlen},
      {args.remove_key, 2, states, kRemoveKeyName, kStates},
      {args.remove_key, 3, dim, kRemoveKeyName, kKeys},
      {args.initial_state, 0, sequences, kInitialStateName, kSequences},
      {args.initial_state, 1, states, kInitialStateName, kStates},
      {args.initial_state, 2, turned ? dim_v : dim, kInitialStateName, kDims},
      {args.initial_state, 3, turned ? dim : dim_v, kInitialStateName, kDims},
      {final_state, 0, sequences, kFinalStateName, kSequences},
      {final_state, 1, states, kFinalStateName, kStates},
      {final_state, 2, turned ? dim_v : dim, kFinalStateName, kDims},
      {final_state, 3, turned ? dim : dim_v, kFinalStateName, kDims},
      {args.initial_sum, 0, sequences, kInitialSumName, kSequences},
      {args.initial_sum, 1, 1, kInitialSumName, "must be 1"},
      {args.initial_sum, 2, states, kInitialSumName, kStates},
      {args.initial_sum, 3, dim, kInitialSumName, kKeys},
      {final_sum, 0, sequences, kFinalSumName, kSequences},
      {final_sum, 1, 1, kFinalSumName, "must be 1"},
      {final_sum, 2, states, kFinalSumName, kStates},
      {final_sum, 3, dim, kFinalSumName, kKeys},
  };
  for (const Want& want : wants) {
    const Status status = CheckWant(want);
    if (!status.ok()) return status;
  }
  struct {
    int64_t value, most;
    const char* name;
    const char* message;
  } const maxima[] = {
      {ragged ? 0 : batch, shape.batch, "batch", "is larger than the plan's"},
      {ragged ? sequences : 0, shape.num_sequences, "num_sequences",
       "is larger than the plan's"},
      {seqlen, shape.seqlen, "seqlen", "is larger than the plan's"},
  };
  for (const auto& check : maxima) {
    if (check.value <= check.most) continue;
    return Invalid(check.name, check.message)
        .WithValue(check.value)
        .WithBound(check.most);
  }
  return Status();
}

// Each output against every tensor before it; a state may be updated in place.
Status CheckOverlaps(const ScanArgs& args) {
  Status status;
  ForEachScanTensor(args, [&](const auto& output, const TensorName& name,
                              TensorRole role) {
    if (role != TensorRole::kOutput || output.absent()) return;
    bool before = true;
    ForEachScanTensor(args, [&](const auto& other, const TensorName& other_name,
                                TensorRole) {
      before = before && &other_name != &name;
      if (!status.ok() || !before || other.absent()) return;
      const bool in_place =
          (&name == &kFinalStateName && &other_name == &kInitialStateName) ||
          (&name == &kFinalSumName && &other_name == &kInitialSumName);
      if (in_place && SameView(output, other)) return;
      status = CheckOverlap(output, name, other, other_name);
    });
    if (!status.ok() || args.cu_seqlens == nullptr) return;
    const ConstTensorView array =
        Bshd(args.cu_seqlens, 1, 1, 1, args.num_sequences + 1);
    status = CheckOverlap(output, name, array, kCuSeqlensName);
  });
  return status;
}

}  // namespace

Status CheckScanShape(const ScanParams& params, const ScanShape& shape) {
  struct {
    int64_t value, low;
    const char* name;
  } const extents[] = {
      {shape.batch, 0, "batch"},
      {shape.seqlen, 0, "seqlen"},
      {shape.num_sequences, 0, "num_sequences"},
      {shape.num_query_heads, 1, "num_query_heads"},
      {shape.num_key_heads, 1, "num_key_heads"},
      {shape.num_value_heads, 1, "num_value_heads"},
      {shape.head_dim, 1, "head_dim"},
      {shape.head_dim_v, 0, "head_dim_v"},
      {shape.features, 0, "features"},
      {shape.decay_dim, 0, "decay_dim"},
  };
  for (const auto& extent : extents) {
    if (extent.value >= extent.low) continue;
    return Invalid(extent.name, "is too small")
        .WithValue(extent.value)
        .WithBound(extent.low, BoundKind::kAtLeast);
  }
  struct {
    int64_t value;
    const char* name;
  } const dims[] = {{shape.head_dim, "head_dim"},
                    {shape.head_dim_v, "head_dim_v"},
                    {shape.features, "features"}};
  for (const auto& dim : dims) {
    if (dim.value <= kMaxHeadDim) continue;
    return Status(StatusCode::kUnsupported, dim.name,
                  "is larger than this version offers")
        .WithValue(dim.value)
        .WithBound(kMaxHeadDim);
  }
  if (shape.decay_dim > 1 && shape.decay_dim != KeyDim(shape)) {
    return Invalid("decay_dim", "must be 0, 1 or the width of a key")
        .WithValue(shape.decay_dim)
        .WithBound(KeyDim(shape), BoundKind::kSaid);
  }
  if (shape.num_key_heads > INT32_MAX || shape.num_value_heads > INT32_MAX ||
      shape.num_query_heads > INT32_MAX) {
    return Status(StatusCode::kOverflow, "num_heads", "leaves 31 bits");
  }
  if (params.head_map != HeadMap::kInterleaved &&
      params.head_map != HeadMap::kTiled) {
    return Invalid("head_map", "must be kInterleaved or kTiled");
  }
  if (!std::isfinite(params.scale)) return Invalid("scale", "must be finite");
  if (params.normalise && Erases(shape)) {
    return Invalid("normalise", "can not be asked with a delta rule");
  }
  const int64_t states = std::max(shape.num_key_heads, shape.num_value_heads);
  const int64_t heads = std::max(shape.num_query_heads, states);
  Status status = CheckDivides(shape.num_key_heads, states, "num_key_heads");
  if (status.ok()) {
    status = CheckDivides(shape.num_value_heads, states, "num_value_heads");
  }
  if (status.ok()) {
    status = CheckDivides(shape.num_query_heads, heads, "num_query_heads");
  }
  if (status.ok()) status = CheckDivides(states, heads, "num_state_heads");
  return status;
}

Status CheckScanArgs(const ScanPlan& plan, const ScanArgs& args) {
  Status status;
  ForEachScanTensor(
      args, [&](const auto& view, const TensorName& name, TensorRole role) {
        if (!status.ok() || view.absent()) return;
        status = CheckType(view, name);
        if (status.ok()) status = CheckView(view, name, role);
      });
  if (!status.ok()) return status;
  if (args.num_sequences < 0 ||
      (args.cu_seqlens == nullptr && args.num_sequences != 0)) {
    return Invalid("num_sequences", "must not be negative, nor given alone")
        .WithValue(args.num_sequences)
        .WithBound(0, BoundKind::kSaid);
  }
  status = CheckPresence(plan, args);
  if (!status.ok()) return status;
  status = CheckExtents(plan, args);
  if (!status.ok()) return status;
  if (args.cu_seqlens != nullptr) {
    const int64_t seqlen =
        args.key.absent() ? args.query.seqlen() : args.key.seqlen();
    status = CheckSums({"cu_seqlens", args.cu_seqlens, seqlen, seqlen, ""},
                       args.num_sequences);
    if (!status.ok()) return status;
  }
  status = CheckOverlaps(args);
  if (!status.ok()) return status;
  status = CheckRange(args.log_decay, kLogDecayName, -INFINITY, 0.0f,
                      "must be at most 0 and not NaN");
  if (!status.ok()) return status;
  return CheckRange(args.beta, kBetaName, 0.0f, 2.0f,
                    "must be 0 to 2 and not NaN");
}

Status CheckRange(const ConstTensorView& checked, const TensorName& name,
                  float low, float high, const char* message) {
  if (checked.absent()) return Status();
  ConstTensorView view = UsedStrides(checked);
  for (int i = 0; i < 3; ++i) {
    if (view.stride[i] == 0)
      view.extent[i] = std::min<int64_t>(view.extent[i], 1);
  }
  for (int64_t b = 0; b < view.batch(); ++b) {
    for (int64_t t = 0; t < view.seqlen(); ++t) {
      for (int64_t h = 0; h < view.heads(); ++h) {
        const float* row = RowAt(view, b, t, h);
        bool good = true;
        for (int64_t c = 0; c < view.head_dim(); ++c) {
          good &= row[c] >= low && row[c] <= high;  // false for NaN
        }
        if (!good) return Invalid(name.argument, message).WithIndex(t);
      }
    }
  }
  return Status();
}

Status CheckScanWorkspace(const ScanPlan& plan, const ScanArgs& args,
                          Workspace workspace, int workers) {
  const size_t need = ScanWorkspaceBytes(plan, workers);
  Status status = CheckWorkspaceBytes(workspace, need);
  if (!status.ok()) return status;
  const ConstTensorView memory =
      Bshd(static_cast<const float*>(workspace.data), 1, 1, 1,
           static_cast<int64_t>(need / sizeof(float)));
  const TensorName name = {"workspace", nullptr};
  ForEachScanTensor(args,
                    [&](const auto& view, const TensorName& other, TensorRole) {
                      if (!status.ok() || view.absent()) return;
                      status = CheckOverlap(memory, name, view, other);
                    });
  if (!status.ok() || args.cu_seqlens == nullptr) return status;
  return CheckOverlap(memory, name,
                      Bshd(args.cu_seqlens, 1, 1, 1, args.num_sequences + 1),
                      kCuSeqlensName);
}

}  // namespace heed::internal
