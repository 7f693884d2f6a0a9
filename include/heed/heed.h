// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Everything an engineer needs; threads by oneTBB are in heed/tbb.h, the doors
// for variant authors in heed/variant.h, heed/linear_variant.h,
// heed/linear_features.h, heed/linear_state.h, heed/linear_slots.h,
// heed/portable_math.h and heed/ops.h.
#ifndef HEED_HEED_H_
#define HEED_HEED_H_

#include "heed/append.h"
#include "heed/attention.h"
#include "heed/executor.h"
#include "heed/export.h"
#include "heed/gather.h"
#include "heed/kv.h"
#include "heed/layers.h"
#include "heed/linear.h"
#include "heed/linear_ops.h"
#include "heed/onnx_linear.h"
#include "heed/page_bounds.h"
#include "heed/positions.h"
#include "heed/ragged.h"
#include "heed/recognise_mask.h"
#include "heed/rope.h"
#include "heed/scan_snapshots.h"
#include "heed/score_inputs.h"
#include "heed/sparse.h"
#include "heed/states.h"
#include "heed/status.h"
#include "heed/target.h"
#include "heed/tensor.h"
#include "heed/types.h"

#endif  // HEED_HEED_H_
