// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Tile primitives for variant authors: fast building blocks in plain C++, on
// whatever instruction set the CPU offers.
//
// All are single-threaded, allocate nothing, keep no state and touch only the
// elements given. Extents and strides count floats. Extents of zero are fine,
// and nothing is then read or written there. Shapes that disagree are the
// caller's mistake and are not checked. Results never depend on alignment or
// threads; those marked [same bits] do not depend on the CPU either, as long as
// it has FMA (TargetInfo::same_bits).
#ifndef HEED_OPS_H_
#define HEED_OPS_H_

#include <cstdint>
#include <type_traits>

#include "heed/attention.h"
#include "heed/executor.h"
#include "heed/export.h"
#include "heed/status.h"
#include "heed/tensor.h"
#include "heed/variant.h"

namespace heed {

// Makes every check of Run, and that all tensors are f32, as variants take
// them; computes nothing. For callers of a variant.
HEED_API Status CheckArgs(const AttentionParams& params,
                          const AttentionArgs& args);

// Returns what RunVariant says to calls of this shape by what the variant
// declares: a refusal of causal ones under non_causal, or of a head_dim_v of
// its own under equal_head_dims. Reads no tensor; for callers that choose
// variants.
HEED_API Status CheckServes(const Variant& variant,
                            const AttentionParams& params,
                            const AttentionShape& shape);

// Checks args, knobs (in range, whole where they must be), executor and scratch
// (both must be set), then runs the variant: the way in for tests, benchmarks
// and tools.
HEED_API Status RunVariant(const Variant& variant, const VariantArgs& args);

namespace ops {

// ---- Views ------------------------------------------------------------------

// Element (i, j) stands at data[i * row_stride + j * col_stride].
template <typename Float>
struct BasicMatrix {
  Float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t row_stride = 0;
  int64_t col_stride = 1;

  Float* row(int64_t i) const { return data + i * row_stride; }
  operator BasicMatrix<const float>() const {
    return BasicMatrix<const float>{data, rows, cols, row_stride, col_stride};
  }
};
using Matrix = BasicMatrix<float>;
using ConstMatrix = BasicMatrix<const float>;

// Returns a dense matrix.
inline Matrix Dense(float* data, int64_t rows, int64_t cols) {
  return Matrix{data, rows, cols, cols};
}
inline ConstMatrix Dense(const float* data, int64_t rows, int64_t cols) {
  return ConstMatrix{data, rows, cols, cols};
}

// Returns the same elements with rows and columns exchanged; moves nothing.
template <typename Float>
BasicMatrix<Float> Transposed(const BasicMatrix<Float>& m) {
  return BasicMatrix<Float>{m.data, m.cols, m.rows, m.col_stride, m.row_stride};
}

// Returns rows [begin, end).
template <typename Float>
BasicMatrix<Float> RowRange(const BasicMatrix<Float>& m, int64_t begin,
                            int64_t end) {
  return BasicMatrix<Float>{m.data + begin * m.row_stride, end - begin, m.cols,
                            m.row_stride, m.col_stride};
}

// Returns one head of an f32 tensor as a matrix [seqlen][head_dim].
inline ConstMatrix Head(const ConstTensorView& view, int64_t batch,
                        int64_t head) {
  return ConstMatrix{RowAt(view, batch, 0, head), view.seqlen(),
                     view.head_dim(),
                     view.stride[1] / static_cast<int64_t>(sizeof(float))};
}
inline Matrix Head(const TensorView& view, int64_t batch, int64_t head) {
  return Matrix{RowAt(view, batch, 0, head), view.seqlen(), view.head_dim(),
                view.stride[1] / static_cast<int64_t>(sizeof(float))};
}

// ---- Arithmetic -------------------------------------------------------------

// c = a b, with a [m][k], b [k][n], c [m][n] of unit col_stride. a may have any
// strides at full speed, so Transposed(a) is free; a b without unit col_stride
// is repacked once every 48 columns, which pays from about 16 rows of a on.
// c may not overlap a or b. Each element is one FMA chain over k, in order
// [same bits]. Takes up to 28 KiB of stack.
HEED_API void MatMul(const ConstMatrix& a, const ConstMatrix& b,
                     const Matrix& c);

// c += a b: the chain begins at c.
HEED_API void MatMulAdd(const ConstMatrix& a, const ConstMatrix& b,
                        const Matrix& c);

// Returns sum a[i] b[i]: sixteen FMA chains, i modulo 16, then a tree
// [same bits].
HEED_API float Dot(const float* a, const float* b, int64_t n);

// y[i] += a x[i], an FMA each [same bits]. x may be y.
HEED_API void Axpy(float a, const float* x, float* y, int64_t n);

// x[i] *= a [same bits].
HEED_API void Scale(float a, float* x, int64_t n);

// y[i] = exp(x[i]), within 1.5 units in the last place; 0 where the result
// would be below the smallest normal number (x < -87.33), inf above 88.72, NaN
// for NaN [same bits]. x may be y.
HEED_API void Exp(const float* x, float* y, int64_t n);

// Returns the largest x[i], -inf for none; what it is where a NaN is among them
// is not said [same bits].
HEED_API float Largest(const float* x, int64_t n);

// x = exp(x - lse) with lse = log(sum exp(x)), which it returns. An entry of
// -inf gets 0; a row of them gets zeros and returns -inf. A NaN or +inf makes
// the whole row NaN [same bits].
HEED_API float Softmax(float* x, int64_t n);

// Returns whether no element is NaN or infinite.
HEED_API bool AllFinite(const float* x, int64_t n);

// out[i] = the mean of rows [i * block, (i + 1) * block) of x, the last block
// being as short as it is; out has ceil(rows / block) rows of unit col_stride
// [same bits].
HEED_API void MeanPool(const ConstMatrix& x, int64_t block, const Matrix& out);

// Writes the indices of the k largest of score[0..n) to index[0..k), rising.
// Equal scores go to the lowest index, NaN ranks below everything. `index` has
// room for n. Returns min(k, n).
HEED_API int64_t TopK(const float* score, int64_t n, int64_t k, int32_t* index);

// ---- Masks ------------------------------------------------------------------

// Returns the number that multiplies the scores: softmax_scale, or
// 1/sqrt(head_dim) where that is 0.
HEED_API float SoftmaxScale(const AttentionParams& params, int64_t head_dim);

// Returns the position of query row 0 among the keys.
inline int64_t CausalOffset(const AttentionParams& params, int64_t seqlen_q,
                            int64_t seqlen_k) {
  return params.causal_offset == kBottomRight ? seqlen_k - seqlen_q
                                              : params.causal_offset;
}

// Keys [0, sink_end) and [begin, end), with sink_end <= begin <= end.
struct VisibleKeys {
  int64_t sink_end;
  int64_t begin;
  int64_t end;
};

// Returns the keys that AttentionParams' masks let query row `row` see.
HEED_API VisibleKeys VisibleTo(const AttentionParams& params, int64_t seqlen_q,
                               int64_t seqlen_k, int64_t row);

// Calls f(begin, end) for the keys that a row sees, by masks and by
// args.key_intervals, as rising disjoint non-empty intervals.
template <typename F>
void ForEachVisible(const AttentionParams& params, const AttentionArgs& args,
                    int64_t batch, int64_t head, int64_t row, F f) {
  const VisibleKeys see =
      VisibleTo(params, args.query.seqlen(), args.key.seqlen(), row);
  const auto cut = [&](int64_t begin, int64_t end) {
    const int64_t sink_end = end < see.sink_end ? end : see.sink_end;
    if (begin < sink_end) f(begin, sink_end);
    if (begin < see.begin) begin = see.begin;
    if (end > see.end) end = see.end;
    if (begin < end) f(begin, end);
  };
  const KeyIntervals& lists = args.key_intervals;
  if (lists.query_block_size == 0) {
    cut(0, args.key.seqlen());
    return;
  }
  const int64_t blocks = (args.query.seqlen() - 1) / lists.query_block_size + 1;
  const int64_t list = (batch * args.query.heads() + head) * blocks +
                       row / lists.query_block_size;
  for (int64_t i = lists.offsets[list]; i < lists.offsets[list + 1]; ++i) {
    cut(lists.intervals[i].begin, lists.intervals[i].end);
  }
}

// Returns the (query, key) pairs of one head that the masks leave. Costs a few
// nanoseconds a query row.
HEED_API double VisiblePairs(const AttentionShape& shape,
                             const AttentionParams& params);

// Returns the keys of one head that the masks let any query row see.
HEED_API double VisibleKeyRows(const AttentionShape& shape,
                               const AttentionParams& params);

// ---- Costs ------------------------------------------------------------------

// Returns what softmax attention over `pairs` pairs a head costs: both products
// (multiply and add are two), and each tensor once.
HEED_API Cost SoftmaxCost(const AttentionShape& shape, double pairs);

// Returns the same where only `key_rows` keys of each key head, and their
// values, are read.
HEED_API Cost SoftmaxCost(const AttentionShape& shape, double pairs,
                          double key_rows);

// ---- Running ----------------------------------------------------------------

// Runs f(i, worker) for i in [0, num_tasks) on the executor. `worker` is below
// executor.max_workers and names the task's own scratch.
template <typename F>
void ParallelFor(const Executor& executor, int64_t num_tasks, F&& f) {
  using Function = typename std::remove_reference<F>::type;
  executor.parallel_for(executor.self, num_tasks,
                        const_cast<void*>(static_cast<const void*>(&f)),
                        [](void* ctx, int64_t i, int worker) {
                          (*static_cast<Function*>(ctx))(i, worker);
                        });
}

// Runs this library's exact kernel with the scratch and the executor of a
// variant's run: params and args may differ from the variant's own, as where a
// selection becomes args.key_intervals. Makes every check of Run, and refuses
// an executor or a scratch that is not set.
HEED_API Status Attend(const AttentionParams& params, const AttentionArgs& args,
                       const VariantArgs& host);

}  // namespace ops
}  // namespace heed

#endif  // HEED_OPS_H_
