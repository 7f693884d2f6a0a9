// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// For authors of linear variants whose state no scan has: the order in which a
// head's keys are written and its rows read, and memory for it.
#ifndef HEED_LINEAR_STATE_H_
#define HEED_LINEAR_STATE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "heed/linear_variant.h"

namespace heed {

// Refuses what AttendLinear refuses of any call: masks that a state cannot
// serve, and a kernel table that is not there.
HEED_API Status CheckLinearCall(const VariantArgs& host);

// Calls write(key) for the keys of a key head that rows see, and read(row,
// head) for each row of its query heads once all keys that it sees are written.
// Runs and references of such variants share it: what it does is tested by
// itself.
template <class Write, class Read>
void InTokenOrder(const VariantArgs& host, int64_t kv_head, Write write,
                  Read read) {
  const int64_t rows = host.args.query.seqlen();
  const int64_t keys = host.args.key.seqlen();
  const int64_t group = host.args.query.heads() / host.args.key.heads();
  int64_t written = 0;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t end = ops::VisibleTo(host.params, rows, keys, i).end;
    for (; written < end; ++written) write(written);
    for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
      read(i, h);
    }
  }
}

// Runs f(batch, kv_head, state) for each, as tasks: `state` is `floats` zeros
// of the worker's own.
template <class F>
Status ForEachState(const VariantArgs& host, int64_t floats, F f) {
  constexpr int64_t kLine = 16;  // so that workers share none
  const ConstTensorView& key = host.args.key;
  const int64_t each = (floats + kLine - 1) / kLine * kLine;
  float* memory = host.scratch.Array<float>(each, host.executor.max_workers);
  if (memory == nullptr) {
    return Status(StatusCode::kOutOfMemory, "scratch",
                  "states could not be allocated");
  }
  ops::ParallelFor(host.executor, key.batch() * key.heads(),
                   [&](int64_t i, int worker) {
                     float* state = memory + worker * each;
                     std::fill(state, state + floats, 0.0f);
                     f(i / key.heads(), i % key.heads(), state);
                   });
  return Status();
}

// Writes what variants without a sum of weights write to lse.
inline void WriteNoLse(const VariantArgs& host) {
  const TensorView& lse = host.args.lse;
  for (int64_t b = 0; b < lse.batch(); ++b) {
    for (int64_t i = 0; i < lse.seqlen(); ++i) {
      for (int64_t h = 0; h < lse.heads(); ++h) *RowAt(lse, b, i, h) = NAN;
    }
  }
}

// Returns the key at which a row stands, the last that it sees; below 0 where
// it sees none.
inline int64_t StandsAt(const VariantArgs& host, int64_t row) {
  return ops::VisibleTo(host.params, host.args.query.seqlen(),
                        host.args.key.seqlen(), row)
             .end -
         1;
}

}  // namespace heed

#endif  // HEED_LINEAR_STATE_H_
