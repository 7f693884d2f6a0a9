// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Plans of scans: chunk, tile, memory.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "lib/core/check.h"
#include "lib/core/choose_target.h"
#include "lib/kernels/kernels.h"
#include "lib/linear/check_scan.h"
#include "lib/linear/scan_layout.h"
#include "lib/linear/scan_tuning.h"

namespace heed {
namespace {

using internal::KeyDim;

int64_t ChunkBytes(const ScanPlan& plan) {
  internal::Carver carver(nullptr);
  internal::CarveChunk(carver, plan);
  return carver.used();
}

}  // namespace

ScanShape ShapeOf(const ScanArgs& args) {
  ScanShape shape;
  const ConstTensorView& rows = args.key.absent() ? args.query : args.key;
  const int64_t states = args.initial_state.absent()
                             ? args.out.heads()
                             : args.initial_state.extent[1];
  shape.batch = rows.batch();
  shape.seqlen = rows.seqlen();
  shape.num_sequences = args.num_sequences;
  shape.num_key_heads = args.key.absent() ? states : args.key.heads();
  shape.num_value_heads = args.key.absent() ? states : args.value.heads();
  shape.num_query_heads =
      args.query.absent() ? std::max(shape.num_key_heads, shape.num_value_heads)
                          : args.query.heads();
  shape.head_dim = rows.head_dim();
  shape.head_dim_v =
      args.key.absent() ? args.out.head_dim() : args.value.head_dim();
  shape.features = args.map.features;
  shape.decay_dim = args.log_decay.absent() ? 0 : args.log_decay.head_dim();
  shape.beta = !args.beta.absent();
  shape.erase_key = !args.erase_key.absent();
  shape.remove_key = !args.remove_key.absent();
  return shape;
}

Status MakeScanPlan(const ScanParams& params, const ScanShape& shape,
                    const ScanOptions& options, ScanPlan* plan) {
  if (plan == nullptr) return internal::Invalid("plan", "is null");
  Status status = internal::CheckScanShape(params, shape);
  if (!status.ok()) return status;
  if (options.chunk < 0 || options.chunk > internal::kMaxChunk) {
    return internal::Invalid("chunk", "must be 0 (the default) to 32")
        .WithValue(options.chunk)
        .WithBound(internal::kMaxChunk, BoundKind::kSaid);
  }
  internal::Target target;
  status = internal::ChooseTarget(options.target, &target);
  if (!status.ok()) return status;

  ScanPlan made;
  made.params = params;
  made.shape = shape;
  made.table = &internal::KernelsOf(target)->scan;
  made.ops = &internal::KernelsOf(target)->ops;
  made.target = internal::NameOf(target);
  made.scale = params.scale != 0.0f ? params.scale
               : shape.features > 0
                   ? 1.0f
                   : static_cast<float>(
                         1.0 / std::sqrt(static_cast<double>(shape.head_dim)));
  made.num_state_heads = std::max(shape.num_key_heads, shape.num_value_heads);
  made.num_heads = std::max(shape.num_query_heads, made.num_state_heads);
  made.chunk = options.chunk != 0 ? options.chunk : internal::kDefaultChunk;
  made.tile_width = internal::TileWidth(KeyDim(shape));
  const int64_t chunks =
      shape.seqlen / made.chunk + (shape.seqlen % made.chunk != 0);
  made.segment = static_cast<int32_t>(std::clamp<int64_t>(
      internal::kSegmentBytes / ChunkBytes(made), 1,
      std::clamp<int64_t>(chunks, 1, internal::kMaxSegment)));
  internal::Carver carver(nullptr);
  internal::CarveMemory(carver, made);
  made.worker_bytes = carver.used() + made.segment * ChunkBytes(made);
  *plan = made;
  return Status();
}

size_t ScanWorkspaceBytes(const ScanPlan& plan, int workers) {
  return static_cast<size_t>(std::max(workers, 1)) *
         static_cast<size_t>(plan.worker_bytes);
}

}  // namespace heed
